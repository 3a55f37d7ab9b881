"""What the pictures of an identification show, read back from the axes."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.identification import plots
from tests.support.parts import require

matplotlib = require("matplotlib", "plot")
matplotlib.use("Agg")


@pytest.fixture
def shuffled():
    return dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(16, seed=0), seed=1)


def contrast(axes, groups):
    """Mean similarity inside the squares of a picture along the diagonal, and elsewhere."""
    (image,) = axes.get_images()
    drawn = np.asarray(image.get_array())
    group = np.arange(len(drawn)) * groups // len(drawn)
    inside = group[:, None] == group
    return drawn[inside].mean(), drawn[~inside].mean()


@pytest.mark.slow
@pytest.mark.parametrize(("level", "groups"), [(1, 8), (2, 4), (3, 2)])
def test_groups_are_squares_after_ordering_only(shuffled, level, groups, tmp_path):
    before, after = plots.plot_similarity(shuffled, shuffled.orderings, shuffled.chain, level)
    inside, outside = contrast(after, groups)
    assert inside == pytest.approx(1, abs=1e-10)
    assert outside < 0.9
    assert contrast(before, groups)[0] < 0.95
    assert len(after.get_lines()) == 2 * (groups - 1)
    after.figure.savefig(tmp_path / "similarity.png")


def test_a_matrix_in_standard_order_needs_no_arrays():
    z = dbf.matrices.dft(8)
    _, after = plots.plot_similarity(z, z.orderings, z.chain, 1)
    assert contrast(after, 4)[0] == pytest.approx(1, abs=1e-10)


def test_draws_where_it_is_told(shuffled):
    panels = importlib.import_module("matplotlib.figure").Figure().subplots(1, 3)
    drawn = plots.plot_similarity(shuffled, shuffled.orderings, shuffled.chain, 2, axes=panels[:2])
    assert [*drawn] == [*panels[:2]]
    assert plots.plot_residuals([0.1, 0.2], axes=panels[2]) is panels[2]


def test_residuals_beside_the_floor(tmp_path):
    axes = plots.plot_residuals([0.1, 0.0, 0.3], 0.2, levels=[2, 3, 5])
    residual, floor = axes.get_lines()
    assert residual.get_xdata().tolist() == floor.get_xdata().tolist() == [2, 3, 5]
    assert residual.get_ydata().tolist() == [0.1, np.finfo(float).eps, 0.3]
    assert floor.get_ydata().tolist() == [0.2] * 3
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["residual", "noise floor"]
    axes.figure.savefig(tmp_path / "residuals.png")
    assert len(plots.plot_residuals([0.1, 0.2]).get_lines()) == 1


def test_arguments_that_do_not_fit(shuffled):
    z, chain = np.asarray(shuffled), shuffled.chain
    with pytest.raises(InputError, match=r"levels=\[4\] are no cuts"):
        plots.plot_similarity(z, shuffled.orderings, chain, 4)
    with pytest.raises(InputError, match=r"matrix has shape \(8, 16\)"):
        plots.plot_similarity(z[:8], shuffled.orderings, chain, 1)
    with pytest.raises(InputError, match="rows is not a permutation"):
        plots.plot_similarity(z, dbf.Orderings(np.zeros(16, int), None), chain, 1)
    with pytest.raises(InputError, match=r"axes=\[None\] is not 2 Axes of matplotlib; give 2 Axes"):
        plots.plot_similarity(z, shuffled.orderings, chain, 1, axes=[None])
    with pytest.raises(InputError, match="names 2 levels and residuals has 3"):
        plots.plot_residuals([0.1, 0.1, 0.1], levels=[1, 2])
    with pytest.raises(InputError, match=r"floor has shape \(2,\) and residuals has 3 levels"):
        plots.plot_residuals([0.1, 0.1, 0.1], [0.1, 0.2])


def identified(found):
    """Orderings that were found, or not, with residuals of three cuts."""
    return dbf.IdentifiedOrderings(
        np.arange(8), np.arange(8)[::-1], found=found, confidence=0.75, levels=(1, 2, 4),
        residuals=np.array([0.1, 0.2, 0.7]), floors=np.array([0.1, 0.1, 0.1]), method="<middle>", attempts=2,
    )  # fmt: skip


def test_orderings_that_were_found_are_plotted():
    axes = identified(False).plot()
    assert axes.get_title() == "orderings NOT found, confidence 0.750"
    assert axes.get_lines()[0].get_xdata().tolist() == [1, 2, 4]
    assert axes.get_ylim() == (1e-3, 1.2), "the same for all that are no exact butterflies"
    assert identified(True).plot(ax=axes) is axes
    with pytest.raises(InputError, match="ax=3 is not an Axes"):
        identified(True).plot(ax=3)
    importlib.import_module("matplotlib.pyplot").close("all")


def test_a_notebook_shows_verdict_residuals_and_both_sides():
    text = identified(False)._repr_html_()
    assert "Not found: the worst cut leaves 0.7 of the norm of the matrix." in text
    assert "cut 4: residual 0.7, 0.1 if the noise were all" in text
    assert [label for label in ("1", "0.1", "0.01", "0.001") if f">{label}</text>" not in text] == []
    assert "&lt;middle&gt;, 2 attempts" in text
    assert "rows: 8 permuted" in text
    assert "Found: every cut leaves at most 0.7" in identified(True)._repr_html_()
    assert dbf.IdentifiedOrderings(np.arange(2), np.arange(2))._repr_html_().count("<svg") == 2


def test_a_matrix_with_gaps_is_plotted_on_its_chain():
    found = dbf.IdentifiedOrderings([0, 1, 2, 3, 4, 5, 6, -1], None)
    before, after = plots.plot_similarity(np.eye(7, 8), found, dbf.Chain.square_dyadic(8), 1)
    assert before.get_images()[0].get_array().shape == after.get_images()[0].get_array().shape == (8, 8)
