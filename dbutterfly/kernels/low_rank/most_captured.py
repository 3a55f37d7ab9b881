r"""Bound on the energy that any matrix of rank r captures of a block, where no gap in its spectrum proves one.

A round (3) of :mod:`dbutterfly.kernels.low_rank.subspace` leaves k Ritz vectors, the columns of Q E, with their values
``s_i^2``, of the matrix ``Z Z^H``. With what lies beyond them,

    (1)  R = Z - Q Q^H Z,    w_i = s_i W_i,    W_i orthogonal to Q

that matrix is, in a basis that starts with Q E,

    (2)  Z Z^H = [[S^2, w^H], [w, R R^H]] <= [[S^2 + D, 0], [0, R R^H + w D^-1 w^H]]

for every positive diagonal D, since the difference of the two is positive semidefinite. Therefore

    (3)  sum_{i<=r} sigma_i(Z)^2  <=  sum of the r largest of the k numbers  max(s_i^2 + d_i, mu)

for any ``mu`` no less than the largest eigenvalue of the last block of (2). That block is ``L L^H`` for ``L = [R, w
D^-1/2]``, and with the smaller Gram matrix M of L, for every shift c,

    (4)  mu = c + trace((M - c)^m)^(1/m),    m = 4, 8 or 16

The vectors beyond the first r cost nothing if they are raised to the level of the r-th: ``d_i = s_r^2 - s_i^2``. What
is left of the coupling w is then small, and the bound is decided by how far below the level ``mu`` is. Half of the
least value is the shift, the middle of where the other eigenvalues lie, since powers of a matrix whose eigenvalues
lie about zero tell the largest from the others best. *Measured*, normal entries, k = r + 4, of the discarded energy:
for 128 x 128 and r = 2, the bound with m = 4 leaves 3.0 % open after four products with ``Z Z^H``, and 0.8 % with
m = 8; for r = 6, 8.9 % and 2.7 %; for 32 x 32, 0.9 and 3.2 % with m = 4.

Everything is formed from R, so that rounding is relative to what is discarded as long as the block itself is not lost
in it: the powers of ``Z Z^H`` would be those of its largest eigenvalues.
"""

from __future__ import annotations

from ..backend import Array, namespace, true_places
from ..linalg import adjoint, nonzero_divisor, replace_rows, squared_norms

__all__ = ["MOST_POWER", "bound_captured"]

MOST_POWER = 8
"""Power of the shifted Gram matrix at which squaring ends, m = 16 in (4). Not tuned: see ``rank_one``."""


def bound_captured(rest: Array, coupling: Array, squares: Array, ranks: tuple[int, ...], enough: Array) -> Array:
    """Bound (3) for every block of a stack and every rank, up to rounding.

    Parameters
    ----------
    rest : array, shape (n, p, v)
        R of (1).
    coupling : array, shape (n, p, k)
        Columns w of (1).
    squares : array of float64, shape (n, k)
        Values ``s_i^2``, descending.
    ranks : tuple of int
        Ascending ranks.
    enough : array of float64, shape (n, number of ranks)
        Bounds for which the powers need not rise further.

    Returns
    -------
    array of float64, shape (n, number of ranks)
    """
    xp = namespace(rest)
    few = min(ranks[-1], squares.shape[1])
    wide = xp.sqrt(squared_norms(xp.matrix_transpose(coupling)))
    raised = xp.maximum(squares[:, few - 1 : few] - squares, wide)  # D of (2)
    root = nonzero_divisor(xp.sqrt(raised), coupling)  # where it is zero, so is the column
    joined = xp.concat((rest, coupling / root[:, None, :]), axis=2)  # L
    turned = adjoint(joined)
    gram = xp.matmul(joined, turned) if joined.shape[1] <= joined.shape[2] else xp.matmul(turned, joined)
    size = gram.shape[-1]
    shift = squares[:, -1] / 2
    eye = xp.eye(size, dtype=gram.dtype, device=gram.device)
    shifted = gram - xp.astype(shift, gram.dtype)[:, None, None] * eye
    scale = xp.sqrt(xp.sum(squared_norms(shifted), axis=-1))
    power = shifted / nonzero_divisor(scale, gram)[:, None, None]
    return _raise_power(power, 1, (shift, scale, squares + raised, enough), ranks)


def _raise_power(power: Array, exponent: int, of: tuple[Array, Array, Array, Array], ranks: tuple[int, ...]) -> Array:
    """Bounds (3) from the power s of ``(M - c) / scale``, by (4) for ``m = 4 s``, and by higher ones where open."""
    xp = namespace(power)
    shift, scale, levels, enough = of
    size, eps = power.shape[-1], float(xp.finfo(power.dtype).eps)
    power, exponent = xp.matmul(power, adjoint(power)), 2 * exponent
    trace = xp.sum(squared_norms(power), axis=-1)
    most = shift + scale * trace ** (1 / (2 * exponent)) * (1 + size * eps)  # (4), with the rounding of the products
    bounds = _sum_largest(xp.maximum(levels, most[:, None]), ranks)
    if exponent == MOST_POWER:
        return bounds
    open_ = xp.any(bounds > enough, axis=-1)
    which = true_places(open_)
    if which.shape[0] == 0:
        return bounds
    shift, scale, levels, enough = (xp.take(numbers, which, axis=0) for numbers in of)
    better = _raise_power(xp.take(power, which, axis=0), exponent, (shift, scale, levels, enough), ranks)
    return replace_rows(bounds, open_, better)


def _sum_largest(numbers: Array, ranks: tuple[int, ...]) -> Array:
    """Sums of the r largest of the numbers (n, k), for each rank r: array (n, number of ranks)."""
    xp = namespace(numbers)
    ordered = xp.flip(xp.sort(numbers, axis=-1), axis=-1)
    return xp.stack([xp.sum(ordered[:, :rank], axis=-1) for rank in ranks], axis=-1)
