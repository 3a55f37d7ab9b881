"""Norms, adjoints, scaling and replacement for stacks of matrices, in any array namespace."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from .backend import Array, any_true, is_complex, namespace

__all__ = [
    "CANCELLING",
    "RELATIVE_SLACK",
    "SUBTRACTED",
    "adjoint",
    "has_cancelled",
    "multiply_thin",
    "nonzero_divisor",
    "normal_divisor",
    "pad",
    "replace",
    "replace_rows",
    "residual_energy",
    "safe_range",
    "squared_norms",
    "tame",
]


CANCELLING = 1024
"""A difference of energies below this many units in the last place of the energy is formed from the residual instead.

Not tuned. An energy is off by :data:`SUBTRACTED` units at most, so that a larger difference is known to 8 / 1024, one
per cent of it. Energies of smaller errors would be rounding: see "The residuals of an exact matrix" under ``peers`` in
benchmarks/README.md, where certificates are 1e-15 with residuals and 1e-8 with differences.
"""

SUBTRACTED = 8
"""Units in the last place by which an energy, and so a difference of energies, may be off.

Measured on normal, uniform and constant vectors of 65536 entries, summed in runs of :data:`RUN`: the energy is off by
up to 0.5 units for float32 and by up to 4.4 for complex64.
"""

RUN = 1024
"""Squares are summed in the precision of the matrix in runs of this length (or one of less than twice that).

Measured on vectors of 65536 entries, float32 and complex64, on a core of an AMD EPYC: runs of 256, 1024, 4096 and the
whole are off by up to 0.4, 4.4, 7 and 180 units in the last place. Runs of 1024 take 1.1 times as long as the whole.
"""

RELATIVE_SLACK = 1e-3
"""A round stops where the energy that could still be captured is below this fraction of the discarded energy.

