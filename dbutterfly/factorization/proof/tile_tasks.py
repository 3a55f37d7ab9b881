r"""Tasks of a proof out of core: the targets of every cut from the residual, tile by tile.

With R the residual and P_k the projection onto the normal space of the products at cut k, the targets are

    (1)  T_k = Z + P_k Y - S,    S = A Y,    A = mean_k P_k,

whose mean is Z for every Y. Those of :mod:`.ascent` have ``A Y = R``. Conjugate gradients would need several sums over
the whole matrix in each step. The Richardson iteration of second order needs none, since the eigenvalues of A that
matter lie between 1/K and one, for K cuts:

    (2)  Y_0 = R,    Y_i+1 = Y_i + a (R - A Y_i) + b (Y_i - Y_i-1),
         b = ((sqrt(K) - 1) / (sqrt(K) + 1))^2,    a = 4 / (1 + 1 / sqrt(K))^2

(Golub and Varga, Numerische Mathematik 3, 1961); the error falls by about ``sqrt(b)`` in each round.

In a round, for every cut in turn, tasks add their part of ``P_k Y / K`` to what the cuts before have left of S, and
write it to another array; those of the last cut write the next Y. Each range is written once by one task, so that a
task may be done again. After the rounds, for every cut, tasks form the blocks of (1) and measure them. The bound holds
if S is the sum for the Y that is stored, from whatever matrix Y has come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Inputs, Output
from ...kernels.factors.cut_spaces import CutSpaces, remove_spaces
from ...kernels.linalg import adjoint, squared_norms
from ...kernels.low_rank.spectra import trailing_energies
from ...kernels.orthonormal import orthonormalizers
from ...sources.base import MatrixSource
from ...sources.tile_grids import fold
from ...structure.axes import Tile
from ..job import FactorizationJob
from ..tasks.checks import check_finite
from ..tasks.projection import stacks_of_blocks
from ..tasks.tiles import TileReader

__all__ = [
    "LOOKS",
    "Blocks",
    "FieldTask",
    "LookTask",
    "ProofJob",
    "ProofTask",
    "SumTask",
    "field_name",
    "outputs_of_tile",
    "sum_name",
]

LOOKS = 6
"""Numbers that are measured of each block of a target."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ProofJob(FactorizationJob):
    """Matrix, plan and workspace of the tasks of one cut.

    Attributes
    ----------
    cut : int
        Number of the cut among those that are used, from 1; it is the root cut of the plan.
    cuts : int
        Number of cuts that are used.
    rounds : int
        Rounds after that of ``Y_0``.
    """

    cut: int
    cuts: int
    rounds: int

    def read_kept(self, name: str, tile: Tile, dtype: Any = None) -> NDArray[Any]:
        """Read a tile of an array that lies in the workspace as the matrix lies in storage, mostly in its dtype."""
        kept = _Kept(self, name, np.dtype(self.plan.source.work_dtype if dtype is None else dtype))
        return kept.read(self.plan.rows, self.plan.cols, tile)

    @property
    def groups(self) -> tuple[int, int]:
        """Row groups and column groups of the cut."""
        assert self.plan.split is not None
        return self.plan.split.u, self.plan.split.q

    @property
    def tile_groups(self) -> tuple[int, int]:
        """Row groups and column groups of a tile, and of a chunk of what is kept of the blocks."""
        (u, q), layout = self.groups, self.plan.layout
        return min(layout.tile_rows, u), min(layout.tile_cols, q)

    @property
    def wide(self) -> np.dtype[Any]:
        """Dtype of what is computed: in double precision, whatever that of the matrix."""
        return np.dtype(np.result_type(self.plan.source.work_dtype, np.float64))


