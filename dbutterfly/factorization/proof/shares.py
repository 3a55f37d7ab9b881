r"""Shares that the cuts have in every entry, and how they move to where they raise the bound.

A share w_k is a positive number for every block of cut k, such that the shares of all cuts in an entry add up to one.
With targets T_k and h the energy that the rank captures of a block, the bound (:mod:`.bound`) is

    (1)  ||Z||^2 - sum over k and blocks b of w_kb h(T_kb),    sum_k w_k T_k = Z.

For parts ``M_k = w_k T_k`` it is a concave function of parts *and* shares, since ``h(M) / w`` is convex in both. A
block whose singular values are small proves little, and leaves more to the other cuts if its share goes to them.

The blocks of neighbouring cuts k and k+1 that have a row group of cut k+1 and a column group of cut k in common fill
the same entries: in each such area, a number t may go from one cut to the other,

    (2)  w_kb <- w_kb + t,    w_k+1,c <- w_k+1,c - t    for all their blocks b and c there.

With the parts as they are, Newton's step of (1) for t is

    (3)  t = (S_k - S_k+1) / (2 C),    S_k = sum_b h(M_kb) / w_kb^2,    C = sum_b h(M_kb) / w_kb^3 + the same of k+1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...structure.chain import Cut

__all__ = ["Shares", "are_shares", "equal_shares", "most_uneven", "move_shares", "times"]

Shares = NDArray[np.float64]
"""Share of a cut in each of its blocks, shape (u, q): row groups and column groups."""

MOST_MOVED = 0.5
"""Part of a share that one move may take from it, so that it stays positive. Not tuned."""

UNEVEN = 1e-9
"""The most by which shares may miss one. Not tuned: they are moved a hundred times, and each time rounded."""

STRIP_NUMBERS = 1 << 20
"""Numbers that the sum of shares is formed of at once. Not tuned: some megabytes."""

STEP = 2.0
"""Newton's steps (3) that a move makes at once: the targets follow the shares only slowly.

Measured on Gaussian butterflies with noise .1: ratios after 20 and 100 steps of the ascent are 1.00096 and 1.00058 with
1, and 1.00090 and 1.00050 with 2 at N = 64; at N = 128 1.00109 and 1.00080, and 1.00105 and 1.00076. Shares that do not
move leave 1.0011 in both.
"""


def equal_shares(cuts: Sequence[Cut]) -> list[Shares]:
    """Shares of which each cut has the same in every entry."""
    return [np.full((cut.u, cut.q), 1 / len(cuts)) for cut in cuts]


def times(matrix: NDArray[Any], numbers: Shares, cut: Cut) -> NDArray[Any]:
    """Matrix whose blocks at a cut are multiplied by numbers (u, q)."""
    p, u, q, v, _ = cut
    scaled = matrix.reshape(p, u, q, v) * numbers[None, :, :, None]
    return scaled.reshape(matrix.shape)


def most_uneven(shares: Sequence[Shares], cuts: Sequence[Cut]) -> float:
    """The most by which the shares in an entry miss one.

    The row groups of a cut are the rows modulo their number, which that of the next cut divides, and its column groups
    are ranges of columns, which the next cut divides; so all entries of a row group of the first cut and a column group
    of the last one have the same shares.
    """
    rows, cols = cuts[0].u, cuts[-1].q
    height, most = max(1, STRIP_NUMBERS // cols), 0.0
    for first in range(0, rows, height):
        groups = np.arange(first, min(first + height, rows))
        total = np.zeros((len(groups), cols))
        for share, cut in zip(shares, cuts, strict=True):
            total += np.repeat(share[groups % cut.u], cols // cut.q, axis=1)
        most = max(most, float(np.max(np.abs(total - 1))))
    return most


def are_shares(shares: Sequence[Shares], cuts: Sequence[Cut]) -> bool:
    """Whether all numbers are positive, and add up to one but for rounding, which :func:`most_uneven` counts."""
    are_positive = all(bool((share > 0).all()) for share in shares)  # NaN are not
    return are_positive and most_uneven(shares, cuts) <= UNEVEN


def move_shares(shares: Sequence[Shares], captured: Sequence[Shares], cuts: Sequence[Cut]) -> list[Shares]:
    """Move shares by (2) and (3), from one pair of neighbouring cuts to the next.

    Parameters
    ----------
    shares : sequence of array, shapes (u, q)
        Shares of every cut.
    captured : sequence of array, shapes (u, q)
        Energy that the rank captures of each block of the targets.
    cuts : sequence of Cut
        All cuts, from left to right.
    """
    moved = list(shares)
    parts = [energy * share**2 for energy, share in zip(captured, shares, strict=True)]  # h(M)
    for k in range(len(cuts) - 1):
        u, q = cuts[k + 1].u, cuts[k].q  # areas
        here, there = ((each[k].reshape(-1, u, q), each[k + 1].reshape(u, q, -1)) for each in (moved, parts))
        (share, other), (part, next_part) = here, there
        slope = (part / share**2).sum(axis=0) - (next_part / other**2).sum(axis=2)
        curvature = 2 * ((part / share**3).sum(axis=0) + (next_part / other**3).sum(axis=2))
        step = STEP * np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
        step = np.clip(step, -MOST_MOVED * share.min(axis=0), MOST_MOVED * other.min(axis=2))
        moved[k] = (share + step).reshape(moved[k].shape)
        moved[k + 1] = (other - step[:, :, None]).reshape(moved[k + 1].shape)
    return moved
