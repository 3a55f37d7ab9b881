"""The account of all attempts of one search: the best outcome, who found it, and what each cut has seen at best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .attempts import Attempt, Outcome, Problem
from .cuts import Index
from .trees.exchanges import can_exchange
from .trees.neighbours import can_walk
from .verdict import count_parameters, free_parts, noise_levels, unevenness

__all__ = ["Ledger", "SolvedCut"]


@dataclass(frozen=True)
class Tuning:
    """Constants by which outcomes are compared.

    Attributes
    ----------
    same : float
        Relative difference of two errors, or noises, up to which they count as those of the same trees. Not tuned.
    rival : float
        Ratio of squared errors up to which different trees are rivals: a matrix may have several, and noise prefers
        some. In 1 of 20 Hadamard matrices with noise, the trees found first were 0.1 to 0.3 % worse than others.
    stands_out : float
        Ratio of the noise that two cuts see below which one of them stands out as solved. Not tuned by itself.
    signal : float
        Part of the energy up to which noise leaves a signal. Not tuned by itself.
    signal_side : float
        Side of a square matrix below which that part falls in proportion to the side, for in small matrices trees can
        be fitted to noise. Not tuned by itself.
    even : float
        Standard deviations of chance up to which cuts see the same noise. Not tuned by itself.
    """

    same: float = 1e-6
    rival: float = 1.02
    stands_out: float = 0.6
    signal: float = 0.5
    signal_side: float = 160.0
    even: float = 3.0


TUNING = Tuning()


class SolvedCut(NamedTuple):
    """Orders in which one cut sees the least noise so far.

    Attributes
    ----------
    noise : float
        Noise energy that explains what the cut leaves; infinite before the first attempt.
    rows, cols : ndarray of int64
        The orders.
    """

    noise: float
    rows: Index
    cols: Index


class Ledger:
    """Results of the attempts of one search.

    Parameters
    ----------
    problem : Problem
        What is looked for.
    shape : (int, int)
        Shape of the matrix.
    energy : float
        Its squared norm.
    exact : float
        Part of the energy below which a residual counts as none.
    is_flat : bool
        Whether the entries are of about equal modulus.

    Attributes
    ----------
    best : Outcome or None
        The outcome with the least error; None before the first attempt.
    best_is_geometry : bool
        Whether bisection found it.
    origins : set
        Independent starts that led to trees with the error of the best outcome: an attempt from nothing counts by
        itself, repairs count once for each cut that they kept. Kicks start from the best outcome and are no witnesses.
    rivals : int
        Outcomes whose error was a little above or below that of the best one at their time.
    attempts : int
        Number of attempts.
    stale : int
        Number of attempts since the last better one.
    walked : int
        Number of attempts that led to trees of about the least error, and compared these with their neighbours.
    weighed : int
        Number of attempts whose evidence was computed.
    evidence : float
        The greatest of these; infinite below where there is none.
    solved : list of SolvedCut
        For each cut, the orders in which it sees least noise.
    """

    def __init__(
        self, problem: Problem, shape: tuple[int, int], energy: float, exact: float, *, is_flat: bool = False
    ) -> None:
        self.problem, self.shape, self.energy, self._exact, self.is_flat = problem, shape, energy, exact, is_flat
        self.best: Outcome | None = None
        self.best_is_geometry = False
        self.origins: set[tuple[str, int]] = set()
        self.rivals = self.attempts = self.stale = self.weighed = self.walked = 0
        self.evidence = -math.inf
        none = np.empty(0, np.int64)
        self.solved = [SolvedCut(math.inf, none, none)] * len(problem.cuts)

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        """Account for an attempt."""
        origin = ("fresh", self.attempts) if attempt.solved is None else ("repaired", attempt.solved)
        origins = set() if attempt.kick else {origin}
        self.attempts += 1
        self.stale += 1
        if outcome.evidence is not None:
            self.weighed += 1
            self.evidence = max(self.evidence, outcome.evidence)
        for at, noise in enumerate(self._noise_of(outcome)):
            if noise < self.solved[at].noise * (1 - TUNING.same):
                self.solved[at] = SolvedCut(float(noise), outcome.rows, outcome.cols)
        self.walked += attempt.walks and outcome.error < attempt.exchange_below
        if self.best is not None and _are_rivals(outcome.error, self.best.error):
            self.rivals += 1
        if self.best is None or outcome.error < self.best.error * (1 - TUNING.same):
            self.best, self.origins, self.stale = outcome, origins, 0
            self.best_is_geometry = attempt.search is None and attempt.start is None
        elif outcome.error <= self.best.error * (1 + TUNING.same):
            self.origins |= origins

    @property
    def known_best(self) -> Outcome:
        """The best outcome of at least one attempt."""
        assert self.best is not None
        return self.best

    @property
    def noise(self) -> NDArray[np.float64]:
        """Noise energy, of the whole matrix, that each cut of the best outcome sees."""
        return self._noise_of(self.known_best)

    @property
    def spread(self) -> float:
        """Ratio of the noise that the cuts of the best outcome see: 1 where all see the same."""
        noise = self.noise
        return float(noise.max() / max(noise.min(), noise.max() * 1e-12))

    @property
    def is_even(self) -> bool:
        """Whether chance explains the differences of the noise that the cuts of the best outcome see."""
        return self.unevenness <= TUNING.even

    @property
    def unevenness(self) -> float:
        """Largest difference of the noise that two cuts of the best outcome see, in standard deviations of chance."""
        size = self.shape[0] * self.shape[1]
        lost, free = self.known_best.lost, size * free_parts(self.problem.cuts, self.shape)
        parameters = 0 if self.problem.chain is None else count_parameters(self.problem.chain)
        return unevenness(lost, free, size, parameters)

    @property
    def chance(self) -> float:
        """Relative standard deviation of the energy of noise: the square root of 2 over the number of entries."""
        return math.sqrt(2 / (self.shape[0] * self.shape[1]))

    @property
    def is_exact(self) -> bool:
        """Whether the best outcome leaves nothing but rounding errors."""
        return float(self.known_best.lost.max()) <= self._exact * self.energy

    @property
    def is_compared_by_product(self) -> bool:
        """Whether outcomes are compared by the error of the factorization, not by the residuals of the cuts."""
        return self.problem.chain is not None and can_exchange(self.shape)

    @property
    def walks(self) -> bool:
        """Whether attempts walk to neighbours of their trees.

        A matrix of entries of equal modulus may have many trees that are about as good, as a Hadamard matrix has. In
        others, rivals differ in rows that are near to the noise: walks between those of Gaussian butterflies of 32 x 32
        with noise .1 found nothing better that counts.
        """
        problem = self.problem
        return self.is_flat and problem.chain is not None and not problem.cols_known and can_walk(problem.cuts)

    @property
    def has_signal(self) -> bool:
        """Whether all cuts of the best outcome see much less than noise alone, which is all of the energy."""
        return float(self.noise.max()) < self.energy * self.signal

    @property
    def signal(self) -> float:
        """Part of the energy up to which noise leaves a signal."""
        side = math.sqrt(self.shape[0] * self.shape[1])
        return min(TUNING.signal, side / (TUNING.signal_side / TUNING.signal))

    @property
    def standing_out(self) -> int | None:
        """The cut that sees the least noise, if another one sees much more."""
        noise = [cut.noise for cut in self.solved]
        least = int(np.argmin(noise))
        return least if noise[least] < TUNING.stands_out * max(noise) else None

    def _noise_of(self, outcome: Outcome) -> NDArray[np.float64]:
        return noise_levels(outcome.lost, self.problem.cuts, self.shape)


def _are_rivals(one: float, other: float) -> bool:
    """Whether two errors are those of different trees that are about as good."""
    ratio = max(one, other) / max(min(one, other), 1e-300)
    return 1 + TUNING.same < ratio <= TUNING.rival
