"""Equal groups: the best assignment of items to them, and perfect matchings into pairs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["best_pairs", "equal_groups"]


@dataclass(frozen=True)
class Tuning:
    """Numbers of items up to which problems are solved exactly. Not tuned one by one.

    Attributes
    ----------
    largest_assigned : int
        For equal groups, by a linear sum assignment, whose time grows with the cube of the items at worst.
    largest_matched : int
        For pairs, by a linear sum assignment.
    largest_enumerated : int
        For pairs, by a look at all perfect matchings: 105 of 8 items, 945 of 10.
    """

    largest_assigned: int = 512
    largest_matched: int = 1024
    largest_enumerated: int = 8


TUNING = Tuning()


def equal_groups(scores: NDArray[np.floating], groups: int) -> NDArray[np.int64]:
    """Assign items to groups of equal size so that the sum of their scores is largest.

    Parameters
    ----------
    scores : array, shape (m, u)
        Score of each item in each group.
    groups : int
        Number u of groups, which divides m.

    Returns
    -------
    ndarray of int64, shape (m,)
        Group of each item. Where the best group of every item makes groups of equal size, that; else the optimum, up to
        512 items, beyond which items with the most to lose choose first.
    """
    items, size = scores.shape[0], scores.shape[0] // groups
    labels: NDArray[np.int64] = np.argmax(scores, axis=1)
    if (np.bincount(labels, minlength=groups) == size).all():
        return labels
    if items <= TUNING.largest_assigned:
        _, places = linear_sum_assignment(np.repeat(scores, size, axis=1), maximize=True)
        labels = places // size
    else:
        labels = _groups_by_regret(scores, size)
    return labels


def _groups_by_regret(scores: NDArray[np.floating], size: int) -> NDArray[np.int64]:
    """Let items choose their groups, in the order of what they lose by the second best one.

    Items whose choice is full choose again, until none is left.
    """
    left = scores.astype(np.float64)
    room = np.full(scores.shape[1], size)
    labels = np.full(scores.shape[0], -1)
    todo = np.arange(scores.shape[0])
    while todo.size:
        remaining = left[todo]
        best = np.argmax(remaining, axis=1)
        first = remaining[np.arange(todo.size), best]
        remaining[np.arange(todo.size), best] = -np.inf
        regret = first - remaining.max(axis=1)  # infinite where one group only is open
        order = np.argsort(-regret, kind="stable")
        chosen = best[order]
        # Place of each among those that chose the same group, in the order of regret.
        by_group = np.argsort(chosen, kind="stable")
        counts = np.bincount(chosen, minlength=room.size)
        rank = np.empty(todo.size, np.int64)
        rank[by_group] = np.arange(todo.size) - np.repeat(np.cumsum(counts) - counts, counts)
        taken = rank < room[chosen]
        labels[todo[order[taken]]] = chosen[taken]
        room -= np.bincount(chosen[taken], minlength=room.size)
        left[:, room == 0] = -np.inf
        todo = np.sort(todo[order[~taken]])
    return labels


def best_pairs(costs: NDArray[np.floating]) -> NDArray[np.int64]:
    """Match items into pairs of small total cost.

    Parameters
    ----------
    costs : array, shape (n, n)
        Symmetric costs; the diagonal does not count.

    Returns
    -------
    ndarray of int64, shape (n,)
        Pair 0 .. n/2 - 1 of each item. The optimum for up to eight items; beyond, the optimum of the relaxation to
        cycles where these are all of length two, as they are where pairs stand out, and the rest greedily.
    """
    items = costs.shape[0]
    if items <= TUNING.largest_enumerated:
        pairs = _matchings(items)
        best = pairs[np.argmin(costs[pairs[..., 0], pairs[..., 1]].sum(axis=1))]
        return _pair_labels(best, items)
    mutual = _mutual_pairs(costs) if items > TUNING.largest_matched else _two_cycles(costs)
    rest = np.setdiff1d(np.arange(items), mutual.ravel())
    return _pair_labels(np.concatenate([mutual, _greedy_pairs(costs, rest)]), items)


def _two_cycles(costs: NDArray[np.floating]) -> NDArray[np.int64]:
    """Pairs among the cycles of the cheapest permutation without fixed points."""
    remaining = np.array(costs, dtype=np.float64)
    np.fill_diagonal(remaining, (remaining.max() + 1) * remaining.shape[0])
    _, partner = linear_sum_assignment(remaining)
    items = np.arange(partner.size)
    first = items[(partner[partner] == items) & (items < partner)]
    return np.stack([first, partner[first]], axis=1)


def _mutual_pairs(costs: NDArray[np.floating]) -> NDArray[np.int64]:
    """Pair items that are each other's best partner, and again those that are left."""
    remaining = np.array(costs)
    np.fill_diagonal(remaining, np.inf)
    pairs: list[NDArray[np.int64]] = []
    while True:
        partner = np.argmin(remaining, axis=1)
        items = np.arange(partner.size)
        real = np.isfinite(remaining[items, partner]) & (partner[partner] == items) & (items < partner)
        if not real.any():
            return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
        pairs.append(np.stack([items[real], partner[real]], axis=1))
        gone = pairs[-1].ravel()
        remaining[gone] = np.inf
        remaining[:, gone] = np.inf


def _greedy_pairs(costs: NDArray[np.floating], rest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pair the items that are left, the cheapest pair first."""
    i, j = np.triu_indices(rest.size, 1)
    free = np.ones(rest.size, bool)
    pairs: list[tuple[int, int]] = []
    for at in np.argsort(costs[rest[i], rest[j]], kind="stable"):
        if free[i[at]] and free[j[at]]:
            free[[i[at], j[at]]] = False
            pairs.append((int(rest[i[at]]), int(rest[j[at]])))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _pair_labels(pairs: NDArray[np.int64], items: int) -> NDArray[np.int64]:
    """Pair of each item."""
    labels = np.empty(items, np.int64)
    labels[pairs] = np.arange(items // 2)[:, None]
    return labels


@functools.lru_cache(maxsize=8)
def _matchings(items: int) -> NDArray[np.int64]:
    """All perfect matchings, shape (count, items / 2, 2)."""

    def grow(left: tuple[int, ...]) -> Iterator[list[tuple[int, int]]]:
        if not left:
            yield []
        for partner in left[1:]:
            rest = tuple(item for item in left[1:] if item != partner)
            for others in grow(rest):
                yield [(left[0], partner), *others]

    return np.array(list(grow(tuple(range(items)))), np.int64).reshape(-1, items // 2, 2)