class _Kept(MatrixSource):
    """An array of the workspace that lies there as the matrix lies in storage."""

    def __init__(self, job: ProofJob, name: str, dtype: np.dtype[Any]) -> None:
        self.name, self.shape, self.dtype = name, job.source.shape, dtype
        self.edges = job.plan.rows.edges, job.plan.cols.edges
        self._workspace = job.workspace

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        return self._workspace.read(self.name, (rows, cols))


def sum_name(cut: int) -> str:
    """Array of the sum of the cuts up to one of them: there are two, which take turns."""
    return f"sum/{cut % 2}"


def field_name(number: int) -> str:
    """Array of ``Y_i``: there are three, which take turns."""
    return f"field/{number % 3}"


class Blocks(NamedTuple):
    """Some blocks (n, p, v) of a tile, in double precision: of Z, of R, of Y, and of ``P_k Y``."""

    places: tuple[int, slice]
    matrix: NDArray[Any] | None
    residual: NDArray[Any] | None
    field: NDArray[Any]
    normal: NDArray[Any]


@dataclass(frozen=True)
class ProofTask(TileReader):
    """A task on a tile at a cut, which reads the matrix where it needs it."""

    cut: int

    def needs_matrix(self, job: ProofJob) -> bool:
        """Whether the entries of Z are needed."""
        raise NotImplementedError

    def read_source(self, job: Any) -> Inputs:
        """Read the tile, where it is needed."""
        return super().read_source(job) if self.needs_matrix(job) else {}

    def bytes_read(self, job: Any) -> int:
        """Bytes of the chunks that the tile touches, where it is read."""
        return super().bytes_read(job) if self.needs_matrix(job) else 0

    def inspect(self, job: Any, inputs: Inputs) -> int:  # noqa: ARG002
        """Compare nothing: the norm of the matrix is compared, and bounds are evaluated with the one that is read."""
        return 0


@dataclass(frozen=True)
class FieldTask(ProofTask):
    """A task on the normal part of a tile of ``Y_i`` at a cut, i being the round."""

    round: int

    def names(self, job: ProofJob) -> dict[str, str]:  # noqa: ARG002
        """Arrays like Z that the task reads, by what it calls them."""
        return {} if self.round == 0 else {"field": field_name(self.round)}

    def read_workspace(self, job: Any) -> Inputs:
        """Read the columns and rows whose products are the blocks, and arrays that earlier tasks have written."""
        r, c = self.groups
        found = {name: job.workspace.read(f"{name}/{self.cut}", (r, c)) for name in ("X", "B")}
        return found | {key: job.read_kept(name, self.tile) for key, name in self.names(job).items()}

    def split(self, job: ProofJob, inputs: Inputs) -> Iterator[Blocks]:
        """Blocks of the tile, a stack at a time."""
        wide = job.wide
        grid = inputs["field"] if "field" in inputs else inputs["grid"]
        for g, h, given in stacks_of_blocks(grid, wide.name, job.computing.stack_bytes):
            at = g, slice(h, h + given.shape[0])
            left, rows = (inputs[name][at].astype(wide) for name in ("X", "B"))
            columns = left.swapaxes(1, 2)
            spaces = CutSpaces(
                columns @ orthonormalizers(columns), adjoint(adjoint(rows) @ orthonormalizers(adjoint(rows)))
            )
            matrix = inputs["grid"][at].astype(wide) if "grid" in inputs else None
            residual = None if matrix is None else matrix - columns @ rows
            field = given if "field" in inputs else residual
            assert field is not None
            yield Blocks(at, matrix, residual, field, remove_spaces(field, spaces))


