"""The plan of a stack of matrices: which share a chain, how many a task takes, and which are factorized one by one.

A *batch* is matrices of one shape and dtype with one chain and one pair of orderings. A task reads some matrices of a
batch and factorizes them whole, in kernel calls that serve all of them. A matrix that is so large that it is worth
tasks of its own is a run by itself, with a plan as :mod:`dbutterfly.planning.plan` describes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..kernels.backend.stacks import STACK_BYTES
from ..structure.axes import Index
from .budget import Budget
from .footprints import GROUP_COPIES, STACK_COPIES
from .plan import Plan
from .sizes import format_bytes
from .tilings import SMALLEST_TILE, TASKS_PER_WORKER

__all__ = ["LARGEST_TOGETHER", "Batch", "StackedPlan", "matrices_per_task"]


LARGEST_TOGETHER = 1 << 26
"""Bytes of a matrix above which it has tasks of its own.

Not tuned: 64 MiB take some tenths of a second of one core, beside which the 5 ms of each of some tasks do not count,
and a stack of few such matrices would leave workers idle at its end.
"""

LARGEST_TASK = 1 << 26
"""Most bytes of matrices that a task takes where there are enough of them for all workers. Not tuned, for the same
reasons."""


READ_AND_GATHERED = 8
"""Copies of one matrix that are held for a moment while it is read beside the others, and while its rows and columns
are taken in order."""

LEFT_RESULTS = 8
"""Arrays of the size of a half that the left halves leave while the right ones are fitted: factors, columns and scales.

With these two numbers, measured peaks of tasks of 6 matrices of 512 x 512 (complex64, ranks 1 and 4, from Zarr and from
a list, in order and scattered) were .55 to 1.04 of what is predicted.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Matrices that share a chain and orderings.

    Attributes
    ----------
    plan : Plan
        Plan for one of them. Its tiles are used where the matrix is alone.
    numbers : array of int
        Which matrices of the stack.
    per_task : int
        Matrices of a task; 0 where each is a run by itself.
    peak_bytes : int
        Predicted peak of a worker.
    """

    plan: Plan
    numbers: Index
    per_task: int
    peak_bytes: int

    @property
    def is_together(self) -> bool:
        """Whether tasks take matrices whole, several where they are small."""
        return self.per_task > 0

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of ``numbers`` of the tasks; none where each matrix is a run by itself."""
        if not self.per_task:
            return []
        size = int(self.numbers.size)
        return [(first, min(first + self.per_task, size)) for first in range(0, size, self.per_task)]


