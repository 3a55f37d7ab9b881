"""What one worker does: read and split a tile, factorize a range of groups. Plain picklable objects.

Every task has three steps, so that an engine can overlap the reading of one with the arithmetic of another, and can
read here what a worker cannot reach: it reads from Z and from the workspace, ``compute`` turns that into outputs, and
the outputs name the ranges of the workspace they fill.

    array      shape            by             what
    A          (u, q, k, p)     storage order  left parts of the blocks: rows are the columns of ``Z V``
    B          (q, u, k, v)     storage order  right parts ``V^H``, or ``X^H Z`` (k = r) where Z is read twice
    stats      (u, q, 1 + 2n)   storage order  energy of each block, then discarded energies and slacks of n ranks
    X          (u, q, r, p)     storage order  orthonormal columns, as rows, of the product of the left factors
    scale      (u, q, r, r)     storage order  ``X^H (Z V)``, by which the one-read B is multiplied
    left_error (u, q, 1 + r)    storage order  ``||A - X X^H A||^2`` of each block, squared sines of X to the range of A
    second     (u, q, 1)        storage order  ``||Z - X X^H Z||^2`` of each block, after a second read
    right_error (q, u, r)       storage order  ``||b - b'||^2`` of each row of B and of the product of right factors
    left_missed (u, cuts)       storage order  ``||given - product||^2`` of every node of the left tree, by its cut
    right_missed (q, cuts)      storage order  the same of the right tree; no such array where a half is one factor
    left/l     (u, a, b, c, d)  storage order  factors of the row groups
    right/l    (q, a, b, c, d)  storage order  factors of the column groups
    done/STAGE (tasks, 8)       task number    that the task has ended, with the fields of :class:`Record`

Here r is the rank of the root cut, and k >= r the largest of the n ranks for which the tiles were split.
The row of ``done`` is the last thing that a task writes. "Storage order" is that of the copy where the plan makes one:

    copy       (M, N)           groups         the matrix with the groups of one side laid together
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, NonFiniteError
from .execution.task import Inputs, Output, Task, Work
from .kernels.backend import Array, Backend, Lane, namespace, resolve_backend
from .kernels.backend.tile_memory import Allocate
from .kernels.factors.hierarchy import (
    factor_stack,
    left_matrices,
    left_rows,
    orthonormal_columns,
    right_matrices,
    right_rows,
    with_top,
)
from .kernels.linalg import adjoint, residual_energy, squared_norms
from .kernels.low_rank.grid import low_rank_grid
from .kernels.orthonormal import orthonormalizers
from .planning.plan import Plan
from .sources.base import MatrixSource
from .sources.dispatch import first_bad_entry
from .storage.workspace import Selection, Workspace
from .structure.axes import Index, Tile
from .structure.chain import Chain
from .structure.tree import Tree

__all__ = [
    "CopySource",
    "CopyTask",
    "Job",
    "LeftTask",
    "ProjectTask",
    "RightTask",
    "TileReader",
    "TileTask",
    "Tiled",
    "VerifyTask",
    "mark_nonzero",
    "stage_of",
    "stage_tasks",
    "writers",
]


WHOLE = Tile(0, 1, 0, 1)


@dataclass(frozen=True, eq=False)
class Job(Work):
    """What all tasks of a run share.

    Attributes
    ----------
    source : MatrixSource
        The matrix.
    plan : Plan
        How it is cut.
    workspace : Workspace
        Where the outputs go.
    backend : str
        Array library of the workers; resolved in each worker's process.
    """

    source: MatrixSource
    plan: Plan
    workspace: Workspace
    backend: str = "auto"

    @property
    def prefetch(self) -> bool:
        """As the plan says."""
        return self.plan.layout.prefetch

    @property
    def computing(self) -> Backend:
        """Array library and device of this process, with as much of the device as the plan allows."""
        return resolve_backend(self.backend, self.plan.budget.device_memory)

    @property
    def host_memory(self) -> Allocate | None:
        """Memory that the device reaches, where there is one."""
        return self.computing.host_memory

    def lane(self, tasks: int) -> Lane:
        """Over the device, where there is one."""
        return self.computing.lane(tasks)

    def check(self, output: Output) -> None:
        """NaN would mean what is not there, and is refused."""
        if np.isnan(output.values).any():
            raise InputError(
                f"{self.source.name} has entries of which {output.name} cannot be computed in "
                f"{self.plan.source.work_dtype}; scale the matrix, or convert it to double precision"
            )

    @property
    def tile_source(self) -> MatrixSource:
        """What the tiles are read from: the matrix, or its copy in another order."""
        return self.source if self.plan.copy is None else CopySource(self.plan, self.workspace)

    @property
    def halves(self) -> tuple[Chain, Chain]:
        """Chains of the left and right parts of the blocks."""
        _, left, right = self.plan.chain.cut(self.root)
        return left, right

    @property
    def trees(self) -> tuple[Tree, Tree]:
        """Trees of the left and right parts."""
        assert isinstance(self.plan.tree, tuple)
        return self.plan.tree

    @property
    def root(self) -> int:
        """Number of factors to the left of the root cut."""
        return self.plan.layout.root

    @property
    def rank(self) -> int:
        """Rank of the root cut."""
        assert self.plan.split is not None
        return self.plan.split.rank


class CopySource(MatrixSource):
    """The copy of the matrix in a workspace."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._workspace = workspace
        self.name, self.shape, self.dtype = "copy of the matrix", plan.source.shape, np.dtype(plan.source.work_dtype)
        edges = plan.rows.edges, plan.cols.edges
        self.edges, self.shared = edges, workspace.shared

    def fingerprint(self) -> dict[str, Any]:
        """Nothing: a copy lives no longer than its run."""
        return {"kind": "copy"}

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        return self._workspace.read("copy", (rows, cols))