@dataclass(frozen=True)
class SumTask(FieldTask):
    """Add the normal part of a tile to the sum, and at the last cut form the next field of it."""

    kind: ClassVar[str] = "sum of tile"

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Name of the stage of the cut and round."""
        return f"sum/{self.round}/{self.cut}"

    def is_last(self, job: ProofJob) -> bool:
        """Whether the sum of a round that is followed by another one is complete with this cut."""
        return self.cut == job.cuts and self.round < job.rounds

    def needs_matrix(self, job: ProofJob) -> bool:
        """In the first round, and for the next field."""
        return self.round == 0 or self.is_last(job)

    def names(self, job: ProofJob) -> dict[str, str]:
        """The field, the sum of the cuts before, and for the next field the one before."""
        found = super().names(job)
        if self.cut > 1:
            found["sum"] = sum_name(self.cut - 1)
        if self.is_last(job) and self.round > 1:
            found["before"] = field_name(self.round - 1)
        return found

    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Form the sum or the next field, and cut it into the ranges in which the tile lies in storage."""
        grid = inputs["field"] if "field" in inputs else inputs["grid"]
        found = np.empty(grid.shape, job.plan.source.work_dtype)
        for blocks in self.split(job, inputs):
            total = blocks.normal / job.cuts
            if "sum" in inputs:
                total += inputs["sum"][blocks.places]
            found[blocks.places] = self._next_field(job, inputs, blocks, total) if self.is_last(job) else total
        check_finite(job, grid, self.tile, np.sum(np.abs(found), axis=(2, 3)))
        name = field_name(self.round + 1) if self.is_last(job) else sum_name(self.cut)
        return list(outputs_of_tile(job, self.tile, name, found))

    def _next_field(self, job: ProofJob, inputs: Inputs, blocks: Blocks, total: NDArray[Any]) -> NDArray[Any]:
        """Blocks of the next field, by (2)."""
        root = math.sqrt(job.cuts)
        a, b = 4 / (1 + 1 / root) ** 2, ((root - 1) / (root + 1)) ** 2
        assert blocks.residual is not None
        before = inputs["before"][blocks.places] if "before" in inputs else blocks.residual  # which is Y_0
        found: NDArray[Any] = blocks.field + a * (blocks.residual - total) + b * (blocks.field - before)
        return found


@dataclass(frozen=True)
class LookTask(FieldTask):
    """Measure the targets of a tile's blocks."""

    kind: ClassVar[str] = "target of tile"

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Name of the stage of the cut."""
        return f"look/{self.cut}"

    def needs_matrix(self, job: ProofJob) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def names(self, job: ProofJob) -> dict[str, str]:
        """The field and the sum of all cuts."""
        return {**super().names(job), "sum": sum_name(job.cuts)}

    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Of each block: ``d(T)^2``, ``||T - Z||^2``, ``||T||^2``, ``||R||^2``, ``||Z||^2`` and ``||Y||^2``."""
        looks = np.empty((*inputs["grid"].shape[:2], LOOKS))
        check_finite(job, inputs["grid"], self.tile, squared_norms(inputs["grid"]).sum(axis=-1))
        for places, matrix, residual, field, normal in self.split(job, inputs):
            off = normal - inputs["sum"][places]
            target = matrix + off
            energies = [squared_norms(part).sum(axis=-1) for part in (off, target, residual, matrix, field)]
            looks[places] = np.stack([trailing_energies(target, job.rank), *energies], axis=-1)
        r, c = self.groups
        return [Output(f"looks/{self.cut}", (r, c), looks)]


def outputs_of_tile(job: ProofJob, tile: Tile, name: str, found: NDArray[Any]) -> Iterator[Output]:
    """Outputs that write the blocks of a tile where it lies in storage: whole chunks, which no other tile touches."""
    rows, cols = job.plan.rows, job.plan.cols
    shape = (found.shape[0] * found.shape[2], found.shape[1] * found.shape[3])
    buffer = np.ascontiguousarray(fold(found, rows, cols)).reshape(shape)
    for row in rows.parts(tile.r0, tile.r1):
        strip = buffer[row.dest]
        for col in cols.parts(tile.c0, tile.c1):
            selection = (slice(row.start, row.stop), slice(col.start, col.stop))
            yield Output(name, selection, np.ascontiguousarray(strip[:, col.dest]))
