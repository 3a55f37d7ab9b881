"""Compare a tile with the product of the factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...execution.task import Inputs, Output
from ...kernels.backend import namespace
from ...kernels.linalg import residual_energy, squared_norms
from ..job import FactorizationJob
from .checks import check_finite
from .projection import stacks_of_blocks
from .tiles import TileReader

__all__ = ["VerifyTask"]


@dataclass(frozen=True)
class VerifyTask(TileReader):
    """Compare a tile of Z with the product of the factors."""

    stage: ClassVar[str] = "verify"
    kind: ClassVar[str] = "verification of tile"
    uploads: ClassVar[tuple[str, ...]] = ("grid", "X", "B")

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read the columns and rows whose products are the blocks."""
        r, c = self.groups
        return {"X": job.workspace.read("X", (r, c)), "B": job.workspace.read("B", (r, c))}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Energy of each block and of its residual."""
        backend = job.computing
        left, right = backend.to_device(inputs["X"]), backend.to_device(inputs["B"])
        xp = namespace(left)
        wide = xp.result_type(left.dtype, getattr(xp, job.plan.source.work_dtype))
        left, right = (xp.astype(factor, wide, copy=False) for factor in (left, right))
        found = []
        grid = backend.to_device(inputs["grid"])
        for g, h, blocks in stacks_of_blocks(grid, job.plan.source.work_dtype, backend.stack_bytes):
            x, b = (part[g, h : h + blocks.shape[0], :, :] for part in (left, right))
            energies = xp.sum(squared_norms(blocks), axis=-1), residual_energy(blocks, xp.matrix_transpose(x), b)
            found.append(xp.stack(energies, axis=-1))
        errors = backend.to_host(xp.concat(found)).reshape(*inputs["grid"].shape[:2], 2)
        check_finite(job, inputs["grid"], self.tile, errors)
        r, c = self.groups
        return [Output("errors", (r, c), errors)]
