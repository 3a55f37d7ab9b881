r"""Bound on the largest singular values of large blocks of noise, by the Gram matrices of parts of them.

The lines of the short side, n of them, fall into parts of 64:

    (1)  sigma_1(Z)^2 <= sum over the parts of sigma_1(part)^2

The Gram matrices of all parts cost ``64 / n`` of that of the block, and their squares ``(64 / n)^2``. With G of one
part, the bound of :mod:`.gram_powers` is taken of ``(G - c)^2``, from the mean and the variance of the eigenvalues of
that:

    (2)  sigma_1(part)^2 <= c + (mean + sqrt((64 - 1) variance))^(1/2)

It holds for any shift c; eigenvalues near to the shift count little. *Measured*, 128 x 128 normal numbers, parts of
the energy: the largest singular value has .030, (2) gives .053 with c = 1.25 times the mean eigenvalue of G, and .063
without a shift; for the whole block, the first two powers give .097 and .049.
"""

from __future__ import annotations

from ..backend import Array, namespace
from ..linalg import SUBTRACTED, adjoint, nonzero_divisor, squared_norms
from .gram_powers import diagonal

__all__ = ["bound_by_parts", "has_parts"]

PART = 64
"""Lines of a part.

Measured for float32, 128 x 128, on a busy core of an AMD EPYC: Gram matrices and squares of parts of 64 lines take .5 s
for 2**28 entries, those of whole blocks 1.5 s. Parts of 32 lines take .4 s, and leave .02 of the energy more open.
"""

SHIFT = 1.25
"""Shift c in (2), in means of the eigenvalues.

Measured for normal numbers: parts of 64 x 128 give a bound of .063, .055, .053, .061 and .083 of the energy of a block
of 128 x 128 for shifts of 0, .75, 1.25, 1.5 and 2.
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
    if p < v:
        parts = xp.reshape(blocks, (count, p // PART, PART, v))
    else:  # views of columns, which BLAS takes in transposed order
        parts = xp.permute_dims(xp.reshape(blocks, (count, p, v // PART, PART)), (0, 2, 3, 1))
    gram = xp.matmul(parts, adjoint(parts))
    means = xp.mean(xp.astype(diagonal(gram), xp.float64), axis=-1)
    # Matrices of trace one are squared: nothing leaves its range.
    eye, eps = xp.eye(PART, dtype=gram.dtype, device=gram.device), float(xp.finfo(gram.dtype).eps)
    shifted = gram / nonzero_divisor(PART * means, gram)[:, :, None, None] - SHIFT / PART * eye
    most = _largest(xp.matmul(shifted, shifted), eps)
    return xp.sum(means * (SHIFT + PART * xp.sqrt(most)), axis=-1) * (1 + max(p, v) * eps)


def _largest(squared: Array, eps: float) -> Array:
    """Bound on the largest eigenvalues of positive semidefinite matrices (k, parts, PART, PART), rounding included."""
    xp = namespace(squared)
    mean = xp.mean(xp.astype(diagonal(squared), xp.float64), axis=-1)
    whole = xp.sum(squared_norms(squared), axis=-1) / PART
    spread = xp.maximum(whole - mean**2, xp.zeros_like(mean)) + SUBTRACTED * eps * whole
    return (mean + xp.sqrt((PART - 1) * spread)) * (1 + PART * eps)
