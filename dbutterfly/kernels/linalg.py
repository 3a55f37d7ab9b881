"""Norms, adjoints and masked replacement for stacks of matrices, in any array namespace."""

from __future__ import annotations

from typing import Any, TypeVar

from .backend import Array, is_complex, namespace

__all__ = [
    "CANCELLING",
    "RELATIVE_SLACK",
    "SUBTRACTED",
    "adjoint",
    "cancels",
    "nonzero_divisor",
    "replace",
    "replace_rows",
    "residual_energy",
    "safe_range",
    "squared_norms",
]


CANCELLING = 1024
"""A difference of energies below this many units in the last place is formed from the residual instead."""

SUBTRACTED = 8
"""Units in the last place by which an energy, and so a difference of energies, may be off."""

RUN = 1024
"""Squares are summed in the precision of the matrix in runs of this length (or one of less than twice that)."""

RELATIVE_SLACK = 1e-3
"""A round stops where the energy that could still be captured is below this fraction of the discarded energy."""

Found = TypeVar("Found", bound=tuple[Any, ...])


def safe_range(blocks: Array) -> tuple[float, float]:
    """Energies between which neither the squares of entries nor, in float64, those of energies leave the range."""
    info = namespace(blocks).finfo(blocks.dtype)
    eps = float(info.eps)
    return max(float(info.smallest_normal) / eps**2, 1e-140), min(float(info.max) * eps, 1e140)


def cancels(difference: Array, energy: Array, dtype: Any) -> Array:
    """Where a difference of energies of this dtype has lost more than about three digits."""
    return difference < CANCELLING * float(namespace(energy).finfo(dtype).eps) * energy


def residual_energy(blocks: Array, left: Array, right: Array) -> Array:
    """``||Z - left right||^2`` in float64 for blocks (k, p, v), left (k, p, r), right (k, r, v)."""
    xp = namespace(blocks)
    count = blocks.shape[0]
    step = max(1, count // 4)  # the blocks fill the cache: leave their residuals a part of it
    parts = []
    for k in range(0, count, step):
        part = slice(k, min(k + step, count))
        factors = left[part, :, :], right[part, :, :]
        residual = factors[0] * factors[1] if left.shape[2] == 1 else xp.matmul(*factors)
        residual -= blocks[part, :, :]
        parts.append(xp.sum(squared_norms(residual), axis=-1))
    return xp.concat(parts)


def replace(found: Found, mask: Array, better: Found) -> Found:
    """Put the rows of ``better``, in order, where ``mask`` is true; both are named tuples of arrays."""
    return type(found)(*(replace_rows(old, mask, new) for old, new in zip(found, better, strict=True)))


def replace_rows(old: Array, mask: Array, new: Array) -> Array:
    """The same for one array: ``old[mask] = new`` without a host wait for the shape."""
    xp = namespace(mask)
    count = mask.shape[0]
    positions = xp.astype(xp.cumulative_sum(xp.astype(mask, xp.int64)), xp.int64) - 1
    here = xp.arange(count, dtype=xp.int64, device=mask.device)
    return xp.take(xp.concat((old, new), axis=0), xp.where(mask, positions + count, here), axis=0)


def squared_norms(vectors: Array) -> Array:
    """Squared Euclidean norms along the last axis, in float64 beyond runs of 1024 entries."""
    xp = namespace(vectors)
    length = vectors.shape[-1]
    runs = length // RUN
    if runs <= 1:
        return _plain_squares(vectors)
    head = xp.reshape(vectors[..., : runs * RUN], (*vectors.shape[:-1], runs, RUN))
    total = xp.sum(_plain_squares(head), axis=-1)
    return total + _plain_squares(vectors[..., runs * RUN :]) if runs * RUN < length else total


def _plain_squares(vectors: Array) -> Array:
    xp = namespace(vectors)
    squares = xp.vecdot(vectors, vectors)
    if is_complex(xp, squares.dtype):
        squares = xp.real(squares)
    return xp.astype(squares, xp.float64)


def adjoint(vectors: Array) -> Array:
    """Conjugate transpose of a stack of column or row vectors (a view for real ones)."""
    xp = namespace(vectors)
    transposed = xp.matrix_transpose(vectors)
    return xp.conj(transposed) if is_complex(xp, vectors.dtype) else transposed


def nonzero_divisor(norms: Array, like: Array) -> Array:
    """Norms in the dtype of ``like``, with one in place of zero."""
    xp = namespace(norms)
    return xp.astype(xp.where(norms > 0, norms, xp.ones_like(norms)), like.dtype)
