"""Solutions with symmetric, positive definite hierarchical matrices, by SciPy's preconditioned conjugate gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, cg

from ..errors import ConvergenceError, InputError
from ..structure.arguments import read_count, read_number
from .diagonal_blocks import diagonal_preconditioner
from .inverse import check_right_side

__all__ = ["Solution", "solve_definite"]

TOLERANCES = {4: 1e-5, 8: 1e-8}
"""Default tolerance by the bytes of a real number. Not tuned: a hundredfold of what rounding allows, and more."""

ASYMMETRY = 1e-2
"""Frobenius norm of ``Z - Z^H``, relative to that of Z, from which about a matrix is refused.

Not tuned: a symmetric matrix that was kept to a tolerance is off by as much. What passes and does not converge is told
by its residual.
"""

SLACK = 10.0
"""Times the tolerance that the residual itself may have: the iteration knows it up to rounding alone. Not tuned."""


class Solution(NamedTuple):
    """What conjugate gradients have found.

    Attributes
    ----------
    x : ndarray, shape (N,) or (N, k)
        Solutions.
    iterations : int
        Products with the matrix, the most for any right-hand side.
    residual : float
        ``||b - Z x|| / ||b||``, the largest of any right-hand side.
    """

    x: NDArray[Any]
    iterations: int
    residual: float


def solve_definite(operator: Any, b: ArrayLike, tol: float | None, preconditioner: Any, most: int) -> Solution:
    """Solve by conjugate gradients; see :meth:`dbutterfly.HierarchicalOperator.solve`."""
    rows, cols = operator.shape
    if rows != cols:
        raise InputError(f"the operator is {rows} x {cols}; solve is for square ones, scipy.sparse.linalg.lsqr for all")
    right = check_right_side(b, rows, operator.dtype)
    eps = float(np.finfo(right.dtype).eps)
    if tol is None:
        tol = TOLERANCES[4 if eps > 1e-10 else 8]
    remedy = f"use a number from {eps:.1g}, the precision of {right.dtype}, to 1"
    tol = read_number("tol", tol, least=eps, most=1, fault="is no relative residual", remedy=remedy)
    most = read_count("most", most, remedy="it is a number of iterations")
    _check_symmetric(operator)
    if preconditioner is None:
        preconditioner = diagonal_preconditioner(operator, None)
    columns = right if right.ndim == 2 else right[:, None]
    found = [_solve_one(operator, column, tol, preconditioner, most) for column in columns.T]
    x = np.stack([each.x for each in found], axis=1) if found else np.zeros_like(columns)
    iterations, residual = (max((each[k] for each in found), default=0) for k in (1, 2))
    return Solution(x if right.ndim == 2 else x[:, 0], int(iterations), float(residual))


def _check_symmetric(operator: Any) -> None:
    """Refuse a matrix that is not its own adjoint, as products with two random vectors tell.

    ``v^H (Z - Z^H) u`` is about as large as the Frobenius norm, and ``|v| |Z u|`` larger by the root of N.
    """
    if operator.symmetry == "hermitian" or (operator.symmetry == "symmetric" and operator.dtype.kind == "f"):
        return
    u, v = np.random.default_rng(0).standard_normal((2, operator.shape[0])).astype(operator.dtype)
    one, other = operator @ u, operator @ v
    difference = abs(np.vdot(v, one) - np.conj(np.vdot(u, other)))
    size = float(np.linalg.norm(v) * np.linalg.norm(one))
    if not difference <= ASYMMETRY * size / math.sqrt(u.size):
        raise ConvergenceError(
            "the operator is not equal to its adjoint, so conjugate gradients do not solve with it; use "
            "scipy.sparse.linalg.gmres with operator.preconditioner() as M"
        )


def _solve_one(operator: Any, b: NDArray[Any], tol: float, preconditioner: Any, most: int) -> Solution:
    """Solve for one right-hand side."""
    size = float(np.linalg.norm(b))
    if not math.isfinite(size):
        raise InputError("b holds a NaN or an infinity; give finite right-hand sides")
    count = 0

    def multiply(p: NDArray[Any]) -> NDArray[Any]:
        nonlocal count
        count += 1
        product: NDArray[Any] = operator @ p
        curvature = np.vdot(p, product).real
        if not curvature > 0 and np.any(p):
            raise ConvergenceError(
                f"the operator is not positive definite: iteration {count} met a vector p with p^H Z p = "
                f"{curvature:.3g}; use scipy.sparse.linalg.minres or gmres, or factorize with a smaller tol "
                "where the matrix itself is"
            )
        return product

    watched = LinearOperator(operator.shape, matvec=multiply, dtype=b.dtype)
    x, _ = cg(watched, b, rtol=tol, atol=0.0, maxiter=most, M=preconditioner)
    residual = float(np.linalg.norm(b - operator @ x)) / size if size else 0.0
    if not residual <= SLACK * tol:
        raise ConvergenceError(
            f"conjugate gradients left a residual of {residual:.3g} after {count} iterations, and tol={tol:g} was "
            "asked for; give a larger tol or more iterations (most), a preconditioner of larger blocks "
            "(operator.preconditioner(size=...)), or use scipy.sparse.linalg.gmres"
        )
    return Solution(x, count, residual)
