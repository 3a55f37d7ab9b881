"""Evidence for the groups of a cut against noise, and against matrices of low rank with noise: a bound, no estimate.

The hypothesis to be rejected is ``Z = L + noise`` with independent normal entries of one unknown size, and any L of
rank k or less; k = 0 is noise alone. Against it stands a density of matrices whose blocks are of rank r in some groups,
with noise. The ratio of its likelihood to that of the hypothesis at its largest has an expectation of at most one under
the hypothesis, whatever L and the noise are. By Markov's inequality,

    (1)  P(ratio >= 1 / level) <= level

though the groups were chosen among all by the very same matrix: the density is a mixture that gives each of the K
possible groupings the weight 1 / K, so that each one bounds it from below (Wasserman, Ramdas and Balakrishnan,
"Universal inference", PNAS 117, 2020).

The singular values of a block of p x v normal entries, p <= v, have the density

    (2)  1 / Z(p, v)  prod_{i<j} (s_i^2 - s_j^2)^beta  prod_i s_i^(beta (v - p + 1) - 1)  exp(-sum_i s_i^2 / 2)

with beta = 1 for real and 2 for complex entries. A block of rank r with noise is given the density in which the largest
r values are those of an r x (p + v - r) matrix of large normal entries, the others those of a (p - r) x (v - r) matrix
of small ones, and the singular vectors are uniform. As ``s_i^2 - s_j^2 <= s_i^2``, it is at least

    (3)  1 / C  tau^-d  sigma^-f  exp(-T / (2 tau^2) - R / (2 sigma^2)),   C = Z(r, p + v - r) Z(p - r, v - r) / Z(p, v)

for a block that captures the energy T in d degrees of freedom and leaves R in f. The ratio kappa = tau / sigma has a
uniform logarithm between 0 and log A. It is one for all blocks, or one for each, in halves of the mixture: blocks of
equal energies speak for the groups by the first half, those of butterfly matrices whose energy lies in a few blocks by
the second one. The size of all entries together is averaged over by the measure ``d sigma / sigma``, under both
hypotheses. With D the sum of all degrees of freedom and E_k the energy that the best L of rank k leaves, the likelihood
of the hypothesis is at most

    (4)  integral sigma^-D exp(-E_k / (2 sigma^2)) d sigma / sigma  =  Gamma(D/2) / 2  (E_k / 2)^(-D/2)

as L / sigma of rank k leaves at least E_k of the matrix. That of the first half is, with T summed over the blocks, and
B_w the incomplete beta function between the ends of ``w = (T / kappa^2) / (R + T / kappa^2)``,

    (5)  Gamma(D/2) / 2  2^(D/2)  T^(-d/2) R^(-f/2)  B_w(d/2, f/2) / (2 log A)

and that of the second half an integral over sigma, in which every block has a factor

    (6)  h(t) = (t/2)^(-d/2)  (gamma(d/2, t/2) - gamma(d/2, t / (2 A^2))) / (2 log A),    t = T / sigma^2

with gamma the lower incomplete gamma function. All of it is divided by C of every block, and by K.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, gammainc, gammaln, logsumexp

from ..structure.chain import Cut
from .cuts import Index

__all__ = ["Blocks", "log_evidence", "rival_rank"]

RANGES = (1e1, 1e2, 1e4, 1e16)
"""Largest ratios A of signal to noise, entry by entry: each has an equal part of the mixture.

