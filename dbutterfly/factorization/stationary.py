r"""Sweeps over the factors until none of them can lower the error any more, sped up by extrapolation of their products.

A sweep fits every factor once, the others being what they are (:mod:`dbutterfly.kernels.factors.sweeps`), in bases in
which a fit is a projection. What it takes from the energy of the residual is therefore what the factors have moved,

    (1)  ||Z - X_before||^2 - ||Z - X_after||^2 = sum over the factors of ||new - old||^2,

which is the square of the gradient at the factors, in these bases, met one after the other. So the sweeps end where the
gradient does: where the root of (1) is a few roots of the rounding unit beside ``||Z - X||``.

On their own, they come closer by the same factor each time. Anderson's acceleration ("Iterative procedures for
nonlinear integral equations", J. ACM 12, 1965; Walker and Ni, SIAM J. Numer. Anal. 49, 2011) combines the last of them:
with products ``X_i`` before a sweep and ``Y_i`` after it, and numbers g that make the combined step least,

    (2)  Y_last - sum g_i (Y_last - Y_i),    g = argmin ||R_last - sum g_i (R_last - R_i)||,    R_i = Y_i - X_i

It is taken of the products, not of the factors: those may be multiplied by any matrix and its inverse at a junction
without a change of the product, and are, by every sweep. The combination is no product of the chain, but one up to
second order: a sweep that fits the factors to it, in place of Z, leads back. It counts only where it lowers the error,
and else the sweeps go on from where they were: the error never rises.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..kernels.backend import Array, host_array, namespace
from ..kernels.factors.hierarchy import multiply_stack
from ..kernels.factors.sweeps import sweep
from ..kernels.linalg import squared_norms
from ..structure.chain import Chain
from ..structure.tree import Tree

__all__ = ["COPIES", "Stationary", "is_rounding", "residual_energy_of", "sweep_until_stationary"]

DEPTH = 3
"""Earlier sweeps that a combination takes into account.

Measured on a matrix of normal random numbers, 64 x 64, rank 2, to a gradient of 1e-7: 562 sweeps without acceleration,
77, 169, 64, 66 and 60 with a depth of 1, 2, 3, 5 and 8. For rank 1 and butterflies with noise, the depths differ less.
"""

MOST_SWEEPS = 5000
"""Sweeps after which the gradient that is left is reported instead. Not tuned: 678 was the most that was seen, of a
matrix of normal random numbers, 128 x 128, rank 2, without acceleration."""

GRADIENT_ROOTS = 4
"""Roots of the rounding unit, relative to the residual, at which a gradient is taken for zero.

The energy of the residual is off by some units, and the gradient is the root of a difference of two such energies.
"""

ROUNDED_UNITS = 8
"""Units in the last place of the norm of the matrix below which a residual is rounding. Not tuned."""

COPIES = 6 + 2 * (DEPTH + 1) + 3
"""Matrices of the size of Z that are held at the peak: those of a sweep, the products of the last ones, and two
combinations and a difference."""


class Stationary(NamedTuple):
    """Factors at which the error has no gradient left, or which sweeps without number have not brought there.

    Attributes
    ----------
    factors : list of array, shapes (1, a, b, c, d)
        The factors.
    product : array, shape (1, m, n)
        Their product.
    errors : list of float
        ``||Z - product||`` before the first sweep, and after each.
    gradient : float
        Root of (1) of the last sweep, relative to the error.
    is_reached : bool
        Whether that is zero up to rounding.
    """

    factors: list[Array]
    product: Array
    errors: list[float]
    gradient: float
    is_reached: bool


class _Fit(NamedTuple):
    """Factors, their product, and the energy of what the product leaves of Z."""

    factors: list[Array]
    product: Array
    energy: float


def residual_energy_of(matrix: Array, product: Array) -> float:
    """``||Z - product||^2`` in float64."""
    return float(namespace(matrix).sum(squared_norms(matrix - product)))


def is_rounding(matrix: Array, error: float) -> bool:
    """Whether an error ``||Z - product||`` is that of rounding."""
    return error <= _rounding_of(matrix)


def _rounding_of(matrix: Array) -> float:
    xp = namespace(matrix)
    return ROUNDED_UNITS * float(xp.finfo(matrix.dtype).eps) * math.sqrt(float(xp.sum(squared_norms(matrix))))


def sweep_until_stationary(matrix: Array, factors: list[Array], chain: Chain, tree: Tree) -> Stationary:
    """Sweep over the factors until the error has no gradient left.

    Parameters
    ----------
    matrix : array, shape (1, m, n)
        The matrix Z.
    factors : list of array, shapes (1, a, b, c, d)
        Factors to start from.
    chain : Chain
        Dense chain of shape (m, n).
    tree : Tree
        Nodes of the sweeps.
    """

    def fit(target: Array, start: list[Array]) -> _Fit:
        swept = sweep(target, start, chain, tree)
        return _Fit(swept.factors, swept.product, residual_energy_of(matrix, swept.product))

    product = multiply_stack(factors, chain, tree)
    best = _Fit(factors, product, residual_energy_of(matrix, product))
    eps = float(namespace(matrix).finfo(matrix.dtype).eps)
    rounding = _rounding_of(matrix) ** 2
    errors, gradient, before, after = [math.sqrt(best.energy)], math.inf, list[Array](), list[Array]()
    for _ in range(MOST_SWEEPS):
        swept = fit(matrix, best.factors)
        fallen = best.energy - swept.energy
        gradient = math.sqrt(fallen / swept.energy) if fallen > 0 and swept.energy > 0 else 0.0
        if gradient > 0:
            before, after = [*before[-DEPTH:], best.product], [*after[-DEPTH:], swept.product]
        best = swept if fallen > 0 else best
        errors.append(math.sqrt(best.energy))
        if gradient <= GRADIENT_ROOTS * math.sqrt(eps) or best.energy <= rounding:
            return Stationary(best.factors, best.product, errors, gradient, True)
        if len(before) > 1:
            jumped = fit(_combine(before, after), best.factors)
            if jumped.energy < best.energy:
                best = jumped
            else:
                before, after = [], []
    errors[-1] = math.sqrt(best.energy)
    return Stationary(best.factors, best.product, errors, gradient, False)


def _combine(before: list[Array], after: list[Array]) -> Array:
    """Combination (2) of products before and after the last sweeps, each of shape (1, m, n)."""
    xp = namespace(after[-1])
    last = after[-1] - before[-1]
    steps = [last - (new - old) for old, new in zip(before[:-1], after[:-1], strict=True)]
    rows = xp.stack([xp.reshape(each, (-1,)) for each in (*steps, last)])
    products = np.asarray(host_array(xp.matmul(xp.conj(rows), xp.matrix_transpose(rows))))
    products = products.astype(np.result_type(products.dtype, np.float64))
    gram, target = products[:-1, :-1], products[:-1, -1]
    # Steps that hardly differ are combined to some digits only: their products are off by rounding.
    eps = float(xp.finfo(rows.dtype).eps)
    weights = np.linalg.solve(gram + (64 * eps * gram.trace().real + np.finfo(float).tiny) * np.eye(len(gram)), target)
    found = after[-1]
    for weight, new in zip(weights.tolist(), after[:-1], strict=True):
        found = found - weight * (after[-1] - new)
    return xp.astype(found, rows.dtype, copy=False)
