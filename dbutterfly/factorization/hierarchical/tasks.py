"""The tasks of a hierarchical run: take a panel apart, and fit the blocks of a region."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...execution.collection import without_collection
from ...execution.task import Inputs, Output, Task
from ...planning.bands import BandCopy
from ...planning.hierarchical_plan import HierarchicalPlan
from ...planning.pieces import Positions
from ...sources.base import MatrixSource
from ...sources.entries_source import EntriesSource
from ...sources.exponents import exponent_of, largest_energy
from ...structure.axes import Axis, Index, Tile
from ...structure.block_tree import Block
from ..tasks.checks import first_bad_entry, further_exponent, range_error
from .band_pieces import keep_strip, read_piece
from .compress import compress_region
from .encoding import encode_blocks
from .fitted import FittedBlock
from .job import PANELS, REGIONS, HierarchicalJob, region_outputs, settings_of
from .rows import STRIP, join_beside, read_row, row_buffer
from .sample import sample_region
from .strips import Strip, merge_bands

__all__ = ["PanelTask", "RegionTask", "tasks_of"]


@dataclass(frozen=True)
class PanelTask(Task[HierarchicalJob]):
    """Read a panel of whole chunks, and write what it has of each region."""

    stage: ClassVar[str] = PANELS
    number: int
    panel: Tile

    @property
    def label(self) -> str:
        """Name with the range covered."""
        r0, r1, c0, c1 = self.panel
        return f"panel of rows {r0}..{r1 - 1}, columns {c0}..{c1 - 1}"

    def source_of(self, job: HierarchicalJob) -> MatrixSource:
        """The matrix."""
        return job.source

    def read_source(self, job: HierarchicalJob) -> Inputs:
        """Read the panel."""
        assert job.plan.copy is not None
        return {"grid": job.source.read(job.plan.copy.rows, job.plan.copy.cols, self.panel)}

    def bytes_read(self, job: HierarchicalJob) -> int:
        """Bytes of the chunks that the panel touches."""
        assert job.plan.copy is not None
        return job.source.bytes_touched(job.plan.copy.rows, job.plan.copy.cols, self.panel)

    def inspect(self, job: HierarchicalJob, inputs: Inputs) -> int:
        """Compare the panel with the sample, and take its digest."""
        assert job.plan.copy is not None
        return job.inspect(inputs["grid"], job.plan.copy.rows, job.plan.copy.cols, self.panel)

    def compute(self, job: HierarchicalJob, inputs: Inputs) -> list[Output]:
        """Put rows and columns in the order of the clusters, and cut the panel at the regions."""
        plan, copy = job.plan, job.plan.copy
        assert copy is not None
        values = _check_finite(job, inputs["grid"], copy.rows, copy.cols, self.panel)
        if isinstance(copy, BandCopy):
            pieces = copy.by_panel.get(self.number, ())
            return [keep_strip(copy, piece, values, settings_of(plan)) for piece in pieces]
        rows, cols = copy.sides(self.number)
        pieces = copy.by_panel.get(self.number, ())
        places = [_place_of(plan.tiles[piece.region], rows, cols) for piece in pieces]
        outputs = [row_buffer("pieces", piece.number, piece.entries, copy.chunk, values.dtype) for piece in pieces]
        parts = [
            output.values[0, : piece.entries].reshape(place[0].stop - place[0].start, -1)
            for output, piece, place in zip(outputs, pieces, places, strict=True)
        ]
        for some, strip in _strips(values, rows.order, cols.order):
            for (own, across), part in zip(places, parts, strict=True):
                first, last = max(own.start, some.start), min(own.stop, some.stop)
                if first < last:
                    part[first - own.start : last - own.start] = strip[first - some.start : last - some.start, across]
        return outputs


@dataclass(frozen=True)
class RegionTask(Task[HierarchicalJob]):
    """Read a region, and fit its blocks."""

    stage: ClassVar[str] = REGIONS
    number: int
    region: Block
    tile: Tile

    @property
    def label(self) -> str:
        """Name with the range covered."""
        r0, r1, c0, c1 = self.tile
        return f"region {self.number} of positions {r0}..{r1 - 1}, {c0}..{c1 - 1}"

    def source_of(self, job: HierarchicalJob) -> MatrixSource | None:
        """The matrix; None where its copy is read."""
        return job.source if job.plan.copy is None else None

    def read_source(self, job: HierarchicalJob) -> Inputs:
        """Read the region."""
        plan = job.plan
        if plan.copy is not None:
            return {}
        return {"grid": _read_region(job.source, plan.rows, plan.cols, self.tile)}

    def bytes_read(self, job: HierarchicalJob) -> int:
        """Bytes of the chunks that the region touches."""
        return job.source.bytes_touched(job.plan.rows, job.plan.cols, self.tile) if job.plan.copy is None else 0

    def inspect(self, job: HierarchicalJob, inputs: Inputs) -> int:
        """Compare the region with the sample, and take its digest."""
        return job.inspect(inputs["grid"], job.plan.rows, job.plan.cols, self.tile) if "grid" in inputs else 0

    def read_workspace(self, job: HierarchicalJob) -> Inputs:
        """Read the pieces of the region, and put them together."""
        return {} if job.plan.copy is None else {"region": _join_pieces(job, self.number)}

    def compute(self, job: HierarchicalJob, inputs: Inputs) -> list[Output]:
        """Fit the blocks; refuse NaN and infinities."""
        plan = job.plan
        values = inputs.get("region")
        if values is None:
            values = _check_finite(job, inputs["grid"], plan.rows, plan.cols, self.tile)
        blocks = compress_region(values, *plan.trees, self.region, settings_of(plan), job.computing)
        _check_range(job, blocks)
        return region_outputs(plan, self.number, *encode_blocks(blocks, plan.source.work_dtype, 0))


@dataclass(frozen=True)
class StripTask(RegionTask):
    """Fit the blocks of a strip, of which panels have kept the far parts at low rank."""

    def read_workspace(self, job: HierarchicalJob) -> Inputs:
        """Read the pieces of the strip."""
        copy = job.plan.copy
        assert isinstance(copy, BandCopy)
        return {str(piece.number): read_piece(job.workspace, copy, piece) for piece in copy.by_region[self.number]}

    def compute(self, job: HierarchicalJob, inputs: Inputs) -> list[Output]:
        """Fit the blocks."""
        plan, copy, settings = job.plan, job.plan.copy, settings_of(job.plan)
        assert isinstance(copy, BandCopy)
        pieces = [inputs.pop(str(piece.number)) for piece in copy.by_region[self.number]]
        bands = merge_bands(copy, self.number, pieces, settings)
        del pieces  # before blocks are fitted
        with without_collection():
            blocks = Strip(bands, copy.levels, *plan.trees, self.region, settings, job.computing).fit(self.region)
            _check_range(job, blocks)
            return region_outputs(plan, self.number, *encode_blocks(blocks, plan.source.work_dtype, 0))


@dataclass(frozen=True)
class SampledRegionTask(RegionTask):
    """Fit the blocks of a region of an entry function, of which a part of the entries is evaluated."""

    def read_source(self, job: HierarchicalJob) -> Inputs:  # noqa: ARG002
        """Nothing: what is evaluated depends on what was."""
        return {}

    def bytes_read(self, job: HierarchicalJob) -> int:  # noqa: ARG002
        """None: entries are counted."""
        return 0

    def compute(self, job: HierarchicalJob, inputs: Inputs) -> list[Output]:  # noqa: ARG002
        """Evaluate and fit; refuse NaN and infinities."""
        plan = job.plan
        blocks, evaluated = sample_region(_take_of(job), *plan.trees, self.region, settings_of(plan))
        _check_range(job, blocks)
        return region_outputs(plan, self.number, *encode_blocks(blocks, plan.source.work_dtype, evaluated))


def tasks_of(plan: HierarchicalPlan) -> dict[str, Sequence[Task[HierarchicalJob]]]:
    """Tasks of each stage, in the order of the stages."""
    regions = zip(plan.regions, plan.tiles, strict=True)
    kind = SampledRegionTask if plan.source.sampled else RegionTask
    if isinstance(plan.copy, BandCopy):
        kind = StripTask
    stages: dict[str, Sequence[Task[HierarchicalJob]]] = {
        PANELS: [PanelTask(number, panel) for number, panel in enumerate(plan.panels)],
        REGIONS: [kind(number, region, tile) for number, (region, tile) in enumerate(regions)],
    }
    return {stage: stages[stage] for stage in plan.tasks}


def _read_region(source: MatrixSource, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
    """Read a region as a grid of entries; of what is not stored in chunks, its entries alone."""
    if source.edges[0] is None and source.edges[1] is None and (rows.index is not None or cols.index is not None):
        return source.take(rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1))[:, :, None, None]
    return source.read(rows, cols, tile)


def _check_finite(job: HierarchicalJob, grid: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
    """Entries of a tile in the dtype of the computation, which are finite, and so are sums of their squares."""
    values, dtype = grid[:, :, 0, 0], job.plan.source.work_dtype
    if values.dtype == dtype and values.flags.c_contiguous and _is_small(values, largest_energy(dtype)):
        return values
    parts = (values.real, values.imag) if values.dtype.kind == "c" else (values,)
    ends = [float(end(part)) for part in parts for end in (np.min, np.max)]
    largest = float(np.max(np.abs(ends)))  # NaN where there is one
    if not math.isfinite(largest):
        bad = first_bad_entry(grid, rows, cols, tile)
        assert bad is not None
        raise job.source.non_finite_error(bad)
    if largest * math.sqrt(len(parts) * values.size) >= math.sqrt(largest_energy(dtype)):
        raise range_error(job, job.source.exponent + exponent_of(largest))
    return values.astype(dtype, copy=False)


def _is_small(values: NDArray[Any], limit: float) -> bool:
    """Whether one pass over entries tells that they are finite, and sums of their squares below a limit."""
    real = values.view(values.real.dtype).reshape(-1)
    squares = float(np.dot(real, real))  # NaN where there is one; at least the largest square, but for its rounding
    return 2 * squares * real.size < limit


def _place_of(tile: Tile, rows: Positions, cols: Positions) -> tuple[slice, slice]:
    """Rows and columns of a panel, in the order of the clusters, that a region has."""
    return rows.within(tile.r0, tile.r1), cols.within(tile.c0, tile.c1)


def _strips(values: NDArray[Any], rows: Index, cols: Index) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Rows and columns in another order, some rows at a time, so that they stay in the cache; they share one memory."""
    strip = np.empty((min(STRIP, rows.size), cols.size), values.dtype)
    for first in range(0, rows.size, STRIP):
        some = slice(first, min(first + STRIP, rows.size))
        yield some, np.take(values[rows[some]], cols, axis=1, out=strip[: some.stop - first], mode="clip")


