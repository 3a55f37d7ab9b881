"""The scale of a matrix: whether squares of its entries leave the range, and the power of two that mends it.

A relative error does not depend on the scale of the matrix, and to multiply by a power of two rounds nothing. A matrix
whose entries are all tiny, or of which some are huge, is therefore divided by a power of two wherever it is read
(:func:`dbutterfly.sources.weighted.rescale`), and its factors are multiplied by it in the end.

The power comes from a few entries, which cost little beside the matrix. They may miss a huge entry. A run that meets it
raises a :class:`~dbutterfly.errors.RangeError`, which says the power that would do, and begins again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import MatrixSource
from .entries_source import SIDE
from .info import work_dtype
from .samples import SHARE, spread_indices
from .weighted import rescale

__all__ = [
    "COMFORTABLE",
    "SMALLEST_ENTRIES",
    "bring_into_range",
    "exponent_of",
    "largest_energy",
    "largest_part",
    "shift_exponents",
]

COMFORTABLE = {"float32": 32, "complex64": 32, "float64": 224, "complex128": 224}
"""Powers of two, up and down, between which the largest entries of a sample are left as they are.

Derived, not tuned: squares of 2^60 such entries can be added up, and squares of rounding errors are normal numbers.
"""

SMALLEST_ENTRIES = {"float32": 1e-12, "complex64": 1e-12, "float64": 1e-70, "complex128": 1e-70}
"""Least root mean square of the entries for which squares of rounding errors are still normal numbers of the dtype."""


def bring_into_range(source: MatrixSource, *, is_read: bool = False) -> MatrixSource:
    """Divide a matrix by a power of two where a few of its entries say that squares would leave the range.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    is_read : bool
        Whether parts of it are to be read anyhow before a run, so that it is looked at even where that takes more than
        a hundredth of reading it.
    """
    values = _look(source, is_read=is_read)
    exponent = exponent_of(largest_part(values))
    is_usual = abs(exponent) <= COMFORTABLE[work_dtype(source.dtype, source.name).name]
    return source if is_usual else rescale(source, source.exponent + exponent)


def largest_part(values: NDArray[Any]) -> float:
    """Largest finite modulus of the entries, or of their real and imaginary parts; 0 where there is none."""
    parts = (values.real, values.imag) if values.dtype.kind == "c" else (values,)
    with np.errstate(invalid="ignore"):
        return max(float(np.max(np.abs(part), where=np.isfinite(part), initial=0)) for part in parts)


def exponent_of(amount: float) -> int:
    """Least power of two above a number; 0 of zero."""
    return math.frexp(amount)[1]


def shift_exponents(values: NDArray[Any], exponent: int) -> NDArray[Any]:
    """Values times a power of two, which may itself be no number of their dtype: real or complex floating."""
    parts = np.ascontiguousarray(values).view(np.finfo(values.dtype).dtype)
    with np.errstate(over="ignore", under="ignore"):
        shifted: NDArray[Any] = np.ldexp(parts, exponent).view(values.dtype)
    return shifted


def largest_energy(dtype: Any) -> float:
    """Energy of a block from which on sums of such energies may leave the range of a dtype."""
    info = np.finfo(dtype)
    return float(info.max) * float(info.eps)


def _look(source: MatrixSource, *, is_read: bool) -> NDArray[Any]:
    """A few entries of a matrix; none where they would cost much beside reading it.

    Of what is not stored in chunks, they are those at which entry functions are checked.
    """
    if source.probed:
        return source.sample(())
    if all(edges is None for edges in source.edges) and not source.is_computed:
        rows, cols = (spread_indices(0, size, SIDE, np.random.default_rng(0)) for size in source.shape)
        return source.take(rows, cols)
    if is_read or (not source.is_computed and source.chunk_count >= SHARE):
        return source.draw_sample().values
    return np.zeros(0, source.dtype)
