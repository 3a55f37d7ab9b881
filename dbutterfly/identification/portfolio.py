"""The search for trees: rounds of attempts side by side, each round led by the cuts that stand out so far.

Attempts are independent calls; a round ends with the first one, in order, that settles the matter. So the result
depends on the seed and not on the number of workers.

The noise is the judge. Every cut that is right sees noise of the same size (:mod:`dbutterfly.identification.verdict`),
a cut that is wrong sees more: cuts that see the same little noise are right together, and where they do not, those that
see least are kept as the start of the next attempts. In small matrices chance makes some difference between cuts; there
the same trees must be found more than once, from different starts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from ..execution.calls import Calls
from .attempts import Attempt, Outcome, Problem, make_attempt
from .one_cut.solve import Search
from .trees.exchanges import LARGEST_EXCHANGED
from .verdict import noise_levels

__all__ = ["METHODS", "search_trees"]

METHODS = ("portfolio", "alternating", "pairing", "middle", "bisection")

PER_ROUND = 4
PATIENCE, LITTLE_PATIENCE = 30, 8
"""Attempts without a better result after which the search ends, and if what was found is little more than noise."""
ALPHAS = (1.0, 2.0, 4.0, 10.0)
SMALL, ENOUGH = 32, 24
"""Side up to which that many attempts are compared: noise prefers some of the trees that fit, and may prefer others."""
STANDS_OUT = 0.6
"""Ratio of noise between two cuts below which one of them stands out as solved."""
CLOSE = 1.15
"""Ratio of squared errors up to which an attempt may still become the best one."""
EXPLAINED = 0.02
"""Part of the energy up to which a geometry that explains the rest is not searched for further."""
RIVAL = 1.02
"""Ratio of squared errors up to which different trees are rivals: a matrix may have several, and noise prefers some."""
COMPARED = 6
"""Attempts that are compared where there are rivals."""
SAME = 1e-6


class _Progress:
    """What the attempts have found so far."""

    def __init__(self, problem: Problem, shape: tuple[int, int], energy: float, exact: float) -> None:
        self.problem, self._shape, self._energy, self._exact = problem, shape, energy, exact
        self.best: Outcome | None = None
        self.attempts = self.stale = 0
        self._origins: set[tuple[str, int]] = set()
        self._is_geometry = False
        self._rivals = 0
        none = np.empty(0, np.int64)
        self.pool = [(math.inf, none, none)] * len(problem.cuts)

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        """Account for an attempt."""
        origin = ("fresh", self.attempts) if attempt.solved is None else ("repaired", attempt.solved)
        self.attempts += 1
        self.stale += 1
        for at, noise in enumerate(noise_levels(outcome.lost, self.problem.cuts, self._shape)):
            if noise < self.pool[at][0] * (1 - SAME):
                self.pool[at] = (float(noise), outcome.rows, outcome.cols)
        if self.best is not None and _differ_little(outcome.error, self.best.error):
            self._rivals += 1
        if self.best is None or outcome.error < self.best.error * (1 - SAME):
            self.best, self._origins, self.stale = outcome, set() if attempt.kick else {origin}, 0
            self._is_geometry = attempt.search is None and attempt.start is None
        elif outcome.error <= self.best.error * (1 + SAME):
            self._origins |= set() if attempt.kick else {origin}  # what starts from the best is no witness of it

    def is_exact(self, outcome: Outcome) -> bool:
        """Whether an outcome leaves nothing but rounding errors."""
        return float(outcome.lost.max()) <= self._exact * self._energy

    @property
    def close(self) -> float:
        """Error below which it is worth while to exchange rows and columns; 0 at first."""
        if self.best is None or self.attempts < PER_ROUND - 1 or not self.has_signal:
            return 0.0
        return CLOSE * self.best.error

    @property
    def is_exchanged(self) -> bool:
        """Whether outcomes are compared by the error of the factorization."""
        return self.problem.chain is not None and max(self._shape) <= LARGEST_EXCHANGED

    @property
    def has_signal(self) -> bool:
        """Whether all cuts of the best outcome see much less than noise alone."""
        assert self.best is not None
        noise = noise_levels(self.best.lost, self.problem.cuts, self._shape)
        return float(noise.max()) < self._energy * min(0.5, math.sqrt(self._shape[0] * self._shape[1]) / 320)

    @property
    def settled(self) -> bool:
        """Whether there is no reason to go on."""
        assert self.best is not None
        if self.is_exact(self.best):
            return True
        noise = noise_levels(self.best.lost, self.problem.cuts, self._shape)
        if self._is_geometry and self.problem.cuts[0].rank > 1 and noise.max() <= EXPLAINED * self._energy:
            return True  # its cuts leave what the kernel does, which differs from cut to cut
        if max(self._shape) <= SMALL and self.attempts < ENOUGH:
            return False
        size = self._shape[0] * self._shape[1]
        spread = float(noise.max() / max(noise.min(), noise.max() * 1e-12))
        chance = math.sqrt(2 / size)
        signal = self.has_signal
        if signal and len(noise) > 1 and not self.best.ambiguous and spread <= 1.006 + 2 * chance:
            return not self.is_exchanged or self.attempts >= (COMPARED if self._rivals else 2)
        if len(self._origins) >= 2 and signal and spread <= 1.01 + 3 * chance:
            return True
        return len(self._origins) >= 3

    @property
    def standing_out(self) -> int | None:
        """The cut that sees the least noise, if others see much more."""
        noise = [entry[0] for entry in self.pool]
        least = int(np.argmin(noise))
        return least if noise[least] < STANDS_OUT * max(noise) else None


def search_trees(
    calls: Calls,
    problem: Problem,
    shape: tuple[int, int],
    energy: float,
    *,
    method: str,
    seed: int,
    budget: float | None,
    exact: float,
    flat: bool,
) -> tuple[Outcome, int]:
    """Search for the trees of a matrix.

    Parameters
    ----------
    calls : Calls
        Where attempts run.
    problem : Problem
        What is looked for.
    shape : (int, int)
        Shape of the matrix.
    energy : float
        Its squared norm.
    method : str
        Which attempts are made: of :data:`METHODS` all but "alternating".
    seed : int
        Of all random choices.
    budget : float or None
        Seconds after which no round is begun.
    exact : float
        Part of the energy below which a residual counts as none.
    flat : bool
        Whether the entries are of about equal modulus: then pairs tell more than clusters, and come first.

    Returns
    -------
    outcome : Outcome
        The best that was found.
    attempts : int
        How many were made.
    """
    progress = _Progress(problem, shape, energy, exact)
    until = math.inf if budget is None else time.monotonic() + budget
    rng = np.random.default_rng(seed)
    for round_ in _rounds(progress, method, rng, flat=flat):
        results = calls.in_order(make_attempt, round_)
        for attempt, outcome in zip(round_, results, strict=True):
            progress.add(attempt, outcome)
            if progress.settled or time.monotonic() > until:
                results.close()
                return _finish(calls, progress)
        if progress.stale > (PATIENCE if progress.has_signal else LITTLE_PATIENCE):
            break
    return _finish(calls, progress)


def _finish(calls: Calls, progress: _Progress) -> tuple[Outcome, int]:
    """The best outcome; with rows and columns exchanged by the error of the factorization, where there is noise."""
    best, problem = progress.best, progress.problem
    assert best is not None
    if problem.chain is not None and progress.has_signal and not progress.is_exact(best):
        keep = Attempt(problem, None, 0, (best.rows, best.cols), exchange_below=math.inf)
        (best,) = calls.in_order(make_attempt, [keep])
    return best, progress.attempts


def _rounds(progress: _Progress, method: str, rng: np.random.Generator, *, flat: bool) -> Iterator[Sequence[Attempt]]:
    """Rounds of attempts, each made when the one before has ended."""
    problem = progress.problem

    def fresh(search: Search | None) -> Attempt:
        return Attempt(problem, search, int(rng.integers(1 << 62)), exchange_below=progress.close)

    known = problem.cols_known
    middle = Search("middle", (1.0,), 1, cols_known=known)
    pairs = [Search(order, (), 0, 8) for order in ("right", "left")]
    simple = all(cut.rank == 1 for cut in problem.cuts) and not known
    if method == "bisection":
        yield [fresh(None)]
        return
    if method == "pairing":
        yield [fresh(search) for search in pairs]
    elif method == "middle":
        yield [fresh(middle)]
    elif not simple:
        yield [fresh(None), fresh(middle)]
    elif flat:
        yield [fresh(pairs[0]), fresh(pairs[1]), fresh(middle), fresh(None)]
    else:
        yield [fresh(middle)]
        if progress.standing_out is None:
            yield [*(fresh(search) for search in pairs), fresh(None)]
        else:
            yield [_repair(progress, rng), fresh(pairs[0]), _repair(progress, rng), fresh(pairs[1])]
    while True:
        thorough = progress.attempts > PER_ROUND
        drawn = fresh(_draw(rng, 15 if thorough else 1, known, method))
        repairs = [_repair(progress, rng) for _ in range(PER_ROUND - 1)]
        if progress.stale >= PER_ROUND and progress.close and progress.is_exchanged:
            repairs[-1] = _kick(progress, rng)
        yield [*repairs, drawn] if progress.standing_out is not None else [repairs[0], drawn, *repairs[1:]]


def _repair(progress: _Progress, rng: np.random.Generator) -> Attempt:
    """Keep the groups of one cut, rather one that sees little noise, and search the others anew."""
    noise = np.array([entry[0] for entry in progress.pool])
    least = max(float(noise.min()), float(noise.max()) * 1e-9, np.finfo(float).tiny)
    weights = np.exp(-20 * np.minimum(noise / least - 1, 30))
    at = int(rng.choice(noise.size, p=weights / weights.sum()))
    search = _draw(rng, int(rng.choice([1, 3, 5])), progress.problem.cols_known, "portfolio")
    start = progress.pool[at][1:]
    return Attempt(progress.problem, search, int(rng.integers(1 << 62)), start, at, progress.close)


def _differ_little(one: float, other: float) -> bool:
    """Whether two errors are those of different trees that are about as good."""
    ratio = max(one, other) / max(min(one, other), 1e-300)
    return 1 + SAME < ratio <= RIVAL


def _kick(progress: _Progress, rng: np.random.Generator) -> Attempt:
    """Exchange rows and columns of the best outcome at random, and then for the better."""
    assert progress.best is not None
    start = progress.best.rows, progress.best.cols
    return Attempt(progress.problem, None, int(rng.integers(1 << 62)), start, exchange_below=math.inf, kick=True)


def _draw(rng: np.random.Generator, shakes: int, cols_known: bool, method: str) -> Search:
    orders = {"middle": ["middle"], "pairing": ["left", "right"]}.get(method, ["middle", "middle", "left", "right"])
    alphas = tuple(float(alpha) for alpha in rng.permutation(ALPHAS)[: 1 + int(rng.integers(2))])
    return Search(str(rng.choice(orders)), alphas, shakes, 8, cols_known)