Not tuned. The last one is beyond double precision.
"""

POINTS = 33
"""Sizes of the noise at which (6) is summed, three times, each time nearer to the most likely one. Not tuned."""

RIVAL = 3
"""Ranks beyond that of the blocks up to which a matrix of low rank is a rival. Not tuned: a kernel of waves between 128
points is of low rank as a whole, at four times the rank of its blocks, and has an order all the same."""


class Blocks(NamedTuple):
    """The blocks of a cut in some order of the rows and columns.

    Attributes
    ----------
    free : float
        Real degrees of freedom f that all blocks of low rank leave.
    fitted : ndarray of float64, shape (blocks,)
        Degrees of freedom d that each block fits.
    captured : ndarray of float64, shape (blocks,)
        Part of the energy of the matrix that each block captures.
    lost : float
        Part of the energy that they leave together.
    penalty : float
        ``log K``, and ``log C`` summed over the blocks.
    """

    free: float
    fitted: NDArray[np.float64]
    captured: NDArray[np.float64]
    lost: float
    penalty: float

    @classmethod
    def of(
        cls, cut: Cut, sides: tuple[Index, Index], captured: NDArray[np.float64], lost: float, *, is_complex: bool
    ) -> Self:
        """Describe the blocks of a cut.

        Parameters
        ----------
        cut : Cut
            The cut.
        sides : (ndarray, ndarray) of int64, shape (row groups,) and (column groups,)
            Number of rows in each row group, and of columns in each column group, that are not gaps.
        captured : ndarray of float64, shape (row groups, column groups)
            Part of the energy that each block captures.
        lost : float
            Part of the energy that they leave.
        is_complex : bool
            Whether the entries are complex.
        """
        beta = 1 + is_complex
        heights, widths = (side.astype(np.int64) for side in sides)
        shapes, times = np.unique(
            np.stack(np.broadcast_arrays(heights[:, None], widths), axis=-1).reshape(-1, 2), axis=0, return_counts=True
        )
        overlap = sum(
            int(count) * _log_overlap(int(min(shape)), int(max(shape)), cut.rank, beta)
            for shape, count in zip(shapes, times, strict=True)
        )
        rank = np.minimum(cut.rank, np.minimum.outer(heights, widths))
        fitted = beta * rank * (np.add.outer(heights, widths) - rank)
        free = beta * int(heights.sum() * widths.sum()) - int(fitted.sum())
        penalty = overlap + _log_groupings(cut.p, cut.u) + _log_groupings(cut.v, cut.q)
        fits = fitted.ravel() > 0  # a block of gaps alone says nothing
        return cls(free, fitted.ravel()[fits].astype(np.float64), captured.ravel()[fits], lost, penalty)


def log_evidence(blocks: Blocks, left: float) -> float:
    """Logarithm of a ratio whose expectation is at most one unless the groups are there.

    Parameters
    ----------
    blocks : Blocks
        The blocks of a cut.
    left : float
        Part E_k of the energy that the best matrix of the hypothesis leaves.

    Returns
    -------
    float
        Of the mixture over the ranges and over both halves; infinite below where nothing is left by the hypothesis.
    """
    if left <= 0 or blocks.free <= 0:
        return -math.inf
    # A residual beneath the largest of the ranges is taken for one there, which is less evidence.
    least = blocks.captured.sum() * blocks.free / blocks.fitted.sum() / RANGES[-1] ** 2
    blocks = blocks._replace(lost=max(blocks.lost, float(least), math.ulp(0.0)))
    halves = [half(blocks, largest) for largest in RANGES for half in (_log_shared, _log_separate)]
    total = blocks.free + float(blocks.fitted.sum())
    rival = float(gammaln(total / 2)) - math.log(2) - total / 2 * math.log(left / 2)  # (4)
    return float(logsumexp(halves)) - math.log(len(halves)) - blocks.penalty - rival


def _log_shared(blocks: Blocks, largest: float) -> float:
    """Logarithm of (5)."""
    free, fitted, lost, captured = blocks.free / 2, blocks.fitted.sum() / 2, blocks.lost, float(blocks.captured.sum())
    if captured <= 0:
        return -math.inf
    ends = [captured / square / (lost + captured / square) for square in (1.0, largest**2)]
    within = float(betainc(fitted, free, ends[0]) - betainc(fitted, free, ends[1]))
    if within <= 0:
        return -math.inf
    scale = float(gammaln(free + fitted)) + (free + fitted) * math.log(2) - math.log(4 * math.log(largest))
    power = fitted * math.log(captured) + free * math.log(lost)
    return float(scale + math.log(within) + betaln(fitted, free) - power)


def _log_separate(blocks: Blocks, largest: float) -> float:
    """Logarithm of the integral of (6) over the size of the noise, by the trapezoidal rule about its largest value."""
    total = blocks.free + blocks.fitted.sum()
    middle, reach = 0.5 * math.log(blocks.lost / blocks.free), 1.0
    for _ in range(3):
        sizes = middle + np.linspace(-reach, reach, POINTS)
        squares = np.exp(2 * sizes)
        factors = _log_factor(blocks.captured / squares[:, None], blocks.fitted, largest).sum(axis=1)
        logs = factors - total * sizes - blocks.lost / (2 * squares)
        middle, step = float(sizes[np.argmax(logs)]), 2 * reach / (POINTS - 1)
        reach = max(2 * step, min(reach, 8 / math.sqrt(2 * blocks.free)))
    return float(logsumexp(logs)) + math.log(step)


def _log_factor(t: NDArray[np.float64], fitted: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Logarithm of (6). It falls with t: a t that is too small to compute with is taken for a larger one."""
    half, t = fitted / 2, np.maximum(t, 1e-6) / 2
    within = gammainc(half, t) - gammainc(half, t / largest**2)
    with np.errstate(divide="ignore"):
        return np.log(within) + gammaln(half) - half * np.log(t) - math.log(2 * math.log(largest))


def rival_rank(shape: tuple[int, int], parameters: int, rank: int) -> int:
    """Highest rank of the hypothesis that is rejected: of matrices that a butterfly should explain better than.

    They have fewer parameters than the butterfly matrices, and at most :data:`RIVAL` ranks more than the blocks. Those
    of the rank of the blocks fit in every order; those of a rank far above it tell an order, as kernels do.
    """
    ranks = range(min(*shape, rank + RIVAL + 1))
    return max((each for each in ranks if each * (sum(shape) - each) < parameters), default=0)


def _log_groupings(size: int, groups: int) -> float:
    """Logarithm of the number of partitions of ``size * groups`` items into equal groups."""
    return float(gammaln(size * groups + 1) - groups * gammaln(size + 1) - gammaln(groups + 1))


def _log_overlap(p: int, v: int, rank: int, beta: int) -> float:
    """Logarithm of C in (3), of a block of p <= v."""
    rank = min(rank, p)
    if rank == p:
        return 0.0
    whole, top, rest = (_log_norm(*sides, beta) for sides in ((p, v), (rank, p + v - rank), (p - rank, v - rank)))
    return top + rest - whole


def _log_norm(p: int, v: int, beta: int) -> float:
    """Logarithm of Z in (2), by the integral of Selberg.

    References
    ----------
    Forrester, "Log-gases and random matrices", Princeton 2010, proposition 4.7.3 (weights of Laguerre).
    """
    half, steps = beta / 2, np.arange(p)
    start = half * (v - p + 1)
    gammas = gammaln(start + half * steps) + gammaln(1 + half * (steps + 1)) - gammaln(1 + half)
    power = p * start + half * p * (p - 1)
    return float(gammas.sum() + power * math.log(2) - gammaln(p + 1) - p * math.log(2))
