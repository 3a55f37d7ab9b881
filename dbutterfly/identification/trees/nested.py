"""All cuts of a chain, one inside the other: a cut that is solved leaves smaller problems of the same kind.

The blocks of a solved cut have left parts, columns over the column groups, and right parts, rows over the row groups.
The left parts of a row group form a matrix whose rows are to be split further while its columns, the groups, come
together; all row groups share the tree of these columns. So a grid of matrices that share trees along its rows and
columns falls into two grids of the same kind, one for the cuts to the left and one for the cuts to the right, and each
has all members of a side as witnesses. Trees are valid by construction.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ...structure.chain import Cut
from ..cuts import left_cuts, right_cuts
from ..one_cut.arrangement import Arrangement
from ..one_cut.solve import Search, solve_cut
from .parts import compose, parts_of

__all__ = ["free_parameters", "is_noise", "search_nested"]

AGAIN = 2
"""Times that a cut is searched again."""
TOLERATED, CHANCE = 1.05, 6.0
"""Times the noise up to which a cut is not searched again, and standard deviations of the noise that are added."""
ALPHAS = (1.0, 2.0, 4.0)
ROUNDING = 1e-6
"""Part of the energy that rounding may leave."""


def search_nested(
    now: Arrangement,
    cuts: Sequence[Cut],
    search: Search,
    rng: np.random.Generator,
    solved: int | None = None,
    noise: float | None = None,
) -> Arrangement:
    """Arrange rows and columns in tree order for all cuts.

    Parameters
    ----------
    now : Arrangement
        The matrices.
    cuts : sequence of Cut
        Cuts, from the most row groups to the most column groups.
    search : Search
        How each is searched.
    rng : numpy.random.Generator
        For all choices.
    solved : int, optional
        Cut whose groups are contiguous already, and stay.
    noise : float, optional
        Noise energy of an entry, where it is known: parts carry the noise of the blocks. A cut that leaves more is
        searched again, with more effort, before others build on it.

    Returns
    -------
    Arrangement
        The same matrices, in which the groups of all cuts are contiguous.
    """
    if not cuts:
        return now
    root = solved
    if root is None:
        root = {"middle": len(cuts) // 2, "left": 0, "right": len(cuts) - 1}[search.order]
        now = _check(now, cuts[root], search, rng, noise)
    left, right = parts_of(now, cuts[root])
    left = search_nested(left, left_cuts(cuts, root), search, rng, noise=noise)
    right = search_nested(right, right_cuts(cuts, root), search, rng, noise=noise)
    return compose(now, cuts[root], left, right)


def _check(now: Arrangement, cut: Cut, search: Search, rng: np.random.Generator, noise: float | None) -> Arrangement:
    """Solve a cut, again with more effort while it leaves more than noise."""
    best = solve_cut(now, cut, search, rng)
    for more in range(1, AGAIN + 1):
        if noise is None or is_noise(now, cut, best.captured, noise):
            break
        harder = dataclasses.replace(search, alphas=ALPHAS[: 1 + more], shakes=search.shakes + 2 * more)
        other = solve_cut(now, cut, harder, rng)
        best.offer(other.arrangement, other.captured)
    return best.arrangement


def is_noise(now: Arrangement, cut: Cut, captured: float, noise: float) -> bool:
    """Whether what a cut leaves is noise of this energy for each free parameter, for all that chance does to it."""
    free = free_parameters(now, cut)
    energy = float(now.row_energies.sum())
    left = energy * (1 - ROUNDING) - captured
    return left <= free * noise * (TOLERATED + CHANCE * math.sqrt(2 / max(free, 1)))


def free_parameters(now: Arrangement, cut: Cut) -> int:
    """Degrees of freedom of the matrices that the blocks of a cut leave."""
    *members, m, n = (int(size) for size in now.grid.shape)
    return math.prod(members) * (m * n - cut.degrees_of_freedom((m, n)))
