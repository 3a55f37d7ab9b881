"""Best low-rank approximation of every block of a grid: which kernel serves which rank.

On a device, the host waits for the kernel of rank one a few times in all. For kernels of higher ranks it waits for each
stack, which is large there: to ask for all stacks at once, the bases of all blocks would have to be held, or found
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, namespace
from ..linalg import replace, replace_rows
from .compiled import Kind, approximate_grid
from .ranges import leading_ranges, weighted_ranges
from .rank_one_grid import rank_one_grid
from .stacks import spans_of, stacks_of
from .subspace import LowRank, best_subspaces

__all__ = ["left_parts", "low_rank_grid"]

RANKED_STACKS = 2
"""Factor by which stacks are larger for ranks above one, whose kernels make more calls for a stack, and fewer passes.

Measured for rank 4, blocks of 32 x 32 with noise 0.1, float32 and complex128, on a shared core of an AMD EPYC: factors
1, 2 and 4 differ by 3 %, within the noise of the machine; 8 is 8 % slower for complex128.
"""


def low_rank_grid(
    grid: Array, ranks: tuple[int, ...], *, dtype: Any, stack_bytes: int, compiled: bool = False
) -> LowRank:
    """Approximate every block of a grid, a stack at a time.

    Parameters
    ----------
    grid : array, shape (G, H, p, v)
        Blocks; any strides, any numeric dtype.
    ranks : tuple of int
        Ascending ranks for which energies are wanted; the last one is that of the approximation.
    dtype : dtype of the namespace
        Floating or complex dtype in which to compute.
    stack_bytes : int
        Size of a stack as computed (at least one block is taken).
    compiled : bool
        Whether the compiled loops go over the blocks, which are those of a NumPy array then.

    Returns
    -------
    LowRank
        With leading axes (G, H). The result for a block does not depend on how the grid is cut into stacks.
    """
    xp = namespace(grid)
    if ranks == (1,):
        one = rank_one_grid(grid, dtype=dtype, stack_bytes=stack_bytes, compiled=compiled)
        left, right = one.left[:, :, None, :], one.right[:, :, None, :]
        return LowRank(left, right, one.energy, one.discarded[:, :, None], one.slack[:, :, None])
    if compiled:
        joined = _by_compiled_loops(grid, ranks, dtype, RANKED_STACKS * stack_bytes)
    else:
        parts, copy = stacks_of(grid, dtype, RANKED_STACKS * stack_bytes)
        found = [best_subspaces(copy(part), ranks) for part in parts]
        joined = LowRank(*(xp.concat(arrays, axis=0) for arrays in zip(*found, strict=True)))
    return LowRank(*(xp.reshape(array, (*grid.shape[:2], *array.shape[1:])) for array in joined))


def _by_compiled_loops(grid: NDArray[Any], ranks: tuple[int, ...], dtype: Any, stack_bytes: int) -> LowRank:
    """Approximate the blocks of a grid by the compiled loop, and by the plain kernel those that are out of range."""
    found, outside = approximate_grid(grid, ranks, dtype, stack_bytes=stack_bytes)
    rest = [best_subspaces(blocks, ranks) for blocks in _take_marked(grid, dtype, stack_bytes, outside)]
    if not rest:
        return found
    return replace(found, outside, LowRank(*(np.concatenate(arrays) for arrays in zip(*rest, strict=True))))


def _take_marked(grid: NDArray[Any], dtype: Any, stack_bytes: int, mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Copies of the blocks under a mask, stack by stack."""
    if not mask.any():
        return
    parts, copy = stacks_of(grid, dtype, stack_bytes)
    for part, at in zip(parts, spans_of(parts), strict=True):
        which = np.flatnonzero(mask[at])
        if which.size:
            yield np.take(copy(part), which, axis=0)


def left_parts(grid: Array, rank: int, *, stack_bytes: int, weighted: bool = True, compiled: bool = False) -> Array:
    """Left parts of the best approximations of the blocks of a grid, uncertified.

    Parameters
    ----------
    grid : array, shape (G, H, p, v), real or complex floating
    rank : int
        Rank of the approximations.
    stack_bytes : int
        Size of a stack as computed (at least one block is taken).
    weighted : bool
        Whether the columns carry the singular values, which a child needs that is approximated in its turn. If not,
        for a rank above 1, they are any orthonormal columns of the range.
    compiled : bool
        Whether the compiled loops go over the blocks, which are those of a NumPy array then.

    Returns
    -------
    array, shape (G, H, rank, p)
        Rows: left vectors times singular values.
    """
    if rank == 1:
        one = rank_one_grid(grid, dtype=grid.dtype, stack_bytes=stack_bytes, certified=False, compiled=compiled)
        return one.left[:, :, None, :]
    ranges = weighted_ranges if weighted else leading_ranges
    stack_bytes *= RANKED_STACKS
    if compiled:
        kind: Kind = "weighted" if weighted else "orthonormal"
        left, outside = approximate_grid(grid, (rank,), grid.dtype, stack_bytes=stack_bytes, kind=kind)
        rest = [ranges(blocks, rank) for blocks in _take_marked(grid, grid.dtype, stack_bytes, outside)]
        found = replace_rows(left.left, outside, np.concatenate(rest)) if rest else left.left
    else:
        parts, copy = stacks_of(grid, grid.dtype, stack_bytes)
        found = namespace(grid).concat([ranges(copy(part), rank) for part in parts], axis=0)
    return namespace(grid).reshape(found, (*grid.shape[:2], rank, grid.shape[2]))