@dataclass(frozen=True)
class CopyTask(Task):
    """Copy a panel of Z, with the groups of one side laid together."""

    stage: ClassVar[str] = "copy"
    panel: Tile

    @property
    def label(self) -> str:
        """Name with the range covered."""
        return _tile_label("copy of panel", self.panel)

    def source_of(self, job: Job) -> MatrixSource:
        """The matrix."""
        return job.source

    def read_source(self, job: Job) -> Inputs:
        """Read the panel."""
        assert job.plan.copy is not None
        return {"grid": job.source.read(job.plan.copy.rows, job.plan.copy.cols, self.panel)}

    def bytes_read(self, job: Job) -> int:
        """Bytes of the chunks of Z that the panel touches."""
        assert job.plan.copy is not None
        return job.source.bytes_touched(job.plan.copy.rows, job.plan.copy.cols, self.panel)

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Unfold the groups; refuse NaN and infinities, which in the copy would mean what is not there."""
        copy, panel = job.plan.copy, self.panel
        assert copy is not None
        grid = inputs["grid"]
        if not all(np.isfinite(group).all() for group in grid):
            raise _non_finite(job, first_bad_entry(grid, copy.rows, copy.cols, panel))
        rows, cols = ((panel.r1 - panel.r0) * copy.rows.members, (panel.c1 - panel.c0) * copy.cols.members)
        values = grid.transpose(0, 2, 1, 3).reshape(rows, cols).astype(job.plan.source.work_dtype, copy=False)
        at = (panel.r0 * copy.rows.members, panel.c0 * copy.cols.members)
        return [Output("copy", (slice(at[0], at[0] + rows), slice(at[1], at[1] + cols)), values)]


@dataclass(frozen=True)
class Tiled(Task):
    """A task on the blocks of a tile."""

    kind: ClassVar[str]
    tile: Tile

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return _tile_label(self.kind, self.tile)

    @property
    def groups(self) -> tuple[slice, slice]:
        """Row groups and column groups of the tile."""
        return slice(self.tile.r0, self.tile.r1), slice(self.tile.c0, self.tile.c1)


@dataclass(frozen=True)
class TileReader(Tiled):
    """A task that reads a tile of Z, or of its copy in another order."""

    def source_of(self, job: Job) -> MatrixSource:
        """The matrix or its copy."""
        return job.tile_source

    def read_source(self, job: Job) -> Inputs:
        """Read the tile."""
        return {"grid": job.tile_source.read(job.plan.rows, job.plan.cols, self.tile)}

    def bytes_read(self, job: Job) -> int:
        """Bytes of the chunks that the tile touches."""
        return job.tile_source.bytes_touched(job.plan.rows, job.plan.cols, self.tile)


@dataclass(frozen=True)
class TileTask(TileReader):
    """Read a tile of Z and split each of its blocks."""

    stage: ClassVar[str] = "tiles"
    kind: ClassVar[str] = "tile"
    staged: ClassVar[tuple[str, ...]] = ("grid",)

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Approximate each block; refuse NaN and infinities."""
        grid, backend = inputs["grid"], job.computing
        device = backend.to_device(grid)
        xp = namespace(device)
        dtype = getattr(xp, job.plan.source.work_dtype)
        found = low_rank_grid(device, job.plan.ranks, dtype=dtype, stack_bytes=backend.stack_bytes)
        stats = xp.concat((found.energy[:, :, None], found.discarded, found.slack), axis=-1)
        stats = np.array(backend.to_host(stats))
        _check_finite(job, grid, self.tile, stats)
        mark_nonzero(grid, stats)
        rows, cols = job.plan.rows, job.plan.cols
        r, c = self.groups
        left = _take(backend.to_host(found.left), rows.member_order, axis=3)
        outputs = [Output("A", (r, c), left), Output("stats", (r, c), stats)]
        if job.plan.passes == 1:  # else B is what the second read gives, over which a tile done again must not write
            right = _take(backend.to_host(found.right), cols.member_order, axis=3)
            outputs.append(Output("B", (c, r), right.swapaxes(0, 1)))
        return outputs


