"""Read a tile a second time and project it on the product of the left factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...execution.task import Inputs, Output
from ...kernels.backend import Array, Backend, namespace
from ...kernels.linalg import residual_energy
from ..job import FactorizationJob
from .tiles import TileReader, inverse_order, take_in_order

__all__ = ["ProjectTask", "stacks_of_blocks"]


@dataclass(frozen=True)
class ProjectTask(TileReader):
    """Read a tile of Z a second time and project it on the product of the left factors."""

    stage: ClassVar[str] = "project"
    kind: ClassVar[str] = "second read of tile"
    uploads: ClassVar[tuple[str, ...]] = ("grid",)

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read X of its groups."""
        r, c = self.groups
        return {"X": job.workspace.read("X", (r, c))}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """``B = X^H Z`` and the residual of the projection, block by block."""
        rows, cols = job.plan.rows, job.plan.cols
        backend = job.computing
        basis = backend.to_device(take_in_order(inputs["X"], inverse_order(rows.member_order), axis=3))
        grid = backend.to_device(inputs["grid"])
        right, residual = (backend.to_host(found) for found in _project(grid, basis, job, backend))
        r, c = self.groups
        right = take_in_order(right, cols.member_order, axis=3)
        return [Output("B", (c, r), right.swapaxes(0, 1)), Output("second", (r, c), residual[:, :, None])]


def _project(grid: Array, basis: Array, job: FactorizationJob, backend: Backend) -> tuple[Array, Array]:
    """``X^H Z`` (G, H, r, v) and ``||Z - X X^H Z||^2`` (G, H)."""
    xp, right, residual = namespace(grid), [], []
    for g, h, blocks in stacks_of_blocks(grid, job, backend):
        columns = basis[g, h : h + blocks.shape[0], :, :]
        part = xp.matmul(xp.conj(columns), blocks)
        right.append(part)
        residual.append(residual_energy(blocks, xp.matrix_transpose(columns), part))
    groups, peers, _, v = grid.shape
    return xp.reshape(xp.concat(right), (groups, peers, -1, v)), xp.reshape(xp.concat(residual), (groups, peers))


def stacks_of_blocks(grid: Any, job: FactorizationJob, backend: Backend) -> Iterator[tuple[int, int, Any]]:
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
