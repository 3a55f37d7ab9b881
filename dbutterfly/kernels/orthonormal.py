"""Orthonormal columns for many small sets of columns, without a decomposition where they nearly are."""

from __future__ import annotations

from .backend import Array, namespace, true_places
from .linalg import adjoint, replace_rows, squared_norms

__all__ = ["orthonormalizers"]

STEPS = 3
"""Newton steps tried: from Gram matrices that are off by .1 to those that are off by 1e-7."""

KEPT = 32
"""Eigenvalues of a Gram matrix below this many units in the last place, and columns, are rounding."""


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

    Notes
    -----
    Scaled to norm one, columns that approximate orthogonal vectors have a Gram matrix G near the identity, and ``T <-
    T (3 - T^H G T) / 2`` converges to its inverse square root (Newton and Schulz; Higham, "Functions of Matrices",
    section 8.3). Sets for which it does not go through the eigenvectors of G, and further steps with the Gram matrix
    of the columns that were reached: G itself is off by rounding, which small eigenvalues magnify.
    """
    xp = namespace(columns)
    norms = xp.sqrt(squared_norms(xp.matrix_transpose(columns)))
    scale = xp.astype(xp.where(norms > 0, 1 / xp.where(norms > 0, norms, 1.0), 0.0), columns.dtype)
    unit = columns * scale[:, None, :]
    if columns.shape[-1] == 1:
        return scale[:, :, None]
    gram = _gram(unit)
    excess = _excess(gram)
    t = xp.eye(gram.shape[-1], dtype=columns.dtype, device=columns.device) - excess / 2
    further = ~_is_small(excess)
    which = true_places(further)
    if which.shape[0]:
        found = _by_steps(*(xp.take(array, which, axis=0) for array in (unit, gram, t)))
        t = replace_rows(t, further, found)
    return scale[:, :, None] * t


def _by_steps(unit: Array, gram: Array, t: Array) -> Array:
    """The same for unit columns on which one step, which is given, is not enough."""
    xp = namespace(unit)
    for _ in range(STEPS - 1):
        t = _step(t, xp.matmul(adjoint(t), xp.matmul(gram, t)))
    reached = xp.matmul(adjoint(t), xp.matmul(gram, t))
    hard = ~_is_small(_excess(reached))
    t = _step(t, reached)
    which = true_places(hard)
    if which.shape[0] == 0:
        return t
    chosen = xp.take(unit, which, axis=0)
    better = _by_eigenvectors(xp.take(gram, which, axis=0))
    for _ in range(STEPS + 1):
        better = _step(better, _gram(xp.matmul(chosen, better)))
    return replace_rows(t, hard, better)


def _is_small(excess: Array) -> Array:
    """Whether one step is enough: what it leaves is the square."""
    xp = namespace(excess)
    return xp.max(xp.abs(excess), axis=(1, 2)) <= float(xp.finfo(excess.dtype).eps) ** 0.5


def _gram(columns: Array) -> Array:
    """Gram matrices, with one in place of zero on the diagonal: a zero column is as good as a new direction."""
    xp = namespace(columns)
    gram = xp.matmul(adjoint(columns), columns)
    missing = xp.astype(squared_norms(xp.matrix_transpose(columns)) == 0, columns.dtype)
    return gram + missing[:, :, None] * xp.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def _excess(gram: Array) -> Array:
    xp = namespace(gram)
    return gram - xp.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def _step(t: Array, gram: Array) -> Array:
    return t - namespace(t).matmul(t, _excess(gram)) / 2


def _by_eigenvectors(gram: Array) -> Array:
    xp = namespace(gram)
    eps = float(xp.finfo(gram.dtype).eps)
    gram = xp.where(xp.isfinite(xp.abs(gram)), gram, xp.zeros_like(gram))  # an eigensolver would raise for the stack
    values, vectors = xp.linalg.eigh(gram)
    kept = values > KEPT * gram.shape[-1] * eps
    inverse = xp.where(kept, 1 / xp.sqrt(xp.where(kept, values, xp.ones_like(values))), xp.zeros_like(values))
    return vectors * xp.astype(inverse, gram.dtype)[:, None, :]
