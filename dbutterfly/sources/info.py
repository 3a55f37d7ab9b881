"""Description of a matrix for the plan: no data, integers and names only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..structure.axes import Edges

__all__ = ["SourceInfo", "work_dtype"]


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """Description of a matrix for the plan.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    dtype : str
        As stored, or as decoded from what is stored.
    work_dtype : str
        As computed: integers and booleans become float64, float16 becomes float32.
    edges : pair of arrays of int or None
        Chunk boundaries of both sides; None where any range costs what it holds.
    copies_tiles : bool
        Whether reading a tile copies it (False for arrays in memory, of which a tile is a view).
    decode_bytes : int
        Bytes held besides its result while a range is read.
    decoding : str
        How entries come from the numbers that are stored; empty where they are these numbers.
    chunk_count, missing_chunks : int
        Chunks of the grid, and those of them that the storage does not hold.
    sampled : bool
        Whether some of the entries of each block are evaluated, and nothing is read.
    probed : bool
        Whether it is an operator, of which products are taken, and nothing is read.
    """

    shape: tuple[int, int]
    dtype: str
    work_dtype: str
    edges: tuple[Edges, Edges] = (None, None)
    copies_tiles: bool = False
    decode_bytes: int = 0
    decoding: str = ""
    chunk_count: int = 0
    missing_chunks: int = 0
    sampled: bool = False
    probed: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix in this dtype: as stored, uncompressed and decoded."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def work_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Dtype in which a matrix of ``dtype`` is computed.

    Raises
    ------
    InputError
        If the dtype is not numeric, or wider than complex128.
    """
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "fc" and dtype.itemsize <= (8 if dtype.kind == "f" else 16):
        return dtype.newbyteorder("=")
    raise InputError(
        f"{name} has dtype {dtype}; use float32, float64, complex64 or complex128 (float16, integers and booleans are "
        "converted)"
    )
