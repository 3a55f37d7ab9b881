r"""Powers of the Gram matrices of blocks: their top vectors, and bounds on the largest eigenvalues.

The Gram matrix G of the short side of a block, n x n, is raised to a power s. From the mean and the variance of the
eigenvalues of ``H = G^s`` follows

    (1)  sigma_1^(2s) <= mean + sqrt((n - 1) variance),    mean = trace(H) / n,    variance = ||H||^2 / n - mean^2

for s = 1, 2, 4 or 8 (Wolkowicz and Styan, "Bounds for eigenvalues using traces", Linear Algebra Appl. 29 (1980)). The
power is the least one that leaves little to gain: each squaring costs as much as the Gram matrix itself.
"""

from __future__ import annotations

from ..backend import Array, is_complex, namespace, true_places
from ..linalg import SUBTRACTED, adjoint, nonzero_divisor, replace_rows, squared_norms

__all__ = ["GRAM_SLACK", "diagonal", "top_vector"]

GRAM_SLACK = 0.05
"""A Gram matrix is not squared again where the energy that its bound leaves open is below this fraction of the loss.

Of the ratio of the certificate, that is 2.5 % at most. See "Blocks of noise" under ``noise`` in benchmarks/README.md.
"""

MOST_EXPONENT = 8
"""Power of the Gram matrix at which squaring ends, s in (1)."""


def top_vector(power: Array, exponent: int, scale: Array, energy: Array, caught: Array) -> tuple[Array, Array]:
    """Top eigenvector (k, n, 1) of positive semidefinite matrices G, and a bound on their largest eigenvalue.

    The bound (1) is no more than ``||H||^(1/s)``: for s = 8, 9 % above the eigenvalue where three others are as large,
    since ``4^(1/16) = 1.09``, and sharper the faster they fall. Blocks for which that norm leaves much to gain beyond
    what is ``caught`` are squared again: it says more about the vector, which (1) alone may leave far from the top one
    where all eigenvalues are near to each other. The vector is ``H^5 e_j`` for the j with the largest ``||H e_j|| /
    ||H^(1/2) e_j||``, the unit vector that leans most towards the top vector: the largest column would rather be one
    where the energy of lesser vectors is concentrated.

    ``power`` is H for G divided by ``scale``, so that its trace is ``sqrt(n)``: ``||H||^2``, for s = 8 from ``n^-7`` to
    ``n^8``, neither underflows nor overflows.
    """
    xp = namespace(power)
    size, eps = power.shape[-1], float(xp.finfo(power.dtype).eps)
    columns = squared_norms(power)
    squares = xp.sum(columns, axis=-1)
    mean = xp.sum(xp.astype(diagonal(power), xp.float64), axis=-1) / size
    spread = xp.maximum(squares / size - mean**2, xp.zeros_like(mean)) + SUBTRACTED * eps * squares / size
    most = mean + xp.sqrt((size - 1) * spread)
    rounded = 1 + size * eps  # of the products
    bound = xp.minimum(scale * most ** (1 / exponent) * rounded, energy)  # (1)
    vector = _leaning_vector(power, columns, squares)
    if exponent == MOST_EXPONENT:
        return vector, bound
    norm = xp.minimum(scale * squares ** (1 / (2 * exponent)) * rounded, energy)
    open_ = norm - caught > GRAM_SLACK * (energy - caught)
    which = true_places(open_)
    if which.shape[0] == 0:
        return vector, bound
    rest = xp.take(power, which, axis=0)
    numbers = (xp.take(array, which) for array in (scale, energy, caught))
    squared = xp.matmul(rest, adjoint(rest))  # as a product with its adjoint, half of the work for BLAS
    better = top_vector(squared, 2 * exponent, *numbers)
    return replace_rows(vector, open_, better[0]), replace_rows(bound, open_, better[1])


def _leaning_vector(power: Array, columns: Array, squares: Array) -> Array:
    """Vectors (k, n, 1) by matrices H (k, n, n), the squared norms (k, n) of their columns, and their own."""
    xp = namespace(power)
    halves = xp.astype(diagonal(power), xp.float64)  # ||H^(1/2) e_j||^2
    # What is below is rounding, which must not be divided by.
    counts = halves > float(xp.finfo(power.dtype).eps) * xp.max(halves, axis=-1, keepdims=True)
    leaning = xp.where(counts, columns / xp.where(counts, halves, 1), 0)
    power = power / nonzero_divisor(xp.sqrt(squares), power)[:, None, None]  # so that H^5 e_j does not overflow
    vector = xp.take_along_axis(power, xp.argmax(leaning, axis=-1)[:, None, None], axis=2)
    for _ in range(4):
        vector = xp.matmul(power, vector)
    return vector


def diagonal(hermitian: Array) -> Array:
    """Diagonals (k, n) of Hermitian matrices, real."""
    xp = namespace(hermitian)
    diagonal = xp.linalg.diagonal(hermitian)
    return xp.real(diagonal) if is_complex(xp, diagonal.dtype) else diagonal
