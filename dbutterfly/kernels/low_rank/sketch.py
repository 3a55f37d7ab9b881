"""The random matrix by which all blocks are multiplied to find their ranges."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

__all__ = ["OVERSAMPLING", "fixed_sketch"]

OVERSAMPLING = 4
"""Columns beyond the rank: they widen the gap on which convergence and the bound depend.

Measured on 500 blocks of 32 x 32 in float64, rank 4, on a shared core of an AMD EPYC. Where a singular value is 0.6
times the one before, 0, 2, 4 and 8 columns leave 479, 330, 156 and no blocks to the Gram matrix and take 64, 66, 53 and
47 ms; at 0.3 times, 75, 19, none and none, and 24, 22, 20 and 24 ms. Where noise hides the gap all blocks go there, and
more columns cost 66, 80, 91 and 126 ms.
"""


@functools.lru_cache(maxsize=64)
def fixed_sketch(rows: int, cols: int) -> NDArray[np.float64]:
    """Matrix of normal random numbers, the same at every call: results do not depend on what was sketched before."""
    return np.random.default_rng(0).standard_normal((rows, cols))
