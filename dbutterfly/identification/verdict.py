"""The verdict on a search: whether the groups of the cuts are there, and whether all cuts leave the same noise.

Both are tests with a stated level. The first one (:mod:`dbutterfly.identification.evidence`) sets the groups against
noise, and against every matrix of low rank with noise that has fewer parameters than the butterfly. The second one
compares the residuals of the cuts: to first order, noise in f directions that the blocks of a cut do not fit leaves
f times its energy for one direction, and this sum of squares varies as it does for normal noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ..structure.chain import Chain, Cut
from .cuts import Index, cuts_of

__all__ = [
    "LEVEL",
    "Residuals",
    "Solution",
    "Verdict",
    "count_parameters",
    "free_parts",
    "judge",
    "noise_levels",
    "unevenness",
]


LEVEL = 0.01
"""Probability with which a matrix of noise, or of low rank with noise, may count as found; and that with which a true
butterfly with noise may not, for cuts that see different noise. Chosen, not tuned."""

UNEVEN = 0.02
"""Relative difference of the noise that two cuts see that is laid to the residuals, which are found by power iteration,
and to single rows that could as well stand elsewhere. Not tuned."""


@dataclass(frozen=True)
class Residuals:
    """What the cuts leave, and what speaks for their groups.

    Attributes
    ----------
    lost : ndarray of float64, shape (cuts,)
        Part of the energy that the blocks of each cut leave.
    free : ndarray of float64, shape (cuts,)
        Real degrees of freedom that the blocks of each cut leave.
    size : int
        Real numbers in the matrix.
    evidence : ndarray of float64, shape (cuts,)
        Logarithm of the ratio of likelihoods of :mod:`dbutterfly.identification.evidence`, for each cut.
    rounding : float
        Relative error that counts as none.
    least_likely : float
        Where there is one cut, which no other one confirms: probability that noise leaves as much of some row or column
        as is left of one; else 1.
    """

    lost: NDArray[np.float64]
    free: NDArray[np.float64]
    size: int
    evidence: NDArray[np.float64]
    rounding: float
    least_likely: float = 1.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """Residuals of the cuts, and what they mean.

    Attributes
    ----------
    residuals : ndarray of float64, shape (cuts,)
        ``||Z - Z_l|| / ||Z||`` for the best ``Z_l`` with blocks of the rank of cut l.
    floors : ndarray of float64, shape (cuts,)
        Residuals of a true butterfly matrix with as much noise as the cut that sees least.
    found : bool
        Whether nothing is left; or the groups of every cut are there at the :data:`LEVEL`, and every cut leaves what
        noise of one and the same size would.
    evidence : float
        That of the cut for which least speaks; infinite where nothing is left.
    unevenness : float
        Difference of the noise that two cuts see, in standard deviations of chance, at its largest.
    size : int
        Real numbers in the matrix.
    """

    residuals: NDArray[np.float64]
    floors: NDArray[np.float64]
    found: bool
    evidence: float
    unevenness: float
    size: int


class Solution(NamedTuple):
    """Orders that a search found, and the residuals of the cuts in them.

    Attributes
    ----------
    rows, cols : ndarray of int64
        Orders in which the groups of every cut are contiguous.
    lost : ndarray of float64, shape (cuts,)
        Part of the energy that the blocks of each cut leave, at most.
    free : ndarray of float64, shape (cuts,)
        Part of the energy of pure noise that the blocks would leave, for groups that do not depend on it: their part of
        the degrees of freedom that are left.
    attempts : int
        Number of attempts.
    rival : float
        Part of the energy that the best matrix of low rank leaves which has fewer parameters than the butterfly, where
        a search by panels has found it.
    witnesses : int
        Independent starts that led to these trees.
    rivals : int
        Other trees that were about as good.
    """

    rows: Index
    cols: Index
    lost: NDArray[np.float64]
    free: NDArray[np.float64]
    attempts: int
    rival: float = 1.0
    witnesses: int = 1
    rivals: int = 0

    @property
    def noise(self) -> NDArray[np.float64]:
        """Noise that explains the residual of each cut, as a part of the energy."""
        return self.lost / self.free


def free_parts(cuts: Sequence[Cut], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Part of the degrees of freedom of a matrix that the blocks of each cut leave free."""
    size = shape[0] * shape[1]
    return np.array([max(1 - cut.degrees_of_freedom(shape) / size, 1 / size) for cut in cuts], np.float64)


def noise_levels(lost: NDArray[np.float64], cuts: Sequence[Cut], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Noise energy, of the whole matrix, that explains the energy that each cut leaves.

    The blocks of a cut fit some of the noise, and leave the part of it that belongs to the free degrees of freedom. All
    cuts that are right see the same noise.
    """
    return lost / free_parts(cuts, shape)


def judge(left: Residuals, parameters: int) -> Verdict:
    """Judge the residuals of the cuts.

    Parameters
    ----------
    left : Residuals
        What the cuts leave.
    parameters : int
        Degrees of freedom of the products of the chain, as numbers of the dtype. Of complex ones this is half of the
        real ones: cuts are then taken to share less than they do, and to differ more by chance.
    """
    residuals = np.sqrt(left.lost)
    if not left.lost.any():
        return Verdict(residuals, residuals, found=True, evidence=math.inf, unevenness=0.0, size=left.size)
    floors = np.sqrt((left.lost / left.free).min() * left.free)
    apart = unevenness(left.lost, left.free, left.size, parameters)
    if (residuals <= left.rounding).all():
        return Verdict(residuals, floors, found=True, evidence=math.inf, unevenness=apart, size=left.size)
    evidence, pairs = float(left.evidence.min()), max(math.comb(residuals.size, 2), 1)
    is_even = apart <= float(ndtri(1 - LEVEL / (2 * pairs)))
    is_even = is_even and left.least_likely >= LEVEL
    return Verdict(residuals, floors, is_even and evidence >= -math.log(LEVEL), evidence, apart, left.size)


def count_parameters(chain: Chain) -> int:
    """Degrees of freedom of the products of a chain: its values, less those that two neighbours can pass each other."""
    passed = sum(pattern.shape[1] * cut.rank for pattern, cut in zip(chain.patterns, cuts_of(chain), strict=False))
    return chain.nnz - passed


def unevenness(lost: NDArray[np.float64], free: NDArray[np.float64], size: int, parameters: int) -> float:
    """Largest difference of the noise that two cuts see, in standard deviations, beyond :data:`UNEVEN`.

    Both leave the noise in the directions that neither of them fits; what one leaves and the other fits are independent
    sums of squares. Both fit the directions of the butterfly matrices, and as a rule no others.

    Parameters
    ----------
    lost : ndarray of float64, shape (cuts,)
        Energy that each cut leaves.
    free : ndarray of float64, shape (cuts,)
        Real degrees of freedom that it leaves.
    size, parameters : int
        Real degrees of freedom of all matrices, and those of the butterfly matrices, or fewer.
    """
    worst, noise = 0.0, lost / free
    for one, other in itertools.combinations(range(noise.size), 2):
        f, g = float(free[one]), float(free[other])
        alone = max(size - g - parameters, 0), max(size - f - parameters, 0)
        both = max(f - alone[0], 0.0)
        variance = 2 * (both * (1 / f - 1 / g) ** 2 + alone[0] / f**2 + alone[1] / g**2)
        least, most = sorted((float(noise[one]), float(noise[other])))
        if most > least and variance > 0:
            apart = math.log(most / least) if least > 0 else math.inf
            worst = max(worst, (apart - UNEVEN) / math.sqrt(variance))
    return worst
