"""The lines of a group by which a skeleton is chosen: proxies, and checks that are drawn apart from them.

Proxies are drawn at random from strata, one from each, which are narrow at both ends of the group and wide in its
middle, as the nodes of a quadrature are: smooth functions that agree at such places agree between them, and at the
ends, both of which are proxies. Without these two, single lines at ends hold up to .4 of all errors of a Helmholtz
kernel (N = 65536), and an estimate from 32 lines cannot tell. Measured on a Helmholtz and a Fourier integral kernel (N
= 4096, tolerance 1e-6): with equal strata, the error is 2 to 20 times as large, and with strata that take no notice of
where the lines lie, 30 times. Checks are equally likely anywhere.

The lines of a group lie beside each other in a matrix whose order is known; they are sorted then. Where they are
scattered over the matrix, their order in the group says more of where they lie than their numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Index

__all__ = ["ENDS", "Lines", "choose_lines", "random_stream"]

ENDS = 0.7
"""Part of the strata that is narrow at the ends: 0 makes all of them equal, 1 takes the nodes of Chebyshev.

Measured as above: .5, .8 and 1 are alike."""

SCATTERED = 4
"""Largest distance of neighbouring lines, over the median, from which on they count as scattered. Not tuned."""


class Lines(NamedTuple):
    """Rows or columns of a matrix: those that choose, and those that check."""

    proxies: Index
    checks: Index


def choose_lines(members: Index, proxies: int, checks: int, rng: np.random.Generator) -> Lines:
    """Choose lines of a group.

    Parameters
    ----------
    members : array of int64, shape (size,)
        Lines of the group in standard order, -1 at gaps, which are never chosen.
    proxies, checks : int
        Numbers of lines. A group that has no more gives all of them as proxies.
    rng : Generator
        Random numbers of this group.
    """
    there = members[members >= 0] if (members < 0).any() else members
    size = there.size
    if size <= proxies + checks:
        return Lines(there, there[:0])
    there = _in_place(there)
    edges = np.arange(proxies) + rng.random(proxies)
    edges[0], edges[-1] = 0, proxies  # the ends: beyond the outermost proxies, errors are largest
    at = edges / proxies
    at = ENDS * (1 - np.cos(np.pi * at)) / 2 + (1 - ENDS) * at
    numbers = np.arange(proxies)
    found = np.minimum((at * size).astype(np.int64), size - 1)
    found = np.maximum.accumulate(found - numbers) + numbers  # all different: pushed up, and then down
    found = np.minimum(found, size - proxies + numbers)
    rest = np.sort(rng.choice(size - proxies, checks, replace=False, shuffle=False))
    return Lines(there[found], there[_others(found, rest)])


def _others(taken: Index, ranks: Index) -> Index:
    """Positions that are not among ``taken`` (ascending), by their ranks among those."""
    found: Index = ranks + np.searchsorted(taken - np.arange(taken.size), ranks, side="right")
    return found


def _in_place(lines: Index) -> Index:
    """Lines in the order in which they lie: sorted, unless they are scattered."""
    steps = np.diff(lines)
    if (steps > 0).all():
        return lines
    ascending = np.sort(lines)
    steps = np.diff(ascending)
    return lines if steps.max() > SCATTERED * np.median(steps) else ascending


def random_stream(seed: int, side: int, cut: int, group: int, attempt: int) -> np.random.Generator:
    """Random numbers of a group of a cut: the same whatever else is drawn, and in whatever order.

    Parameters
    ----------
    seed : int
        Seed of the run.
    side, cut, group, attempt : int
        Below 2^4, 2^8, 2^44 and 2^8.
    """
    key: NDArray[np.uint64] = np.array([seed, side << 60 | cut << 52 | attempt << 44 | group], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
