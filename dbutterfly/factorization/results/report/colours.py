"""Colours of the stages on a page."""

from __future__ import annotations

__all__ = ["STAGES"]

STAGES = {
    "copy": "#8c6bb1",
    "tiles": "#3a8bc0",
    "left": "#d98032",
    "project": "#3f9a73",
    "right": "#c2507b",
}
"""A colour for each stage; told apart by readers who confuse red and green, too, on white and on black."""
