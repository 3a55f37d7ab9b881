"""Chains and orderings as a notebook shows them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .chain import Chain, Pattern
from .digits import digit_reversal
from .drawings import ACCENT, Element, amount, card, element, explanation, label_at, row_of, svg
from .orderings import Orderings, Side
from .supports import factor_sizes, shown_factors, support_of

__all__ = ["chain_html", "draw_chain", "draw_orderings", "orderings_html"]

LONGEST_SIDE = 64.0
"""Pixels of the longest side of a factor. Not tuned: twelve factors fit a page."""

MOST_POINTS = 256
"""Points by which a permutation is drawn. Not tuned: more would not be told apart."""

SQUARE = 88.0
"""Pixels of the picture of a permutation."""


def chain_html(chain: Chain) -> str:
    """HTML of a chain: its size, and where each of its factors may differ from zero."""
    rows, cols = chain.shape
    times = rows * cols / chain.nnz
    rank = f", rank {chain.rank}" if chain.is_chainable else ", not chainable"
    title = f"Chain of {len(chain)} factors, {rows} x {cols}{rank}: {chain.nnz} values"
    fewer = f", {times:.1f} times fewer than the matrix has entries" if times > 1 else ""
    return card(title + fewer, draw_chain(chain))


def draw_chain(chain: Chain) -> Element:
    """Draw the supports of the factors, side by side from left to right."""
    sizes, (first, last) = factor_sizes(chain, LONGEST_SIDE), shown_factors(chain)
    drawn = [_draw_factor(chain.patterns[number], sizes[number]) for number in (*first, *last)]
    if last:
        drawn.insert(len(first), element("div", f"... {last.start - first.stop} more ..."))
    note = "Where each factor may differ from zero, left to right, with its pattern (a, b, c, d)."
    return element("div", explanation(note), row_of(*drawn, gap=12))


def _draw_factor(pattern: Pattern, size: tuple[float, float]) -> Element:
    width, height = size
    found = support_of(pattern, width, height)
    squares = "".join(
        f"M{_numbers(x, y)}h{_numbers(w)}v{_numbers(h)}h{_numbers(-w)}z" for x, y, w, h in found.rectangles
    )
    lines = "".join(f"M{_numbers(x, y)}l{_numbers(w, h)}" for x, y, w, h in found.diagonals)
    frame = element(
        "rect", x=0, y=0, width=width, height=height, fill="none", stroke="currentColor", stroke_opacity=0.35
    )
    shapes = [element("path", d=squares, fill=ACCENT, fill_opacity=found.filled)] if squares else []
    if lines:
        shapes.append(element("path", d=lines, fill="none", stroke=ACCENT, stroke_width=found.thickness))
    drawing = svg(width, height, *shapes, frame, label=f"support of the pattern {pattern}")
    caption = element("div", str(pattern), style="font-size:10px;opacity:.7;white-space:nowrap")
    return element("div", drawing, caption, style="text-align:center;line-height:1.3")


def _numbers(*values: float) -> str:
    return " ".join(map(amount, values))


def orderings_html(orderings: Orderings) -> str:
    """HTML of orderings: what each side is, with a picture."""
    return card("Orderings", draw_orderings(orderings))


def draw_orderings(orderings: Orderings) -> Element:
    """Draw both sides: which line of the matrix is at which place of the standard order."""
    note = "Line of the matrix (downwards) at each place of the standard order (rightwards)."
    sides = [_draw_side(name, side) for name, side in (("rows", orderings.rows), ("columns", orderings.cols))]
    return element("div", explanation(note), row_of(*sides))


def _draw_side(name: str, side: Side) -> Element:
    if side is None:
        index, text = np.arange(2), f"{name}: as they are"
    elif isinstance(side, str):
        index, text = digit_reversal((2,) * 6), f"{name}: {side}"
    else:
        index, text = side, f"{name}: {side.size} permuted"
    points = _draw_line() if side is None else _draw_points(index)
    frame = element(
        "rect",
        x=0.5,
        y=0.5,
        width=SQUARE - 1,
        height=SQUARE - 1,
        fill="none",
        stroke="currentColor",
        stroke_opacity=0.35,
    )
    return svg(SQUARE + 40, SQUARE + 18, points, frame, label_at(0, SQUARE + 14, text, anchor="start"), label=text)


def _draw_line() -> Element:
    return element("path", d=f"M2 2L{_numbers(SQUARE - 2, SQUARE - 2)}", stroke=ACCENT, stroke_width=2)


def _draw_points(index: NDArray[np.int64]) -> Element:
    chosen = np.unique(np.linspace(0, index.size - 1, min(index.size, MOST_POINTS)).astype(int))
    scale = (SQUARE - 4) / max(index.size - 1, 1)
    dots = "".join(f"M{_numbers(2 + place * scale, 2 + index[place] * scale)}h0" for place in chosen)
    width = min(max(SQUARE / 6 / math.sqrt(chosen.size), 2.2), 4.0)
    return element("path", d=dots, stroke=ACCENT, stroke_width=width, stroke_linecap="round")
