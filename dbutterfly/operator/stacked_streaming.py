"""Products of the matrices of a stack with stored columns, some matrices at a time, into another stored array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MemoryBudgetError
from ..execution.engine import Engine
from ..execution.progress import ProgressBar, run_under_bar
from ..execution.task import Inputs, Job, Output, Task
from ..planning.sizes import format_bytes
from ..sources.base import MatrixSource
from ..sources.places_read import places_read
from ..sources.stacks.base import StackSource
from ..storage.arrays import new_array, write_range
from ..storage.destinations import check_apart
from .stacked import StackedOperator
from .streamed_product import APPLY, CHUNK_BYTES, WORK_COLUMNS, ProductPlace, StreamedProduct

__all__ = ["stream_stack"]

TASK_BYTES = 1 << 24
"""Bytes of columns that a task takes, where memory holds them, and one matrix has no more. Not tuned."""


def stream_stack(
    operator: StackedOperator,
    source: MatrixSource,
    destination: Any,
    engine: Engine,
    *,
    memory: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> StreamedProduct:
    """Multiply each matrix of a stack by its own part of a stored array.

    Parameters
    ----------
    operator : StackedOperator
        The matrices, each (M, N).
    source : MatrixSource
        Columns for each matrix, a stack of shape (K, N, columns), or a vector for each, (K, N).
    destination, memory, overwrite, progress
        As for :func:`dbutterfly.stream_product`.
    engine : Engine
        Where the tasks run.

    Raises
    ------
    InputError
        If the source has another shape.
    MemoryBudgetError
        If memory does not hold the columns of one matrix.
    """
    columns = _columns_of(operator, source)
    count, rows, _ = operator.shape
    read = places_read(source, *(batch.operator._values for batch in operator._batches))
    check_apart(destination, read, "destination")
    dtype = np.result_type(operator.dtype, source.dtype)
    if not isinstance(source, StackSource):
        _check_vectors_fit(operator, source, dtype, engine.budget(memory).memory)
        vectors = operator @ source.read_range(slice(0, count), slice(0, source.shape[1]))
        chunk = max(1, min(count, CHUNK_BYTES // (rows * dtype.itemsize))), rows
        with new_array(destination, vectors.shape, dtype, chunk, sources=read, overwrite=overwrite) as product:
            write_range(product, (slice(None), slice(None)), vectors)
        return StreamedProduct(vectors.shape, dtype, 1, 1, count * source.shape[1] * source.dtype.itemsize)
    per_task = _matrices_of_task(operator, source, columns, dtype, engine.budget(memory).memory)
    each = rows * columns * dtype.itemsize
    whole = max(1, min(per_task, CHUNK_BYTES // each))
    per_task -= per_task % whole  # tasks write whole chunks
    chunks = whole, max(1, min(rows, CHUNK_BYTES // (columns * dtype.itemsize))), columns
    tasks = [
        (number, PartTask(first, min(first + per_task, count)))
        for number, first in enumerate(range(0, count, per_task))
    ]
    shape = count, rows, columns
    with new_array(destination, shape, dtype, chunks, sources=read, overwrite=overwrite) as product:
        job = PartJob(source, ProductPlace(product), operator)
        with ProgressBar(progress) as bar:
            bytes_read = run_under_bar(bar, engine, job, APPLY, tasks)
    return StreamedProduct(shape, dtype, columns, len(tasks), bytes_read)


def _columns_of(operator: StackedOperator, source: MatrixSource) -> int:
    """Columns for each matrix; refuse a source of another shape."""
    count, rows, cols = operator.shape
    if not isinstance(source, StackSource):
        if source.shape == (count, cols):
            return 1
        shape: tuple[int, ...] = source.shape
    else:
        (height, width), kinds = source.shapes[0], list(zip(source.shapes, source.dtypes, strict=True))
        other = next((number for number, kind in enumerate(kinds) if kind != kinds[0]), None)
        if other is not None:
            raise InputError(
                f"{source.name_matrix(other)} has shape {kinds[other][0]} and dtype {kinds[other][1]}, but "
                f"{source.name_matrix(0)} has {kinds[0][0]} and {kinds[0][1]}; give columns of one shape and dtype"
            )
        if (len(source), height) == (count, cols):
            return width
        shape = (len(source), height, width)
    raise InputError(
        f"{source.name} has shape {shape}; {count} operators of {rows} x {cols} take ({count}, {cols}), or ({count}, "
        f"{cols}, columns): a vector, or columns, for each"
    )


def _check_vectors_fit(operator: StackedOperator, source: MatrixSource, dtype: np.dtype[Any], memory: int) -> None:
    """Refuse vectors, of which there is one for each matrix, that memory does not hold with their products.

    Raises
    ------
    MemoryBudgetError
        If that is so.
    """
    count, rows, cols = operator.shape
    least = 2 * count * (rows + cols) * dtype.itemsize
    if least > memory:
        raise MemoryBudgetError(
            f"memory={memory} ({format_bytes(memory)}) does not hold {count} vectors of {source.name} and their "
            f"products; the least that works is memory={least} ({format_bytes(least)})"
        )


def _matrices_of_task(
    operator: StackedOperator, source: StackSource, columns: int, dtype: np.dtype[Any], memory: int
) -> int:
    """Matrices whose columns a task takes: whole chunks of the source where they fit.

    Raises
    ------
    MemoryBudgetError
        If those of one do not fit.
    """
    count, rows, cols = operator.shape
    given = cols * columns * source.dtype.itemsize
    tall = max(batch.operator._most_rows // batch.numbers.size for batch in operator._batches)
    # Those that are multiplied and those that are read meanwhile; contiguous copies and the product, twice; what the
    # kernels hold between two factors; the factors of the part, and their layout for products.
    each = 2 * given + (2 * cols + 2 * rows) * columns * dtype.itemsize
    each += 2 * tall * min(columns, WORK_COLUMNS) * dtype.itemsize + 2 * operator.nbytes // count
    most = (memory - source.decode_bytes) // each
    if most < 1:
        least = each + source.decode_bytes
        raise MemoryBudgetError(
            f"memory={memory} ({format_bytes(memory)}) does not hold the {columns} columns of one matrix of "
            f"{source.name}; the least that works is memory={least} ({format_bytes(least)})"
        )
    per_task = min(max(1, TASK_BYTES // given), most, count)
    per_chunk = min(source.per_chunk, count)
    if per_chunk <= most:
        per_task = max(per_task // per_chunk, 1) * per_chunk
    return int(per_task)


@dataclass(frozen=True, eq=False)
class PartJob(Job):
    """Source, place of the product and operator, which all tasks share."""

    source: StackSource
    workspace: Any
    operator: StackedOperator


@dataclass(frozen=True)
class PartTask(Task[PartJob]):
    """Multiply a range of matrices by their columns."""

    stage: ClassVar[str] = APPLY
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name of the task, with its matrices."""
        return f"products of matrices {self.first}..{self.last - 1}"

    def source_of(self, job: PartJob) -> MatrixSource:
        """The columns."""
        return job.source

    @property
    def _numbers(self) -> NDArray[np.int64]:
        return np.arange(self.first, self.last)

    def read_source(self, job: PartJob) -> Inputs:
        """Read the columns of the matrices."""
        return {"columns": job.source.read_matrices(self._numbers)}

    def bytes_read(self, job: PartJob) -> int:
        """Bytes of the chunks that the columns touch."""
        return job.source.bytes_of(self._numbers)

    def compute(self, job: PartJob, inputs: Inputs) -> list[Output]:
        """Multiply them."""
        product = job.operator._part(self.first, self.last) @ inputs["columns"]
        return [Output(self.stage, (slice(self.first, self.last), slice(None), slice(None)), product)]
