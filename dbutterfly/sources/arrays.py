"""Arrays in memory and memory maps as sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Axis, Index, Tile
from .base import MatrixSource
from .mapped_files import MappedFile, find_map, map_again, mapped_file
from .padded import has_gaps, scatter_crossings
from .stamps import Stamps, stamp_array
from .tile_grids import unfold

__all__ = ["ArraySource"]


class ArraySource(MatrixSource):
    """A NumPy array or memory map: tiles are views, nothing is copied."""

    copies_tiles = False

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self._map, self._file = find_map(array), mapped_file(array)
        self.shared = self._file is not None
        self.name = "array" if self._file is None else f"memmap {self._file.path}"
        self._check_map()

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        if self._file is None:
            return ArraySource, (np.asarray(array),)
        assert isinstance(array, np.memmap)
        order = "C" if array.flags.c_contiguous else "F"
        return _map_again, (self._file, array.dtype, array.offset, array.shape, order)

    @property
    def is_held(self) -> bool:
        """Whether it is held in memory; a mapped file is read."""
        return self._file is None

    def stamps(self) -> Stamps:
        """Stamp of the file that the array maps; of an array in memory, hashes of its rows."""
        return stamp_array(self.array)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """View of a range of rows and columns."""
        self._check_map()
        return self.array[rows, cols]

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """View of a tile; a copy where a side is scattered, or has gaps."""
        self._check_map()
        array = self.array
        if has_gaps(rows, cols):
            at = rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)
            return unfold(scatter_crossings(*at, array.dtype, self._take), rows, cols, tile)
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

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Copy the entries at the crossings of some rows and columns."""
        self._check_map()
        return self.array[np.ix_(rows, cols)]

    def _take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Crossings of some rows and columns, of which a range is copied first where they lie in one."""
        first, last = int(cols.min()), int(cols.max()) + 1
        strip = self.array[rows, first:last]
        return strip if last - first == cols.size and bool(np.all(np.diff(cols) == 1)) else strip[:, cols - first]

    def _check_map(self) -> None:
        """Raise if the file that the array lies in was cut, where reading it would end the process."""
        if self._map is not None:
            self._map.check()


def _map_again(file: MappedFile, dtype: Any, offset: int, shape: tuple[int, int], order: Any) -> ArraySource:
    return ArraySource(map_again(file, dtype, offset, shape, order))
