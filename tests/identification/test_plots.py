"""What the pictures of an identification show, read back from the axes."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.identification import plots

matplotlib = pytest.importorskip("matplotlib", reason='pip install "dbutterfly[examples]"')
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


def test_arguments_that_do_not_fit(shuffled, monkeypatch):
    z, chain = np.asarray(shuffled), shuffled.chain
    with pytest.raises(InputError, match=r"levels=\[4\] are no cuts"):
        plots.plot_similarity(z, shuffled.orderings, chain, 4)
    with pytest.raises(InputError, match=r"matrix has shape \(8, 16\)"):
        plots.plot_similarity(z[:8], shuffled.orderings, chain, 1)
    with pytest.raises(InputError, match="rows is not a permutation"):
        plots.plot_similarity(z, dbf.Orderings(np.zeros(16, int), None), chain, 1)
    with pytest.raises(InputError, match="axes has 1 members; give 2"):
        plots.plot_similarity(z, shuffled.orderings, chain, 1, axes=[None])
    with pytest.raises(InputError, match="names 2 levels and residuals has 3"):
        plots.plot_residuals([0.1, 0.1, 0.1], levels=[1, 2])
    with pytest.raises(InputError, match=r"floor has shape \(2,\) and residuals has 3 levels"):
        plots.plot_residuals([0.1, 0.1, 0.1], [0.1, 0.2])
    monkeypatch.setattr(plots.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r'pip install "dbutterfly\[examples\]"'):
        plots.plot_residuals([0.1])


def missing(name):
    raise ModuleNotFoundError(name)
