"""Arrays in memory, and memory maps, with three axes as stacks: matrices are views."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ...kernels.backend.cores import available_cores
from ...structure.axes import Index
from ..arrays import ArraySource
from ..base import MatrixSource
from ..mapped_files import find_map, map_again, mapped_file
from ..stamps import Stamps, stamp_array
from .base import StackSource, check_not_empty

__all__ = ["ArrayStack"]


class ArrayStack(StackSource):
    """A NumPy array or memory map of shape (K, M, N)."""

    copies_tiles = False

    def __init__(self, array: NDArray[Any]) -> None:
        check_not_empty(array.shape, "array")
        self.array = array
        self._map, self._file = find_map(array), mapped_file(array)
        count, rows, cols = array.shape
        name = "array" if self._file is None else f"memmap {self._file.path}"
        super().__init__(name, [(rows, cols)] * count, [array.dtype] * count)
        self.shared = self._file is not None

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        if self._file is None:
            return ArrayStack, (np.asarray(array),)
        assert isinstance(array, np.memmap)
        order = "C" if array.flags.c_contiguous else "F"
        return _map_again, (self._file, array.dtype, array.offset, array.shape, order)

    def matrix(self, number: int) -> MatrixSource:
        """View of one matrix."""
        return ArraySource(self.array[number])

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """View of matrices that follow each other; a copy of others."""
        if self._map is not None:
            self._map.check()
        if numbers.size == numbers[-1] - numbers[0] + 1:
            return self.array[int(numbers[0]) : int(numbers[-1]) + 1]
        found: NDArray[Any] = self.array[numbers]
        return found

    def stamps_of_matrices(self) -> Stamps:
        """Stamp of the file that the array maps; of an array in memory, a hash of each matrix."""
        if self._file is not None:
            found = stamp_array(self.array[0])  # of the file, which has one stamp
            return self._make_stamps(found.kind, np.repeat(found.values.reshape(-1), len(self)))

        def hash_matrix(matrix: NDArray[Any]) -> int:
            plain = np.ascontiguousarray(matrix, matrix.dtype.newbyteorder("="))
            return int(xxhash.xxh3_64_intdigest(plain.view(np.uint8).data))

        with ThreadPoolExecutor(available_cores()) as pool:
            values = np.fromiter(pool.map(hash_matrix, self.array), np.uint64)
        return self._make_stamps("content of matrices", values)


def _map_again(file: Any, dtype: Any, offset: int, shape: tuple[int, ...], order: Any) -> ArrayStack:
    return ArrayStack(map_again(file, dtype, offset, shape, order))