def _join_pieces(job: HierarchicalJob, region: int) -> NDArray[Any]:
    """Entries of a region from its pieces: those of the same rows are put side by side, and their columns in order."""
    plan, copy = job.plan, job.plan.copy
    assert copy is not None
    r0, r1, c0, c1 = plan.tiles[region]
    joined = np.empty((r1 - r0, c1 - c0), plan.source.work_dtype)
    for pieces in copy.abreast(region):
        sides = [copy.sides(piece.panel) for piece in pieces]
        at = sides[0][0].positions(r0, r1) - r0
        parts = [
            read_row(job.workspace, "pieces", piece.number, piece.entries, copy.chunk).reshape(at.size, -1)
            for piece in pieces
        ]
        order = np.argsort(np.concatenate([cols.positions(c0, c1) for _, cols in sides]))
        join_beside(joined, at, parts, order)
    return joined


def _take_of(job: HierarchicalJob) -> Callable[[Index, Index], NDArray[Any]]:
    """What evaluates entries of a function at positions, and refuses those that are not finite."""
    source, orders = job.source, [tree.order for tree in job.plan.trees]
    if not isinstance(source, EntriesSource):
        raise SourceError(
            f"{source.name} cannot be sampled where this task runs; sampled=True needs an entry function that can be "
            "sent to the workers, one defined at the top level of a module"
        )

    def take(*positions: Index) -> NDArray[Any]:
        at = [side if order is None else order[side] for side, order in zip(positions, orders, strict=True)]
        values = source.take(*at)
        if not np.isfinite(values).all():
            row, col = np.argwhere(~np.isfinite(values))[0]
            raise source.non_finite_error((int(at[0][row]), int(at[1][col])))
        return values

    return take


def _check_range(job: HierarchicalJob, blocks: Sequence[FittedBlock]) -> None:
    """Refuse entries whose squares leave the range."""
    if not all(math.isfinite(each) for block in blocks for each in (block.energy, block.error, block.left_out)):
        raise range_error(job, further_exponent(job))
