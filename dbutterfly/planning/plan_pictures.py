"""A plan as a notebook shows it, and as matplotlib plots it: the matrix, its tiles and blocks, and the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..structure.drawings import ACCENT, Element, amount, card, element, explanation, label_at, row_of, svg, table
from ..structure.figures import matplotlib_module, take_axes
from .plan_text import plan_lines
from .sizes import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .plan import Plan

__all__ = ["plan_html", "plot_plan", "tile_grid"]

LONGEST_SIDE = 200.0
"""Pixels of the longer side of the matrix. Not tuned: beside the text of the plan, it fits a notebook."""

FLATTEST = 36.0
"""Pixels of its shorter side at least."""

MOST_LINES = 40
"""Lines between tiles, or blocks, that are drawn along a side: of more, some. Not tuned: they would make a surface."""


class TileGrid(NamedTuple):
    """Lines between the tiles of a plan, and between the blocks of its first tile, in parts of the sides.

    Attributes
    ----------
    tile_rows, tile_cols : list of float
        Lines between tiles.
    tile : (float, float)
        Height and width of the first tile.
    block_rows, block_cols : list of float
        Lines between the blocks of the first tile.
    """

    tile_rows: list[float]
    tile_cols: list[float]
    tile: tuple[float, float]
    block_rows: list[float]
    block_cols: list[float]


def tile_grid(plan: Plan) -> TileGrid:
    """Lines of a plan's drawing. A plan without blocks has one tile, the matrix."""
    if plan.split is None:
        return TileGrid([], [], (1.0, 1.0), [], [])
    steps = (plan.layout.tile_rows, plan.layout.tile_cols)
    (rows, cols), edges = (plan.split.u, plan.split.q), []
    for count, given in ((rows, steps[0]), (cols, steps[1])):
        step = min(count, given)
        edges += [_some(range(step, count, step), count), _some(range(1, step), count)]
    return TileGrid(edges[0], edges[2], (min(1.0, steps[0] / rows), min(1.0, steps[1] / cols)), edges[1], edges[3])


