r"""Targets for every cut by which the lower bound comes near to the error.

Two ways lead to targets ``T_k`` (:mod:`.bound`), of which the better one counts.

From the residual. Let X be a product at which the error has no gradient, and R = Z - X. With P_k the projection onto
the normal space of the products at cut k (:mod:`dbutterfly.kernels.factors.cut_spaces`),

    (1)  T_k = X + P_k Y,    where    mean_k P_k Y = R,

a linear system that a few steps of conjugate gradients solve: without a gradient, R is a sum of normal parts. If no
block of ``P_k Y`` has a singular value above the r-th one of X, then X is the best approximation of ``T_k`` at cut k,
for every k, and the bound is the error itself: X is proven to be a best product. Where some blocks have, the bound may
be anything.

By ascent. The largest bound is that of a concave problem, with the constraint that the mean of the targets, by the
shares of the cuts, is Z. The alternating direction method of multipliers (Boyd et al., Foundations and Trends in
Machine Learning 3, 2011, section 7.3) goes up, with a multiplier W that starts as the product, and c the coupling:

    (2)  T_k <- argmin_T  h_k(T) + c/2 ||T - (T_k + 2 W / c)||^2    (:mod:`dbutterfly.kernels.low_rank.spectra`)
    (3)  W <- W + c/2 (Z - mean T),    T_k <- T_k + Z - mean T.

After each step, shares move between neighbouring cuts (:mod:`.shares`), and shares times targets stay what they are.
With h_k the energy that the rank of the cut captures, ``||Z||^2 - mean h_k(T_k)`` is the bound. Where X is a best
product and the targets are those of (1), nothing moves. If the limit is below the error, another product is better, or
no targets prove that there is none: the bound is that of matrices which are mixtures of such matrices at every cut.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.factors.cut_spaces import CutSpaces
from ...kernels.linalg import squared_norms
from ...structure.chain import Cut
from .bound import CutSums, bound_from_cuts
from .cut_work import COUPLING, CutWork
from .shares import Shares, equal_shares, most_uneven, move_shares, times

__all__ = ["Targets", "targets_from_residual"]

RESIDUAL = 1e-6
"""Part of the residual that conjugate gradients may leave. What they leave costs its square, relative to the energy."""

MOST_GRADIENTS = 50
"""Conjugate gradients at most. Not tuned: where the system has a solution, 4 to 7 were enough."""


class Targets:
    """Targets of all cuts, whose mean by the shares is the matrix, and the multiplier of the ascent.

    Parameters
    ----------
    matrix : array, shape (m, n)
        The matrix Z.
    cuts : list of Cut
        All cuts, from left to right.
    targets : list of array, shapes (m, n)
        Target of every cut; they are moved by one matrix so that their mean is Z.
    multiplier : array, shape (m, n)
        Multiplier W of (2).
    shares : list of array, shapes (u, q), optional
        Shares of every cut; by default they are equal.
    """

    def __init__(
        self,
        matrix: NDArray[Any],
        cuts: list[Cut],
        targets: list[NDArray[Any]],
        multiplier: NDArray[Any],
        shares: list[Shares] | None = None,
    ) -> None:
        self.matrix, self.cuts, self.targets, self.multiplier = matrix, cuts, targets, multiplier
        self.shares = equal_shares(cuts) if shares is None else shares
        self._balance()

    def _balance(self) -> NDArray[Any]:
        """Move all targets so that their mean is the matrix, and return by how much."""
        gap = self._gap()
        for target in self.targets:
            target += gap
        return gap

    def _gap(self) -> NDArray[Any]:
        total = np.zeros_like(self.matrix)
        for target, share, cut in zip(self.targets, self.shares, self.cuts, strict=True):
            total += times(target, share, cut)
        gap: NDArray[Any] = np.subtract(self.matrix, total, out=total)
        return gap

    def bound(self, work: CutWork) -> tuple[float, float]:
        """Lower bound on ``||Z - X||``, and what was taken off for rounding."""
        sums = [
            self._sums(target, share, cut, work)
            for target, share, cut in zip(self.targets, self.shares, self.cuts, strict=True)
        ]
        uneven = most_uneven(self.shares, self.cuts)
        return bound_from_cuts(sums, math.sqrt(_energy(self._gap())), math.sqrt(_energy(self.matrix)), uneven)

    def _sums(self, target: NDArray[Any], share: Shares, cut: Cut, work: CutWork) -> CutSums:
        trailing = math.fsum((share * work.trailing_energies(target, cut)).ravel())
        root = np.sqrt(share)
        return CutSums(trailing, _energy(times(target - self.matrix, root, cut)), _energy(times(target, root, cut)))

    def ascend(self, work: CutWork) -> None:
        """Make one step (2), (3), and move shares."""
        pull, captured = self.multiplier * (2 / COUPLING), []
        for number, cut in enumerate(self.cuts):
            self.targets[number], leading = work.shrink(self.targets[number] + pull, cut)
            captured.append(leading)
        self.multiplier += self._balance() * (COUPLING / 2)
        before, self.shares = self.shares, move_shares(self.shares, captured, self.cuts)
        for number, cut in enumerate(self.cuts):
            self.targets[number] = times(self.targets[number], before[number] / self.shares[number], cut)


def _energy(matrix: NDArray[Any]) -> float:
    return math.fsum(squared_norms(matrix))


def targets_from_residual(
    matrix: NDArray[Any], product: NDArray[Any], spaces: list[CutSpaces], work: CutWork, cuts: list[Cut]
) -> Targets:
    """Targets (1).

    Parameters
    ----------
    matrix, product : array, shape (m, n)
        Z, and a product X at which the error has no gradient.
    spaces : list of CutSpaces
        Ranges of the blocks of X at every cut.
    work : CutWork
        Works on blocks.
    cuts : list of Cut
        All cuts.
    """

    def normal_parts(of: NDArray[Any]) -> list[NDArray[Any]]:
        return [work.remove(of, cut, ranges) for cut, ranges in zip(cuts, spaces, strict=True)]

    def mean_of_normal_parts(of: NDArray[Any]) -> NDArray[Any]:
        total = np.zeros_like(of)
        for cut, ranges in zip(cuts, spaces, strict=True):
            total += work.remove(of, cut, ranges)
        return total / len(cuts)

    solution = _solve(mean_of_normal_parts, matrix - product)
    return Targets(matrix, cuts, [part + product for part in normal_parts(solution)], product.copy())


def _solve(apply: Any, right: NDArray[Any]) -> NDArray[Any]:
    """Solve by conjugate gradients, as far as that brings the residual down: the system may have no solution."""
    solution, residual = np.zeros_like(right), right.copy()
    direction, energy = residual.copy(), _energy(right)
    best, least, goal = solution.copy(), energy, RESIDUAL**2 * energy
    for _ in range(MOST_GRADIENTS):
        image = apply(direction)
        curvature = float(np.vdot(direction, image).real)
        if not curvature > 0:
            break
        length = energy / curvature
        solution += length * direction
        residual -= length * image
        before, energy = energy, _energy(residual)
        if energy < least:
            best, least = solution.copy(), energy
        elif energy > 4 * least:  # it has no solution
            break
        if energy <= goal:
            break
        direction = residual + (energy / before) * direction
    return best
