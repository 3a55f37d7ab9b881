"""Plots of chains, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chain import Chain, Pattern
from .drawings import ACCENT
from .figures import matplotlib_module, take_axes
from .supports import factor_sizes, shown_factors, support_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_chain"]

INCHES = 1.1
"""Inches of the longest side of a factor on a new figure. Not tuned."""

PIXELS = 100.0
"""Units of the axes for the longest side of a factor."""

GAP = 30.0
"""Units of the axes between two factors. Not tuned: their patterns are written below them."""


def plot_chain(chain: Chain, ax: Any = None) -> Axes:
    """Draw the supports of the factors side by side (:meth:`dbutterfly.Chain.plot`)."""
    (first, last), all_sizes = shown_factors(chain), factor_sizes(chain, PIXELS)
    shown = [(chain.patterns[number], all_sizes[number]) for number in (*first, *last)]
    sizes = [size for _, size in shown]
    width = sum(across for across, _ in sizes) + GAP * (len(sizes) - 1)
    height = max(down for _, down in sizes)
    inches = (max(INCHES * width / PIXELS, 3.0), INCHES * height / PIXELS + 0.8)
    (axes,) = take_axes("ax", ax, inches)
    left = 0.0
    for pattern, (across, down) in shown:
        _plot_factor(axes, pattern, left, across, down)
        axes.text(left + across / 2, down + 6, str(pattern), ha="center", va="top", fontsize="xx-small")
        left += across + GAP
    rows, cols = chain.shape
    some = f", the first {len(first)} and the last {len(last)} of them" if last else ""
    axes.set(title=f"{len(chain)} factors of a {rows} x {cols} matrix, {chain.nnz} values{some}")
    axes.set(xlim=(-2, width + 2), ylim=(height + 20, -4), aspect="equal")
    axes.set_axis_off()
    return axes


def _plot_factor(axes: Axes, pattern: Pattern, left: float, width: float, height: float) -> None:
    """Draw the frame of a factor, and its support in it."""
    collections, patches = matplotlib_module("collections"), matplotlib_module("patches")
    found = support_of(pattern, width, height)
    squares = [
        [(left + x, y), (left + x + w, y), (left + x + w, y + h), (left + x, y + h)] for x, y, w, h in found.rectangles
    ]
    lines = [[(left + x, y), (left + x + w, y + h)] for x, y, w, h in found.diagonals]
    axes.add_collection(collections.PolyCollection(squares, facecolor=ACCENT, alpha=found.filled, linewidth=0))
    axes.add_collection(collections.LineCollection(lines, color=ACCENT, linewidth=0.9 * found.thickness))
    axes.add_patch(patches.Rectangle((left, 0), width, height, fill=False, edgecolor="0.5", linewidth=0.6))
