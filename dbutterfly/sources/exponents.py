"""How large numbers of a dtype are: powers of two above them, and what lies in a range in which they can be squared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COMFORTABLE",
    "SMALLEST_ENTRIES",
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
