"""All trees of a small matrix, compared: which ones are best is then no matter of chance.

Eight rows have 315 trees, and so have eight columns. What a cut leaves depends on its groups alone, and is a sum over
their blocks: of the 28 pairs of rows and 70 fours of columns, say. It is a lower bound on the error of every product
with these groups. So pairs of trees are factorized in the order of their bounds, until the bounds exceed the least
error.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array
from ...structure.chain import Chain, Cut
from ..cuts import Index
from ..one_cut.arrangement import Arrangement
from .exchanges import product_errors

__all__ = ["best_trees", "can_enumerate"]

MOST_PAIRS = 1 << 17
"""Pairs of a row tree and a column tree up to which all are compared: a matrix of 8 x 8 has 99225.

Not tuned: one of 9 x 9 in threes has 78400, one of 16 x 16 has 4e17.
"""

AT_A_TIME = 64
"""Pairs of trees that are factorized together, the first time; then always twice as many as before. Not tuned."""

EQUAL = 1e-9
"""Relative difference of two errors that counts as none."""


def can_enumerate(cuts: Sequence[Cut], *, cols_known: bool) -> bool:
    """Whether there are so few trees that all can be compared."""
    rows = _count_trees(cuts[0].shape[0], _row_counts(cuts))
    return rows * (1 if cols_known else _count_trees(cuts[0].shape[1], _col_counts(cuts))) <= MOST_PAIRS


def best_trees(now: Arrangement, cuts: Sequence[Cut], chain: Chain | None, *, cols_known: bool = False) -> Arrangement:
    """Arrange one matrix by the trees of least error.

    Parameters
    ----------
    now : Arrangement
        The matrix.
    cuts : sequence of Cut
        Cuts, from the most row groups to the most column groups.
    chain : Chain or None
        Chain by whose products trees are compared; None to compare them by what all cuts leave.
    cols_known : bool
        Whether the columns stay.
    """
    (m, n), matrix = now.grid.shape[2:], host_array(now.grid)[0, 0]
    rows = _trees(int(m), _row_counts(cuts))
    cols = np.arange(n)[None] if cols_known else _trees(int(n), _col_counts(cuts))
    lost = [_lost(matrix, cut, rows, cols) for cut in cuts]
    if chain is None:
        best = int(np.argmin(np.sum(lost, axis=0)))
    else:
        best = _least_error(matrix, chain, rows, cols, np.max(lost, axis=0).ravel())
    return now.with_rows(rows[best // len(cols)][None]).with_cols(cols[best % len(cols)][None])


def _least_error(matrix: NDArray[Any], chain: Chain, rows: Index, cols: Index, bounds: NDArray[np.float64]) -> int:
    """Number of the pair of trees whose product is nearest, of those in the order of their bounds."""
    order = np.argsort(bounds, kind="stable")
    best, least, first, count = 0, math.inf, 0, AT_A_TIME
    while first < order.size and bounds[order[first]] < least * (1 - EQUAL):
        some = order[first : first + count]
        at_rows, at_cols = rows[some // len(cols)], cols[some % len(cols)]
        errors = product_errors(matrix[at_rows[:, :, None], at_cols[:, None, :]], chain)
        if errors.min() < least:
            best, least = int(some[np.argmin(errors)]), float(errors.min())
        first, count = first + count, min(2 * count, 64 * AT_A_TIME)
    return best


def _lost(matrix: NDArray[Any], cut: Cut, rows: Index, cols: Index) -> NDArray[np.float64]:
    """Energy (row trees, column trees) that a cut leaves."""
    row_sets, row_groups = _groups_of(rows, cut.u)
    col_sets, col_groups = _groups_of(cols, cut.q)
    blocks = matrix[row_sets[:, None, :, None], col_sets[None, :, None, :]]
    squares = np.linalg.svd(blocks, compute_uv=False)[..., cut.rank :] ** 2
    table = squares.sum(axis=-1, dtype=np.float64)
    by_rows = table[row_groups].sum(axis=1)  # (row trees, sets of columns)
    summed: NDArray[np.float64] = by_rows[:, col_groups].sum(axis=2)
    return summed


def _groups_of(trees: Index, groups: int) -> tuple[Index, Index]:
    """All groups (sets, members) of some number of them in the trees, and those of each tree (trees, groups)."""
    members = np.sort(trees.reshape(len(trees), groups, -1), axis=2)
    sets, which = np.unique(members.reshape(-1, members.shape[2]), axis=0, return_inverse=True)
    return sets, which.reshape(len(trees), groups)


def _row_counts(cuts: Sequence[Cut]) -> tuple[int, ...]:
    return tuple(sorted({cut.row_groups for cut in cuts} - {1}))


def _col_counts(cuts: Sequence[Cut]) -> tuple[int, ...]:
    return tuple(sorted({cut.col_groups for cut in cuts} - {1}))


def _count_trees(size: int, counts: tuple[int, ...]) -> int:
    """Number of trees of items whose levels have these numbers of groups."""
    total, parts, before = 1, size, 1
    for count in counts:
        split = count // before
        within = math.factorial(parts) // (math.factorial(parts // split) ** split * math.factorial(split))
        total, parts, before = total * within**before, parts // split, count
    return total


@functools.lru_cache(maxsize=16)
def _trees(size: int, counts: tuple[int, ...]) -> Index:
    """Tree orders (trees, size)."""

    def grow(items: tuple[int, ...], splits: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not splits:
            yield items
            return
        for parts in _partitions(items, len(items) // splits[0]):
            for orders in itertools.product(*(list(grow(part, splits[1:])) for part in parts)):
                yield tuple(itertools.chain.from_iterable(orders))

    splits = tuple(many // few for few, many in itertools.pairwise((1, *counts)))
    found = np.array(list(grow(tuple(range(size)), splits)), np.int64)
    found.setflags(write=False)
    return found


def _partitions(items: tuple[int, ...], size: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Partitions of items into parts of equal size; the first item is in the first part."""
    if not items:
        yield ()
        return
    for others in itertools.combinations(items[1:], size - 1):
        part = (items[0], *others)
        rest = tuple(item for item in items if item not in part)
        for parts in _partitions(rest, size):
            yield (part, *parts)
