"""Read a tile of the matrix and split its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Inputs, Output, Task
from ...kernels.backend import namespace
from ...kernels.linalg import squared_norms
from ...kernels.low_rank.grid import low_rank_grid
from ...sources.base import MatrixSource
from ...structure.axes import Index, Tile
from ..block_stats import BlockStats
from ..job import FactorizationJob
from .checks import check_finite, mark_nonzero

__all__ = ["TileReader", "TileTask", "TiledTask", "WholeTask", "inverse_order", "take_in_order", "tile_label"]


WHOLE = Tile(0, 1, 0, 1)


@dataclass(frozen=True)
class TiledTask(Task[FactorizationJob]):
    """A task on the blocks of a tile."""

    kind: ClassVar[str]
    tile: Tile

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return tile_label(self.kind, self.tile)

    @property
    def groups(self) -> tuple[slice, slice]:
        """Row groups and column groups of the tile."""
        return slice(self.tile.r0, self.tile.r1), slice(self.tile.c0, self.tile.c1)


@dataclass(frozen=True)
class TileReader(TiledTask):
    """A task that reads a tile of Z, or of its copy in another order."""

    def source_of(self, job: FactorizationJob) -> MatrixSource:
        """The matrix or its copy."""
        return job.tile_source

    def read_source(self, job: FactorizationJob) -> Inputs:
        """Read the tile."""
        return {"grid": job.tile_source.read(job.plan.rows, job.plan.cols, self.tile)}

    def bytes_read(self, job: FactorizationJob) -> int:
        """Bytes of the chunks that the tile touches."""
        return job.tile_source.bytes_touched(job.plan.rows, job.plan.cols, self.tile)

    def inspect(self, job: FactorizationJob, inputs: Inputs) -> int:
        """Compare the tile with the sample, unless the copy that it comes from was compared already."""
        if job.plan.copy is not None:
            return 0
        return job.inspect(inputs["grid"], job.plan.rows, job.plan.cols, self.tile)


@dataclass(frozen=True)
class TileTask(TileReader):
    """Read a tile of Z and split each of its blocks."""

    stage: ClassVar[str] = "tiles"
    kind: ClassVar[str] = "tile"
    uploads: ClassVar[tuple[str, ...]] = ("grid",)

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Approximate each block; refuse NaN and infinities."""
        grid, backend = inputs["grid"], job.computing
        device = backend.to_device(grid)
        xp = namespace(device)
        dtype = getattr(xp, job.plan.source.work_dtype)
        found = low_rank_grid(
            device, job.plan.ranks, dtype=dtype, stack_bytes=backend.stack_bytes, compiled=job.compiled
        )
        stats = np.array(backend.to_host(BlockStats(found.energy, found.discarded, found.slack).to_array()))
        check_finite(job, grid, self.tile, stats)
        mark_nonzero(grid, BlockStats.from_array(stats).energy)
        rows, cols = job.plan.rows, job.plan.cols
        r, c = self.groups
        left = take_in_order(backend.to_host(found.left), rows.member_order, axis=3)
        outputs = [Output("A", (r, c), left), Output("stats", (r, c), stats)]
        if job.plan.passes == 1:  # else B is what the second read gives, over which a tile done again must not write
            right = take_in_order(backend.to_host(found.right), cols.member_order, axis=3)
            outputs.append(Output("B", (c, r), right.swapaxes(0, 1)))
        return outputs


@dataclass(frozen=True)
class WholeTask(TileReader):
    """Take the matrix itself as the factor of a chain of one pattern."""

    stage: ClassVar[str] = "tiles"
    tile: Tile = WHOLE

    @property
    def label(self) -> str:
        """Name."""
        return "copy of the matrix"

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Check and convert."""
        values = inputs["grid"].astype(job.plan.source.work_dtype)
        energy = np.sum(squared_norms(values), axis=-1)
        check_finite(job, inputs["grid"], WHOLE, energy)
        mark_nonzero(inputs["grid"], energy)
        nothing = np.zeros((*energy.shape, 1))
        stats = BlockStats(energy, nothing, nothing).to_array()
        span = (slice(0, 1),)
        return [Output("left/0", span, values[0].reshape(1, *job.plan.chain.patterns[0])), Output("stats", span, stats)]


def tile_label(kind: str, tile: Tile) -> str:
    """Name of a tile in messages: its row groups and its column groups."""
    return f"{kind} (row groups {tile.r0}..{tile.r1 - 1}, column groups {tile.c0}..{tile.c1 - 1})"


def take_in_order(array: NDArray[Any], order: Index | None, axis: int) -> NDArray[Any]:
    """Entries along an axis in an order; None leaves them as they are."""
    return array if order is None else np.take(array, order, axis=axis)


def inverse_order(order: Index | None) -> Index | None:
    """Order that undoes another one."""
    return None if order is None else np.argsort(order)
