"""A lower bound from all cuts of a matrix that memory holds once for every cut."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.engine import Engine
from ...execution.progress import ProgressBar
from ...kernels.factors.cut_spaces import find_cut_spaces
from ...kernels.factors.hierarchy import multiply_stack
from ...sources.base import MatrixSource
from ...structure.chain import Chain
from ..results.factorization import Factorization
from ..stationary import Stationary, residual_energy_of, sweep_until_stationary
from .ascent import Targets, targets_from_residual
from .climb import FROM_ASCENT, FROM_CUTS, FROM_RESIDUAL, Climb, Goal, Outcome
from .cut_work import CutWork
from .keeping import Keeper
from .result import BUDGET, ROUNDING, Proof, bound_error
from .subject import cuts_of, read_subject

__all__ = ["EXACT_UNITS", "ORIGINS", "prove_in_memory", "say_how_far"]

EXACT_UNITS = 64
"""Units in the last place of the norm below which an error is rounding, of which there is no least one to prove."""

ORIGINS = {FROM_RESIDUAL: "all cuts, by the residual", FROM_ASCENT: "all cuts, by ascent"}
"""What a certificate says of the origin of its lower bound; bounds of single cuts are the run's own."""

_log = logging.getLogger("dbutterfly")


def prove_in_memory(
    found: Factorization, source: MatrixSource, engine: Engine, goal: Goal, keeper: Keeper, *, progress: bool
) -> Proof:
    """Raise the lower bound by targets that are held in memory.

    Parameters
    ----------
    found : Factorization
        The factorization.
    source : MatrixSource
        The matrix, with the weights of the factorization.
    engine : Engine
        Where blocks are worked on.
    goal : Goal
        When to stop.
    keeper : Keeper
        Keeps targets for another sitting.
    progress : bool
        Whether to show how far the bound has come.
    """
    subject = read_subject(found, source, engine)
    matrix, norm, factors = subject.matrix, subject.norm, subject.factors
    whole = math.ldexp(norm, subject.exponent)
    if norm == 0:
        return Proof(0.0, 0.0, 0.0, 0.0, None, 0, ROUNDING, 0.0)
    given = multiply_stack(factors, found.chain, found.tree)
    error = math.sqrt(residual_energy_of(matrix[None], given)) / norm
    start = sweep_until_stationary(matrix[None], factors, found.chain, found.tree)
    least = start.errors[-1] / norm
    if least <= EXACT_UNITS * float(np.finfo(found.dtype).eps):
        return Proof(error, whole, 0.0, 0.0, None, 0, ROUNDING, least)
    bounded = bound_error(found, error)
    with ProgressBar(progress) as bar, engine.calls(np.empty((0, 0)), "proof") as calls:
        bar.start("proof", None, 0)

        def watch(steps: int, bound: float) -> None:
            bar.advance(0)
            say_how_far(bar, steps, bounded, bound / norm)

        climb = Climb(bounded * norm, start.errors[-1], goal, watch)
        outcome = _HeldTargets(matrix, found.chain, CutWork(calls), keeper).climb(climb, start)
    bound, slack = outcome.bound / norm, outcome.slack / norm
    return Proof(error, whole, bound, slack, ORIGINS.get(outcome.origin), outcome.steps, outcome.ended, least)


class _HeldTargets:
    """Targets in memory, with what works on them and keeps them.

    Parameters
    ----------
    matrix : array, shape (m, n)
        The matrix Z.
    chain : Chain
        The chain.
    work : CutWork
        Works on blocks.
    keeper : Keeper
        Keeps targets for another sitting.
    """

    def __init__(self, matrix: NDArray[Any], chain: Chain, work: CutWork, keeper: Keeper) -> None:
        self._matrix, self._chain, self._work, self._keeper = matrix, chain, work, keeper
        self._cuts = cuts_of(chain)
        self._targets: Targets
        self.steps = 0

    def climb(self, climb: Climb, start: Stationary) -> Outcome:
        """Raise the bound, from the product of a stationary point or from where an earlier sitting has come to."""
        kept = self._keeper.load(self._matrix, self._cuts)
        if kept is None:
            self._choose_first(climb, start)
        else:
            self._targets, self.steps = kept
            climb.look(self, FROM_ASCENT)
        ended = ""
        try:
            ended = climb.ascend(self)
        finally:
            if ended in ("", BUDGET):  # interrupted, or to be continued
                self._keeper.save(self._targets, self.steps)
        return climb.outcome(self.steps, ended)

    def ascend(self) -> bool:
        """Make a step."""
        self._targets.ascend(self._work)
        self.steps += 1
        self._keeper.save_now_and_then(self._targets, self.steps)
        return True

    def bound(self) -> tuple[float, float]:
        """Lower bound on ``||Z - X||``, and what was taken off for rounding."""
        return self._targets.bound(self._work)

    def _choose_first(self, climb: Climb, start: Stationary) -> None:
        """Take the targets from the residual, or where these are worse, the matrix itself for every cut."""
        product = np.asarray(start.product)[0]
        spaces = [find_cut_spaces(start.factors, self._chain, k) for k in range(1, len(self._chain))]
        self._targets = by_residual = targets_from_residual(self._matrix, product, spaces, self._work, self._cuts)
        found = climb.look(self, FROM_RESIDUAL)
        if climb.is_over:
            return
        self._targets = Targets(self._matrix, self._cuts, [self._matrix.copy() for _ in self._cuts], product.copy())
        if climb.look(self, FROM_CUTS) <= found:
            self._targets = by_residual


def say_how_far(bar: ProgressBar, steps: int, error: float, bound: float) -> None:
    """Show, or log, error, bound and ratio."""
    ratio = f"{error / bound:.6f}" if bound > 0 else "unknown"
    line = f"proof: step {steps}: error {error:.6g}, bound {bound:.6g}, ratio {ratio}"
    if not _log.isEnabledFor(logging.INFO):  # else the log shows it
        bar.say(line)
    _log.info(line, extra={"fields": {"event": "proof", "step": steps, "error": error, "bound": bound}})
