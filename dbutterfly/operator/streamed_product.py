"""What products of stored operands have in common: their places, and what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..storage.arrays import write_range
from ..storage.places import is_shared
from ..storage.workspace import Selection

__all__ = ["APPLY", "CHUNK_BYTES", "WORK_COLUMNS", "ProductPlace", "StreamedProduct"]

APPLY = "apply"
"""Name of the stage of the tasks."""

CHUNK_BYTES = 1 << 24
"""Most bytes of a chunk of the product, if one row of a block is not longer.

Not tuned: no benchmark varies it.
"""

WORK_COLUMNS = 64
"""Columns of which the kernels hold copies between two factors, besides operand and product.

Twice the 32 columns that the compiled kernels take through all factors together (``COLUMNS`` in
``kernels/compiler.py``). ``test_memory_beyond_the_idle_size_is_bounded`` checks the budget that follows.
"""


@dataclass(frozen=True)
class StreamedProduct:
    """Measurements of a streamed product.

    Attributes
    ----------
    shape : (int, int) or (int, int, int)
        Shape of the product; of a stack, its matrices come first.
    dtype : dtype
        Dtype of the product.
    columns : int
        Columns of a block; the last block may have fewer. Of a stack, all columns of some matrices.
    tasks : int
        Number of blocks.
    bytes_read : int
        Bytes of the chunks of the operand that were read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: int
    tasks: int
    bytes_read: int


class ProductPlace:
    """Workspace of an engine that holds nothing but the product: one array, which is written and never read.

    Parameters
    ----------
    array : zarr.Array
        Array of the product.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shared = is_shared(array)

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks of the product. Marks of tasks that have ended are dropped.

        Raises
        ------
        StoreError
            If writing fails.
        """
        if name == APPLY:
            write_range(self._array, selection, values)

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Refuse: nothing can be read."""
        raise CheckpointError(f"{name} is not kept", name, selection)
