"""Description of a matrix for the plan: no data, integers and names only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
    recopies_tiles : bool
        Whether a tile is copied once more when it was read, to be changed.
    decode_bytes : int
        Bytes held besides its result while a range is read.
    decoding : str
        How entries come from the numbers that are stored; empty where they are these numbers.
    chunk_count, missing_chunks : int
        Chunks of the grid, and those of them that the storage does not hold.
    sampled : bool
        Whether some of the entries of each block are evaluated, and nothing is read.
    crossed : bool
        Whether these are columns and rows of each block, and not those of nested skeletons.
    in_full : bool
        Whether all entries are evaluated although some might do, since these would be no fewer.
    probed : bool
        Whether it is an operator, of which products are taken, and nothing is read.
    steps : str or None
        How it is computed, where that costs more than to read each of its inputs twice.
    weights : str
        By what its rows and columns are multiplied; empty where they are not.
    exponent : int
        Power of two by which its entries are divided, to bring them into range.
    """

    shape: tuple[int, int]
    dtype: str
    work_dtype: str
    edges: tuple[Edges, Edges] = field(default=(None, None), repr=False)
    copies_tiles: bool = False
    recopies_tiles: bool = False
    decode_bytes: int = 0
    decoding: str = ""
    chunk_count: int = 0
    missing_chunks: int = 0
    sampled: bool = False
    crossed: bool = False
    in_full: bool = False
    probed: bool = False
    steps: str | None = None
    weights: str = ""
    exponent: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix in this dtype: as stored, uncompressed and decoded."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


WORK_DTYPES: dict[tuple[str, int], type] = {
    ("b", 1): np.float64,
    **{(kind, size): np.float64 for kind in "iu" for size in (1, 2, 4, 8)},
    ("f", 2): np.float32,
    ("f", 4): np.float32,
    ("f", 8): np.float64,
    ("c", 8): np.complex64,
    ("c", 16): np.complex128,
}
"""Dtypes in which entries are computed, by kind and size as stored, in either byte order."""

REFUSALS = {
    "f": "it is wider than float64, in which everything is computed, so convert it with astype(np.float64)",
    "c": "it is wider than complex128, in which everything is computed, so convert it with astype(np.complex128)",
    "M": "these are times, and a matrix has numbers",
    "m": "these are durations, so divide by a unit, as in source / np.timedelta64(1, 's')",
    "O": "these are Python objects (of rows of unlike length, missing values or mixed types), so convert them with "
    "astype(np.float64)",
    "S": "these are texts, so convert them with astype(np.float64)",
    "U": "these are texts, so convert them with astype(np.float64)",
    "T": "these are texts, so convert them with astype(np.float64)",
    "V": "these are bytes without a meaning, so give them one with view(dtype)",
}
"""Why other kinds of dtypes are refused, and the remedy."""


def work_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Dtype in which a matrix of ``dtype`` is computed.

    Raises
    ------
    InputError
        If the dtype is not numeric, of another package, or wider than complex128; the message names the remedy.
    """
    found = WORK_DTYPES.get((dtype.kind, dtype.itemsize))
    if found is not None and dtype.isbuiltin != 2:  # 2: defined by another package
        return np.dtype(found)
    raise InputError(
        f"{name} has dtype {dtype}; use float32, float64, complex64 or complex128 (float16, integers and booleans are "
        f"converted): {_refusal(dtype)}"
    )


def _refusal(dtype: np.dtype[Any]) -> str:
    """Why a dtype cannot be computed with, and what to do about it."""
    if dtype.isbuiltin == 2:
        package = dtype.type.__module__.partition(".")[0]
        return f"it is of the package {package}, so convert it with astype(np.float32)"
    if dtype.names is not None:
        return f"name one of its fields, such as source[{dtype.names[0]!r}]"
    return REFUSALS.get(dtype.kind, "it holds no numbers")
