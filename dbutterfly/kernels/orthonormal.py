r"""Orthonormal columns for many small sets of columns, without a decomposition where they nearly are.

Columns C of a set are scaled to norm one, and have the Gram matrix

    (1)  G = C^H C

Where they approximate orthogonal vectors, G is near the identity, and the iteration of Newton and Schulz from T = I,

    (2)  T <- T (3 - T^H G T) / 2 = T - T E / 2,    E = T^H G T - I

converges to the inverse square root of G (Higham, "Functions of Matrices", section 8.3): a step squares E, up to a
factor. Then the columns of ``C T`` are orthonormal. Sets for which it does not converge go through the eigenvectors V
and eigenvalues of G,

    (3)  T = V diag(1 / sqrt(lambda))

and through further steps (2) with the Gram matrix of the columns ``C T`` that were reached: G itself is off by
rounding, which small eigenvalues magnify.
"""

from __future__ import annotations

from .backend import Array, namespace, true_places
from .linalg import adjoint, replace_rows, squared_norms

__all__ = ["orthonormalizers"]

STEPS = 3
"""Newton steps before the eigenvectors are asked.

A step squares what the Gram matrix is off by, up to 3/4: three steps lead from .1 to below 1e-8.

Measured on 2000 sets of 4 columns of 32 entries, ``Q (1 + e N)`` with orthonormal Q and normal N: for e = 0.003, 0.03
and 0.1, three steps leave 0, 169 and 1967 sets to the eigenvectors, which take three times as long; four steps leave 0,
0 and 298.
"""

NULL_UNITS = 32
"""Eigenvalues of a Gram matrix below this many units in the last place, times its size, are taken as zero.

Not tuned: the eigenvalues of a Gram matrix of unit columns are off by its rounding, a few units for each column.
"""


def orthonormalizers(columns: Array) -> Array:
    """Square matrices T for which the columns of ``C T`` are orthonormal, or zero.

    Parameters
    ----------
    columns : array, shape (n, p, r)
        Sets C of r columns.

    Returns
    -------
    array, shape (n, r, r)
        One T for each set. Columns that are zero, or combinations of others up to rounding, have zero columns in
        ``C T`` in their place.
    """
    xp = namespace(columns)
    norms = xp.sqrt(squared_norms(xp.matrix_transpose(columns)))
    scale = xp.astype(xp.where(norms > 0, 1 / xp.where(norms > 0, norms, 1.0), 0.0), columns.dtype)
    if columns.shape[-1] == 1:
        return scale[:, :, None]
    unit = columns * scale[:, None, :]
    gram = _gram(unit)  # (1)
    excess = _excess(gram)
    t = xp.eye(gram.shape[-1], dtype=columns.dtype, device=columns.device) - excess / 2  # (2) from T = I
    further = ~_is_small(excess)
    which = true_places(further)
    if which.shape[0]:
        found = _orthonormalizers_by_steps(*(xp.take(array, which, axis=0) for array in (unit, gram, t)))
        t = replace_rows(t, further, found)
    return scale[:, :, None] * t


def _orthonormalizers_by_steps(unit: Array, gram: Array, t: Array) -> Array:
    """Matrices T for unit columns that the first step of (2), which has led to ``t``, does not make orthonormal."""
    xp = namespace(unit)
    for _ in range(STEPS - 1):
        t = _step(t, xp.matmul(adjoint(t), xp.matmul(gram, t)))  # (2)
    reached = xp.matmul(adjoint(t), xp.matmul(gram, t))
    hard = ~_is_small(_excess(reached))
    t = _step(t, reached)
    which = true_places(hard)
    if which.shape[0] == 0:
        return t
    chosen = xp.take(unit, which, axis=0)
    better = _orthonormalizers_by_eigenvectors(xp.take(gram, which, axis=0))  # (3)
    for _ in range(STEPS + 1):
        # The Gram matrix is formed anew from the columns: T^H G T would repeat the rounding of G.
        better = _step(better, _gram(xp.matmul(chosen, better)))
    return replace_rows(t, hard, better)


def _is_small(excess: Array) -> Array:
    """Mask of the sets on which one step is enough: it leaves the square of the excess, which is rounding."""
    xp = namespace(excess)
    return xp.max(xp.abs(excess), axis=(1, 2)) <= float(xp.finfo(excess.dtype).eps) ** 0.5


def _gram(columns: Array) -> Array:
    """Gram matrices (1), with one in place of zero on the diagonal.

    So a zero column counts as orthonormal to the others, and T does not grow to make a direction of it.
    """
    xp = namespace(columns)
    gram = xp.matmul(adjoint(columns), columns)
    missing = xp.astype(squared_norms(xp.matrix_transpose(columns)) == 0, columns.dtype)
    return gram + missing[:, :, None] * xp.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def _excess(gram: Array) -> Array:
    """E of (2): what a Gram matrix is above the identity."""
    xp = namespace(gram)
    return gram - xp.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def _step(t: Array, gram: Array) -> Array:
    """One step (2), given the Gram matrix ``T^H G T`` of the columns that T makes."""
    return t - namespace(t).matmul(t, _excess(gram)) / 2


def _orthonormalizers_by_eigenvectors(gram: Array) -> Array:
    """Matrices T by (3), with zero columns for eigenvalues that are rounding."""
    xp = namespace(gram)
    eps = float(xp.finfo(gram.dtype).eps)
    gram = xp.where(xp.isfinite(xp.abs(gram)), gram, xp.zeros_like(gram))  # an eigensolver would raise for the stack
    values, vectors = xp.linalg.eigh(gram)
    kept = values > NULL_UNITS * gram.shape[-1] * eps
    inverse = xp.where(kept, 1 / xp.sqrt(xp.where(kept, values, xp.ones_like(values))), xp.zeros_like(values))
    return vectors * xp.astype(inverse, gram.dtype)[:, None, :]
