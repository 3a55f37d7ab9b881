"""What is said and drawn of certificates and factorizations, in notebooks and by matplotlib."""

import dataclasses
import math
import re

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.factorization.results.verdict import verdict_on
from dbutterfly.structure.drawings import ALARM
from tests.support.comparisons import noisy_butterfly
from tests.support.parts import require

matplotlib = require("matplotlib", "plot")
matplotlib.use("Agg")


@pytest.mark.parametrize(
    ("certificate", "is_useless", "words"),
    [
        (
            (0.1, 0.08, False, 1.0),
            False,
            "misses the matrix by at most 10 % of its norm: that is at most 25 % more than",
        ),
        ((0.1, 0.02, False, 1.0), False, "at most 5 times the least that any product of this chain can reach."),
        ((3e-15, 0.0, True, 1.0), False, "misses the matrix by 3e-15 of its norm."),
        ((0.0, 0.0, True, 0.0), False, "The matrix is zero"),
        ((0.0, 0.0, True, 1.0), False, "misses the matrix by 0 of its norm."),
        ((0.1, 0.0, False, 1.0, 0.01), False, "by about 10 % of its norm. This is an estimate"),
        ((0.9, 0.8, False, 1.0), True, "Useless: no product of this chain comes closer to the matrix than 80 %"),
        ((0.6, 0.2, False, 1.0), True, "Useless as it is: the product may miss the matrix by 60 %"),
        ((0.7, 0.0, False, 1.0, 0.1), True, "Useless: the product misses the matrix by about 70 %"),
        ((math.inf, 0.0, False, 1.0, math.inf), True, "Useless: "),
    ],
)
def test_a_certificate_begins_with_a_verdict(certificate, is_useless, words):
    certificate = dbf.Certificate(*certificate)
    verdict = verdict_on(certificate)
    assert verdict.is_useless == is_useless
    assert words in verdict.text
    text = certificate._repr_html_()
    assert verdict.text in text
    assert (ALARM in text) == is_useless
    assert ("<svg" in text) == (0 < certificate.error_bound < math.inf)


def test_bounds_lie_on_an_axis_from_zero():
    text = dbf.Certificate(0.3, 0.1, False, 1.0)._repr_html_()
    bars = [tuple(map(float, bar)) for bar in re.findall(r'<rect x="([\d.]+)" y="2" width="([\d.]+)"', text)]
    ticks = {label: float(x) for x, label in re.findall(r'<text x="([\d.]+)"[^>]*>([\d.e-]+)</text>', text)}
    assert ticks["0"] == bars[0][0] == 0
    assert bars[1][0] == bars[0][1] == pytest.approx(ticks["0.1"], abs=0.02)
    assert sum(bars[1]) == pytest.approx(ticks["0.3"], abs=0.02)


@pytest.fixture(scope="module")
def fact():
    return dbf.factorize(noisy_butterfly(64))


def test_a_factorization_shows_verdict_bounds_size_and_factors(fact):
    text = fact._repr_html_()
    assert verdict_on(fact.certificate).text in text
    assert "6, 6.00 KiB: 5.3 times smaller" in text
    assert text.count("<svg") == 1 + len(fact.chain)


def test_a_factorization_is_plotted(fact):
    axes = fact.plot()
    assert [bar.get_height() for bar in axes.patches] == fact.record["errors_by_cut"]
    assert [line.get_ydata()[0] for line in axes.get_lines()] == [
        fact.certificate.error_bound,
        fact.certificate.lower_bound,
    ]
    assert axes.get_ylim()[0] == 0
    assert axes.get_title() == ""
    residuals = fact.plot("residuals", ax=axes.figure.add_subplot())
    (image,) = residuals.get_images()
    assert np.allclose(image.get_array(), fact.trace.residuals)
    assert image.get_clim() == (1e-4, 1), "the same for all runs"
    saved = dataclasses.replace(
        fact, record={}, trace=None, certificate=dbf.Certificate(math.inf, 0.0, False, 1.0, 1.0)
    )
    assert saved.plot().get_title() == "useless"
    with pytest.raises(InputError, match='kind="residuals": this factorization was saved without the record'):
        saved.plot("residuals")
    with pytest.raises(InputError, match="kind='map' is unknown"):
        fact.plot("map")
    matplotlib.pyplot.close("all")
