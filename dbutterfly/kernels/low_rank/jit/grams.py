"""Compiled Gram matrices, and the bound of :mod:`dbutterfly.kernels.low_rank.gram_parts`, whose equations these are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import called, spliced
from ...linalg import SUBTRACTED
from ..gram_parts import PART, SHIFT
from .vectors import energy, inner, real_like, scale

__all__ = ["bound_by_parts", "gram"]


@spliced
def _two_with_four(x: Any, i: Any, a: Any, n: Any) -> Any:
    """Inner products of the rows i and i + 1 of a matrix with its rows a .. a + 3.

    Measured for parts of 32 lines of 128 x 128 entries, on a core of an AMD EPYC, beside one row with four: .64 of the
    time for float32, .62, .84 and .85 for float64, complex64 and complex128. Four rows with four take .60 and .54, but
    1.97 and .94 for the complex ones, for which there are not enough registers.
    """
    t0 = t1 = t2 = t3 = s0 = s1 = s2 = s3 = x.dtype.type(0)
    for j in range(n):
        one, other = x[i, j], x[i + 1, j]
        w0, w1, w2, w3 = np.conj(x[a, j]), np.conj(x[a + 1, j]), np.conj(x[a + 2, j]), np.conj(x[a + 3, j])
        t0 += one * w0
        t1 += one * w1
        t2 += one * w2
        t3 += one * w3
        s0 += other * w0
        s1 += other * w1
        s2 += other * w2
        s3 += other * w3
    return t0, t1, t2, t3, s0, s1, s2, s3


@called
def gram(rows: Any, product: Any) -> None:
    """Gram matrix (n, n) of the first n rows of a matrix, of which half is computed."""
    n, length = len(product), rows.shape[1]
    for i in range(0, n - 1, 2):
        fours = min(i + 4 - i % 4, n - n % 4)
        for a in range(0, fours, 4):
            t0, t1, t2, t3, s0, s1, s2, s3 = _two_with_four(rows, i, a, length)
            product[i, a], product[i, a + 1], product[i, a + 2], product[i, a + 3] = t0, t1, t2, t3
            product[i + 1, a], product[i + 1, a + 1], product[i + 1, a + 2], product[i + 1, a + 3] = s0, s1, s2, s3
        for a in range(fours, i + 2):
            product[i, a] = inner(rows, i, rows, a, length)
            product[i + 1, a] = inner(rows, i + 1, rows, a, length)
    if n % 2 == 1:
        for a in range(n):
            product[n - 1, a] = inner(rows, n - 1, rows, a, length)
    for i in range(n):
        for a in range(i):
            product[a, i] = np.conj(product[i, a])


@called
def _bound_part(rows: Any, shifted: Any, squared: Any, eps: Any) -> Any:
    """Bound (2) of a part of :data:`PART` rows, by way of two matrices."""
    gram(rows, shifted)
    mean, middle = 0.0, 0.0
    for i in range(PART):
        mean += np.float64(shifted[i, i].real) / PART
    over = real_like(rows, 1 / (PART * mean) if mean > 0 else 0.0)
    if np.isinf(over):  # the trace is a subnormal number
        return PART * mean
    for i in range(PART):
        scale(shifted, i, over, PART)
        shifted[i, i] -= real_like(rows, SHIFT / PART)
    gram(shifted, squared)
    for i in range(PART):
        middle += np.float64(squared[i, i].real) / PART
    whole = energy(squared) / PART
    spread = max(whole - middle * middle, 0.0) + SUBTRACTED * eps * whole
    most = (middle + np.sqrt((PART - 1) * spread)) * (1 + PART * eps)
    return mean * (SHIFT + PART * np.sqrt(most))


@called
def bound_by_parts(z: Any, left: Any, right: Any, k: Any, lines: Any, shifted: Any, squared: Any, eps: Any) -> Any:
    """Bound (1) of a block less ``left_k^T right_k``, by way of two matrices, and of the lines (PART, n) of a part."""
    p, v = z.shape
    whole = 0.0
    for first in range(0, min(p, v), PART):
        if p <= v:
            for a in range(PART):
                for j in range(v):
                    lines[a, j] = z[first + a, j] - left[k, first + a] * right[k, j]
        else:
            for i in range(p):
                for a in range(PART):
                    lines[a, i] = z[i, first + a] - left[k, i] * right[k, first + a]
        whole += _bound_part(lines, shifted, squared, eps)
    return whole * (1 + max(p, v) * eps)
