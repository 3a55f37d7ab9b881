"""Products of an operator with a stored matrix of any number of columns, block by block, into another stored matrix.

Every block of columns is a task, which reads it whole, multiplies it and writes whole chunks of the product. The engine
is that of a factorization: it reads blocks ahead, tries them again, and runs them on threads or on a cluster alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..errors import InputError, MemoryBudgetError
from ..execution.arguments import read_arguments
from ..execution.choose import choose_engine
from ..execution.clusters import on_cluster
from ..execution.progress import ProgressBar, run_under_bar
from ..execution.task import Inputs, Job, Output, Task
from ..planning.sizes import format_bytes
from ..sources.base import MatrixSource
from ..sources.dispatch import as_source
from ..sources.operators import OperatorSource
from ..sources.places_read import places_read
from ..sources.stacks.dispatch import open_matrices
from ..storage.arrays import new_array
from ..storage.destinations import check_apart
from ..structure.arguments import show_value
from ..structure.axes import Axis, Tile
from .butterfly import ButterflyOperator
from .hierarchical import HierarchicalOperator
from .stacked import StackedOperator
from .stacked_streaming import stream_stack
from .streamed_product import APPLY, CHUNK_BYTES, WORK_COLUMNS, ProductPlace, StreamedProduct

__all__ = ["StreamedProduct", "stream_product"]

OneOperator: TypeAlias = "ButterflyOperator | HierarchicalOperator"
Operator: TypeAlias = "OneOperator | StackedOperator"


def read_operator(name: str, value: Any) -> Operator:
    """Read an operator of this package.

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(value, (ButterflyOperator, HierarchicalOperator, StackedOperator)):
        return value
    raise InputError(
        f"{name}={show_value(value)} is a {type(value).__name__}; pass a ButterflyOperator, HierarchicalOperator or "
        "StackedOperator, such as .operator of a factorization"
    )


