"""The search for trees: rounds of attempts side by side, each round led by the cuts that stand out so far.

Attempts are independent calls; a round ends with the first one, in order, that settles the matter
(:mod:`dbutterfly.identification.exit_rules`). So the result depends on the seed and not on the number of workers.

Where cuts see different noise, those that see least are kept as the start of the next attempts.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..execution.calls import Calls
from .attempts import Attempt, Outcome, Problem, make_attempt
from .exit_rules import is_hopeless, is_settled, is_small, is_worn_out
from .found import Found
from .ledger import Ledger
from .one_cut.solve import Search
from .trees.exchanges import can_exchange
from .trees.exhaustive import can_enumerate

__all__ = ["METHODS", "search_trees"]

METHODS = ("portfolio", "alternating", "pairing", "middle", "bisection")
"""Methods that a caller may name; "alternating" is a search of its own."""


@dataclass(frozen=True)
class Tuning:
    """Constants of the rounds.

    They were chosen together and not varied one by one: with all of them, 1450 of 1452 instances are found
    (``benchmarks/README.md``, "identification").

    Attributes
    ----------
    per_round : int
        Attempts of a round after the first ones; the most that are side by side.
    alphas : tuple of float
        Contrasts of the similarities from which attempts with random settings draw one or two.
    close : float
        Ratio of squared errors up to which an attempt may still become the best one by exchanges.
    shakes, thorough_shakes : int
        Times that such attempts shake a cut without a gain, before and after the first ``per_round`` attempts.
    repair_shakes : tuple of int
        Times from which repairs draw theirs.
    anchors : int
        Columns whose best partner is looked for by pairs.
    sharpness : float
        Repairs keep a cut with a probability of ``exp(-sharpness * (noise / least noise - 1))``, before scaling.
    """

    per_round: int = 4
    alphas: tuple[float, ...] = (1.0, 2.0, 4.0, 10.0)
    close: float = 1.15
    shakes: int = 1
    thorough_shakes: int = 15
    repair_shakes: tuple[int, ...] = (1, 3, 5)
    anchors: int = 8
    sharpness: float = 20.0


TUNING = Tuning()


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
) -> Found:
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
    Found
    """
    ledger = Ledger(problem, shape, energy, exact, is_flat=flat)
    if method != "bisection" and can_enumerate(problem.cuts, cols_known=problem.cols_known):
        (outcome,) = calls.in_order(make_attempt, [Attempt(problem, None, 0, enumerates=True)])
        return Found(outcome, 1, 1, 0)
    until = math.inf if budget is None else time.monotonic() + budget
    if method == "portfolio" and not flat and is_small(ledger) and _suits_pairs(problem):
        first = Ledger(problem, shape, energy, exact)
        if _settle_by_pairs(calls, first, np.random.default_rng(seed)):
            return _conclude(calls, first)
    strategy = Strategy(ledger, method, np.random.default_rng(seed), flat=flat)
    for attempts in strategy.rounds():
        results = calls.in_order(make_attempt, attempts)
        for attempt, outcome in zip(attempts, results, strict=True):
            ledger.add(attempt, outcome)
            if is_settled(ledger) or is_hopeless(ledger) or time.monotonic() > until:
                results.close()
                return _conclude(calls, ledger)
        if is_worn_out(ledger):
            break
    return _conclude(calls, ledger)


def _suits_pairs(problem: Problem) -> bool:
    """Whether trees may be grown from proportional pairs of rows or columns."""
    return all(cut.rank == 1 for cut in problem.cuts) and not problem.cols_known


def _settle_by_pairs(calls: Calls, ledger: Ledger, rng: np.random.Generator) -> bool:
    """Whether the trees that grow from pairs of columns, and those from pairs of rows, settle the matter.

    Of a small matrix with little noise they mostly do, in less time than a search by clusters takes. Where they do not,
    the search begins as if they had not been looked at: some of its attempts depend on what was found before.
    """
    strategy = Strategy(ledger, "portfolio", rng, flat=False)
    for make in (strategy.pair_cols, strategy.pair_rows):
        attempt = make()
        (outcome,) = calls.in_order(make_attempt, [attempt])
        ledger.add(attempt, outcome)
        if is_settled(ledger):
            return True
        if not (ledger.has_signal and ledger.is_even):
            return False
    return False


def _conclude(calls: Calls, ledger: Ledger) -> Found:
    return Found(_exchange_best(calls, ledger), ledger.attempts, len(ledger.origins), ledger.rivals)


def _exchange_best(calls: Calls, ledger: Ledger) -> Outcome:
    """The best outcome; where there is noise, with rows and columns exchanged by the error of the factorization."""
    best, problem = ledger.known_best, ledger.problem
    if problem.chain is None or not ledger.has_signal or ledger.is_exact:
        return best
    walks = ledger.walks and ledger.rivals > 0 and not ledger.walked  # after walks, no neighbour is better
    keep = Attempt(problem, None, 0, (best.rows, best.cols), exchange_below=math.inf, walks=walks)
    (exchanged,) = calls.in_order(make_attempt, [keep])
    return exchanged


