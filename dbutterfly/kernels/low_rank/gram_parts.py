r"""Bound on the largest singular values of large blocks of noise, by the Gram matrices of parts of them.

The lines of the short side, n of them, fall into parts of 32:

    (1)  sigma_1(Z)^2 <= sum over the parts of sigma_1(part)^2

The Gram matrices of all parts cost ``32 / n`` of that of the block, and their squares ``(32 / n)^2``. With G of one
part, the bound of :mod:`.gram_powers` is taken of ``(G - c)^2``, from the mean and the variance of the eigenvalues of
that:

    (2)  sigma_1(part)^2 <= c + (mean + sqrt((32 - 1) variance))^(1/2)

It holds for any shift c; eigenvalues near to the shift count little. *Measured*, 128 x 128 normal numbers, parts of
the energy: the largest singular value has .030 in the mean, (1) is .067 and (2) .074 with c the mean eigenvalue of G,
and .087 without a shift; ``(G - c)^4`` would give .068. Parts of 64 lines give .044 and .052.
"""

from __future__ import annotations

from ..backend import Array, namespace
from ..linalg import SUBTRACTED, adjoint, squared_norms
from .gram_powers import diagonal

__all__ = ["PARTS_SLACK", "bound_by_parts", "has_parts"]

PART = 32
"""Lines of a part.

Measured for float32, 128 x 128, compiled, on a busy core of an AMD EPYC: Gram matrices and squares of parts of 32 lines
take .28 s for 2**28 entries. Of the energy, the bound of parts of 64 lines is .02 lower, that of 16 lines .04 higher.
"""

SHIFT = 1.0
"""Shift c in (2), in means of the eigenvalues.

Measured for normal numbers: parts of 32 x 128 give a bound of .087, .077, .074, .083 and .102 of the energy of a block
of 128 x 128 for shifts of 0, .75, 1, 1.25 and 1.5.
"""

PARTS_SLACK = 0.06
"""Energy, as a fraction of the loss, below which what (1) for the residual leaves open needs no sharper bound.

Of the ratio of the certificate, that is 3 % at most. Measured for the best approximations of 48 blocks of normal
numbers, the largest fraction: .037, .045, .046 and .045 for blocks of 64, 128, 256 and 512 rows and columns; with (1)
for the block itself, .044, .048, .047 and .045.
"""


def has_parts(shape: tuple[int, ...]) -> bool:
    """Whether the short side of blocks (..., p, v) falls into several parts."""
    side = min(shape[-2:])
    return side >= 2 * PART and side % PART == 0


def bound_by_parts(blocks: Array) -> Array:
    """Bound (1) for every block of a stack.

    Parameters
    ----------
    blocks : array, shape (k, p, v)
        Blocks that have parts, and whose squares stay in the range of their dtype.

    Returns
    -------
    array of float64, shape (k,)
    """
    xp = namespace(blocks)
    count, p, v = blocks.shape
    if p <= v:
        parts = xp.reshape(blocks, (count, p // PART, PART, v))
    else:  # views of columns, which BLAS takes in transposed order
        parts = xp.permute_dims(xp.reshape(blocks, (count, p, v // PART, PART)), (0, 2, 3, 1))
    gram = xp.matmul(parts, adjoint(parts))
    traces = xp.sum(xp.astype(diagonal(gram), xp.float64), axis=-1)
    # Matrices of trace one are squared: nothing leaves its range. Traces whose reciprocals would are bounds themselves.
    eye, info = xp.eye(PART, dtype=gram.dtype, device=gram.device), xp.finfo(gram.dtype)
    usual, eps = traces >= float(info.smallest_normal), float(info.eps)
    divisor = xp.astype(xp.where(usual, traces, xp.ones_like(traces)), gram.dtype)
    shifted = gram / divisor[:, :, None, None] - SHIFT / PART * eye
    most = _largest(xp.matmul(shifted, adjoint(shifted)), eps)
    parts = xp.where(usual, traces * (SHIFT / PART + xp.sqrt(most)), traces)
    return xp.sum(parts, axis=-1) * (1 + max(p, v) * eps)


def _largest(squared: Array, eps: float) -> Array:
    """Bound on the largest eigenvalues of positive semidefinite matrices (k, parts, PART, PART), rounding included."""
    xp = namespace(squared)
    mean = xp.mean(xp.astype(diagonal(squared), xp.float64), axis=-1)
    whole = xp.sum(squared_norms(squared), axis=-1) / PART
    spread = xp.maximum(whole - mean**2, xp.zeros_like(mean)) + SUBTRACTED * eps * whole
    return (mean + xp.sqrt((PART - 1) * spread)) * (1 + PART * eps)
