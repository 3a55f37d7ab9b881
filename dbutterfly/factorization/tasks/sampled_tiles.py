r"""Tiles of a matrix given by an entry function, of which a few columns and rows of every block are evaluated.

A block of rank r is known from about r of its columns and rows (:mod:`dbutterfly.kernels.low_rank.cross`), which are
evaluated for many blocks at a time (:mod:`dbutterfly.sources.block_entries`). A sample of further entries,
drawn apart from the pivots, tells the blocks of which these missed a part. They are evaluated in full, as are blocks so
small that it costs no more (:mod:`dbutterfly.sources.sample_sizes`). Only for them is anything proven: the
slack of the others is infinite, and their discarded energy is an estimate, from a second sample. It has no bias, as it
would with the first one: blocks that are left are those of which the first one showed no fault.

Choices at random depend on the seed and on the numbers of a block's groups, so that results do not depend on the tiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...execution.task import Inputs, Output
from ...kernels.backend import Array, Backend, namespace
from ...kernels.low_rank.cross import cross_grid, has_unseen_residual, sampled_residual
from ...kernels.low_rank.grid import low_rank_grid
from ...sources.block_entries import BlockEntries
from ...sources.entries_source import EntriesSource
from ...sources.sample_sizes import WORK_BYTES, Sizes
from ...structure.axes import Index, Tile
from ..block_stats import BlockStats
from ..job import FactorizationJob
from .checks import further_exponent, mark_nonzero, range_error
from .tiles import TiledTask

__all__ = ["SampledTileTask"]

TEMPORARIES = 4
"""Copies of the columns and rows of a block that its approximation holds at its peak."""

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo one, are spread evenly however many are taken."""


@dataclass(frozen=True)
class SampledTileTask(TiledTask):
    """Approximate each block of a tile from some of its entries.

    Attributes
    ----------
    tile : Tile
        The blocks.
    seed : int
        Seed of all choices at random.

    Notes
    -----
    It writes what :class:`dbutterfly.factorization.tasks.tiles.TileTask` writes where Z is read once. In ``stats``,
    energies of blocks that were not evaluated in full are estimates, and slacks infinite. It holds what it writes,
    ``WORK_BYTES`` (or what one block needs, if that is more), and a stack of blocks that are evaluated in full (at
    least one).
    """

    stage: ClassVar[str] = "tiles"
    kind: ClassVar[str] = "sampled tile"
    seed: int = 0

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:  # noqa: ARG002
        """Evaluate and approximate, part by part; refuse NaN and infinities."""
        r0, r1, c0, c1 = self.tile
        plan = job.plan
        sizes, dtype = Sizes(plan.rows.members, plan.cols.members, plan.ranks[-1]), np.dtype(plan.source.work_dtype)
        made = _Made.empty((r1 - r0, c1 - c0), sizes, len(plan.ranks), dtype)
        for part in _parts(self.tile, sizes, dtype.itemsize):
            here = (slice(part.r0 - r0, part.r1 - r0), slice(part.c0 - c0, part.c1 - c0))
            blocks = _Blocks(_block_entries(job, part), part, sizes, plan.ranks, self.seed, job.computing)
            try:
                blocks.fill(_Made(*(array[here] for array in made)))
            except np.linalg.LinAlgError:  # of products that have overflowed: the entries themselves are finite
                raise range_error(job, further_exponent(job)) from None
        if not np.isfinite(BlockStats.from_array(made.stats).energy).all():
            raise range_error(job, further_exponent(job))
        r, c = self.groups
        right = made.right.swapaxes(0, 1)
        return [Output("A", (r, c), made.left), Output("B", (c, r), right), Output("stats", (r, c), made.stats)]


class _Made(NamedTuple):
    """Results for the blocks of a tile, or views of them: left (G, H, k, p), right (G, H, k, v), stats (G, H, n)."""

    left: NDArray[Any]
    right: NDArray[Any]
    stats: NDArray[np.float64]

    @classmethod
    def empty(cls, groups: tuple[int, int], sizes: Sizes, ranks: int, dtype: np.dtype[Any]) -> _Made:
        """Make room."""
        left, right = (np.empty((*groups, sizes.rank, side), dtype) for side in (sizes.p, sizes.v))
        return cls(left, right, np.empty((*groups, 1 + 2 * ranks)))

    def put(self, at: Any, left: NDArray[Any], right: NDArray[Any], stats: BlockStats) -> None:
        """Put the approximations of some blocks, and their energies, in place."""
        mark_nonzero(left, stats.energy)
        self.left[at], self.right[at], self.stats[at] = left, right, stats.to_array()


