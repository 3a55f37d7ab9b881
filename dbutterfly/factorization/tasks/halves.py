"""Factorize the left parts of row groups, and the right parts of column groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...execution.task import Inputs, Output, Task
from ...kernels.backend import Array, Backend, namespace
from ...kernels.factors.hierarchy import (
    factor_stack,
    insert_top,
    left_matrices,
    left_rows,
    orthonormal_columns,
    right_matrices,
    right_rows,
)
from ...kernels.linalg import adjoint, squared_norms
from ...kernels.orthonormal import orthonormalizers
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
        xp = namespace(parts)
        chain, tree = job.halves[0], job.trees[0]
        left = factor_stack(left_matrices(parts), chain, tree, stack_bytes=backend.stack_bytes)
        left = orthonormal_columns(left, job.rank)
        basis = left_rows(left.product, job.rank)
        scale = xp.matmul(xp.conj(basis), xp.matrix_transpose(parts))
        error = xp.sum(squared_norms(parts - xp.matmul(xp.matrix_transpose(scale), basis)), axis=-1)
        errors = xp.concat((error[:, :, None], _squared_sines(basis, parts, scale)), axis=-1)
        span = (slice(self.first, self.last),)
        back = inverse_order(job.plan.cols.group_order)
        return [
            *(Output(f"left/{index}", span, backend.to_host(f)) for index, f in enumerate(left.factors)),
            Output("X", span, take_in_order(backend.to_host(basis), back, axis=1)),
            Output("scale", span, take_in_order(backend.to_host(scale), back, axis=1)),
            Output("left_error", span, take_in_order(backend.to_host(errors), back, axis=1)),
            *_residual_outputs("left", span, left.residuals, xp.sum(error, axis=-1), tree, backend),
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
        fitted = factor_stack(right_matrices(device[None, ...]), chain, tree, stack_bytes=backend.stack_bytes)
        error = squared_norms(device - right_rows(fitted.product, device.shape[0], job.rank)[0, ...])
        span = (slice(self.first, self.last),)
        return [
            *(Output(f"right/{index}", span, backend.to_host(f)) for index, f in enumerate(fitted.factors)),
            Output(
                "right_error",
                span,
                take_in_order(backend.to_host(error), inverse_order(job.plan.rows.group_order), axis=1),
            ),
            *_residual_outputs("right", span, fitted.residuals, xp.sum(error, axis=(1, 2)), tree, backend),
        ]


def _residual_outputs(side: str, span: Selection, below: Any, top: Any, tree: Tree, backend: Backend) -> list[Output]:
    """Energies that the nodes of a half miss, below its top node and at it; no output for a half of one factor."""
    if isinstance(tree, int):
        return []
    return [Output(f"{side}_missed", span, backend.to_host(insert_top(below, top, tree)))]


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


def _reorder(array: Array, order: Index | None, backend: Backend) -> Array:
    """Put the second axis of an array in an order."""
    return array if order is None else namespace(array).take(array, backend.to_device(order), axis=1)
