"""Calls of the compiled loops for the blocks of a grid, a stack at a time: the plain kernels' equals on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..compilation import compiled_kernels
from ..linalg import safe_range
from .sketch import OVERSAMPLING, fixed_sketch
from .stacks import spans_of, stacks_of
from .subspace import LowRank

__all__ = ["Kind", "approximate_stacks", "round_grid"]

ROUNDS_UNCERTIFIED = 12
"""Most rounds for a block of which no bound is wanted: they end where a round gains little. Not tuned: most end after
one or two."""

Copy = Callable[[Any], Any]

_Piece = tuple[NDArray[Any], NDArray[np.uint64], tuple[int, int]]
"""Entries of a grid as a line, how many of them a step along each axis goes over, and its first two sides."""

Kind = Literal["certified", "weighted", "orthonormal"]
"""What is wanted of the approximation of a block."""


def round_grid(
    grid: NDArray[Any], dtype: Any, *, stack_bytes: int, certified: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Rounds of :mod:`dbutterfly.kernels.low_rank.rank_one_grid` for all blocks of a grid.

    Parameters
    ----------
    grid : array, shape (G, H, p, v)
        Blocks; any strides, any numeric dtype.
    dtype : dtype
        In which to compute.
    stack_bytes : int
        Bytes of blocks that are copied together at a time (at least one block is taken).
    certified : bool
        Whether what a block discards is formed from the residual where it is little, and blocks of which much is open
        go through up to :data:`dbutterfly.kernels.low_rank.rank_one.PRODUCTS` more rounds, after which large ones are
        bounded by their parts. If not, a block goes through rounds while they gain something.

    Returns
    -------
    left : array, shape (G*H, p)
    right : array, shape (G*H, v)
    numbers : array of float64, shape (G*H, 4)
        Energy, discarded energy and slack of each block, and whether there is more to gain, as 0 or 1.
    """
    jit = compiled_kernels("low_rank")
    assert jit is not None
    dtype = np.dtype(dtype)
    groups, peers, p, v = grid.shape
    left, right = np.empty((groups * peers, p), dtype), np.empty((groups * peers, v), dtype)
    numbers, loop = np.empty((groups * peers, 4)), jit.round_loop(dtype.char).compiled
    pieces, first, most = _pieces(grid, dtype, stack_bytes), 0, max(1, stack_bytes // (p * v * dtype.itemsize))
    for entries, steps, (down, across) in pieces:
        at = slice(first, first + down * across)
        loop(entries, steps, across, min(most, down * across), certified, left[at], right[at], numbers[at])
        first = at.stop
    return left, right, numbers


def _pieces(grid: NDArray[Any], dtype: np.dtype[Any], stack_bytes: int) -> Iterator[_Piece]:
    """The grid itself, where it can be read as it is, else copies of it, stack by stack."""
    size, can_be_read = grid.itemsize, grid.dtype == dtype and grid.flags.aligned
    if can_be_read and grid.strides[3] == size and all(step >= 0 and step % size == 0 for step in grid.strides):
        yield _entries(grid)
        return
    parts, copy = stacks_of(grid, dtype, stack_bytes)
    for part in parts:
        yield _entries(copy(part)[None])


def _entries(grid: NDArray[Any]) -> _Piece:
    """All memory from the first entry of a grid to the last one, as a line, and how it lies there."""
    steps = np.array(grid.strides, np.uint64) // np.uint64(grid.itemsize)
    length = 1 + sum(step * (count - 1) for step, count in zip(steps.tolist(), grid.shape, strict=True))
    entries = np.lib.stride_tricks.as_strided(grid, (length,), (grid.itemsize,), writeable=False)
    return entries, steps, grid.shape[:2]


def approximate_stacks(
    parts: Sequence[Any],
    copy: Copy,
    shape: tuple[int, int],
    ranks: tuple[int, ...],
    dtype: Any,
    *,
    kind: Kind = "certified",
) -> tuple[LowRank, NDArray[np.bool_]]:
    """Approximations of rank r of all blocks of the parts; and the mask of those whose squares leave the range.

    Parameters
    ----------
    parts, copy, shape, dtype
        As from :func:`dbutterfly.kernels.low_rank.stacks.stacks_of`, for blocks of shape (p, v), and the dtype in which
        to compute.
    ranks : tuple of int
        Ascending ranks for which energies are wanted; the last one is that of the approximation.
    kind : {"certified", "weighted", "orthonormal"}
        Whether what is left to gain is bounded. Otherwise it is enough that little is gained by another round, and
        the left parts carry the singular values, or are orthonormal and the energies those of another approximation.
    """
    jit = compiled_kernels("low_rank")
    assert jit is not None
    dtype = np.dtype(dtype)
    loop, spans = jit.subspace_loop(dtype.char).compiled, spans_of(parts)
    (p, v), count, rank, levels = shape, spans[-1].stop, ranks[-1], len(ranks)
    omega = fixed_sketch(min(p, v, rank + OVERSAMPLING), p).astype(dtype)
    left, right = np.empty((count, rank, p), dtype), np.empty((count, rank, v), dtype)
    numbers, outside = np.empty((count, 1 + 2 * levels)), np.empty(count, np.bool_)
    wanted, limits = np.asarray(ranks, np.int64), safe_range(omega)
    kinds = kind == "certified", kind == "orthonormal"
    for part, at in zip(parts, spans, strict=True):
        loop(copy(part), omega, wanted, *kinds, *limits, left[at], right[at], numbers[at], outside[at])
    energy, discarded, slack = numbers[:, 0], numbers[:, 1 : 1 + levels], numbers[:, 1 + levels :]
    return LowRank(left, right, energy, discarded, slack), outside