@dataclass(frozen=True, eq=False, kw_only=True)
class StackedPlan:
    """Plan of a run for a stack of matrices. ``print(plan)`` shows it.

    Attributes
    ----------
    name : str
        Name of the stack.
    batches : tuple of Batch
        The matrices, by chain and orderings; each matrix is in one of them.
    budget : Budget
        Memory of a task and number of workers.
    source_bytes : int
        Bytes of all matrices as stored, uncompressed.
    bytes_read : int
        Bytes of chunks that the run asks the storage for.
    chunks : (int, int)
        Chunks of the storage, and those of them that are missing.
    prefetch : bool
        Whether a worker reads for the next task while it computes one.
    notes : tuple of str
        Remarks for the caller.
    """

    name: str
    batches: tuple[Batch, ...]
    budget: Budget
    source_bytes: int
    bytes_read: int
    chunks: tuple[int, int] = (0, 0)
    prefetch: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(int(batch.numbers.size) for batch in self.batches)

    @property
    def together(self) -> list[tuple[int, Batch]]:
        """Batches whose tasks take matrices whole, with their numbers."""
        return [(number, batch) for number, batch in enumerate(self.batches) if batch.is_together]

    @property
    def alone(self) -> list[tuple[int, Batch]]:
        """Matrices that are runs by themselves, with their batches."""
        return [(k, batch) for batch in self.batches if not batch.is_together for k in batch.numbers.tolist()]

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage: of the matrices that are taken whole, and of those that are alone."""
        counts = {"matrices": sum(len(batch.ranges) for batch in self.batches)}
        for _, batch in self.alone:
            for stage, tasks in batch.plan.tasks.items():
                counts[stage] = counts.get(stage, 0) + tasks
        return {stage: count for stage, count in counts.items() if count}

    @property
    def peak_bytes(self) -> int:
        """Predicted peak of a worker."""
        return max(batch.peak_bytes for batch in self.batches)

    @property
    def amplification(self) -> float:
        """Bytes read over bytes of all matrices."""
        return self.bytes_read / self.source_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings and lists."""
        return {
            "matrices": len(self),
            "batches": [_batch_to_json(batch) for batch in self.batches],
            "tasks": self.tasks,
            "source_bytes": self.source_bytes,
            "bytes_read": self.bytes_read,
            "amplification": self.amplification,
            "chunks": dict(zip(("count", "missing"), self.chunks, strict=True)),
            "peak_bytes": self.peak_bytes,
            "prefetch": self.prefetch,
            "budget": asdict(self.budget),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return (
            f"<StackedPlan for {len(self)} matrices: {len(self.batches)} {_plural('chain', len(self.batches))}; reads "
            f"{format_bytes(self.bytes_read)}, amplification {self.amplification:.2f}; {format_bytes(self.peak_bytes)} "
            "per worker at its peak>"
        )

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{text}" for name, text in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "stack", f"{len(self)} matrices, {format_bytes(self.source_bytes)}"
        for batch in self.batches[:MOST_SHOWN]:
            yield from _batch_lines(batch)
        if len(self.batches) > MOST_SHOWN:
            yield "", f"and {len(self.batches) - MOST_SHOWN} more chains"
        yield "tasks", ", ".join(f"{count} {stage}" for stage, count in self.tasks.items())
        yield "reads", f"{format_bytes(self.bytes_read)}, amplification {self.amplification:.2f}"
        budget = f"{format_bytes(self.budget.memory)} allowed, {self.budget.workers} at a time"
        yield "memory", f"{format_bytes(self.peak_bytes)} per worker at its peak ({budget})"
        for note in self.notes:
            yield "note", note

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the plan at a prompt of IPython as :func:`print` does."""
        printer.text(str(self))


MOST_SHOWN = 3
"""Chains of which a printed plan says more than their number."""


def matrices_per_task(plan: Plan, count: int, budget: Budget, per_chunk: int) -> tuple[int, int]:
    """Choose how many matrices of a batch a task takes.

    Parameters
    ----------
    plan : Plan
        Plan for one of them.
    count : int
        Matrices of the batch.
    budget : Budget
        Memory of a task and number of workers.
    per_chunk : int
        Matrices that lie in one chunk of the storage: tasks take whole chunks where that fits.

    Returns
    -------
    int
        Matrices of a task; 0 where each must be, or is better, a run by itself.
    int
        Bytes that a worker holds at its peak.
    """
    source = plan.source
    stored = source.nbytes
    if source.sampled or source.probed or stored > LARGEST_TOGETHER:
        return 0, plan.peak_bytes
    each = stored + _held_bytes(plan)  # one that is read ahead, and one that is computed
    once = STACK_COPIES * STACK_BYTES * (1 if plan.split is None or plan.split.rank == 1 else 2)
    once += source.decode_bytes + READ_AND_GATHERED * stored
    most = (budget.memory - once) // each
    if most < 1:
        return 0, plan.peak_bytes
    per_task = count // (4 * TASKS_PER_WORKER * budget.workers)
    per_task = min(max(per_task, -(-SMALLEST_TILE // stored)), max(1, LARGEST_TASK // stored), most, count)
    if per_chunk > 1:
        whole = max(1, round(per_task / per_chunk)) * per_chunk
        per_task = whole if whole <= most else max(per_chunk, most // per_chunk * per_chunk)
        if per_task > most:
            per_task = most  # the chunk is read more than once
    per_task = min(per_task, count)
    return per_task, per_task * each + once


def _held_bytes(plan: Plan) -> int:
    """Bytes that a task holds for one matrix while it computes."""
    item, stored = plan.itemsize, plan.source.nbytes
    if plan.split is None:
        return stored + 2 * math.prod(plan.chain.shape) * item
    p, u, q, v, rank = plan.split
    left, right = (u * q * rank * side * item for side in (p, v))
    scattered = any(axis.index is not None or axis.padding is not None for axis in (plan.rows, plan.cols))
    copied = math.prod(plan.chain.shape) * np.dtype(plan.source.dtype).itemsize if scattered else 0
    copied += math.prod(plan.source.shape) * item if plan.source.weights else 0
    return stored + copied + left + right + (GROUP_COPIES + LEFT_RESULTS) * max(left, right)


def _batch_to_json(batch: Batch) -> dict[str, Any]:
    plan = batch.plan
    return {
        "matrices": int(batch.numbers.size),
        "per_task": batch.per_task,
        "shape": list(plan.source.shape),
        "dtype": plan.source.dtype,
        "work_dtype": plan.source.work_dtype,
        "chain": [list(pattern) for pattern in plan.chain],
        "orderings": plan.orderings.describe(),
        "peak_bytes": batch.peak_bytes,
    }


def _batch_lines(batch: Batch) -> Iterator[tuple[str, str]]:
    plan, count = batch.plan, int(batch.numbers.size)
    rows, cols = plan.source.shape
    yield "matrices", f"{count} of {rows} x {cols} {plan.source.dtype}, orderings {plan.orderings.describe()}"
    rank = "" if plan.split is None else f", rank {plan.chain.rank}"
    smaller = math.prod(plan.source.shape) / plan.chain.nnz
    yield "chain", f"{len(plan.chain)} factors{rank}, {smaller:.1f} times smaller than the matrix"
    if batch.is_together:
        yield "task", f"{batch.per_task} {_plural('matrix', batch.per_task)}"
    else:
        yield "task", f"tiles of one matrix after the other ({', '.join(plan.tasks)})"


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return "matrices" if word == "matrix" else f"{word}s"
