"""Trees that differ by the groups of one cut, and walks over them to trees of less error.

A matrix may have many trees that fit as well, as a Hadamard matrix has, and noise prefers some of them. They are
neighbours of each other: in a binary chain, four groups of rows between two neighbouring cuts become one by way of two
pairs, and so do four groups of columns. There are three ways for each. What the cut leaves is a sum over the blocks of
such a four of rows and such a four of columns, so that few numbers tell of all ways:

    (1)  captured(a, b) = sum_{P, Q} T_PQ[a_P, b_Q],    T_PQ[a, b] = sum_{i in a, j in b} sigma_1^2(block (i, j))

with a_P the way in which the rows of P are paired, and b_Q the columns of Q. Given the ways of the columns, the best
ways of the rows are found one by one, and conversely.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array
from ...structure.chain import Chain, Cut
from ..cuts import Index
from ..one_cut.arrangement import Arrangement
from .exchanges import product_errors

__all__ = ["can_walk", "walk"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the walks.

    Attributes
    ----------
    largest_side : int
        Side up to which there are walks: the tables of a tree take 9 N blocks of N entries for each cut. Not tuned.
    kept : int
        Trees from which a walk goes on. For 20 Hadamard matrices of 32 x 32 with noise .1, the better one of two walks,
        from the trees that pairs of columns and of rows tell of, that keep 1, 2, 4 and 8 ends .75, .48, .15 and .09 %
        above the least squared error that walks of 32 find; a walk takes 12, 17, 34 and 63 ms (a busy core of an AMD
        EPYC).
    close : float
        Part of the squared error that a cut may leave in addition for its groups to be tried. Not tuned: noise makes
        some per cent of difference, and wrong groups make several times the error.
    turns : int
        Times that the ways of rows and columns are chosen by turns. Not tuned: most do not change after two.
    """

    largest_side: int = 128
    kept: int = 4
    close: float = 0.2
    turns: int = 3


TUNING = Tuning()

PAIRS = np.array([(0, 1), (0, 2), (0, 3), (2, 3), (1, 3), (1, 2)])
"""Pairs of four groups: each of the first three leaves the pair that stands three places further."""

WAYS = np.array([(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)])
"""Orders of four groups in which these pairs are neighbours."""


class _Tree(NamedTuple):
    """A row tree and a column tree, by their orders, and the squared error of the product; sorted by that."""

    error: float
    number: int
    rows: Index
    cols: Index


def can_walk(cuts: Sequence[Cut]) -> bool:
    """Whether a matrix is small, and its trees binary, so that there are walks over them."""
    m, n = cuts[0].shape
    row_counts, col_counts = _counts(cuts)
    steps = [step for counts in (row_counts[::-1], col_counts) for step in itertools.pairwise(counts)]
    return max(m, n) <= TUNING.largest_side and all(many == 2 * few for few, many in steps)


def walk(start: Arrangement, cuts: Sequence[Cut], chain: Chain, error: float) -> tuple[Arrangement, float]:
    """Walk from one tree to its neighbours, and on from the best of them, while new trees are among the best.

    Parameters
    ----------
    start : Arrangement
        One matrix, in tree order.
    cuts : sequence of Cut
        All cuts of a binary chain, from the most row groups to the most column groups.
    chain : Chain
        The chain.
    error : float
        Squared error of the factorization of the matrix as it is arranged.

    Returns
    -------
    arrangement : Arrangement
        The best one.
    error : float
        Its squared error.
    """
    matrix = host_array(start.grid)[0, 0]
    m, n = matrix.shape
    first = _Tree(error, 0, np.arange(m), np.arange(n))
    best, left = [first], {0}
    seen = set(_fingerprints(first.rows[None], first.cols[None], cuts))
    while todo := [tree for tree in best if tree.number in left]:
        left.clear()
        found = [orders for tree in todo for orders in _neighbours(matrix, tree, cuts)]
        if not found:
            break
        rows, cols = (np.stack(side) for side in zip(*found, strict=True))
        keys = _fingerprints(rows, cols, cuts)
        new = [place for place, key in enumerate(keys) if key not in seen and key not in keys[:place]]
        if new:
            rows, cols = rows[new], cols[new]
            errors = product_errors(matrix[rows[:, :, None], cols[:, None, :]], chain)
            numbers = range(len(seen), len(seen) + len(new))
            trees = [_Tree(float(at), *of) for at, *of in zip(errors, numbers, rows, cols, strict=True)]
            best = sorted([*best, *trees], key=lambda tree: tree[:2])[: TUNING.kept]
            left.update(numbers)
            seen.update(keys)
    return start.with_rows(best[0].rows[None]).with_cols(best[0].cols[None]), best[0].error