@dataclass(frozen=True)
class LeftTask(Task):
    """Factorize the left parts of a range of row groups, and scale the product to unit columns."""

    stage: ClassVar[str] = "left"
    staged: ClassVar[tuple[str, ...]] = ("A",)
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return f"left factors of row groups {self.first}..{self.last - 1}"

    def read_workspace(self, job: Job) -> Inputs:
        """Read A of all column groups."""
        parts = job.workspace.read("A", (slice(self.first, self.last),))
        return {"A": parts[:, :, : job.rank]}

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Factorize; X and the scales are what the right parts need."""
        backend = job.computing
        parts = _reordered(backend.to_device(inputs["A"]), job.plan.cols.group_order, backend)
        xp = namespace(parts)
        chain, tree = job.halves[0], job.trees[0]
        left = factor_stack(left_matrices(parts), chain, tree, stack_bytes=backend.stack_bytes)
        left = orthonormal_columns(left, job.rank)
        basis = left_rows(left.product, job.rank)
        scale = xp.matmul(xp.conj(basis), xp.matrix_transpose(parts))
        error = xp.sum(squared_norms(parts - xp.matmul(xp.matrix_transpose(scale), basis)), axis=-1)
        errors = xp.concat((error[:, :, None], _squared_sines(basis, parts, scale)), axis=-1)
        span = (slice(self.first, self.last),)
        back = _inverse(job.plan.cols.group_order)
        return [
            *(Output(f"left/{index}", span, backend.to_host(f)) for index, f in enumerate(left.factors)),
            Output("X", span, _take(backend.to_host(basis), back, axis=1)),
            Output("scale", span, _take(backend.to_host(scale), back, axis=1)),
            Output("left_error", span, _take(backend.to_host(errors), back, axis=1)),
            *_missed("left", span, left.missed, xp.sum(error, axis=-1), tree, backend),
        ]


@dataclass(frozen=True)
class ProjectTask(TileReader):
    """Read a tile of Z a second time and project it on the product of the left factors."""

    stage: ClassVar[str] = "project"
    kind: ClassVar[str] = "second read of tile"
    staged: ClassVar[tuple[str, ...]] = ("grid",)

    def read_workspace(self, job: Job) -> Inputs:
        """Read X of its groups."""
        r, c = self.groups
        return {"X": job.workspace.read("X", (r, c))}

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """``B = X^H Z`` and the residual of the projection, block by block."""
        rows, cols = job.plan.rows, job.plan.cols
        backend = job.computing
        basis = backend.to_device(_take(inputs["X"], _inverse(rows.member_order), axis=3))
        grid = backend.to_device(inputs["grid"])
        right, residual = (backend.to_host(found) for found in _projected(grid, basis, job, backend))
        r, c = self.groups
        right = _take(right, cols.member_order, axis=3)
        return [Output("B", (c, r), right.swapaxes(0, 1)), Output("second", (r, c), residual[:, :, None])]


@dataclass(frozen=True)
class RightTask(Task):
    """Factorize the right parts of a range of column groups."""

    stage: ClassVar[str] = "right"
    staged: ClassVar[tuple[str, ...]] = ("B", "scale")
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return f"right factors of column groups {self.first}..{self.last - 1}"

    def read_workspace(self, job: Job) -> Inputs:
        """Read B of all row groups, and its scales unless Z was read twice."""
        inputs = {"B": job.workspace.read("B", (slice(self.first, self.last),))[:, :, : job.rank]}
        if job.plan.passes == 1:
            inputs["scale"] = job.workspace.read("scale", (slice(None), slice(self.first, self.last)))
        return inputs

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Factorize ``X^H Z``."""
        backend = job.computing
        device = backend.to_device(inputs["B"])
        xp = namespace(device)
        if "scale" in inputs:
            device = xp.matmul(xp.permute_dims(backend.to_device(inputs["scale"]), (1, 0, 2, 3)), device)
        device = _reordered(device, job.plan.rows.group_order, backend)
        chain, tree = job.halves[1], job.trees[1]
        fitted = factor_stack(right_matrices(device[None, ...]), chain, tree, stack_bytes=backend.stack_bytes)
        error = squared_norms(device - right_rows(fitted.product, device.shape[0], job.rank)[0, ...])
        span = (slice(self.first, self.last),)
        return [
            *(Output(f"right/{index}", span, backend.to_host(f)) for index, f in enumerate(fitted.factors)),
            Output("right_error", span, _take(backend.to_host(error), _inverse(job.plan.rows.group_order), axis=1)),
            *_missed("right", span, fitted.missed, xp.sum(error, axis=(1, 2)), tree, backend),
        ]


