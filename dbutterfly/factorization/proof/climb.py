"""Raise a lower bound until it is near enough to the error, time is over, or it stands still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .result import BUDGET, RATIO_REACHED, STANDSTILL

__all__ = ["FROM_ASCENT", "FROM_CUTS", "FROM_RESIDUAL", "Climb", "Climbing", "Goal", "Outcome"]

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
    deadline : float
        Time of the monotonic clock after which to stop.
    """

    ratio: float
    deadline: float = math.inf


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


class Climbing(Protocol):
    """Targets of every cut, wherever they are held, which can be moved and measured."""

    @property
    def steps(self) -> int:
        """Steps of the ascent that have led to the targets, in all sittings."""

    def ascend(self) -> bool:
        """Make a step; false where time was over before it was complete."""

    def bound(self) -> tuple[float, float]:
        """Lower bound on ``||Z - X||``, and what was taken off for rounding."""


class Climb:
    """The way of a bound up to the error.

    Parameters
    ----------
    error : float
        Error of the factorization, with which the bound is compared.
    least : float
        The least error that is known of; no bound is above it.
    goal : Goal
        When to stop.
    watch : callable
        Called with the steps and the best bound whenever one was evaluated.
    """

    def __init__(self, error: float, least: float, goal: Goal, watch: Callable[[int, float], None]) -> None:
        self._error, self._least, self._goal, self._watch = error, min(error, least), goal, watch
        self._best = Outcome(0.0, 0.0, FROM_CUTS, 0, "standstill")

    def look(self, targets: Climbing, origin: str) -> float:
        """Evaluate the bound of some targets, and keep it if it is the best one."""
        return self.consider(*targets.bound(), origin, targets.steps)

    def consider(self, bound: float, slack: float, origin: str, steps: int = 0) -> float:
        """Keep a bound if it is the best one."""
        if bound > self._best.bound:
            self._best = self._best._replace(bound=bound, slack=slack, origin=origin)
        self._watch(steps, self._best.bound)
        return bound

    def ascend(self, targets: Climbing) -> str:
        """Make steps until one of the reasons to stop is there, and say which."""
        idle = 0
        while not self.is_over:
            began = time.monotonic()
            if not targets.ascend():
                return BUDGET
            now = time.monotonic()
            is_last = now + (now - began) >= self._goal.deadline  # another step would not end in time
            if targets.steps % STEPS_BETWEEN_LOOKS and not is_last:
                continue
            before = self._best.bound
            self.look(targets, FROM_ASCENT)
            idle = 0 if self._best.bound - before > STANDING_STILL * (self._least - before) else idle + 1
            if idle == LOOKS_WITHOUT_GAIN:
                return self.is_over or STANDSTILL
            if is_last:
                return self.is_over or BUDGET
        return self.is_over

    def outcome(self, steps: int, ended: str) -> Outcome:
        """What has come of it, after so many steps."""
        return self._best._replace(steps=steps, ended=ended)

    def is_out_of_time(self) -> bool:
        """Whether the time that it may take is over."""
        return time.monotonic() >= self._goal.deadline

    @property
    def is_over(self) -> str:
        """Why to stop; empty while there is no reason."""
        if self._error <= self._goal.ratio * self._best.bound:
            return RATIO_REACHED
        if self._least <= (1 + NOTHING_LEFT) * self._best.bound:
            return STANDSTILL
        return BUDGET if self.is_out_of_time() else ""
