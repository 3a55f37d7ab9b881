"""Arrays in memory, memory maps and Dask arrays as sources."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..structure.axes import Axis, Index, Tile
from .base import MatrixSource, unfold
from .info import work_dtype
from .samples import PLACES, ROUNDING
from .stamps import Stamps, stamp_array

__all__ = ["ArraySource", "DaskSource"]


class ArraySource(MatrixSource):
    """A NumPy array or memory map: tiles are views, nothing is copied."""

    copies_tiles = False

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self.shared = _is_whole_memmap(array)
        path = getattr(array, "filename", None) if self.shared else None
        self.name = f"memmap {path}" if path else "array"

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        if not self.shared:
            return ArraySource, (array,)
        assert isinstance(array, np.memmap)
        order = "C" if array.flags.c_contiguous else "F"
        return _reopen_memmap, (str(array.filename), array.dtype, array.offset, array.shape, order)

    def stamps(self) -> Stamps:
        """Stamp of the file that the array maps; of an array in memory, hashes of its rows."""
        return stamp_array(self.array)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """View of a range of rows and columns."""
        return self.array[rows, cols]

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """View of a tile; a copy where a side is scattered."""
        array = self.array
        if rows.index is not None:
            array = array[rows.positions(tile.r0, tile.r1)]
        if cols.index is not None:
            array = array[:, cols.positions(tile.c0, tile.c1)]
        whole = Tile(
            0 if rows.index is None else tile.r0,
            rows.groups if rows.index is None else tile.r1,
            0 if cols.index is None else tile.c0,
            cols.groups if cols.index is None else tile.c1,
        )
        grid = unfold(array, rows, cols, whole)
        return grid[tile.r0 - whole.r0 : tile.r1 - whole.r0, tile.c0 - whole.c0 : tile.c1 - whole.c0]


class DaskSource(MatrixSource):
    """A two-dimensional Dask array; each task computes the chunks that it needs."""

    is_computed = True

    def __init__(self, array: Any) -> None:
        if any(np.isnan(size) for sizes in array.chunks for size in sizes):
            raise SourceError("the Dask array has chunks of unknown size; call compute_chunk_sizes() on it first")
        self.array = array
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = np.dtype(array.dtype)
        self.name = f"dask array {array.name}"
        rows, cols = (np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) for sizes in array.chunks)
        self.edges: tuple[Index, Index] = (rows, cols)
        self.tolerance = ROUNDING * float(np.finfo(work_dtype(self.dtype, self.name)).eps)
        self.decode_bytes = max(array.chunks[0]) * max(array.chunks[1]) * self.dtype.itemsize

    def _count_places(self) -> int:
        """One chunk in a hundred: what the graph of a chunk costs is not known."""
        return min(PLACES, max(1, (self.edges[0].size - 1) * (self.edges[1].size - 1) // 100))

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Compute a range of rows and columns in the calling thread."""
        return np.asarray(self.array[rows, cols].compute(scheduler="synchronous"))


def _is_whole_memmap(array: NDArray[Any]) -> bool:
    """Whether an array maps a file as other processes can map it; views cannot, as NumPy does not keep their offset."""
    base: object = array.base
    return isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and array.flags.forc


def _reopen_memmap(path: str, dtype: Any, offset: int, shape: tuple[int, int], order: Any) -> ArraySource:
    return ArraySource(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))
