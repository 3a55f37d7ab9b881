"""The map of the blocks of a hierarchical form: coloured by kind and rank, or by error, for pages and notebooks."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...operator.block_factors import BlockFactors
from ...structure.drawings import ACCENT, ALARM, GAIN, Element, amount, card, element, explanation, legend, svg, table
from .hierarchical_text import format_kinds
from .pictures import certificate_parts
from .verdict import verdict_on

if TYPE_CHECKING:
    from .hierarchical import HierarchicalFactorization

__all__ = ["BlockMap", "block_maps", "hierarchical_html", "mirrored_blocks", "relative_rank"]

SIDE = 400.0
"""Length of the longer side of a map, in the units of the drawing."""

BUTTERFLY = "#5aa469"
"""Colour of butterflies, as light as the others."""

SHADES = 8
"""Shades of a colour. Not tuned: more are not told apart."""

DECADES = 4
"""Powers of ten below the largest error at which the scale of errors begins. Not tuned."""

MOST_TITLES = 1000
"""Largest blocks that say on a page what they are. Not tuned: each takes some 150 letters."""

MOST_IN_NOTEBOOK = 400
"""Blocks up to which a notebook shows the map: each takes some 30 letters. Not tuned."""


class BlockMap(NamedTuple):
    """A map, with what it shows and what its colours mean."""

    title: str
    note: str
    drawing: Element
    legend: Element


def mirrored_blocks(found: HierarchicalFactorization) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Number, rows and columns of each block, and of each that it stands for."""
    places = [(number, block.rows, block.cols) for number, block in enumerate(found.blocks)]
    if found.symmetry == "none":
        return places
    return [*places, *((number, cols, rows) for number, rows, cols in places if rows != cols)]


def relative_rank(block: BlockFactors, most: int) -> float:
    """Place of a rank between 0 and 1, on a logarithmic scale up to the largest."""
    return math.log1p(block.rank) / math.log1p(most) if most else 0.0


def block_maps(found: HierarchicalFactorization) -> list[BlockMap]:
    """Maps of the kinds and ranks, and of the errors."""
    return [_map_of_ranks(found, MOST_TITLES), _map_of_errors(found)]


def _map_of_ranks(found: HierarchicalFactorization, titles: int) -> BlockMap:
    most = max((block.rank for block in found.blocks if block.kind == "low rank"), default=0)
    colours = {"dense": GAIN, "low rank": ACCENT, "butterfly": BUTTERFLY, "zero": "none"}
    fills = [
        (colours[block.kind], _shade(relative_rank(block, most)) if block.kind == "low rank" else 0.85)
        for block in found.blocks
    ]
    kinds = {block.kind for block in found.blocks}
    says = [
        *([(GAIN, "dense", 0.85)] if "dense" in kinds else []),
        *([(ACCENT, f"low rank, up to {most}: the higher, the stronger", 0.6)] if "low rank" in kinds else []),
        *([(BUTTERFLY, "butterfly", 0.85)] if "butterfly" in kinds else []),
    ]
    note = "Blocks of the matrix, in the order of the clusters of its rows and columns."
    return BlockMap("Blocks and their ranks", note, _draw(found, fills, titles, "map of the blocks"), legend(*says))


def _map_of_errors(found: HierarchicalFactorization) -> BlockMap:
    colour = ALARM if verdict_on(found.certificate).is_useless else ACCENT
    errors = found.errors
    most = float(errors.max(initial=0.0))
    with np.errstate(divide="ignore"):
        shares = 1 + np.log10(errors / most) / DECADES if most else np.zeros(len(errors))
    fills = [(colour, _shade(float(share)) if share > 0 else 0.0) for share in shares]
    note = "Error of each block, relative to the norm of the whole matrix. Squares add up to that of the whole."
    says = legend((colour, f"largest, {most:.3g}", 1.0), (colour, f"{most * 10 ** (-DECADES / 2):.3g}", 0.5))
    return BlockMap("Errors of the blocks", note, _draw(found, fills, 0, "map of the errors of the blocks"), says)


def _shade(share: float) -> float:
    """Opacity of a number between 0 and 1, one of a few."""
    return max(1, math.ceil(SHADES * min(share, 1.0))) / SHADES


def _draw(found: HierarchicalFactorization, fills: list[tuple[str, float]], titles: int, label: str) -> Element:
    """Draw the blocks, those of one colour as one path; the largest get a title each."""
    scale = SIDE / max(found.shape)
    height, width = (size * scale for size in found.shape)
    paths, places = defaultdict(list), mirrored_blocks(found)
    for number, (top, bottom), (left, right) in places:
        x, y, w, h = (amount(value * scale) for value in (left, top, right - left, bottom - top))
        paths[fills[number]].append(f"M{x} {y}h{w}v{h}h-{w}z")
    drawn = [
        element("path", d="".join(parts), fill=fill, fill_opacity=opacity, stroke="currentColor", stroke_width=0.15)
        for (fill, opacity), parts in paths.items()
    ]
    largest = sorted(places, key=lambda place: -(place[1][1] - place[1][0]) * (place[2][1] - place[2][0]))[:titles]
    covers = [
        element(
            "rect",
            element("title", _title(found, number, rows, cols)),
            x=cols[0] * scale,
            y=rows[0] * scale,
            width=(cols[1] - cols[0]) * scale,
            height=(rows[1] - rows[0]) * scale,
            fill_opacity=0.0,
        )
        for number, rows, cols in largest
    ]
    frame = element("rect", x=0, y=0, width=width, height=height, fill="none", stroke="currentColor")
    return svg(width + 2, height + 2, *drawn, frame, *covers, label=label)


def _title(found: HierarchicalFactorization, number: int, rows: tuple[int, int], cols: tuple[int, int]) -> str:
    block = found.blocks[number]
    kind = f"rank {block.rank}" if block.kind == "low rank" else block.kind
    return f"{rows[0]}..{rows[1] - 1} x {cols[0]}..{cols[1] - 1}: {kind}, error {found.errors[number]:.2g}"


def hierarchical_html(found: HierarchicalFactorization) -> str:
    """HTML of a hierarchical form: a verdict, its bounds, its blocks by kind, and where there are few their map."""
    rows, cols = found.shape
    first, _, *kinds = format_kinds(found)
    lines = [(line[:10].strip(), " ".join(line[10:].split())) for line in kinds]
    title = f"Hierarchical factorization of a {rows} x {cols} {found.dtype.name} matrix"
    parts = [*certificate_parts(found.certificate), explanation(first), table(lines)]
    if len(mirrored_blocks(found)) <= MOST_IN_NOTEBOOK:
        ranks = _map_of_ranks(found, 0)
        details = element("summary", "Blocks", style="cursor:pointer;margin-top:6px")
        parts.append(element("details", details, ranks.drawing, ranks.legend))
    return card(title, *parts)
