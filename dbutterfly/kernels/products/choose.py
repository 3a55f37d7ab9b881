"""Choice of the kernels that multiply by a chain: compiled where Numba works and they suit it, else plain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...structure.chain import Pattern
from . import packed
from .compilation import compiled_kernels

__all__ = ["kernels_for"]

LARGEST_FILL = 1.2
"""Largest ratio of all values in bundles to those without padding at which the compiled kernels suit a chain.

Not tuned. Padding is read and multiplied like values, and the compiled kernels shall not lose more than a fifth by it.
"""

SMALL = 1 << 13
"""Number of values in bundles up to which padding does not matter.

Not tuned. So many values are 64 KiB of float64, which a core reads in microseconds.
"""


def kernels_for(patterns: Sequence[Pattern], dtype: Any) -> Any:
    """Module with the functions ``pack`` and ``multiply`` that suit a chain of NumPy arrays.

    Parameters
    ----------
    patterns : sequence of Pattern
        Patterns of the factors.
    dtype : dtype
        Common dtype of the factors.

    Notes
    -----
    Numba's own switch ``NUMBA_DISABLE_JIT=1`` chooses the plain kernels.
    """
    jit = compiled_kernels()
    if jit is None or dtype.char not in "fdFD":
        return packed
    padded, used = jit.count_values(patterns)
    return jit if padded <= max(LARGEST_FILL * used, SMALL) else packed
