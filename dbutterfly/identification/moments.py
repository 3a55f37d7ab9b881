"""A matrix in memory: how it is read, its scale, its energy and its flatness."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sources.base import MatrixSource

__all__ = ["DOUBLE_ENTRIES", "energy_of", "flatness", "read_matrix", "scale_entries", "scale_into_range"]

DOUBLE_ENTRIES = 1 << 18
"""Entries up to which a search in memory computes in double precision. Not tuned."""


def read_matrix(source: MatrixSource) -> NDArray[Any]:
    """Read a whole matrix, in the dtype in which it is computed.

    Raises
    ------
    NonFiniteError
        If an entry is not finite.
    """
    matrix = source.read_range(slice(0, source.shape[0]), slice(0, source.shape[1]))
    matrix = matrix.astype(source.info.work_dtype, copy=False)
    if not np.isfinite(matrix).all():
        row, col = np.argwhere(~np.isfinite(matrix))[0].tolist()
        raise source.non_finite_error((row, col))
    return matrix


def scale_into_range(matrix: NDArray[Any]) -> NDArray[Any]:
    """Multiply by a power of two where fourth powers of entries, or their sums, would leave the range."""
    parts = (matrix.real, matrix.imag) if matrix.dtype.kind == "c" else (matrix,)
    largest = max(float(np.abs(part).max()) for part in parts)
    exponent = math.frexp(largest)[1]
    if largest == 0 or abs(exponent) <= np.finfo(matrix.dtype).maxexp // 8:
        return matrix
    scaled = np.empty_like(matrix)
    targets = (scaled.real, scaled.imag) if matrix.dtype.kind == "c" else (scaled,)
    for part, target in zip(parts, targets, strict=True):
        np.ldexp(part, -exponent, out=target)
    return scaled


def scale_entries(matrix: NDArray[Any]) -> NDArray[Any]:
    """Copy a matrix, with a largest part of one: in double precision a small one, in single precision a large one."""
    is_complex = matrix.dtype.kind == "c"
    largest = max(float(np.abs(part).max()) for part in ((matrix.real, matrix.imag) if is_complex else (matrix,)))
    double = matrix.size <= DOUBLE_ENTRIES
    dtype: Any = (np.complex64, np.float32, np.complex128, np.float64)[2 * double + (not is_complex)]
    return np.ascontiguousarray(matrix / matrix.dtype.type(largest or 1.0), dtype=dtype)


def flatness(matrix: NDArray[Any]) -> float:
    """``E |z|^4 / (E |z|^2)^2``: 1 for entries of equal modulus, 2 or 3 for Gaussian ones, more for heavy tails."""
    squares = np.abs(matrix) ** 2
    mean = float(squares.mean(dtype=np.float64))
    return float((squares * squares).mean(dtype=np.float64)) / (mean * mean) if mean > 0 else 1.0


def energy_of(matrix: NDArray[Any]) -> float:
    """Squared norm of a matrix, in double precision."""
    return float(np.linalg.norm(matrix.astype(np.complex128 if matrix.dtype.kind == "c" else np.float64)) ** 2)
