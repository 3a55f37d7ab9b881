"""A lower bound from all cuts of a matrix that memory holds once for every cut."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np

from ...execution.engine import Engine
from ...execution.progress import ProgressBar
from ...kernels.factors.hierarchy import multiply_stack
from ...sources.base import MatrixSource
from ..results.factorization import Factorization
from ..stationary import residual_energy_of, sweep_until_stationary
from .climb import FROM_ASCENT, FROM_RESIDUAL, Climb, Goal, Keeper
from .cut_work import CutWork
from .result import Proof, bound_error
from .subject import read_subject

__all__ = ["ORIGINS", "prove_in_memory", "say_how_far"]

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
        return Proof(0.0, 0.0, 0.0, 0.0, None, 0, "rounding", 0.0)
    given = multiply_stack(factors, found.chain, found.tree)
    error = math.sqrt(residual_energy_of(matrix[None], given)) / norm
    start = sweep_until_stationary(matrix[None], factors, found.chain, found.tree)
    least = start.errors[-1] / norm
    if least <= EXACT_UNITS * float(np.finfo(found.dtype).eps):
        return Proof(error, whole, 0.0, 0.0, None, 0, "rounding", least)
    bounded = bound_error(found, error)
    with ProgressBar(progress) as bar, engine.calls(np.empty((0, 0)), "proof") as calls:
        bar.start("proof", None, 0)
        watch = _watcher(bar, bounded, norm)
        climb = Climb(matrix, bounded * norm, found.chain, goal, watch)
        outcome = climb.run(start, CutWork(calls), keeper)
    bound, slack = outcome.bound / norm, outcome.slack / norm
    return Proof(error, whole, bound, slack, ORIGINS.get(outcome.origin), outcome.steps, outcome.ended, least)


def _watcher(bar: ProgressBar, error: float, norm: float) -> Callable[[int, float], None]:
    """What shows how far the bound has come, relative to the norm."""

    def watch(steps: int, bound: float) -> None:
        bar.advance(0)
        say_how_far(bar, steps, error, bound / norm)

    return watch


def say_how_far(bar: ProgressBar, steps: int, error: float, bound: float) -> None:
    """Show, or log, error, bound and ratio."""
    ratio = f"{error / bound:.6f}" if bound > 0 else "unknown"
    line = f"proof: step {steps}: error {error:.6g}, bound {bound:.6g}, ratio {ratio}"
    if not _log.isEnabledFor(logging.INFO):  # else the log shows it
        bar.say(line)
    _log.info(line, extra={"fields": {"event": "proof", "step": steps, "error": error, "bound": bound}})
