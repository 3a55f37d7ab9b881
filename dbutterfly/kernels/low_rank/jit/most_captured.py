"""Compiled bound of :mod:`dbutterfly.kernels.low_rank.most_captured`, whose equation numbers these are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import called, spliced
from ..gram_powers import GRAM_SLACK
from ..most_captured import MOST_POWER
from .grams import gram
from .vectors import add_multiple, copy_row, energy, real_like, scale

__all__ = ["bound_captured"]


@spliced
def _join(joined: Any, z: Any, inside: Any, y: Any, right: Any, factors: Any, row: Any) -> None:
    """Fill the matrix L, or its transpose where that has fewer rows; columns of L after R are those of W by factors."""
    (p, v), k = z.shape, len(factors)
    has_rows = len(joined) == p
    for i in range(p):
        copy_row(row, 0, z, i, v)
        for a in range(k):
            add_multiple(row, 0, -inside[a, i], right, a, v)
            row[0, v + a] = (y[a, i] - inside[a, i]) * real_like(z, factors[a])
        if has_rows:
            copy_row(joined, i, row, 0, v + k)
        else:
            for j in range(v + k):
                joined[j, i] = row[0, j]


@spliced
def _sort(numbers: Any) -> None:
    """Order numbers, descending."""
    for a in range(len(numbers)):
        for b in range(a, 0, -1):
            if numbers[b] > numbers[b - 1]:
                numbers[b], numbers[b - 1] = numbers[b - 1], numbers[b]


@spliced
def _lower_slacks(ranks: Any, found: Any, levels: Any, most: Any, rounding: Any) -> Any:
    """Lower the slacks to those of (3) with ``most`` for mu; whether they are small for all ranks."""
    count, is_enough = len(ranks), True
    for index in range(count):
        total, lost = rounding, found[1 + index]
        for a in range(min(ranks[index], len(levels))):
            total += max(levels[a], most)
        slack = min(found[1 + count + index], max(total - (found[0] - lost), 0.0))
        found[1 + count + index] = slack
        is_enough &= slack <= GRAM_SLACK * lost
    return is_enough


@called
def bound_captured(z: Any, ranks: Any, found: Any, parts: Any, space: Any, eps: Any) -> None:
    """Lower the slacks among the numbers ``found`` of a block to those of the bound (3).

    ``parts`` are rows ``V^H``, columns Q E S and Z V as rows, the squares of S, and the squared norms of the columns of
    W, all from a round. ``space`` is L to fill, two matrices of as many rows, and a row.
    """
    right, inside, y, squares, rise = parts
    joined, power, other, row = space
    k, side = len(squares), len(power)
    levels, factors = np.empty(k), np.empty(k)
    least = squares[min(ranks[-1], k) - 1]
    for a in range(k):
        raised = max(least - squares[a], np.sqrt(rise[a] * squares[a]))  # D of (2)
        levels[a] = squares[a] + raised
        factors[a] = np.sqrt(squares[a] / raised) if raised > 0 else 0.0
    _join(joined, z, inside, y, right, factors, row)
    _sort(levels)
    gram(joined, power)
    shift, exponent = squares[k - 1] / 2, 1
    for i in range(side):
        power[i, i] -= real_like(z, shift)
    norm = np.sqrt(energy(power))
    for i in range(side):
        scale(power, i, real_like(z, 1 / norm if norm > 0 else 0.0), side)
    while True:
        gram(power, other)
        power, other, exponent = other, power, 2 * exponent
        most = shift + norm * energy(power) ** (1 / (2 * exponent)) * (1 + side * eps)  # (4)
        rounding = (z.shape[0] + z.shape[1]) * eps * found[0]
        if _lower_slacks(ranks, found, levels, most, rounding) or exponent == MOST_POWER:
            return
