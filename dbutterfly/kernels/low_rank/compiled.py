"""Calls of the compiled loops for the blocks of a grid, a stack at a time: the plain kernels' equals on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compilation import compiled_kernels
from ..linalg import safe_range
from .sketch import OVERSAMPLING, fixed_sketch
from .stacks import spans_of, stacks_of
from .subspace import LowRank

__all__ = ["Kind", "approximate_grid", "round_grid"]

ROUNDS_UNCERTIFIED = 12
"""Most rounds for a block of which no bound is wanted: they end where a round gains little. Not tuned: most end after
one or two."""


class _Piece(NamedTuple):
    """Blocks that the loops take in one call.

    Attributes
    ----------
    at : slice
        Which they are among all.
    entries : array, one axis
        All memory from the first entry of these blocks to the last one.
    steps : array of uint64, shape (4,)
        How many entries a step along each axis of their grid goes over.
    peers : int
        How many of them stand side by side in the grid.
    together : int
        How many of them are copied together.
    """

    at: slice
    entries: NDArray[Any]
    steps: NDArray[np.uint64]
    peers: int
    together: int


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
    for at, entries, *way in _pieces(grid, dtype, stack_bytes):
        loop(entries, *way, certified, left[at], right[at], numbers[at])
    return left, right, numbers


def _pieces(grid: NDArray[Any], dtype: np.dtype[Any], stack_bytes: int) -> Iterator[_Piece]:
    """The grid itself, where it can be read as it is, else copies of it, stack by stack."""
    size, can_be_read = grid.itemsize, grid.dtype == dtype and grid.flags.aligned
    most = max(1, stack_bytes // (grid.shape[2] * grid.shape[3] * dtype.itemsize))
    if can_be_read and grid.strides[3] == size and all(step >= 0 and step % size == 0 for step in grid.strides):
        yield _piece(grid, 0, most)
        return
    parts, copy = stacks_of(grid, dtype, stack_bytes)
    for part, at in zip(parts, spans_of(parts), strict=True):
        yield _piece(copy(part)[None], at.start, most)


def _piece(grid: NDArray[Any], first: int, most: int) -> _Piece:
    """What the loops take of a grid whose blocks are those from ``first`` on, with ``most`` blocks in a stack."""
    steps = np.array(grid.strides, np.uint64) // np.uint64(grid.itemsize)
    length = 1 + sum(step * (count - 1) for step, count in zip(steps.tolist(), grid.shape, strict=True))
    entries = np.lib.stride_tricks.as_strided(grid, (length,), (grid.itemsize,), writeable=False)
    count = grid.shape[0] * grid.shape[1]
    return _Piece(slice(first, first + count), entries, steps, grid.shape[1], min(most, count))


def approximate_grid(
    grid: NDArray[Any], ranks: tuple[int, ...], dtype: Any, *, stack_bytes: int, kind: Kind = "certified"
) -> tuple[LowRank, NDArray[np.bool_]]:
    """Approximations of rank r of all blocks of a grid; and the mask of those whose squares leave the range.

    Parameters
    ----------
    grid, dtype, stack_bytes
        As for :func:`round_grid`.
    ranks : tuple of int
        Ascending ranks for which energies are wanted; the last one is that of the approximation.
    kind : {"certified", "weighted", "orthonormal"}
        Whether what is left to gain is bounded. Otherwise it is enough that little is gained by another round, and
        the left parts carry the singular values, or are orthonormal and the energies those of another approximation.
    """
    jit = compiled_kernels("low_rank")
    assert jit is not None
    dtype = np.dtype(dtype)
    groups, peers, p, v = grid.shape
    count, rank, levels, loop = groups * peers, ranks[-1], len(ranks), jit.subspace_loop(dtype.char).compiled
    left, right = np.empty((count, rank, p), dtype), np.empty((count, rank, v), dtype)
    omega = fixed_sketch(min(p, v, rank + OVERSAMPLING), p).astype(left.real.dtype)
    numbers, outside = np.empty((count, 1 + 2 * levels)), np.empty(count, np.bool_)
    wanted = omega, np.asarray(ranks, np.int64), kind == "certified", kind == "orthonormal", *safe_range(left)
    for at, entries, *way in _pieces(grid, dtype, stack_bytes):
        loop(entries, *way, *wanted, left[at], right[at], numbers[at], outside[at])
    energy, discarded, slack = numbers[:, 0], numbers[:, 1 : 1 + levels], numbers[:, 1 + levels :]
    return LowRank(left, right, energy, discarded, slack), outside