@dataclass(frozen=True)
class VerifyTask(TileReader):
    """Compare a tile of Z with the product of the factors."""

    stage: ClassVar[str] = "verify"
    kind: ClassVar[str] = "verification of tile"
    staged: ClassVar[tuple[str, ...]] = ("grid", "X", "B")

    def read_workspace(self, job: Job) -> Inputs:
        """Read the columns and rows whose products are the blocks."""
        r, c = self.groups
        return {"X": job.workspace.read("X", (r, c)), "B": job.workspace.read("B", (r, c))}

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Energy of each block and of its residual."""
        backend = job.computing
        left, right = backend.to_device(inputs["X"]), backend.to_device(inputs["B"])
        xp = namespace(left)
        wide = xp.result_type(left.dtype, getattr(xp, job.plan.source.work_dtype))
        left, right = (xp.astype(factor, wide, copy=False) for factor in (left, right))
        found = []
        for g, h, blocks in _stacks(backend.to_device(inputs["grid"]), job, backend):
            x, b = (part[g, h : h + blocks.shape[0], :, :] for part in (left, right))
            energies = xp.sum(squared_norms(blocks), axis=-1), residual_energy(blocks, xp.matrix_transpose(x), b)
            found.append(xp.stack(energies, axis=-1))
        errors = backend.to_host(xp.concat(found)).reshape(*inputs["grid"].shape[:2], 2)
        _check_finite(job, inputs["grid"], self.tile, errors)
        r, c = self.groups
        return [Output("errors", (r, c), errors)]


@dataclass(frozen=True)
class WholeTask(TileReader):
    """Take the matrix itself as the factor of a chain of one pattern."""

    stage: ClassVar[str] = "tiles"
    tile: Tile = WHOLE

    @property
    def label(self) -> str:
        """Name."""
        return "copy of the matrix"

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:
        """Check and convert."""
        values = inputs["grid"].astype(job.plan.source.work_dtype)
        energy = np.sum(squared_norms(values), axis=-1)
        stats = np.stack([energy, np.zeros_like(energy), np.zeros_like(energy)], axis=-1)
        _check_finite(job, inputs["grid"], WHOLE, stats)
        mark_nonzero(inputs["grid"], stats)
        span = (slice(0, 1),)
        return [Output("left/0", span, values[0].reshape(1, *job.plan.chain.patterns[0])), Output("stats", span, stats)]


def stage_tasks(plan: Plan, tile_task: Callable[[Tile], Task] = TileTask) -> dict[str, Sequence[Task]]:
    """Tasks of each stage, in the order of the stages; ``tile_task`` splits the tiles."""
    if plan.split is None:
        return {"tiles": [WholeTask()]}
    stages: dict[str, Sequence[Task]] = {
        "copy": [CopyTask(panel) for panel in plan.panels],
        "tiles": [tile_task(tile) for tile in plan.tiles],
        "left": [LeftTask(*span) for span in plan.left_ranges],
        "project": [ProjectTask(tile) for tile in plan.tiles],
        "right": [RightTask(*span) for span in plan.right_ranges],
    }
    return {stage: stages[stage] for stage in plan.tasks}


def writers(plan: Plan, name: str, selection: Selection) -> tuple[str, list[int]]:
    """Stage and numbers of the tasks that wrote into a range of an array of the workspace."""
    if name.startswith("done/"):
        return name.removeprefix("done/"), list(range(plan.tasks[name.removeprefix("done/")]))[selection[0]]
    stage = stage_of(plan, name)
    spans = [_span(plan, name, task) for task in stage_tasks(plan)[stage]]
    return stage, [number for number, span in enumerate(spans) if _overlap(span, selection)]


def stage_of(plan: Plan, name: str) -> str:
    """Stage whose tasks write into an array of the workspace."""
    if plan.split is None:
        return "tiles"
    stages = {"A": "tiles", "stats": "tiles", "second": "project", "copy": "copy"}
    stages["B"] = "tiles" if plan.passes == 1 else "project"
    if name in stages:
        return stages[name]
    return "right" if name.startswith("right") else "left"


def _span(plan: Plan, name: str, task: Task) -> Selection:
    """Range of an array that a task writes, as far as it is needed to tell the tasks apart."""
    if isinstance(task, CopyTask):
        assert plan.copy is not None
        t, p, v = task.panel, plan.copy.rows.members, plan.copy.cols.members
        return slice(t.r0 * p, t.r1 * p), slice(t.c0 * v, t.c1 * v)
    if isinstance(task, (TileTask, ProjectTask)):
        rows, cols = task.groups
        return (cols, rows) if name == "B" else (rows, cols)
    if isinstance(task, (LeftTask, RightTask)):
        return (slice(task.first, task.last),)
    return (slice(0, 1),)


def _overlap(span: Selection, selection: Selection) -> bool:
    return all(
        (b.start or 0) < a.stop and (b.stop is None or a.start < b.stop) for a, b in zip(span, selection, strict=False)
    )


def _stacks(grid: Any, job: Job, backend: Backend) -> Iterator[tuple[int, int, Any]]:
    """Cache-sized stacks of blocks of a grid, each of one row group: (row group, first column group, blocks)."""
    xp = namespace(grid)
    work = job.plan.source.work_dtype
    groups, peers, p, v = grid.shape
    step = max(1, backend.stack_bytes // (p * v * np.dtype(work).itemsize))
    for g in range(groups):
        for h in range(0, peers, step):
            stack = grid[g, h : min(h + step, peers), :, :]
            stack = xp.reshape(xp.reshape(stack, (-1,)), (-1, p, v))  # contiguous
            yield g, h, xp.astype(stack, getattr(xp, work), copy=False)


def _projected(grid: Array, basis: Array, job: Job, backend: Backend) -> tuple[Array, Array]:
    """``X^H Z`` (G, H, r, v) and ``||Z - X X^H Z||^2`` (G, H)."""
    xp, right, residual = namespace(grid), [], []
    for g, h, blocks in _stacks(grid, job, backend):
        columns = basis[g, h : h + blocks.shape[0], :, :]
        part = xp.matmul(xp.conj(columns), blocks)
        right.append(part)
        residual.append(residual_energy(blocks, xp.matrix_transpose(columns), part))
    groups, peers, _, v = grid.shape
    return xp.reshape(xp.concat(right), (groups, peers, -1, v)), xp.reshape(xp.concat(residual), (groups, peers))


def _missed(side: str, span: Selection, below: Any, top: Any, tree: Tree, backend: Backend) -> list[Output]:
    """What the nodes of a half miss, those below its top node and this itself; nothing of a half of one factor."""
    if isinstance(tree, int):
        return []
    return [Output(f"{side}_missed", span, backend.to_host(with_top(below, top, tree)))]


def _squared_sines(basis: Any, parts: Any, scale: Any) -> Any:
    """Squared sines (U, q, r) between orthonormal columns X, as rows (U, q, r, p), and the range of others, A.

    ``scale`` is ``X^H A``. The columns ``C = A T`` are orthonormal, and ``C C^H X = A T T^H A^H X``.
    """
    xp = namespace(basis)
    columns = xp.matrix_transpose(parts)
    t = orthonormalizers(xp.reshape(columns, (-1, *columns.shape[2:])))
    t = xp.reshape(t, (*parts.shape[:2], *t.shape[1:]))
    inside = xp.matmul(t, xp.matmul(adjoint(t), adjoint(scale)))
    beyond = basis - xp.matmul(xp.matrix_transpose(inside), parts)
    return squared_norms(beyond)


def _check_finite(job: Job, grid: NDArray[Any], tile: Tile, stats: NDArray[np.float64]) -> None:
    """Raise unless every energy is finite."""
    if np.isfinite(stats).all():
        return
    bad = first_bad_entry(grid, job.plan.rows, job.plan.cols, tile)
    if bad is not None:
        raise _non_finite(job, bad)
    raise InputError(
        f"{job.source.name} has entries of modulus {np.max(np.abs(grid)):.3g}, too large to be squared in "
        f"{job.plan.source.work_dtype}; scale the matrix"
    )


def _non_finite(job: Job, index: tuple[int, int] | None) -> NonFiniteError:
    assert index is not None
    return NonFiniteError.at(job.source.name, index)


def mark_nonzero(parts: NDArray[Any], stats: NDArray[np.float64]) -> None:
    """Raise energies that have underflowed to the least normal number: a matrix of norm zero is zero.

    Parameters
    ----------
    parts : array, shape (..., n, m)
        Blocks, or what was found of them.
    stats : array, shape (..., numbers)
        Their energies first; changed in place.
    """
    for at in map(tuple, np.argwhere(stats[..., 0] == 0)):
        if parts[at].any():
            stats[(*at, 0)] = np.finfo(np.float64).smallest_normal


def _tile_label(kind: str, tile: Tile) -> str:
    return f"{kind} (row groups {tile.r0}..{tile.r1 - 1}, column groups {tile.c0}..{tile.c1 - 1})"


def _take(array: NDArray[Any], order: Index | None, axis: int) -> NDArray[Any]:
    return array if order is None else np.take(array, order, axis=axis)


def _reordered(array: Array, order: Index | None, backend: Backend) -> Array:
    """The second axis in this order."""
    return array if order is None else namespace(array).take(array, backend.to_device(order), axis=1)


def _inverse(order: Index | None) -> Index | None:
    return None if order is None else np.argsort(order)
