"""Products of the nodes of a stack, for every block of their cut: the best right parts, and what both parts make.

See :mod:`dbutterfly.kernels.factors.hierarchy` for the shapes. Where blocks are many and small, and those of NumPy
arrays, compiled loops take the place of calls of BLAS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...structure.chain import Cut
from ..backend import Array, namespace
from ..compilation import compiled_kernels

__all__ = ["left_rows", "multiply_node", "project_node", "right_matrices", "right_rows"]


def left_rows(matrices: Array, rank: int) -> Array:
    """Left parts (U, q, r, p) from the matrices (U, p, q*r) of left children."""
    xp = namespace(matrices)
    groups, p, cols = matrices.shape
    return xp.reshape(xp.matrix_transpose(matrices), (groups, cols // rank, rank, p))


def right_matrices(parts: Array) -> Array:
    """Matrices (K*q, r*u, v) of right children from the right parts (K, q, u, r, v) of their blocks."""
    xp = namespace(parts)
    count, q, u, rank, v = parts.shape
    return xp.reshape(xp.permute_dims(parts, (0, 1, 3, 2, 4)), (count * q, rank * u, v))


def right_rows(matrices: Array, q: int, rank: int) -> Array:
    """Right parts (K, q, u, r, v) from the matrices of right children: inverse of :func:`right_matrices`."""
    xp = namespace(matrices)
    _, rows, v = matrices.shape
    return xp.permute_dims(xp.reshape(matrices, (-1, q, rank, rows // rank, v)), (0, 1, 3, 2, 4))


def project_node(left: Array, blocks: Array, split: Cut, *, compiled: bool = False) -> Array:
    """Matrices ``B = X^H Z`` (K*q, r*u, v) of right children, from columns X (K*u, p, q*r) and blocks (K*u, q, p, v).

    With ``compiled``, the matrices (K, m, n) take the place of the blocks.
    """
    xp = namespace(left)
    _, u, q, v, rank = split
    if compiled:
        b = np.empty((left.shape[0] // u * q, rank * u, v), left.dtype)
        _loop("project", left.dtype)(np.ascontiguousarray(blocks), np.ascontiguousarray(left), rank, b)
        return b
    projected = xp.matmul(xp.conj(left_rows(left, rank)), blocks)
    return right_matrices(xp.permute_dims(xp.reshape(projected, (-1, u, q, rank, v)), (0, 2, 1, 3, 4)))


def multiply_node(left: Array, right: Array, split: Cut, *, compiled: bool = False) -> Array:
    """Products X B (K, m, n) of a node from the columns X (K*u, p, q*r), and B (K*q, r*u, v)."""
    xp = namespace(left)
    p, u, q, v, rank = split
    if compiled:
        products = np.empty((left.shape[0] // u, p * u, q * v), left.dtype)
        _loop("multiply", left.dtype)(np.ascontiguousarray(left), np.ascontiguousarray(right), rank, products)
        return products
    x = xp.reshape(left_rows(left, rank), (-1, u, q, rank, p))
    b = right_rows(right, q, rank)  # (K, q, u, r, v)
    if rank == 1:
        x, b = xp.permute_dims(x[:, :, :, 0, :], (0, 3, 1, 2)), xp.permute_dims(b[:, :, :, 0, :], (0, 2, 1, 3))
        return xp.reshape(x[:, :, :, :, None] * b[:, None, :, :, :], (-1, p * u, q * v))
    blocks = xp.matmul(xp.matrix_transpose(x), xp.permute_dims(b, (0, 2, 1, 3, 4)))  # (K, u, q, p, v)
    return xp.reshape(xp.permute_dims(blocks, (0, 3, 1, 2, 4)), (-1, p * u, q * v))


def _loop(name: str, dtype: Any) -> Any:
    """Compiled loop of a dtype."""
    jit = compiled_kernels("factors")
    assert jit is not None
    return getattr(jit, f"{name}_loop")(dtype.char).compiled