class Strategy:
    """Which attempts are made next.

    Parameters
    ----------
    ledger : Ledger
        What the attempts have found so far.
    method : str
        Which attempts are made.
    rng : numpy.random.Generator
        For all choices.
    flat : bool
        Whether the entries are of about equal modulus.
    """

    def __init__(self, ledger: Ledger, method: str, rng: np.random.Generator, *, flat: bool) -> None:
        self._ledger, self._problem, self._method = ledger, ledger.problem, method
        self._rng, self._flat = rng, flat

    def rounds(self) -> Iterator[Sequence[Attempt]]:
        """Rounds of attempts, each made when the one before has ended."""
        yield from self._opening_rounds()
        while self._method != "bisection":
            yield self._later_round()

    def _opening_rounds(self) -> Iterator[Sequence[Attempt]]:
        """One attempt of each kind that suits the matrix, the most promising ones first."""
        if self._method == "bisection":
            yield [self.bisect()]
        elif self._method == "pairing":
            yield [self.pair_cols(), self.pair_rows()]
        elif self._method == "middle":
            yield [self.cluster()]
        elif not _suits_pairs(self._problem):
            yield [self.bisect(), self.cluster()]
        elif self._flat:
            yield [self.pair_cols(), self.pair_rows(), self.cluster(), self.bisect()]
        else:
            yield [self.cluster()]
            if self._ledger.has_signal and self._ledger.is_even:
                yield [self.cluster()]  # a second witness, where the first one tells of trees
            if self._ledger.standing_out is None:
                yield [self.pair_cols(), self.pair_rows(), self.bisect()]
            else:
                yield [self.repair(), self.pair_cols(), self.repair(), self.pair_rows()]

    def _later_round(self) -> Sequence[Attempt]:
        """Repairs of the cuts that see little noise, beside a new start; repairs first where a cut stands out."""
        ledger = self._ledger
        fresh = self.start_anew()
        repairs = [self.repair() for _ in range(TUNING.per_round - 1)]
        if ledger.stale >= TUNING.per_round and self._exchange_below and ledger.is_compared_by_product:
            repairs[-1] = self.kick()
        return [*repairs, fresh] if ledger.standing_out is not None else [repairs[0], fresh, *repairs[1:]]

    def bisect(self) -> Attempt:
        """Cut the geometry of shuffled points: the only attempt that finds the trees of kernels."""
        return self._attempt(None)

    def cluster(self) -> Attempt:
        """Cluster rows and columns at the middle cut and inside of its blocks: finds most butterfly matrices."""
        return self._attempt(Search("middle", (1.0,), 1, cols_known=self._problem.cols_known))

    def pair_cols(self) -> Attempt:
        """Grow trees from proportional pairs of columns: tells more than clusters where entries have equal moduli."""
        return self._attempt(Search("right", (), 0, TUNING.anchors))

    def pair_rows(self) -> Attempt:
        """Grow trees from proportional pairs of rows."""
        return self._attempt(Search("left", (), 0, TUNING.anchors))

    def start_anew(self) -> Attempt:
        """Search by random settings, with more effort after the first attempts: a witness by itself."""
        thorough = self._ledger.attempts > TUNING.per_round
        shakes = TUNING.thorough_shakes if thorough else TUNING.shakes
        return self._attempt(self._random_search(shakes, self._method))

    def repair(self) -> Attempt:
        """Keep the groups of one cut, rather one that sees little noise, and search the others anew."""
        noise = np.array([cut.noise for cut in self._ledger.solved])
        least = max(float(noise.min()), float(noise.max()) * 1e-9, np.finfo(float).tiny)
        weights = np.exp(-TUNING.sharpness * np.minimum(noise / least - 1, 30))
        at = int(self._rng.choice(noise.size, p=weights / weights.sum()))
        search = self._random_search(int(self._rng.choice(TUNING.repair_shakes)), "portfolio")
        solved = self._ledger.solved[at]
        return dataclasses.replace(self._attempt(search), start=(solved.rows, solved.cols), solved=at)

    def kick(self) -> Attempt:
        """Exchange rows and columns of the best outcome at random, and then for the better: leaves a local optimum."""
        best = self._ledger.known_best
        start = best.rows, best.cols
        return Attempt(self._problem, None, self._seed(), start, exchange_below=math.inf, kick=True)

    @property
    def _exchange_below(self) -> float:
        """Error below which it is worth while to exchange rows and columns.

        In a small matrix, where it costs little, this is done at once; else not before there is something to compare.
        """
        ledger = self._ledger
        if is_small(ledger) and (ledger.best is None or not ledger.has_signal):
            return ledger.energy * ledger.signal
        if ledger.best is None or not (is_small(ledger) or ledger.attempts >= TUNING.per_round - 1):
            return 0.0
        return TUNING.close * ledger.best.error if ledger.has_signal else 0.0

    def _attempt(self, search: Search | None) -> Attempt:
        weighs = (
            self._ledger.attempts >= TUNING.per_round
            and self._ledger.evidence <= 0
            and can_exchange(self._ledger.shape)
        )
        below, walks = self._exchange_below, self._ledger.walks
        return Attempt(self._problem, search, self._seed(), exchange_below=below, weighs=weighs, walks=walks)

    def _seed(self) -> int:
        return int(self._rng.integers(1 << 62))

    def _random_search(self, shakes: int, method: str) -> Search:
        """Random settings: which cut is solved first, and from which similarities."""
        rng = self._rng
        orders = {"middle": ["middle"], "pairing": ["left", "right"]}.get(method, ["middle", "middle", "left", "right"])
        alphas = tuple(float(alpha) for alpha in rng.permutation(TUNING.alphas)[: 1 + int(rng.integers(2))])
        return Search(str(rng.choice(orders)), alphas, shakes, TUNING.anchors, self._problem.cols_known)
