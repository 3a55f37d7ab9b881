"""What is drawn of a plan, in notebooks and by matplotlib."""

import dataclasses

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.plan_pictures import MOST_LINES, tile_grid
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.chain import Chain
from tests.support.parts import require

matplotlib = require("matplotlib", "plot")
matplotlib.use("Agg")


def plan_of(shape, chain=None, device=None):
    source = SourceInfo(shape=shape, dtype="float32", work_dtype="float32")
    return make_plan(source, chain, budget=Budget(1 << 28, 2, device))


@pytest.fixture
def plan():
    """A plan of 64 x 64 blocks, whose tiles divide neither side."""
    made = plan_of((4096, 4096), device=1 << 30)
    return dataclasses.replace(made, layout=made.layout._replace(tile_rows=5, tile_cols=24))


def test_lines_lie_between_the_tiles_and_their_blocks(plan):
    grid, (_, u, q, *_) = tile_grid(plan), plan.split
    assert len(plan.tiles) == 13 * 3
    assert [round(edge * u) for edge in grid.tile_rows] == sorted({tile.r0 for tile in plan.tiles} - {0})
    assert [round(edge * q) for edge in grid.tile_cols] == sorted({tile.c0 for tile in plan.tiles} - {0})
    assert (round(grid.tile[0] * u), round(grid.tile[1] * q)) == plan.tiles[0][1::2]
    assert [round(edge * u) for edge in grid.block_rows] == list(range(1, plan.tiles[0].r1))
    assert [round(edge * q) for edge in grid.block_cols] == list(range(1, 24))
    assert len(tile_grid(dataclasses.replace(plan, layout=plan.layout._replace(tile_rows=1))).tile_rows) <= MOST_LINES


def test_a_notebook_shows_lines_tiles_and_memory(plan):
    text = plan._repr_html_()
    for line in str(plan).splitlines():
        assert line[14:] in text
    assert f"{len(plan.tiles)} tiles, the first of which is filled: {plan.split.u * plan.split.q} blocks of " in text
    assert "of 256.00 MiB (host)" in text
    assert "of 1.00 GiB (device)" in text
    assert len(plan_of((1 << 20, 1 << 20))._repr_html_()) < 20_000
    assert "One tile: the matrix is its own factor." in plan_of((16, 16), chain=Chain([(1, 16, 16, 1)]))._repr_html_()


def test_notes_are_escaped():
    plan = dataclasses.replace(plan_of((64, 64)), notes=("<script>alert('&')</script>",))
    assert "&lt;script&gt;alert('&amp;')&lt;/script&gt;" in plan._repr_html_()
    assert "<script" not in plan._repr_html_()


def test_a_plan_is_plotted(plan):
    axes = plan.plot()
    whole, tile = axes.patches
    assert (whole.get_width(), whole.get_height()) == (4096, 4096)
    assert (tile.get_width(), tile.get_height()) == pytest.approx((24 * 64, 5 * 64))
    drawn = {each.get_label(): each.get_segments() for each in axes.collections}
    assert [segment[0][1] for segment in drawn["tiles"]] == list(range(5 * 64, 4096, 5 * 64))
    assert axes.get_title().startswith(f"{len(plan.tiles)} tiles, 64.00 MiB read, ")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("columns, group by group", "rows, group by group")
    given = axes.figure.add_subplot()
    assert dbf.plan(np.eye(4), chain=[(1, 4, 4, 1)]).plot(ax=given) is given
    matplotlib.pyplot.close("all")
