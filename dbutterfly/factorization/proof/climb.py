"""Raise the lower bound of a matrix until it is near enough to the error, time is over, or it stands still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...kernels.factors.cut_spaces import find_cut_spaces
from ...structure.chain import Chain, Cut
from ..stationary import Stationary
from .ascent import Targets, targets_from_residual
from .cut_work import CutWork
from .subject import cuts_of

__all__ = ["FROM_ASCENT", "FROM_RESIDUAL", "Climb", "Goal", "Keeper", "Outcome"]

FROM_RESIDUAL, FROM_CUTS, FROM_ASCENT = "residual", "single cuts", "ascent"
"""Whence the targets of a bound come."""

STEPS_BETWEEN_LOOKS = 4
"""Steps of the ascent between two evaluations of the bound, which take about half the time of a step each."""

STANDING_STILL = 0.01
"""Part of what is missing from the least error that a bound must gain from one look to the next, not to stand still.

Measured on eight Gaussian butterflies each of N = 32, 64 and 128 with noise .1: with 2 %, ratios stand still after 28
to 76 steps; with 1 %, after 36 to 80, and are 1 to 10 % nearer to one.
"""

NOTHING_LEFT = 1e-5
"""Part of the least error that sweeps come to, by which a bound may miss it that cannot rise any further. Not tuned."""

LOOKS_WITHOUT_GAIN = 2
"""Looks in a row with no such gain after which the bound is taken to stand still. Not tuned: the first steps may lower
it."""


class Goal(NamedTuple):
    """When to stop.

    Attributes
    ----------
    ratio : float
        Ratio of error to bound that is good enough.
    budget : float or None
        Seconds that it may take.
    """

    ratio: float
    budget: float | None = None


class Outcome(NamedTuple):
    """What has come of it.

    Attributes
    ----------
    bound, slack : float
        The best lower bound on ``||Z - X||``, and what was taken off for rounding.
    origin : str
        Whence its targets come.
    steps : int
        Steps of the ascent, with those of earlier sittings.
    ended : {"ratio", "budget", "standstill"}
        Why it has ended.
    """

    bound: float
    slack: float
    origin: str
    steps: int
    ended: str


class Keeper(Protocol):
    """Keeps the targets of an ascent for another sitting."""

    def load(self, matrix: NDArray[Any], cuts: list[Cut]) -> tuple[Targets, int] | None:
        """Targets of an earlier sitting, and the steps that led to them, if there are any."""

    def save(self, targets: Targets, steps: int) -> None:
        """Keep targets."""

    def save_now_and_then(self, targets: Targets, steps: int) -> None:
        """Keep targets, if it is some time since the last ones were."""


class Climb:
    """The way of a bound up to the error.

    Parameters
    ----------
    matrix : array, shape (m, n)
        The matrix Z.
    error : float
        Error of the factorization, with which the bound is compared.
    chain : Chain
        The chain.
    goal : Goal
        When to stop.
    watch : callable
        Called with the steps and the bound whenever that was evaluated.
    """

    def __init__(
        self,
        matrix: NDArray[Any],
        error: float,
        chain: Chain,
        goal: Goal,
        watch: Callable[[int, float], None],
    ) -> None:
        self._matrix, self._error, self._chain, self._goal, self._watch = matrix, error, chain, goal, watch
        self._cuts = cuts_of(chain)
        self._began = time.monotonic()
        self._least = error
        self._best = Outcome(0.0, 0.0, FROM_CUTS, 0, "standstill")
        self._steps = 0

    def run(self, start: Stationary, work: CutWork, keeper: Keeper) -> Outcome:
        """Raise the bound, from the product of a stationary point or from where an earlier sitting has come to."""
        self._least = min(self._error, start.errors[-1])
        kept = keeper.load(self._matrix, self._cuts)
        if kept is None:
            targets = self._first_targets(start, work)
        else:
            targets, self._steps = kept
            self._look(targets, work, FROM_ASCENT)
        ended = self._is_over
        try:
            ended = ended or self._ascend(targets, work, keeper)
        finally:
            if ended in ("", "budget"):  # interrupted, or to be continued
                keeper.save(targets, self._steps)
        return self._best._replace(steps=self._steps, ended=ended)

    def _first_targets(self, start: Stationary, work: CutWork) -> Targets:
        """Targets from the residual, or where these are worse, the matrix itself for every cut."""
        spaces = [find_cut_spaces(start.factors, self._chain, k) for k in range(1, len(self._chain))]
        targets = targets_from_residual(self._matrix, np.asarray(start.product)[0], spaces, work, self._cuts)
        found = self._look(targets, work, FROM_RESIDUAL)
        if self._is_over:
            return targets
        copies = [self._matrix.copy() for _ in self._cuts]
        plain = Targets(self._matrix, self._cuts, copies, np.asarray(start.product)[0].copy())
        return plain if self._look(plain, work, FROM_CUTS) > found else targets

    def _ascend(self, targets: Targets, work: CutWork, keeper: Keeper) -> str:
        """Make steps until one of the reasons to stop is there, and say which."""
        idle = 0
        while True:
            targets.ascend(work)
            self._steps += 1
            keeper.save_now_and_then(targets, self._steps)
            if self._steps % STEPS_BETWEEN_LOOKS and not self._is_out_of_time:
                continue
            before = self._best.bound
            self._look(targets, work, FROM_ASCENT)
            idle = 0 if self._best.bound - before > STANDING_STILL * (self._least - before) else idle + 1
            if idle == LOOKS_WITHOUT_GAIN:
                return self._is_over or "standstill"
            if ended := self._is_over:
                return ended

    def _look(self, targets: Targets, work: CutWork, origin: str) -> float:
        """Evaluate a bound, and keep it if it is the best one."""
        bound, slack = targets.bound(work)
        if bound > self._best.bound:
            self._best = self._best._replace(bound=bound, slack=slack, origin=origin)
        self._watch(self._steps, self._best.bound)
        return bound

    @property
    def _is_out_of_time(self) -> bool:
        return time.monotonic() - self._began >= (math.inf if self._goal.budget is None else self._goal.budget)

    @property
    def _is_over(self) -> str:
        """Why to stop; empty while there is no reason."""
        if self._error <= self._goal.ratio * self._best.bound:
            return "ratio"
        if self._least <= (1 + NOTHING_LEFT) * self._best.bound:
            return "standstill"
        return "budget" if self._is_out_of_time else ""