def _neighbours(matrix: NDArray[Any], tree: _Tree, cuts: Sequence[Cut]) -> Iterator[tuple[Index, Index]]:
    """Orders of the trees that differ by the groups of one cut, which leaves little more."""
    arranged = matrix[np.ix_(tree.rows, tree.cols)]
    (row_counts, col_counts), (m, n) = _counts(cuts), matrix.shape
    for at, cut in enumerate(cuts):
        p, q = row_counts[at + 2], col_counts[at]
        table = _table(arranged.reshape(p, 4, m // p // 4, q, 4, n // q // 4), cut.rank)
        by_row, by_col, captured = _best_ways(table)
        other = by_row.any(axis=1) | by_col.any(axis=1)
        for place in np.flatnonzero(other & (captured >= table[:, :, 0, 0].sum() - TUNING.close * tree.error)):
            rows = tree.rows.reshape(p, 4, -1)[np.arange(p)[:, None], WAYS[by_row[place]]].ravel()
            yield rows, tree.cols.reshape(q, 4, -1)[np.arange(q)[:, None], WAYS[by_col[place]]].ravel()


def _best_ways(table: NDArray[np.float64]) -> tuple[Index, Index, NDArray[np.float64]]:
    """Ways of the rows (6, P) and the columns (6, Q) by which a cut captures most, and how much (6,), from six starts.

    The first four of rows, or of columns, is paired in each of the three ways, and the others follow from it.
    """
    p, q = table.shape[:2]
    flat = table.transpose(0, 2, 1, 3).reshape(3 * p, 3 * q)  # (1): rows (P, a), columns (Q, b)
    by_col = np.concatenate([table[0].argmax(axis=2).T, _choose_ways(flat.T, table[:, 0].argmax(axis=1).T)])
    for _ in range(TUNING.turns):
        by_row = _choose_ways(flat, by_col)
        by_col = _choose_ways(flat.T, by_row)
    sums = _chosen(by_row) @ flat
    return by_row, by_col, np.sum(sums * _chosen(by_col), axis=1)


def _choose_ways(flat: NDArray[np.float64], others: Index) -> Index:
    """Ways (k, P) of one side by which most is captured, given those of the other side (k, Q)."""
    ways: Index = (_chosen(others) @ flat.T).reshape(len(others), -1, 3).argmax(axis=2)
    return ways


def _chosen(ways: Index) -> NDArray[np.float64]:
    """Ones (k, 3 Q) where a way (k, Q) is chosen."""
    return np.eye(3)[ways].reshape(len(ways), -1)


def _table(fours: NDArray[Any], rank: int) -> NDArray[np.float64]:
    """Energies (1) that the blocks capture, of shape (P, Q, 3, 3), from a matrix (P, 4, p, Q, 4, v)."""
    captured = _pair_energies(fours, rank)
    by_row = captured[:, :, :3] + captured[:, :, 3:]
    return by_row[..., :3] + by_row[..., 3:]


def _pair_energies(fours: NDArray[Any], rank: int) -> NDArray[np.float64]:
    """Energies (P, Q, 6, 6) that the blocks of all pairs of rows and pairs of columns capture.

    They are eigenvalues of Gram matrices of the rows, or of the columns where these are fewer.
    """
    groups, _, p, across, _, v = fours.shape
    if p > v:
        return _pair_energies(fours.transpose(3, 4, 5, 0, 1, 2), rank).transpose(1, 0, 3, 2)
    slabs = fours.transpose(0, 3, 4, 1, 2, 5).reshape(groups, across, 4, 4 * p, v)
    grams = slabs @ slabs.conj().swapaxes(-1, -2)
    grams = grams[:, :, PAIRS[:, 0]] + grams[:, :, PAIRS[:, 1]]  # of pairs of columns
    lines = (PAIRS[:, :, None] * p + np.arange(p)).reshape(6, 2 * p)
    grams = grams[:, :, :, lines[:, :, None], lines[:, None, :]]  # and pairs of rows
    values = np.linalg.eigvalsh(grams)[..., -rank:]
    energies: NDArray[np.float64] = values.sum(axis=-1, dtype=np.float64).swapaxes(-1, -2)
    return energies


def _fingerprints(rows: Index, cols: Index, cuts: Sequence[Cut]) -> list[int]:
    """Numbers that are the same for orders (k, m) and (k, n) of the same trees, and differ for others.

    Items have random numbers, and groups the squares of their sums, so that each pair of items of a group adds the
    product of its numbers. Two trees agree by chance as two numbers of 64 bits do.
    """
    rng = np.random.default_rng(0)
    found = np.zeros(len(rows), np.uint64)
    for orders, counts in zip((rows, cols), _counts(cuts), strict=True):
        of_items, of_levels = (
            rng.integers(1 << 63, size=(size,), dtype=np.uint64) for size in (orders.shape[1], len(counts))
        )
        numbers = of_items[orders]
        for count, factor in zip(counts, of_levels, strict=True):
            sums = numbers.reshape(len(orders), count, -1).sum(axis=2)
            found += factor * (sums * sums).sum(axis=1)
    return found.tolist()


def _counts(cuts: Sequence[Cut]) -> tuple[list[int], list[int]]:
    """Numbers of groups of rows, from single rows to all, and of columns, from all to single ones."""
    m, n = cuts[0].shape
    return [m, *(cut.row_groups for cut in cuts), 1], [1, *(cut.col_groups for cut in cuts), n]
