"""Matrices of odd sizes, for which chains are longer than they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BY_DISTANCE = ("bitreversal", None)
"""Orderings of kernels of sorted points."""


def kernel(shape: tuple[int, int], dtype: str = "complex128", seed: int = 0) -> NDArray[Any]:
    """Helmholtz kernel between random points, in order, on two parallel segments; cosines where it is real."""
    rng = np.random.default_rng(seed)
    x, y = (np.sort(rng.random(size)) for size in shape)
    distance = np.sqrt(1 + (x[:, None] - y) ** 2)
    values = np.exp(1j * 0.2 * np.pi * max(shape) * distance) / np.sqrt(distance)
    return (values if np.dtype(dtype).kind == "c" else values.real).astype(dtype)


def entries_of(matrix: NDArray[Any]) -> Any:
    """Entry function of a matrix."""
    return lambda rows, cols: matrix[np.ix_(rows, cols)]
