"""The inverse of the blocks on the diagonal, as a preconditioner."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError, SingularFactorError
from ..structure.arguments import read_count

__all__ = ["diagonal_preconditioner"]

PLAIN = 64
"""Positions of a block where the matrix has none on its diagonal. Not tuned."""

Span = tuple[int, int]
Solver = Callable[[NDArray[Any], bool], NDArray[Any]]
"""Solves with a block, or with True with its adjoint."""


def diagonal_preconditioner(operator: Any, size: int | None) -> LinearOperator:
    """Inverse of diagonal blocks; see :meth:`dbutterfly.HierarchicalOperator.preconditioner`."""
    rows, cols = operator.shape
    if rows != cols:
        raise InputError(f"the operator is {rows} x {cols}; a preconditioner of diagonal blocks is for square ones")
    if size is not None:
        size = read_count("size", size, remedy="it is a number of positions")
    solvers = [(span, _factorize(operator._ranges(span, span), span)) for span in _spans(operator, size)]
    gather, scatter = operator.row_order, operator.col_order

    def solve(b: NDArray[Any], is_adjoint: bool) -> NDArray[Any]:
        into, outof = (scatter, gather) if is_adjoint else (gather, scatter)
        right = np.asarray(b) if into is None else np.asarray(b)[into]
        x = np.empty(right.shape, np.result_type(operator.dtype, right.dtype))
        for (first, last), solver in solvers:
            x[first:last] = solver(right[first:last], is_adjoint)
        if outof is None:
            return x
        ordered = np.empty_like(x)
        ordered[outof] = x
        return ordered

    def forward(b: NDArray[Any]) -> NDArray[Any]:
        return solve(b, False)

    def adjoint(b: NDArray[Any]) -> NDArray[Any]:
        return solve(b, True)

    return LinearOperator(
        (rows, cols), matvec=forward, rmatvec=adjoint, matmat=forward, rmatmat=adjoint, dtype=operator.dtype
    )


def _spans(operator: Any, size: int | None) -> list[Span]:
    """Positions of the diagonal blocks: those of the matrix, as many together as fit into ``size``."""
    n = operator.shape[0]
    own = sorted(block.rows for block in operator.blocks if block.rows == block.cols)
    if [first for first, _ in own] != [0, *(last for _, last in own[:-1])] or own[-1][1] != n:
        step = PLAIN if size is None else size
        return [(first, min(first + step, n)) for first in range(0, n, step)]
    joined: list[Span] = []
    for first, last in own:
        if joined and size is not None and last - joined[-1][0] <= size:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def _factorize(block: NDArray[Any], span: Span) -> Solver:
    """What solves with a block: by Cholesky's factor where there is one.

    Raises
    ------
    SingularFactorError
        If the block is singular to working precision.
    """
    if np.allclose(block, block.conj().T, rtol=0, atol=np.finfo(block.dtype).eps * abs(block).max()):
        try:
            lower = scipy.linalg.cho_factor(block, lower=True)
        except scipy.linalg.LinAlgError:
            pass  # not positive definite
        else:
            return lambda b, is_adjoint: scipy.linalg.cho_solve(lower, b)  # noqa: ARG005  # its own adjoint
    with warnings.catch_warnings(action="ignore", category=scipy.linalg.LinAlgWarning):  # told below
        lu, pivots = scipy.linalg.lu_factor(block)
    diagonal = np.abs(np.diag(lu))
    if not diagonal.min() > np.finfo(block.dtype).eps * diagonal.max():
        raise SingularFactorError(
            f"the block on the diagonal at positions {span[0]} to {span[1] - 1} is singular to the precision of "
            f"{block.dtype}; give another size, or use scipy.sparse.linalg.gmres without a preconditioner"
        )
    return lambda b, is_adjoint: scipy.linalg.lu_solve((lu, pivots), b, trans=2 if is_adjoint else 0)
