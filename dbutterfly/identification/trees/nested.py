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
from dataclasses import dataclass

import numpy as np

from ...structure.chain import Cut
from ..cuts import left_cuts, right_cuts
from ..one_cut.arrangement import Arrangement
from ..one_cut.solve import Search, solve_cut
from .parts import compose, parts_of

__all__ = ["free_parameters", "is_noise", "search_nested"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the test for noise, and of the searches that it leads to. Not tuned one by one.

    Attributes
    ----------
    again : int
        Times that a cut is searched again where it leaves more than noise.
    alphas : tuple of float
        Contrasts from which these searches take one more each time.
    more_shakes : int
        Shakes that each of them makes more than the one before.
    tolerated, deviations : float
        Times the noise up to which a cut is not searched again, and standard deviations of chance that are added.
    chance : float
        Standard deviations of chance beyond the noise of the cut before within which a cut is not shaken.
    rounding : float
        Part of the energy that rounding may leave, in single precision.
    """

    again: int = 2
    alphas: tuple[float, ...] = (1.0, 2.0, 4.0)
    more_shakes: int = 2
    tolerated: float = 1.05
    deviations: float = 6.0
    chance: float = 1.0
    rounding: float = 1e-6


TUNING = Tuning()


def search_nested(
    now: Arrangement,
    cuts: Sequence[Cut],
    search: Search,
    rng: np.random.Generator,
    solved: int | None = None,
    noise: float | None = None,
    floor: float | None = None,
) -> Arrangement:
    """Arrange rows and columns in tree order for all cuts.

    Parameters
    ----------
    now : Arrangement
        The matrices.
    cuts : sequence of Cut
        Cuts, from the most row groups to the most column groups.
    search : Search
        Settings for each cut.
    rng : numpy.random.Generator
        For all choices.
    solved : int, optional
        Cut whose groups are contiguous already, and stay.
    noise : float, optional
        Noise energy of an entry, where it is known: parts carry the noise of the blocks. A cut that leaves more is
        searched again, with more effort, before others build on it.
    floor : float, optional
        Noise energy of an entry at which a cut is left as it is; by default what the first cut leaves.

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
        now, lost = _solve_down_to_noise(now, cuts[root], search, rng, noise, floor)
        if floor is None:
            floor = max(lost, 0.0) / max(free_parameters(now, cuts[root]), 1)
    left, right = parts_of(now, cuts[root])
    left = search_nested(left, left_cuts(cuts, root), search, rng, noise=noise, floor=floor)
    right = search_nested(right, right_cuts(cuts, root), search, rng, noise=noise, floor=floor)
    return compose(now, cuts[root], left, right)


def _solve_down_to_noise(
    now: Arrangement,
    cut: Cut,
    search: Search,
    rng: np.random.Generator,
    noise: float | None,
    floor: float | None,
) -> tuple[Arrangement, float]:
    """Solve a cut; again, with more effort each time, while it leaves more than noise. Also give what it leaves."""
    free = free_parameters(now, cut)
    tolerated = 0.0 if floor is None else free * floor * (1 + TUNING.chance * math.sqrt(2 / max(free, 1)))
    best = solve_cut(now, cut, search, rng, tolerated)
    for more in range(1, TUNING.again + 1):
        if noise is None or is_noise(now, cut, best.captured, noise):
            break
        harder = dataclasses.replace(
            search, alphas=TUNING.alphas[: 1 + more], shakes=search.shakes + TUNING.more_shakes * more
        )
        other = solve_cut(now, cut, harder, rng)
        best.offer(other.arrangement, other.captured)
    return best.arrangement, float(now.row_energies.sum()) - best.captured


def is_noise(now: Arrangement, cut: Cut, captured: float, noise: float) -> bool:
    """Whether a cut leaves no more than noise of this energy for each free parameter, with some deviations of chance.

    The energy of noise in k free parameters has a relative standard deviation of ``sqrt(2 / k)``.
    """
    free = free_parameters(now, cut)
    energy = float(now.row_energies.sum())
    left = energy * (1 - TUNING.rounding) - captured
    return left <= free * noise * (TUNING.tolerated + TUNING.deviations * math.sqrt(2 / max(free, 1)))


def free_parameters(now: Arrangement, cut: Cut) -> int:
    """Degrees of freedom of the matrices that the blocks of a cut leave."""
    *members, m, n = (int(size) for size in now.grid.shape)
    return math.prod(members) * (m * n - cut.degrees_of_freedom((m, n)))