Not tuned: a thousandth of the energy is a two-thousandth of the error, which is its root.
"""

Found = TypeVar("Found", bound=tuple[Any, ...])


def safe_range(blocks: Array) -> tuple[float, float]:
    """Least and largest energy at which squares of entries, and in float64 those of energies, stay in the range.

    The bounds keep a distance from the ends of the range. Below, it is a factor 1 / eps^2: squares of entries down to
    eps^2 of the energy are no subnormal numbers. Above, it is a factor eps, for sums. Energies within 1e-140 and 1e140
    have squares that float64 holds, with room to add and to divide.
    """
    info = namespace(blocks).finfo(blocks.dtype)
    eps = float(info.eps)
    return max(float(info.smallest_normal) / eps**2, 1e-140), min(float(info.max) * eps, 1e140)


def tame(blocks: Array) -> tuple[Array, Array, Array, Array]:
    """Bring blocks (n, p, v) into a range in which they can be decomposed, as a stack.

    Blocks whose squares leave the range of the dtype are divided by their largest modulus, or by the least normal
    number if that is more, since reciprocals of subnormal numbers are infinite. Non-finite ones are replaced
    by zeros, since a decomposition would raise for the whole stack.

    Returns
    -------
    blocks : array, shape (n, p, v)
    energy : array of float64, shape (n,)
        ``||Z||^2`` of the returned blocks.
    divisor : array, shape (n,)
        What the blocks were divided by, in their dtype.
    spoilt : array of float64, shape (n,)
        inf where a block was not finite, else 0.
    """
    xp = namespace(blocks)
    energy = xp.sum(squared_norms(blocks), axis=-1)
    low, high = safe_range(blocks)
    unusual = ~((energy >= low) & (energy < high))
    ones = xp.ones(energy.shape, dtype=blocks.dtype, device=blocks.device)
    if not any_true(unusual):
        return blocks, energy, ones, xp.zeros_like(energy)
    largest = xp.max(xp.abs(blocks), axis=(1, 2))
    finite = xp.isfinite(largest)
    divisor = xp.where(unusual & finite, xp.astype(normal_divisor(largest), blocks.dtype), ones)
    blocks = xp.where(finite[:, None, None], blocks, xp.zeros_like(blocks)) / divisor[:, None, None]
    spoilt = xp.where(finite, xp.zeros_like(energy), xp.full_like(energy, math.inf))
    return blocks, xp.sum(squared_norms(blocks), axis=-1), divisor, spoilt


def normal_divisor(largest: Array) -> Array:
    """Largest moduli to divide by; one in place of zero, and the least normal number in place of subnormal ones."""
    xp = namespace(largest)
    least = float(xp.finfo(largest.dtype).smallest_normal)
    return xp.where(largest > 0, xp.where(largest > least, largest, least), xp.ones_like(largest))


def has_cancelled(difference: Array, energy: Array, dtype: Any) -> Array:
    """Mask of the differences of energies that are too small beside the energy to be more than rounding.

    Parameters
    ----------
    difference, energy : array of float64
        A difference of energies, and the larger one of the two.
    dtype : dtype of the namespace
        Precision of the matrix, in which squares were rounded.
    """
    return difference < CANCELLING * float(namespace(energy).finfo(dtype).eps) * energy


def residual_energy(blocks: Array, left: Array, right: Array) -> Array:
    """``||Z - left right||^2`` in float64 for blocks (k, p, v), left (k, p, r), right (k, r, v)."""
    xp = namespace(blocks)
    count = blocks.shape[0]
    # The blocks fill the cache already, so that their residuals are formed, and held, a quarter at a time. For a stack
    # of 1 MiB of float32, that takes 1.1 times the time of the whole at once (AMD EPYC, 512 KiB of second-level cache).
    step = max(1, count // 4)
    parts = []
    for k in range(0, count, step):
        part = slice(k, min(k + step, count))
        factors = left[part, :, :], right[part, :, :]
        residual = factors[0] * factors[1] if left.shape[2] == 1 else xp.matmul(*factors)
        residual -= blocks[part, :, :]
        parts.append(xp.sum(squared_norms(residual), axis=-1))
    return xp.concat(parts)


def replace(found: Found, mask: Array, better: Found) -> Found:
    """Replace the rows of all arrays of a named tuple where ``mask`` is true by those of ``better``, in order."""
    return type(found)(*(replace_rows(old, mask, new) for old, new in zip(found, better, strict=True)))


def replace_rows(old: Array, mask: Array, new: Array) -> Array:
    """Array with ``new`` in place of ``old[mask]``, formed without a wait of the host for the number of rows.

    A boolean index would need that number. So every row looks up its place in ``old`` and ``new`` together instead: its
    own place, or ``count`` and the number of true entries before it.
    """
    xp = namespace(mask)
    count = mask.shape[0]
    positions = xp.astype(xp.cumulative_sum(xp.astype(mask, xp.int64)), xp.int64) - 1
    here = xp.arange(count, dtype=xp.int64, device=mask.device)
    return xp.take(xp.concat((old, new), axis=0), xp.where(mask, positions + count, here), axis=0)


def pad(rows: Array, rank: int) -> Array:
    """Vectors (n, rank, x): the first ones of (n, k, x), or all of these and zero vectors after them."""
    xp = namespace(rows)
    count, k, length = rows.shape
    if k >= rank:
        return rows[:, :rank, :]
    zeros = xp.zeros((count, rank - k, length), dtype=rows.dtype, device=rows.device)
    return xp.concat((rows, zeros), axis=1)


def squared_norms(vectors: Array) -> Array:
    """Squared Euclidean norms along the last axis, summed in float64 beyond runs of :data:`RUN` entries."""
    xp = namespace(vectors)
    length = vectors.shape[-1]
    runs = length // RUN
    if runs <= 1:
        return _plain_squares(vectors)
    head = xp.reshape(vectors[..., : runs * RUN], (*vectors.shape[:-1], runs, RUN))
    total = xp.sum(_plain_squares(head), axis=-1)
    return total + _plain_squares(vectors[..., runs * RUN :]) if runs * RUN < length else total


def _plain_squares(vectors: Array) -> Array:
    """Squared norms in float64, summed in the precision of the vectors."""
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


def multiply_thin(x: Array, y: Array) -> Array:
    """Matrix products of two stacks; real outer products, and products with numbers, entry by entry.

    For many small matrices, a call of BLAS for each costs more than its arithmetic: 8192 products of 128 x 1 with 1 x 1
    take 2.4 ms in place of .2 (float32, a core of an AMD EPYC).
    """
    xp = namespace(x)
    # NumPy rounds products of complex numbers otherwise at the end of an array: they would depend on the stack.
    return x * y if x.shape[-1] == 1 and not is_complex(xp, x.dtype) else xp.matmul(x, y)


def nonzero_divisor(norms: Array, like: Array) -> Array:
    """Norms in the dtype of ``like``, with one in place of zero."""
    xp = namespace(norms)
    return xp.astype(xp.where(norms > 0, norms, xp.ones_like(norms)), like.dtype)
