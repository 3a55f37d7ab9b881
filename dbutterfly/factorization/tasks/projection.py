"""Read a tile a second time and project it on the product of the left factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...execution.task import Inputs, Output
from ...kernels.backend import Array, namespace
from ...kernels.linalg import residual_energy, squared_norms
from ..block_stats import BlockStats
from ..job import FactorizationJob
from .tiles import TileReader, inverse_order, take_in_order

__all__ = ["ProjectTask", "project_blocks", "stacks_of_blocks"]

SAME_ENERGY = 1e4
"""Rounding units by which the squared norm of a block may differ between two reads, relative to itself.

Not tuned: the columns X are orthonormal up to some units, and entries that are summed in another order differ by some.
"""


@dataclass(frozen=True)
class ProjectTask(TileReader):
    """Read a tile of Z a second time and project it on the product of the left factors."""

    stage: ClassVar[str] = "project"
    kind: ClassVar[str] = "second read of tile"
    uploads: ClassVar[tuple[str, ...]] = ("grid",)

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read X of its groups, and what the first read has said of the blocks."""
        r, c = self.groups
        return {name: job.workspace.read(name, (r, c)) for name in ("X", "stats")}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """``B = X^H Z`` and the residual of the projection, block by block."""
        rows, cols = job.plan.rows, job.plan.cols
        backend = job.computing
        basis = backend.to_device(take_in_order(inputs["X"], inverse_order(rows.member_order), axis=3))
        grid = backend.to_device(inputs["grid"])
        found = project_blocks(grid, basis, job.plan.source.work_dtype, backend.stack_bytes)
        right, residual = map(backend.to_host, found)
        _check_same_energy(job, self.label, BlockStats.from_array(inputs["stats"]).energy, right, residual)
        r, c = self.groups
        right = take_in_order(right, cols.member_order, axis=3)
        return [Output("B", (c, r), right.swapaxes(0, 1)), Output("second", (r, c), residual[:, :, None])]


def project_blocks(grid: Array, basis: Array, dtype: str, stack_bytes: int) -> tuple[Array, Array]:
    """``X^H Z`` (G, H, r, v) and ``||Z - X X^H Z||^2`` (G, H) of a grid (G, H, p, v), for X as rows (G, H, r, p)."""
    xp, right, residual = namespace(grid), [], []
    for g, h, blocks in stacks_of_blocks(grid, dtype, stack_bytes):
        columns = basis[g, h : h + blocks.shape[0], :, :]
        part = xp.matmul(xp.conj(columns), blocks)
        right.append(part)
        residual.append(residual_energy(blocks, xp.matrix_transpose(columns), part))
    groups, peers, _, v = grid.shape
    return xp.reshape(xp.concat(right), (groups, peers, -1, v)), xp.reshape(xp.concat(residual), (groups, peers))


def _check_same_energy(
    job: FactorizationJob, label: str, first: NDArray[Any], right: NDArray[Any], residual: NDArray[Any]
) -> None:
    """Refuse a matrix whose second read gives other blocks than the first: ``||B||^2 + ||Z - X B||^2 = ||Z||^2``."""
    second = np.sum(squared_norms(right), axis=-1) + residual
    precision = np.finfo(job.plan.source.work_dtype)
    least = (
        job.plan.rows.members * job.plan.cols.members * float(precision.tiny / precision.eps)
    )  # below, squares vanish
    allowed = SAME_ENERGY * float(precision.eps) * np.maximum(first, second) + least
    unlike = np.argwhere(np.abs(first - second) > allowed)
    if unlike.size:
        at = tuple(unlike[0])
        raise SourceError(
            f"{job.source.name} gives other entries in the {label} than in the first: the squared norm of a block was "
            f"{first[at]:.6g} and is {second[at]:.6g}; a matrix must stay what it is while it is factorized, and "
            "functions must give an entry the same value each time"
        )


def stacks_of_blocks(grid: Any, dtype: str, stack_bytes: int) -> Iterator[tuple[int, int, Any]]:
    """Cache-sized stacks of blocks of a grid, each of one row group: (row group, first column group, blocks)."""
    xp = namespace(grid)
    groups, peers, p, v = grid.shape
    step = max(1, stack_bytes // (p * v * np.dtype(dtype).itemsize))
    for g in range(groups):
        for h in range(0, peers, step):
            stack = grid[g, h : min(h + step, peers), :, :]
            stack = xp.reshape(xp.reshape(stack, (-1,)), (-1, p, v))  # contiguous
            yield g, h, xp.astype(stack, getattr(xp, dtype), copy=False)
