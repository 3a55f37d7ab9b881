"""The verdict on a search: residuals of the cuts beside the noise, and beside what noise alone would leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Cut
from .cuts import Index

__all__ = ["Solution", "Verdict", "free_parts", "judge", "noise_levels"]


@dataclass(frozen=True)
class Tuning:
    """Limits of the verdict. Not tuned one by one: the benchmark ``identification`` records how often "found" is right.

    Attributes
    ----------
    like_noise : float
        Part of the energy that pure noise would leave above which one of several cuts counts as not found.
    like_noise_alone : float
        Likewise for a single cut, which no other one confirms.
    uneven : float
        Ratio of the noise that two cuts see above which one of them counts as not found.
    deviations : float
        Standard deviations of the energy of noise that are added to that ratio.
    """

    like_noise: float = 0.85
    like_noise_alone: float = 0.35
    uneven: float = 1.25
    deviations: float = 6.0


TUNING = Tuning()


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
        Whether every cut leaves what noise of one and the same size would, and less than noise alone.
    confidence : float
        Part of the energy, between 0 and 1, that the worst cut explains beyond what it would explain of noise alone.
    """

    residuals: NDArray[np.float64]
    floors: NDArray[np.float64]
    found: bool
    confidence: float


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
    """

    rows: Index
    cols: Index
    lost: NDArray[np.float64]
    free: NDArray[np.float64]
    attempts: int

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


def judge(solution: Solution, cuts: Sequence[Cut], shape: tuple[int, int], rounding: float) -> Verdict:
    """Judge the residuals of the cuts.

    Parameters
    ----------
    solution : Solution
        The orders and their residuals.
    cuts : sequence of Cut
        The cuts.
    shape : (int, int)
        Shape of the matrix.
    rounding : float
        Relative error that counts as none.
    """
    lost, size = solution.lost, shape[0] * shape[1]
    residuals = np.sqrt(lost)
    if not lost.any():
        return Verdict(residuals, residuals, found=True, confidence=1.0)
    seen = solution.noise
    floors = np.sqrt(seen.min() * solution.free)
    ratios = lost / np.array([_noise_residual(cut) for cut in cuts])
    exact = bool((residuals <= rounding).all())
    even = seen.max() <= (TUNING.uneven + TUNING.deviations * math.sqrt(2 / size)) * seen.min()
    limit = TUNING.like_noise if len(cuts) > 1 else TUNING.like_noise_alone
    found = exact or bool(even and (ratios < limit).all())
    return Verdict(residuals, floors, found, float(np.clip(1 - ratios.max(), 0, 1)))


def _noise_residual(cut: Cut) -> float:
    """Part of the energy of pure noise that a cut leaves at least.

    The squared singular values of a block of noise are at most about ``(sqrt(p) + sqrt(v))^2``, the edge of the law of
    Marchenko and Pastur, where the energy is ``p v``; the best rank r takes r of them.
    """
    height, width = cut.block_shape
    rank = min(cut.rank, height, width)
    return max(1 - rank * (math.sqrt(height) + math.sqrt(width)) ** 2 / (height * width), 1 / (height * width))
