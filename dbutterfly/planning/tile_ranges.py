"""Ranges of groups, and tiles, that tasks take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ..structure.axes import Tile

__all__ = ["ranges_of", "tiles_of"]


def tiles_of(groups: tuple[int, int], steps: tuple[int, int]) -> list[Tile]:
    """Tiles of so many row groups and column groups each, row by row."""
    rows, cols = (list(ranges_of(size, step)) for size, step in zip(groups, steps, strict=True))
    return [Tile(r0, r1, c0, c1) for (r0, r1), (c0, c1) in itertools.product(rows, cols)]


def ranges_of(size: int, step: int) -> Iterator[tuple[int, int]]:
    """Ranges of so many groups each."""
    return ((first, min(first + step, size)) for first in range(0, size, step))
