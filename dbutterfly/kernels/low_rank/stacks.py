"""Grids of blocks, cut into stacks that stay in a cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array, entry_bytes, namespace

__all__ = ["spans_of", "stacks_of"]


def stacks_of(grid: Array, dtype: Any, stack_bytes: int) -> tuple[list[Array], Callable[[Array], Array]]:
    """Cut a grid (G, H, p, v) into stacks of a size.

    Returns
    -------
    parts : list of array
        Views of the grid, whose blocks in order are those of the grid in row-major order.
    copy : callable
        Copies a part together as a contiguous stack (k, p, v) of ``dtype``, over the one that it copied before.
    """
    xp = namespace(grid)
    p, v = grid.shape[2:]
    parts = _parts(grid, max(1, stack_bytes // (p * v * entry_bytes(xp, dtype))))
    buffer = xp.empty(parts[0].shape, dtype=dtype, device=grid.device)

    def copy(part: Array) -> Array:
        stack = buffer[: part.shape[0], : part.shape[1], :, :]
        stack[:, :, :, :] = part if part.dtype == dtype else xp.astype(part, dtype)
        return xp.reshape(stack, (-1, p, v))

    return parts, copy


def spans_of(parts: Sequence[Array]) -> list[slice]:
    """Where the blocks of each part are among those of all parts."""
    ends = itertools.accumulate((part.shape[0] * part.shape[1] for part in parts), initial=0)
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


def _parts(grid: Array, count: int) -> list[Array]:
    """Pieces of at most ``count`` blocks, whose blocks in order are those of the grid in row-major order."""
    groups, peers = grid.shape[:2]
    across = min(peers, count)
    down = max(1, min(groups, count // peers))
    return [
        grid[g : min(g + down, groups), h : min(h + across, peers), :, :]
        for g in range(0, groups, down)
        for h in range(0, peers, across)
    ]
