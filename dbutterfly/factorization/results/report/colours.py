"""Colours of a page: those of the stages, and the scale of a map."""

from __future__ import annotations

__all__ = ["STAGES", "on_scale"]

STAGES = {
    "copy": "#8c6bb1",
    "tiles": "#2a6f97",
    "left": "#e07a2f",
    "project": "#3a8f6b",
    "right": "#b5446e",
}
"""A colour for each stage; told apart by readers who confuse red and green, too."""

SCALE = ((253, 246, 227), (249, 203, 133), (235, 137, 92), (184, 74, 94), (106, 36, 92), (38, 18, 60))
"""From little to much: lightness falls evenly, so that it can be read in grey."""


def on_scale(share: float) -> str:
    """Colour of a value between 0 and 1.

    >>> on_scale(0), on_scale(1)
    ('#fdf6e3', '#26123c')
    """
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    below = min(int(place), len(SCALE) - 2)
    pair = zip(SCALE[below], SCALE[below + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - below)):02x}" for a, b in pair)
