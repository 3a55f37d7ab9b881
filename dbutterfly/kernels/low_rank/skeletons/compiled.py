"""Calls of the compiled loop for a stack of matrices: the plain kernel's equal on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import compiled_kernels
from .interpolation import Interpolation

__all__ = ["interpolate_stack"]


def interpolate_stack(matrices: NDArray[Any], most: int, floor: NDArray[np.float64]) -> Interpolation:
    """Choose skeleton columns of every matrix of a stack, and write all columns by them.

    Parameters
    ----------
    matrices, most, floor
        As for :func:`dbutterfly.kernels.low_rank.skeletons.interpolative.interpolate`.
    """
    jit = compiled_kernels("low_rank.skeletons")
    assert jit is not None
    count, height, width = matrices.shape
    size = min(most, height, width)
    pivots, rank = np.empty((count, size), np.int64), np.empty(count, np.int64)
    coefficients, squares = np.empty((count, size, width), matrices.dtype), np.empty((count, 2))
    parts = coefficients.view(np.finfo(matrices.dtype).dtype).reshape(count, size, width, -1)
    loop = jit.interpolation_loop(matrices.dtype.char).compiled
    loop(np.ascontiguousarray(matrices), np.ascontiguousarray(floor, np.float64), pivots, parts, rank, squares)
    return Interpolation(pivots, coefficients, rank, squares[:, 0], squares[:, 1])
