"""What is drawn of chains and orderings, in notebooks and by matplotlib."""

import re

import numpy as np
import pytest

from dbutterfly.errors import InputError, how_to_install
from dbutterfly.structure.chain import Chain, Pattern
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.supports import support_of
from tests.support.matrix_references import factor_matrix
from tests.support.parts import require

matplotlib = require("matplotlib", "plot")
matplotlib.use("Agg")

SCALE = 10.0


def cells_of(pattern):
    """Entries of a factor that its shapes cover, where each entry is a square of :data:`SCALE`."""
    rows, cols = pattern.shape
    found, covered = support_of(pattern, SCALE * cols, SCALE * rows), np.zeros((rows, cols), int)
    for x, y, width, height in found.rectangles:
        left, top, right, bottom = (round(edge / SCALE) for edge in (x, y, x + width, y + height))
        covered[top:bottom, left:right] += 1
    for x, y, width, height in found.diagonals:
        assert width == height, "entries are squares"
        steps = np.arange(round(width / SCALE))
        covered[round(y / SCALE) + steps, round(x / SCALE) + steps] += 1
    return covered


@pytest.mark.parametrize("pattern", [(1, 2, 2, 4), (2, 3, 2, 4), (3, 2, 5, 1), (1, 4, 3, 1), (4, 1, 1, 2)])
def test_shapes_cover_the_support_of_a_factor_once(pattern):
    pattern = Pattern(*pattern)
    assert np.array_equal(cells_of(pattern), factor_matrix(np.ones(pattern, int)))


def test_shapes_are_few_however_large_a_factor_is():
    for pattern in (
        *Chain.square_dyadic(1 << 20),
        *Chain.monarch((1 << 20, 1 << 10)),
        *Chain.chainable((4096,) * 2, 8),
    ):
        found = support_of(pattern, 64, 64)
        assert 0 < len(found.rectangles) + len(found.diagonals) <= 1024


def test_a_chain_shows_every_factor_with_its_pattern():
    text = Chain.chainable((48, 36), 2)._repr_html_()
    assert text.count("<svg") == 4
    assert all(f">{pattern}</div>" in text for pattern in Chain.chainable((48, 36), 2))
    assert "4 factors, 48 x 36, rank 2: 1368 values, 1.3 times fewer" in text
    assert "not chainable" in Chain([(2, 2, 2, 1), (1, 2, 2, 2)])._repr_html_()
    assert Chain([(2, 1, 1, 2)] * 1000)._repr_html_().count("<svg") == 24
    assert len(Chain.square_dyadic(4096)._repr_html_()) < 10_000


def test_orderings_show_which_line_is_where():
    text = Orderings(np.array([2, 0, 1]), "bitreversal")._repr_html_()
    assert "rows: 3 permuted" in text
    assert "columns: bitreversal" in text
    assert "rows: as they are" in Orderings()._repr_html_()
    points = [tuple(map(float, point)) for point in re.findall(r"M([\d.]+) ([\d.]+)h0", text)][:3]
    assert points == [(2, 86), (44, 2), (86, 44)]
    assert len(Orderings(np.arange(1 << 16))._repr_html_()) < 10_000


def test_a_chain_is_plotted():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    chain = Chain([(1, 2, 2, 2), (2, 2, 2, 1)])
    axes = chain.plot()
    assert [text.get_text() for text in axes.texts] == ["(1, 2, 2, 2)", "(2, 2, 2, 1)"]
    assert axes.get_title() == "2 factors of a 4 x 4 matrix, 16 values"
    squares, lines = (sum(len(each.get_paths()) for each in axes.collections[kind::2]) for kind in (0, 1))
    assert (squares, lines) == (2, 4)
    assert len(axes.patches) == 2
    again = chain.plot(ax=pyplot.figure().subplots())
    assert again.figure is pyplot.gcf()
    assert len(Chain([(2, 1, 1, 2)] * 1000).plot().patches) == 24
    pyplot.close("all")


def test_other_axes_are_refused_and_what_is_missing_is_named(monkeypatch):
    for wrong in (3, "axes", [None], matplotlib):
        with pytest.raises(
            InputError, match=r"ax=.* is not an Axes of matplotlib; give an Axes, or None for a new fig"
        ):
            Chain.square_dyadic(4).plot(ax=wrong)
    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(InputError, match=re.escape(how_to_install("plot"))):
        Chain.square_dyadic(4).plot()


def missing(name):
    raise ModuleNotFoundError(name)
