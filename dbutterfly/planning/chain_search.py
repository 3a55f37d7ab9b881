"""The search for the smallest chain that seems to reach a tolerance, by samples of the cuts that a chain may have.

Chains are ways through the cuts (:mod:`dbutterfly.planning.cut_graph`). For a series of thresholds, each cut has the
least rank that leaves no more than the threshold, and the shortest ways for these ranks are kept. Along each way, the
ranks grow one by one from ones upward (:func:`dbutterfly.structure.rank_choice.growing_ranks`), each cut with its own,
until the estimate is below the tolerance; the fewest values are taken.

First samples are small. The cuts of the smallest chain are sampled thoroughly, and the search begins again, until there
is nothing left to sample of the smallest one. What is known of a cut does not depend on the tolerance, nor does the
path of the ranks along a way: a larger tolerance takes no more values (six kernels, N = 256 and 512, 210 tolerances).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..sources.base import MatrixSource
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.point_orderings import PointOrderings
from ..structure.rank_choice import growing_ranks
from .cut_graph import CutGraph, Way
from .cut_samples import ENTRIES, THOROUGH, CutSample, sample_cut
from .expected_error import expected_error

__all__ = ["LARGEST_RANK", "USEFUL", "ChainSearch", "Found"]

SIDE = 64
"""Most rows and columns of a block that are read at first; twice as many where a higher rank may be worth it.
Not tuned by itself."""

SIDE_OF_THOROUGH = 128
"""The same where a cut is sampled thoroughly. Of 64 rows and columns of 128, the energy beyond rank 14 is a third of
what it should be (Hankel transform, N = 4096)."""

LARGEST_RANK = 64
"""Largest rank that is tried. Not tuned: it bounds the time of planning."""

USEFUL = 0.9
"""Part of the values of the matrix that a chain must stay below: of blocks of noise, all singular values but a few give
a small error at no gain. Not tuned."""

PER_DECADE = 4
"""Thresholds a decade, for which ways are looked for. Not tuned."""

LEAST_THRESHOLD = 1e-2
"""Least threshold, relative to the error that is looked for: what all cuts but one leave. Not tuned."""

WORTH_FOLLOWING = 1.5
"""Values of a way, relative to those of the cheapest for a threshold, up to which its ranks are chosen. Not tuned."""

HOPE = 0.5
"""Part of the energy beyond each rank that a cut is taken to leave until it is sampled thoroughly.

