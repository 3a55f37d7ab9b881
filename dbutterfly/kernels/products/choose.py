"""Choice of the kernels that multiply by a chain: compiled where Numba works and they suit it, else plain.

The compiled kernels are for small matrices, whose values pass through once. BLAS is for wide ones, and the plain
kernels call it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...structure.chain import Pattern
from ..compilation import CHARS, compiled_kernels
from . import packed

__all__ = ["has_wide_blocks", "kernels_for"]

LARGEST_FILL = 1.2
"""Largest ratio of all values in bundles to those without padding at which the compiled kernels suit a chain.

Not tuned. Padding is read and multiplied like values, and the compiled kernels shall not lose more than a fifth by it.
"""

SMALL = 1 << 13
"""Number of values in bundles up to which padding does not matter.

Not tuned. So many values are 64 KiB of float64, which a core reads in microseconds.
"""


WIDE = 16
"""Least rows and columns of small matrices of a factor that BLAS multiplies faster than the compiled kernels.

Measured at N = 4096 on one core of an AMD EPYC (benchmark ``wide_blocks``): processor time of the compiled kernels over
that of the plain ones, which call BLAS, for one and for 64 columns. Rank 4 (8 x 8): float32 .5 and 1.2, float64 .7 and
1.0, complex128 1.2 and .9. Rank 9 (18 x 18): .8 and 2.5, 1.4 and 1.8, 1.3 and 1.7. Rank 16 (32 x 32): 1.6 and 5.9, 1.5
and 4.6, 1.6 and 4.3.
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
    if jit is None or dtype.char not in CHARS or has_wide_blocks(patterns):
        return packed
    padded, used = jit.count_values(patterns)
    return jit if padded <= max(LARGEST_FILL * used, SMALL) else packed


def has_wide_blocks(patterns: Sequence[Pattern]) -> bool:
    """Whether most values of a chain lie in small matrices that are wide enough for BLAS."""
    wide = sum(math.prod(pattern) for pattern in patterns if min(pattern.b, pattern.c) >= WIDE)
    return 2 * wide > sum(map(math.prod, patterns))
