"""Calls of the compiled loops for the blocks of a grid, a stack at a time: the plain kernels' equals on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..compilation import compiled_kernels
from ..linalg import CANCELLING, safe_range
from .gram_parts import has_parts
from .rank_one import PRODUCTS
from .sketch import OVERSAMPLING, fixed_sketch
from .stacks import spans_of
from .subspace import LowRank

__all__ = ["Kind", "approximate_stacks", "round_stacks"]

ROUNDS_UNCERTIFIED = 12
"""Most rounds for a block of which no bound is wanted: they end where a round gains little. Not tuned: most end after
one or two."""

Copy = Callable[[Any], Any]

Kind = Literal["certified", "weighted", "orthonormal"]
"""What is wanted of the approximation of a block."""


def round_stacks(
    parts: Sequence[Any], copy: Copy, shape: tuple[int, int], dtype: Any, *, certified: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """First round of :mod:`dbutterfly.kernels.low_rank.rank_one_grid` for all blocks of the parts.

    Parameters
    ----------
    parts, copy
        As from :func:`dbutterfly.kernels.low_rank.rank_one_grid.stacks_of`.
    shape : (int, int)
        Rows p and columns v of a block.
    dtype : dtype
        In which to compute.
    certified : bool
        Whether what a block discards is formed from the residual where it is little, and large flat blocks go through
        :data:`dbutterfly.kernels.low_rank.rank_one.PRODUCTS` more rounds and are bounded by their parts. If not, a
        block whose first round leaves something to gain goes through more rounds.

    Returns
    -------
    left : array, shape (k, p)
    right : array, shape (k, v)
    numbers : array of float64, shape (k, 5)
        Energy, discarded energy, ``|w|^2`` and ``t^2`` of each block, and where it is bounded by its parts the most
        energy that any vector captures, else infinity.
    """
    jit = compiled_kernels("low_rank")
    assert jit is not None
    dtype = np.dtype(dtype)
    loop, spans = jit.round_loop(dtype.char).compiled, spans_of(parts)
    count = spans[-1].stop
    left, right = np.empty((count, shape[0]), dtype), np.empty((count, shape[1]), dtype)
    numbers = np.empty((count, 5))
    products = PRODUCTS if has_parts(shape) else 0
    how = (CANCELLING * float(np.finfo(dtype).eps), 1, products) if certified else (0.0, ROUNDS_UNCERTIFIED, 0)
    for part, at in zip(parts, spans, strict=True):
        loop(copy(part), left[at], right[at], numbers[at], *how)
    return left, right, numbers


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
        As for :func:`round_stacks`.
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