def _some(places: range, length: int) -> list[float]:
    """Every so many of some places on a side, so that they are few, in parts of its length."""
    return [place / length for place in places[:: -(-len(places) // MOST_LINES) or 1]]


def _caption(plan: Plan) -> str:
    """What the drawing shows, in a line."""
    tiles = len(plan.tiles)
    if plan.split is None:
        return "One tile: the matrix is its own factor."
    blocks = f"{plan.split.u * plan.split.q} blocks of {plan.split.p} x {plan.split.v}"
    many = f"{tiles} tiles, the first of which is filled" if tiles > 1 else "One tile"
    return f"{many}: {blocks} in all, rows and columns group by group."


def plan_html(plan: Plan) -> str:
    """HTML of a plan: its lines, and a drawing of tiles, blocks and memory."""
    drawing = element("div", _draw_matrix(plan), explanation(_caption(plan)), style="max-width:280px")
    memory = element("div", explanation("Memory of a worker at its peak, beside what it may hold."), _draw_memory(plan))
    side = element("div", drawing, memory)
    rows, cols = plan.source.shape
    title = f"Plan for a {rows} x {cols} {plan.source.dtype} matrix"
    return card(title, row_of(element("div", table(plan_lines(plan)), style="flex:1 1 380px;max-width:600px"), side))


def _draw_matrix(plan: Plan) -> Element:
    """Draw the matrix with its tiles, the first of which is filled, and the blocks of that one."""
    rows, cols = plan.source.shape
    scale = LONGEST_SIDE / max(rows, cols)
    height, width = max(rows * scale, FLATTEST), max(cols * scale, FLATTEST)
    grid, left, top = tile_grid(plan), 18.0, 16.0
    tile_height, tile_width = grid.tile[0] * height, grid.tile[1] * width
    blocks = [f"M{amount(left)} {amount(top + y * height)}h{amount(tile_width)}" for y in grid.block_rows]
    blocks += [f"M{amount(left + x * width)} {amount(top)}v{amount(tile_height)}" for x in grid.block_cols]
    tiles = [f"M{amount(left)} {amount(top + y * height)}h{amount(width)}" for y in grid.tile_rows]
    tiles += [f"M{amount(left + x * width)} {amount(top)}v{amount(height)}" for x in grid.tile_cols]
    return svg(
        left + width + 2,
        top + height + 2,
        element("rect", x=left, y=top, width=width, height=height, fill=ACCENT, fill_opacity=0.12),
        element("rect", x=left, y=top, width=tile_width, height=tile_height, fill=ACCENT, fill_opacity=0.75),
        element("path", d="".join(blocks), stroke="currentColor", stroke_opacity=0.45, stroke_width=0.5),
        element("path", d="".join(tiles), stroke="currentColor", stroke_opacity=0.6, stroke_width=1),
        element("rect", x=left, y=top, width=width, height=height, fill="none", stroke="currentColor"),
        label_at(left + width / 2, top - 5, f"{cols} columns"),
        label_at(left - 6, top + height / 2, f"{rows} rows", turned=True),
        label=f"{rows} x {cols} matrix in {len(plan.tiles)} tiles",
    )


def _draw_memory(plan: Plan) -> Element:
    """Draw the predicted peaks of a worker, and of its GPU if there is one, as parts of what is allowed."""
    peaks = [("host", plan.peak_bytes, plan.budget.memory)]
    if plan.budget.device_memory is not None:
        peaks.append(("device", plan.device_peak_bytes, plan.budget.device_memory))
    drawn: list[Element] = []
    for number, (name, peak, allowed) in enumerate(peaks):
        y, share = 34.0 * number, min(peak / allowed, 1.0)
        drawn += [
            element("rect", x=0.5, y=y + 0.5, width=LONGEST_SIDE + 17, height=10, fill=ACCENT, fill_opacity=0.12),
            element("rect", x=0.5, y=y + 0.5, width=max(share * (LONGEST_SIDE + 17), 1), height=10, fill=ACCENT),
            element(
                "rect", x=0.5, y=y + 0.5, width=LONGEST_SIDE + 17, height=10, fill="none", stroke="currentColor",
                stroke_opacity=0.6,
            ),
            label_at(0, y + 24, f"{format_bytes(peak)} of {format_bytes(allowed)} ({name})", anchor="start"),
        ]  # fmt: skip
    return svg(LONGEST_SIDE + 18, 34.0 * len(peaks), *drawn, label="memory of a worker")


def plot_plan(plan: Plan, ax: Any = None) -> Axes:
    """Draw the matrix with its tiles, the first of which is filled (:meth:`dbutterfly.planning.plan.Plan.plot`)."""
    (axes,) = take_axes("ax", ax, (4.6, 4.2))
    rows, cols = plan.source.shape
    grid, patches = tile_grid(plan), matplotlib_module("patches")
    height, width = grid.tile[0] * rows, grid.tile[1] * cols
    axes.add_patch(patches.Rectangle((0, 0), cols, rows, facecolor=ACCENT, alpha=0.12))
    axes.add_patch(patches.Rectangle((0, 0), width, height, facecolor=ACCENT, alpha=0.75, label="one tile"))
    axes.hlines([y * rows for y in grid.block_rows], 0, width, color="0.2", linewidth=0.4, label="blocks")
    axes.vlines([x * cols for x in grid.block_cols], 0, height, color="0.2", linewidth=0.4)
    axes.hlines([y * rows for y in grid.tile_rows], 0, cols, color="0.2", linewidth=0.8, label="tiles")
    axes.vlines([x * cols for x in grid.tile_cols], 0, rows, color="0.2", linewidth=0.8)
    held = f"{format_bytes(plan.peak_bytes)} per worker"
    axes.set(title=f"{len(plan.tiles)} tiles, {format_bytes(plan.bytes_read)} read, {held}")
    axes.set(xlabel="columns, group by group", ylabel="rows, group by group", xlim=(0, cols), ylim=(rows, 0))
    return axes