@read_arguments(operator=read_operator)
@on_cluster
def stream_product(
    operator: Operator,
    source: Any,
    destination: Any,
    *,
    client: Any = None,
    cluster: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    decode: bool = True,
    progress: bool = False,
) -> StreamedProduct:
    """Multiply the columns of a stored matrix, which may be larger than memory.

    Parameters
    ----------
    operator : ButterflyOperator, HierarchicalOperator or StackedOperator
        Operator to multiply by, such as a transpose or adjoint.
    source : array_like, zarr.Array, path, ...
        Matrix with as many rows as the operator has columns, as for :func:`dbutterfly.factorize`. For a stack of K
        matrices, columns for each, (K, N, columns), or a vector for each, (K, N).
    destination : path, URL or Zarr store
        Place of the product, a new Zarr array, apart from all that is read. In a local directory, nothing is there
        before the product is complete.
    client, cluster, memory, workers
        As for :func:`dbutterfly.factorize`. Memory bounds what a worker holds besides the factors, which every process
        holds twice, and the compiled kernels, some 100 MiB: a block, its product, and the block that is read meanwhile.
    overwrite : bool
        Whether to replace an array or group that is there. It stays until the product is complete, and stays if that
        fails. Runs are never replaced, and neither is what object storage holds, which has no rename.
    decode : bool
        As for :func:`dbutterfly.factorize`, but that a missing entry is a NaN in the operand.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    StreamedProduct
        Measurements. NaN and infinities go through the product as they do in NumPy.

    Raises
    ------
    InputError
        If the matrix has another number of rows, or the destination is read, or lies in what is read, or around it.
    MemoryBudgetError
        If ``memory`` does not hold a block of one column, or of a stack the columns of one matrix.
    StoreError
        If something is at the destination that may not be replaced, or it cannot be written.
    """
    engine = choose_engine(client, workers, cluster)
    if isinstance(operator, StackedOperator):
        columns_of_each = open_matrices(source, decode=decode)
        kept: dict[str, Any] = {"memory": memory, "overwrite": overwrite, "progress": progress}
        return stream_stack(operator, columns_of_each, destination, engine, **kept)
    found = as_source(source, decode=decode)
    if isinstance(found, OperatorSource):
        raise InputError(f"source={found.name} is an operator; compose the two by @ instead")
    if found.shape[0] != operator.shape[1]:
        rows, cols = operator.shape
        raise InputError(f"{found.name} has shape {found.shape}; a {rows} x {cols} operator takes {cols} rows")
    read = places_read(found, operator._values)
    check_apart(destination, read, "destination")
    dtype = np.result_type(operator.dtype, found.dtype)
    columns = _columns_of_block(operator, found, dtype, engine.budget(memory).memory)  # type: ignore[arg-type]  # it was read
    shape = operator.shape[0], found.shape[1]
    if engine.in_this_process:
        _prepare_kernels(operator, found.dtype, columns)
    height = max(1, min(shape[0], CHUNK_BYTES // (columns * dtype.itemsize)))
    chunks = height, min(columns, shape[1])
    tasks = [
        (number, ProductTask(first, min(first + columns, shape[1])))
        for number, first in enumerate(range(0, shape[1], columns))
    ]
    with new_array(destination, shape, dtype, chunks, sources=read, overwrite=overwrite) as product:
        job = ProductJob(found, ProductPlace(product), operator)
        with ProgressBar(progress) as bar:
            bytes_read = run_under_bar(bar, engine, job, APPLY, tasks)
    return StreamedProduct(shape, dtype, columns, len(tasks), bytes_read)


def _prepare_kernels(operator: OneOperator, dtype: np.dtype[Any], columns: int) -> None:
    """Compile the kernels and lay the factors out, so that a process has them before its first task and none counts.

    Numba and its compiled kernels took 100 MiB, five times what tasks were allowed that read blocks of 32 columns of a
    matrix of 2048 rows.
    """
    operator.compile()
    operator.apply(np.zeros((operator.shape[1], min(columns, WORK_COLUMNS)), dtype))


def _columns_of_block(operator: OneOperator, source: MatrixSource, dtype: np.dtype[Any], memory: int) -> int:
    """Columns of a block that fits into memory: whole chunks if one fits, else a divisor of a chunk.

    Raises
    ------
    MemoryBudgetError
        If no column fits.
    """
    rows, cols = operator.shape
    operand = 2 * cols * source.dtype.itemsize  # the block that is multiplied and the one that is read meanwhile
    each = operand + (2 * cols + 2 * rows) * dtype.itemsize  # contiguous operand, product, and what is written of it
    tall = operator._most_rows
    fixed = 2 * tall * WORK_COLUMNS * dtype.itemsize + source.decode_bytes
    fitting = (memory - fixed) // each
    edges = source.edges[1]
    chunk = 1 if edges is None else int(edges[1] - edges[0])
    if fitting < 1:
        half = next(size for size in range((chunk + 1) // 2, chunk + 1) if chunk % size == 0)
        twice = fixed + half * each
        more = f"; with {twice} ({format_bytes(twice)}) it is read at most twice" if half > 1 else ""
        raise MemoryBudgetError(
            f"memory={memory} ({format_bytes(memory)}) does not hold a block of one column of {source.name}; the least "
            f"that works is memory={fixed + each} ({format_bytes(fixed + each)}){more}"
        )
    if fitting >= chunk:
        return min(int(fitting // chunk) * chunk, source.shape[1])
    return next(size for size in range(int(fitting), 0, -1) if chunk % size == 0)


@dataclass(frozen=True, eq=False)
class ProductJob(Job):
    """Source, place of the product and operator, which all tasks share."""

    source: MatrixSource
    workspace: Any
    operator: OneOperator


@dataclass(frozen=True)
class ProductTask(Task[ProductJob]):
    """Multiply a block of columns."""

    stage: ClassVar[str] = APPLY
    first: int
    last: int

    @property
    def label(self) -> str:
        """Name of the task, with its columns."""
        return f"product of columns {self.first}..{self.last - 1}"

    def source_of(self, job: ProductJob) -> MatrixSource:
        """Matrix that the task reads."""
        return job.source

    def read_source(self, job: ProductJob) -> Inputs:
        """Read the columns of the block."""
        grid = job.source.read(*_axes(job.source), Tile(0, 1, self.first, self.last))
        return {"columns": grid[0, :, :, 0].T}

    def bytes_read(self, job: ProductJob) -> int:
        """Bytes of the chunks that the columns touch."""
        return job.source.bytes_touched(*_axes(job.source), Tile(0, 1, self.first, self.last))

    def compute(self, job: ProductJob, inputs: Inputs) -> list[Output]:
        """Multiply the block."""
        job.operator.compile()  # all workers multiply by the same kernels
        product = job.operator.apply(inputs["columns"])
        return [Output(self.stage, (slice(None), slice(self.first, self.last)), product)]


def _axes(source: MatrixSource) -> tuple[Axis, Axis]:
    """Axes that view the matrix as one group of all rows, and a group of every column."""
    (rows, cols), (row_edges, col_edges) = source.shape, source.edges
    return Axis(rows, 1, False, edges=row_edges), Axis(cols, cols, False, edges=col_edges)
