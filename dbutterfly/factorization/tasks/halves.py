"""Factorize the left parts of row groups, and the right parts of column groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...execution.task import Inputs, Output, Task
from ...kernels.backend import Array, Backend, namespace
from ...kernels.factors.halves import fit_left_halves, fit_right_halves
from ...storage.workspace import Selection
from ...structure.axes import Index
from ...structure.tree import Tree
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
        """Read A of all column groups."""
        parts = job.workspace.read("A", (slice(self.first, self.last),))
        return {"A": parts[:, :, : job.rank]}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Factorize; X and the scales are what the right parts need."""
        backend = job.computing
        parts = _reorder(backend.to_device(inputs["A"]), job.plan.cols.group_order, backend)
        chain, tree = job.halves[0], job.trees[0]
        way: dict[str, Any] = {"stack_bytes": backend.stack_bytes, "compiled": job.compiled}
        left = fit_left_halves(parts, chain, tree, job.rank, **way)
        span = (slice(self.first, self.last),)
        back = inverse_order(job.plan.cols.group_order)
        return [
            *(Output(f"left/{index}", span, backend.to_host(f)) for index, f in enumerate(left.factors)),
            Output("X", span, take_in_order(backend.to_host(left.basis), back, axis=1)),
            Output("scale", span, take_in_order(backend.to_host(left.scale), back, axis=1)),
            Output("left_error", span, take_in_order(backend.to_host(left.errors), back, axis=1)),
            *_missed_outputs("left", span, left.missed, tree, backend),
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
        """Read B of all row groups, and its scales unless Z was read twice."""
        inputs = {"B": job.workspace.read("B", (slice(self.first, self.last),))[:, :, : job.rank]}
        if job.plan.passes == 1:
            inputs["scale"] = job.workspace.read("scale", (slice(None), slice(self.first, self.last)))
        return inputs

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Factorize ``X^H Z``."""
        backend = job.computing
        device = backend.to_device(inputs["B"])
        xp = namespace(device)
        if "scale" in inputs:
            device = xp.matmul(xp.permute_dims(backend.to_device(inputs["scale"]), (1, 0, 2, 3)), device)
        device = _reorder(device, job.plan.rows.group_order, backend)
        chain, tree = job.halves[1], job.trees[1]
        fitted = fit_right_halves(
            device[None, ...], chain, tree, stack_bytes=backend.stack_bytes, compiled=job.compiled
        )
        span = (slice(self.first, self.last),)
        errors, back = backend.to_host(fitted.errors)[0], inverse_order(job.plan.rows.group_order)
        return [
            *(Output(f"right/{index}", span, backend.to_host(f)) for index, f in enumerate(fitted.factors)),
            Output("right_error", span, take_in_order(errors, back, axis=1)),
            *_missed_outputs("right", span, fitted.missed, tree, backend),
        ]


def _missed_outputs(side: str, span: Selection, missed: Array, tree: Tree, backend: Backend) -> list[Output]:
    """Energies that the nodes of a half miss; no output for a half of one factor."""
    return [] if isinstance(tree, int) else [Output(f"{side}_missed", span, backend.to_host(missed))]


def _reorder(array: Array, order: Index | None, backend: Backend) -> Array:
    """Put the second axis of an array in an order."""
    return array if order is None else namespace(array).take(array, backend.to_device(order), axis=1)
