"""The map of the residuals: a square of cells on one scale for all runs, with numbers on its axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....structure.drawings import Element, decade, element, label_at, log_place, svg
from ..trace import LEAST_DECADE

__all__ = ["draw_residuals", "draw_scale", "residual_opacity"]

SIDE = 400.0
"""Length of a side of the map, in the units of the drawing."""

TICKS = 4
"""Parts into which the numbers cut a side, at most."""


def residual_opacity(residual: float) -> float:
    """Opacity of a residual: the more, the larger it is, on a logarithmic scale up to 1.

    >>> residual_opacity(1.0), residual_opacity(0.01), residual_opacity(1e-9)
    (1.0, 0.5, 0.0)
    """
    return log_place(residual, LEAST_DECADE)


def draw_residuals(residuals: NDArray[np.float64], groups: tuple[int, int], colour: str) -> Element:
    """Draw a map.

    Parameters
    ----------
    residuals : array, shape (h, w)
        Relative residuals of the cells.
    groups : (int, int)
        Row groups and column groups, which the cells share evenly.
    colour : str
        Colour of the largest residuals.
    """
    down, across = residuals.shape
    left, top, height, width = 44.0, 4.0, SIDE / down, SIDE / across
    cells = []
    for row, values in enumerate(residuals.tolist()):
        for column, value in enumerate(values):
            place = {"x": left + column * width, "y": top + row * height, "width": width, "height": height}
            title = element("title", f"{value:.3g}")
            cells.append(element("rect", title, **place, fill=colour, fill_opacity=residual_opacity(value)))
    frame = element("rect", x=left, y=top, width=SIDE, height=SIDE, fill="none", stroke="currentColor")
    return svg(
        left + SIDE + 12,
        top + SIDE + 40,
        element("g", *cells, shape_rendering="crispEdges"),
        frame,
        *(label_at(left - 6, top + share * SIDE + 4, text, anchor="end") for share, text in _ticks(groups[0])),
        *(label_at(left + share * SIDE, top + SIDE + 16, text) for share, text in _ticks(groups[1])),
        label_at(left + SIDE / 2, top + SIDE + 34, "column group"),
        label_at(10, top + SIDE / 2, "row group", turned=True),
        label="map of the residuals",
    )


def _ticks(groups: int) -> list[tuple[float, str]]:
    """Numbers on a side of so many groups: places from 0 to 1."""
    step = -(-groups // TICKS)
    return [(group / groups, str(group)) for group in range(0, groups + 1, step)]


def draw_scale(colour: str) -> Element:
    """Draw the scale of all maps, which is logarithmic."""
    width, parts = 300.0, 40
    cells = [
        element("rect", x=10 + part * width / parts, y=2, width=width / parts, height=12, fill=colour,
                fill_opacity=(part + 0.5) / parts)
        for part in range(parts)
    ]  # fmt: skip
    frame = element("rect", x=10, y=2, width=width, height=12, fill="none", stroke="currentColor", stroke_opacity=0.6)
    exponents = range(LEAST_DECADE, 1)
    labels = [label_at(10 + width * log_place(10.0**each, LEAST_DECADE), 28, decade(each)) for each in exponents]
    return svg(width + 24, 34, *cells, frame, *labels, label="scale of the residuals, logarithmic")
