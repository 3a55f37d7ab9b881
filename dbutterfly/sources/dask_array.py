"""Dask arrays as sources.

This module is imported when there is a Dask array, and ``dask.array`` has been imported by whoever made it.
"""

from __future__ import annotations

import contextlib
from functools import cached_property, partial
from typing import Any

import dask.threaded
import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Index
from .base import MatrixSource
from .dask_graphs import check_readable, client_of, describe_steps, find_futures, keep_shared, shared_layers
from .info import work_dtype
from .returned_blocks import with_checked_blocks
from .samples import PLACES, ROUNDING

__all__ = ["DaskSource"]


class DaskSource(MatrixSource):
    """A two-dimensional Dask array; each task computes the chunks that it needs.

    Steps are computed in the thread of the task. If they start from results on a cluster, as of ``client.persist``,
    they are computed there.
    """

    is_computed = True

    def __init__(self, array: Any) -> None:
        check_readable(array)
        self.array = array
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = np.dtype(array.dtype)
        self.name = f"dask array {array.name}"
        futures = find_futures(array)
        self.needs_cluster, self.client = bool(futures), client_of(futures, self.name)
        rows, cols = (np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) for sizes in array.chunks)
        self.edges: tuple[Index, Index] = (rows, cols)
        self.tolerance = ROUNDING * float(np.finfo(work_dtype(self.dtype, self.name)).eps)
        self.decode_bytes = max(array.chunks[0]) * max(array.chunks[1]) * self.dtype.itemsize
        self.steps = describe_steps(array)
        self._most_kept = self.decode_bytes if shared_layers(array) else 0
        self.decode_bytes += self._most_kept

    def _count_places(self) -> int:
        """One chunk in a hundred: what the graph of a chunk costs is not known."""
        return min(PLACES, max(1, (self.edges[0].size - 1) * (self.edges[1].size - 1) // 100))

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "_checked"}
        return kept | {"client": None}

    def prepare(self, client: Any, workers: int) -> None:
        """Compute once the steps that blocks share, if their results together are no larger than a block.

        What fails then fails again when it is needed, where it is told.
        """
        most, self._most_kept = self._most_kept, 0
        if most:
            holder = self.client or client
            get = partial(dask.threaded.get, num_workers=workers) if holder is None else holder.get
            with contextlib.suppress(Exception):
                self.array = keep_shared(self.array, most, get)
                self.__dict__.pop("_checked", None)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Compute a range of rows and columns."""
        scheduler = self.client if self.needs_cluster else "synchronous"
        block: NDArray[Any] = self._checked[rows, cols].compute(scheduler=scheduler)
        return block

    @cached_property
    def _checked(self) -> Any:
        """The array with a check of every block."""
        return with_checked_blocks(self.array, self.name)