@dataclass(frozen=True)
class _Blocks:
    """Blocks of a part of a tile, as many as are worked on at a time."""

    entries: BlockEntries
    part: Tile
    sizes: Sizes
    ranks: tuple[int, ...]
    seed: int
    backend: Backend

    def fill(self, made: _Made) -> None:
        """Approximate all blocks."""
        doubtful = np.ones(made.stats.shape[:2], np.bool_) if self.sizes.in_full else self._fill_sampled(made)
        self._fill_in_full(np.argwhere(doubtful), made)

    def _fill_sampled(self, made: _Made) -> NDArray[np.bool_]:
        """Approximate from columns and rows; which blocks these have missed."""
        (p, v, rank), count, host = self.sizes, self.sizes.rows, self.backend.to_host
        offset = self._uniform(_START, 1)
        priority = [self.backend.to_device((np.arange(side) * GOLDEN + offset) % 1) for side in (p, v)]
        found = cross_grid(
            lambda index: self.backend.to_device(self.entries.columns(host(index))),
            lambda index: self.backend.to_device(self.entries.rows(host(index))),
            self.backend.to_device(_in_strata((np.arange(count) * GOLDEN + offset) % 1, v)),
            (priority[0], priority[1]),
            rank=rank,
            count=count,
        )
        lost = has_unseen_residual(found, *sampled_residual(found, *self._sample(_DETECTION)))
        residual, _ = sampled_residual(found, *self._sample(_ESTIMATE))
        discarded, squares = host(residual) * (p * v), host(found.squares)
        of_ranks = np.stack([discarded + squares[..., r:].sum(axis=-1) for r in self.ranks], axis=-1)
        stats = BlockStats(discarded + squares.sum(axis=-1), of_ranks, np.full(of_ranks.shape, np.inf))
        made.put(..., host(found.left), host(found.right), stats)
        return host(lost)

    def _fill_in_full(self, blocks: NDArray[np.intp], made: _Made) -> None:
        """Evaluate all entries of some blocks, a stack of them at a time."""
        step = max(1, self.backend.stack_bytes // (self.sizes.p * self.sizes.v * made.left.itemsize))
        for first in range(0, len(blocks), step):
            g, h = blocks[first : first + step].T
            stack = self.backend.to_device(self.entries.whole(g, h)[:, None])
            dtype = getattr(namespace(stack), self.entries.entries.dtype.name)
            found = low_rank_grid(stack, self.ranks, dtype=dtype, stack_bytes=self.backend.stack_bytes)
            left, right, energy, discarded, slack = (self.backend.to_host(array)[:, 0] for array in found)
            made.put((g, h), left, right, BlockStats(energy.copy(), discarded, slack))

    def _sample(self, streams: tuple[int, int]) -> tuple[Array, Array, Array]:
        """Evaluate a sample: values (G, H, n, m), rows (G, 1, n) that peers share, columns (G, H, m) of each block.

        One row is drawn from each of n equal strata, so that all are as likely and lie apart; columns likewise.
        """
        n, m = self.sizes.sample
        groups = range(self.part.r0, self.part.r1)
        drawn = np.concatenate([_uniform(self.seed, streams[0], g, range(1), n) for g in groups])
        rows = np.floor((np.arange(n) + drawn) * self.sizes.p / n).astype(np.int64)
        cols = np.floor((np.arange(m) + self._uniform(streams[1], m)) * self.sizes.v / m).astype(np.int64)
        values, shared, own = map(self.backend.to_device, (self.entries.crossings(rows, cols), rows[:, None], cols))
        return values, shared, own

    def _uniform(self, stream: int, count: int) -> NDArray[np.float64]:
        """Random numbers of each block: shape (G, H, count)."""
        columns = range(self.part.c0, self.part.c1)
        return np.stack([_uniform(self.seed, stream, g, columns, count) for g in range(self.part.r0, self.part.r1)])


_START, _DETECTION, _ESTIMATE = 0, (1, 2), (3, 4)
"""Streams of random numbers: of rows and of columns for the two samples."""


def _uniform(seed: int, stream: int, group: int, peers: range, count: int) -> NDArray[np.float64]:
    """Random numbers of the blocks of a row group in a range of column groups: shape (len(peers), count).

    Philox makes four at each step of its counter, and can be put at any step.
    """
    steps = -(-count // 4)
    bits = np.random.Philox(key=[seed, group << 8 | stream], counter=peers.start * steps)
    return np.random.Generator(bits).random((len(peers), 4 * steps))[:, :count]


def _in_strata(fractions: NDArray[np.float64], size: int) -> Index:
    """Positions below ``size``, one in each of equal strata, at these fractions of them: all different."""
    edges = np.arange(fractions.shape[-1] + 1, dtype=np.int64) * size // fractions.shape[-1]
    found: Index = edges[:-1] + np.floor(fractions * np.diff(edges)).astype(np.int64)
    return found


def _parts(tile: Tile, sizes: Sizes, itemsize: int) -> Iterator[Tile]:
    """Cut a tile into parts of about as many row groups as column groups, which hold WORK_BYTES at a time."""
    held = TEMPORARIES * (sizes.columns * sizes.p + sizes.rows * sizes.v) * itemsize
    count = max(1, WORK_BYTES // held)
    height, width = tile.r1 - tile.r0, tile.c1 - tile.c0
    across = min(width, max(math.isqrt(count), count // height))
    down = max(1, count // across)
    for g, h in itertools.product(range(tile.r0, tile.r1, down), range(tile.c0, tile.c1, across)):
        yield Tile(g, min(g + down, tile.r1), h, min(h + across, tile.c1))


def _block_entries(job: FactorizationJob, part: Tile) -> BlockEntries:
    if not isinstance(job.source, EntriesSource):
        raise SourceError(
            f"{job.source.name} cannot be sampled where this task runs; sampled=True needs an entry function that can "
            "be sent to the workers, one defined at the top level of a module"
        )
    return BlockEntries.of_tile(job.source.entries, job.plan.rows, job.plan.cols, part)
