"""Dask arrays with three axes as stacks: each task computes the chunks of its matrices together.

This module is imported when there is a Dask array, and ``dask.array`` has been imported by whoever made it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...structure.axes import Index
from ..base import MatrixSource
from ..dask_graphs import check_readable, client_of, find_futures
from ..info import work_dtype
from ..returned_blocks import check_block, with_checked_blocks
from ..samples import ROUNDING
from .base import PartOfStack, StackSource, check_not_empty

__all__ = ["DaskStack"]


class DaskStack(StackSource):
    """A Dask array of shape (K, M, N).

    Steps are computed in the thread of the task. If they start from results on a cluster, as of ``client.persist``,
    they are computed there.
    """

    is_computed = True

    def __init__(self, array: Any) -> None:
        check_readable(array)
        name = f"dask array {array.name}"
        check_not_empty(array.shape, name)
        count, rows, cols = map(int, array.shape)
        super().__init__(name, [(rows, cols)] * count, [np.dtype(array.dtype)] * count)
        self.array, self.per_chunk = array, max(array.chunks[0])
        futures = find_futures(array)
        self.needs_cluster, self.client = bool(futures), client_of(futures, self.name)
        self.tolerance = ROUNDING * float(np.finfo(work_dtype(self.dtype, self.name)).eps)
        self.decode_bytes = self.per_chunk * max(array.chunks[1]) * max(array.chunks[2]) * self.dtype.itemsize
        down, across = (np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) for sizes in array.chunks[1:])
        self.edges_of_matrix = down, across

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "_checked"}
        return kept | {"client": None}

    def matrix(self, number: int) -> MatrixSource:
        """Source of one matrix."""
        return PartOfStack(self, number)

    def bytes_of(self, numbers: Index) -> int:
        """Bytes of the chunks that are computed for several matrices."""
        edges = np.concatenate([[0], np.cumsum(self.array.chunks[0])])
        blocks = np.unique(np.searchsorted(edges, numbers, side="right") - 1)
        rows, cols = self.shapes[0]
        return int(np.diff(edges)[blocks].sum()) * rows * cols * self.dtype.itemsize

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """Compute matrices, those that follow each other together."""
        follow = numbers.size == numbers[-1] - numbers[0] + 1
        wanted = slice(int(numbers[0]), int(numbers[-1]) + 1) if follow else numbers
        found = self._compute(self._checked[wanted], f"matrices {numbers[0]}..{numbers[-1]}")

        def explain(what: str, why: str) -> SourceError:
            return SourceError(f"{self.name}: matrices {numbers[0]}..{numbers[-1]} came back with {what}{why}")

        return check_block(found, (numbers.size, *self.shapes[0]), self.dtype, explain)

    def read_part(self, number: int, rows: slice, cols: slice) -> NDArray[Any]:
        """Compute a range of one matrix."""
        return self._compute(self._checked[number, rows, cols], f"matrix {number}")

    def _compute(self, wanted: Any, what: str) -> NDArray[Any]:
        try:
            found: NDArray[Any] = wanted.compute(scheduler=self.client if self.needs_cluster else "synchronous")
        except (SourceError, MemoryError):
            raise
        except Exception as error:
            raise SourceError(f"{self.name}: cannot compute {what}: {type(error).__name__}: {error}") from error
        return found

    @cached_property
    def _checked(self) -> Any:
        """The array with a check of every block."""
        return with_checked_blocks(self.array, self.name)
