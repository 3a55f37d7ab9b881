"""Factorize the left parts of row groups, and the right parts of column groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...execution.task import Inputs, Output, Task
from ...kernels.backend import Array, Backend, namespace
from ...kernels.factors.halves import LeftHalves, RightHalves, fit_left_halves, fit_right_halves
from ...kernels.linalg import multiply_thin
from ...storage.workspace import Selection
from ...structure.axes import Index
from ...structure.tree import Tree
from ..block_stats import BlockStats
from ..job import FactorizationJob
from .tiles import inverse_order, take_in_order

__all__ = ["LeftTask", "RightTask"]


@dataclass(frozen=True)
class LeftTask(Task[FactorizationJob]):
    """Factorize the left parts of a range of row groups, and scale the product to unit columns."""

    stage: ClassVar[str] = "left"
    uploads: ClassVar[tuple[str, ...]] = ("A",)
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return f"left factors of row groups {self.first}..{self.last - 1}"

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read A of all column groups, and what the blocks tell of the error where the left chain has cuts."""
        span = (slice(self.first, self.last),)
        inputs = {"A": job.workspace.read("A", span)[:, :, : job.rank]}
        return inputs if isinstance(job.trees[0], int) else inputs | {"least": _read_least(job, span, axis=1)}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Factorize; X and the scales are what the right parts need."""
        backend = job.computing
        parts = _reorder(backend.to_device(inputs["A"]), job.plan.cols.group_order, backend)
        chain, tree = job.halves[0], job.trees[0]
        way: dict[str, Any] = {"stack_bytes": backend.stack_bytes, "compiled": job.compiled}
        floor = backend.to_device(inputs["least"]) if "least" in inputs else None
        left = fit_left_halves(parts, chain, tree, job.rank, floor=floor, **way)
        span = (slice(self.first, self.last),)
        back = inverse_order(job.plan.cols.group_order)
        return [
            *(Output(f"left/{index}", span, backend.to_host(f)) for index, f in enumerate(left.factors)),
            Output("X", span, take_in_order(backend.to_host(left.basis), back, axis=1)),
            Output("scale", span, take_in_order(backend.to_host(left.scale), back, axis=1)),
            Output("left_error", span, take_in_order(backend.to_host(left.errors), back, axis=1)),
            *_outputs_of_cuts("left", span, left, tree, backend),
        ]


@dataclass(frozen=True)
class RightTask(Task[FactorizationJob]):
    """Factorize the right parts of a range of column groups."""

    stage: ClassVar[str] = "right"
    uploads: ClassVar[tuple[str, ...]] = ("B", "scale")
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        return f"right factors of column groups {self.first}..{self.last - 1}"

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read B of all row groups, and its scales unless Z was read twice, and what the blocks tell of the error."""
        inputs = {"B": job.workspace.read("B", (slice(self.first, self.last),))[:, :, : job.rank]}
        if job.plan.passes == 1:
            inputs["scale"] = job.workspace.read("scale", (slice(None), slice(self.first, self.last)))
        if not isinstance(job.trees[1], int):
            inputs["least"] = _read_least(job, (slice(None), slice(self.first, self.last)), axis=0)
        return inputs

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Factorize ``X^H Z``."""
        backend = job.computing
        device = backend.to_device(inputs["B"])
        xp = namespace(device)
        if "scale" in inputs:
            device = multiply_thin(xp.permute_dims(backend.to_device(inputs["scale"]), (1, 0, 2, 3)), device)
        device = _reorder(device, job.plan.rows.group_order, backend)
        chain, tree = job.halves[1], job.trees[1]
        way: dict[str, Any] = {"stack_bytes": backend.stack_bytes, "compiled": job.compiled}
        floor = backend.to_device(inputs["least"]) if "least" in inputs else None
        fitted = fit_right_halves(device[None, ...], chain, tree, floor=floor, **way)
        span = (slice(self.first, self.last),)
        errors, back = backend.to_host(fitted.errors)[0], inverse_order(job.plan.rows.group_order)
        return [
            *(Output(f"right/{index}", span, backend.to_host(f)) for index, f in enumerate(fitted.factors)),
            Output("right_error", span, take_in_order(errors, back, axis=1)),
            *_outputs_of_cuts("right", span, fitted, tree, backend),
        ]


def _read_least(job: FactorizationJob, span: Selection, axis: int) -> Array:
    """Energy that any approximations of the blocks in a range leave at least, summed along an axis."""
    planned = job.plan
    stats = BlockStats.from_array(job.workspace.read("stats", span)).of_rank(planned.ranks.index(job.rank))
    return stats.least(float(np.finfo(planned.source.work_dtype).eps), axis)


def _outputs_of_cuts(
    side: str, span: Selection, half: LeftHalves | RightHalves, tree: Tree, backend: Backend
) -> list[Output]:
    """Energies that the nodes of a half miss, and must miss; no outputs for a half of one factor."""
    if isinstance(tree, int):
        return []
    found = {"missed": half.missed, "least": half.least}
    return [Output(f"{side}_{name}", span, backend.to_host(values)) for name, values in found.items()]


def _reorder(array: Array, order: Index | None, backend: Backend) -> Array:
    """Put the second axis of an array in an order."""
    return array if order is None else namespace(array).take(array, backend.to_device(order), axis=1)