A first sample may be too high as well as too low: with 0.7 of the error, few cuts are passed over that are better than
they seem. Not tuned.
"""


class Found(NamedTuple):
    """The smallest chain for some error, or none.

    Attributes
    ----------
    chain : Chain or None
        The chain; None if none that is worth having seems to have an error that small.
    error : float
        Its estimated relative error; without a chain, the least one of all that are worth having.
    values : int
        Values of the chain; without one, those from which on a chain is not worth having.
    cuts : tuple of int
        Cuts of the chain, by their numbers in the graph.
    """

    chain: Chain | None
    error: float
    values: int
    cuts: tuple[int, ...]


class ChainSearch:
    """The search among the chains of some sides.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    orderings : Orderings or PointOrderings
        Orderings that bring it to standard order.
    graph : CutGraph
        The cuts that a chain may have.
    largest_block : float
        Most entries of a block; cuts with larger ones are left out.
    seed : int
        Seed of the choice of blocks.
    watch : callable, optional
        Called with the bytes of every cut that has been sampled.

    Attributes
    ----------
    blocks : int
        Blocks that were sampled.
    """

    def __init__(
        self,
        source: MatrixSource,
        orderings: Orderings | PointOrderings,
        graph: CutGraph,
        *,
        largest_block: float = math.inf,
        seed: int = 0,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self._largest_block = largest_block
        self._source, self._orderings, self._graph, self._seed, self._watch = source, orderings, graph, seed, watch
        self._samples: dict[int, CutSample] = {}
        self._sides: dict[int, int] = {}
        self._tails: dict[int, list[float]] = {}
        self._thorough: set[int] = set()
        self._energy = 0.0
        self._bytes_read = 0
        self.blocks = 0

    @property
    def most_values(self) -> int:
        """Values from which on a chain is not worth having."""
        return math.ceil(USEFUL * math.prod(self._source.shape))

    def sample(self, allowed: float) -> None:
        """Sample the cuts, until so many bytes have been read: first one cut of each size of blocks."""
        for cut in self._in_turn():
            if self._samples and self._bytes_read > allowed:
                break
            self._samples[cut] = self._sample(cut, SIDE)
        self._energy = float(np.mean([sample.energy for sample in self._samples.values()]))
        sampled = set(self._samples)
        for cut in self._in_turn():
            if (nearest := self._nearest(cut, sampled)) is not None:
                self._samples[cut] = self._samples[nearest]
                self._keep(cut)

    def find(self, goal: float) -> Found:
        """Find the smallest chain whose estimated error is at most ``goal``."""
        best = Found(None, math.inf, self.most_values, ())
        for way in self._ways(goal):
            tails = [self._tails[cut] for cut in way.cuts]
            for ranks in growing_ranks(tails, way.row_digits, way.col_digits):
                values = self._graph.count_values(way, ranks)
                if values >= best.values:
                    break
                error = expected_error(tails, ranks)
                if error <= goal:
                    chain = Chain.of_digits(way.row_digits, way.col_digits, ranks)
                    best = Found(chain, error, values, way.cuts)
                    break
                if best.chain is None:
                    best = best._replace(error=min(best.error, error))
        return best

    def look_closer(self, cuts: Sequence[int], allowed: float) -> bool:
        """Sample some cuts thoroughly; whether anything is known now that was not known before.

        Once so many bytes have been read, first samples are all that there will be: nothing more is hoped of them.
        """
        unsure = [cut for cut in cuts if cut not in self._thorough]
        for cut in unsure:
            if self._bytes_read > allowed:
                self._thorough.update(self._tails)
                for other in self._tails:
                    self._keep(other)
                break
            self._thorough.add(cut)
            self._samples[cut] = self._sample(cut, max(SIDE_OF_THOROUGH, self._sides.get(cut, SIDE)), THOROUGH)
            self._keep(cut)
        return bool(unsure)

    def look_further(self, goal: float, values: int, allowed: float) -> bool:
        """Sample cuts for higher ranks where a chain through them may have fewer values; whether there were any."""
        ranks, unsure = np.full(len(self._graph.cuts), math.inf), []
        for cut, tails in self._tails.items():
            if tails[-1] <= goal**2:
                ranks[cut] = _least_rank(tails, goal**2)
            elif not self._samples[cut].is_complete and len(tails) <= LARGEST_RANK:
                ranks[cut] = len(tails)
                unsure.append(cut)
        least = self._graph.least_values(ranks)
        worthy = [cut for cut in unsure if least[cut] < values and self._bytes_read <= allowed]
        for cut in worthy:
            entries = THOROUGH if cut in self._thorough else ENTRIES
            self._samples[cut] = self._sample(cut, 2 * self._sides.get(cut, SIDE), entries)
            self._keep(cut)
        return bool(worthy)

    def _sample(self, cut: int, side: int, entries: int = ENTRIES) -> CutSample:
        chain = self._graph.cut_chain(cut)
        found = sample_cut(self._source, self._orderings, chain, 1, side=side, entries=entries, seed=self._seed)
        self._sides[cut] = side
        if found.is_whole:
            self._thorough.add(cut)
        self._bytes_read += found.bytes_read
        self.blocks += found.blocks
        if self._watch is not None:
            self._watch(found.bytes_read)
        return found

    def _keep(self, cut: int) -> None:
        """Keep what its sample says of a cut, relative to the energy of the matrix."""
        sample = self._samples[cut]
        energy = sample.energy if sample.is_whole else self._energy
        hope = 1.0 if cut in self._thorough else HOPE
        tails = sample.tails[: LARGEST_RANK + 1] * (hope / energy if energy > 0 else 0.0)
        self._tails[cut] = tails.tolist()

    def _in_turn(self) -> list[int]:
        """Cuts in the order in which they are sampled: the middle ones of each size of blocks, then the next ones."""
        turns: dict[int, list[int]] = {}
        areas = [self._graph.area(cut) for cut in range(len(self._graph.cuts))]
        allowed = max(self._largest_block, min(areas))  # with one cut at least, the plan says what memory would do
        for cut in (cut for cut, area in enumerate(areas) if area <= allowed):
            turns.setdefault(self._size_of_blocks(cut), []).append(cut)
        ranked = [
            (place, abs(size), cut)
            for size, cuts in turns.items()
            for place, cut in enumerate(sorted(cuts, key=self._distance_from_middle))
        ]
        return [cut for *_, cut in sorted(ranked)]

    def _size_of_blocks(self, cut: int) -> int:
        return round(math.log2(self._graph.excess(cut)))

    def _distance_from_middle(self, cut: int) -> float:
        p, q = self._graph.cuts[cut]
        return abs(math.log(p * q) - math.log(math.prod(self._graph.shape)) / 2)

    def _nearest(self, cut: int, sampled: set[int]) -> int | None:
        """Find a cut that was sampled and has blocks of the same size, which stands for others; None if none does."""
        if cut in sampled:
            return cut
        alike = [other for other in sampled if self._size_of_blocks(other) == self._size_of_blocks(cut)]
        at = self._distance_from_middle(cut)
        return min(alike, key=lambda other: (abs(self._distance_from_middle(other) - at), other), default=None)

    def _ways(self, goal: float) -> Iterator[Way]:
        """Ways that are short for one of the thresholds, each once."""
        seen = set()
        highest = math.floor(PER_DECADE * math.log10(goal))  # thresholds are the same for all tolerances
        for step in range(highest, highest + round(PER_DECADE * math.log10(LEAST_THRESHOLD)), -1):
            threshold = 10.0 ** (step / PER_DECADE)
            ranks = np.full(len(self._graph.cuts), math.inf)
            for cut, tails in self._tails.items():
                ranks[cut] = _least_rank(tails, threshold**2)
            ways = list(self._graph.ways(ranks))
            least = min((values for values, _ in ways), default=math.inf)
            for values, way in ways:
                if values <= WORTH_FOLLOWING * least and way.cuts not in seen:
                    seen.add(way.cuts)
                    yield way


def _least_rank(tails: Sequence[float], allowed: float) -> float:
    """Least rank, from one on, beyond which there is no more energy than is allowed; infinite if there is none."""
    return next((float(rank) for rank in range(1, len(tails)) if tails[rank] <= allowed), math.inf)
