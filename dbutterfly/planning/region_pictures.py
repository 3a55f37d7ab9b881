"""A hierarchical plan as a notebook shows it: its lines, and the matrix with its regions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..structure.block_tree import is_admissible
from ..structure.drawings import ACCENT, Element, amount, card, element, explanation, label_at, row_of, svg, table
from .bands import BandCopy

if TYPE_CHECKING:
    from .hierarchical_plan import HierarchicalPlan

__all__ = ["plan_html"]

LONGEST_SIDE = 200.0
"""Pixels of the longer side of the matrix."""

FLATTEST = 36.0
"""Pixels of its shorter side at least."""

MOST_DRAWN = 4096
"""Regions that are drawn: of more, the largest. Not tuned: smaller ones are points."""


def plan_html(plan: HierarchicalPlan) -> str:
    """HTML of a plan: its lines, and a drawing of the regions."""
    caption = explanation(f"{_caption(plan)} (light), and near (filled), in cluster order.")
    side = element("div", _draw(plan), caption, style="max-width:280px")
    rows, cols = plan.source.shape
    title = f"Plan for a {rows} x {cols} {plan.source.dtype} matrix"
    return card(title, row_of(element("div", table(plan.lines()), style="flex:1 1 380px;max-width:600px"), side))


def _draw(plan: HierarchicalPlan) -> Element:
    """Draw the regions: one path for those that are far apart, one for the others."""
    rows, cols = plan.source.shape
    scale = LONGEST_SIDE / max(rows, cols)
    height, width = max(rows * scale, FLATTEST), max(cols * scale, FLATTEST)
    left, top = 18.0, 16.0
    paths: dict[bool, list[str]] = {True: [], False: []}
    largest = sorted(_parts(plan), key=lambda each: -_entries(each[0]))[:MOST_DRAWN]
    for (r0, r1, c0, c1), is_far in largest:
        x, y = left + c0 / cols * width, top + r0 / rows * height
        across, down = amount((c1 - c0) / cols * width), amount((r1 - r0) / rows * height)
        paths[is_far].append(f"M{amount(x)} {amount(y)}h{across}v{down}h-{across}z")
    strokes: dict[str, Any] = {"stroke": "currentColor", "stroke_opacity": 0.45, "stroke_width": 0.5}
    return svg(
        left + width + 2,
        top + height + 2,
        element("path", d="".join(paths[True]), fill=ACCENT, fill_opacity=0.12, **strokes),
        element("path", d="".join(paths[False]), fill=ACCENT, fill_opacity=0.75, **strokes),
        element("rect", x=left, y=top, width=width, height=height, fill="none", stroke="currentColor"),
        label_at(left + width / 2, top - 5, f"{cols} columns"),
        label_at(left - 6, top + height / 2, f"{rows} rows", turned=True),
        label=f"{rows} x {cols} matrix in {len(plan.regions)} regions",
    )


def _caption(plan: HierarchicalPlan) -> str:
    """What is drawn, up to what it is where it is far."""
    if isinstance(plan.copy, BandCopy):
        return f"Bands, of {len(plan.regions)} strips: far, kept at low rank"
    return "Regions, each the work of a task: far apart"


def _parts(plan: HierarchicalPlan) -> Iterator[tuple[tuple[int, int, int, int], bool]]:
    """Regions, or the columns of bands, and whether they are far from the diagonal."""
    if not isinstance(plan.copy, BandCopy):
        for tile, block in zip(plan.tiles, plan.regions, strict=True):
            yield tile, is_admissible(*plan.trees, block, plan.eta)
        return
    for band in itertools.chain.from_iterable(plan.copy.bands):
        for spans, is_far in ((band.far, True), (band.near, False)):
            for first, last in spans.tolist():
                yield (band.first, band.last, first, last), is_far


def _entries(tile: tuple[int, int, int, int]) -> int:
    r0, r1, c0, c1 = tile
    return (r1 - r0) * (c1 - c0)
