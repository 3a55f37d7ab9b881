"""Conversions between operators of this package and those of SciPy, lazylinop and PyLops."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import InputError
from ..structure.arguments import read_count, show_value
from ..structure.chain import Pattern
from ..structure.digits import digit_reversal
from ..structure.orderings import Orderings
from ..structure.padding import inverse_order
from .checks import Index

__all__ = ["from_lazylinop", "lazylinop_of", "pylops_of", "pylops_of_stack", "sparse_factors"]


def sparse_factors(ks_values: Sequence[NDArray[Any]], rows: Index | None, cols: Index | None) -> list[sparse.csr_array]:
    """Sparse matrices whose product is the matrix; the orderings are folded into the first and the last."""
    factors = [_to_csr(values) for values in ks_values]
    if rows is not None:
        factors[0] = factors[0][inverse_order(rows)]
    if cols is not None:
        factors[-1] = factors[-1][:, inverse_order(cols)]
    for factor in factors:
        factor.sort_indices()
    return factors


def _to_csr(values: NDArray[Any]) -> sparse.csr_array:
    """Convert a factor; row ``(ia, ib, id)`` holds the ``c`` columns ``(ia, ic, id)`` in ascending order."""
    pattern = Pattern(*values.shape)
    a, _, c, d = pattern
    columns = np.arange(a * c * d).reshape(a, 1, c, d)
    indices = np.broadcast_to(columns, pattern).transpose(0, 1, 3, 2).ravel()
    data = values.transpose(0, 1, 3, 2).ravel()
    return sparse.csr_array((data, indices, np.arange(0, pattern.nnz + 1, c)), shape=pattern.shape)


def lazylinop_of(operator: Any) -> Any:
    """Operator of lazylinop; see :meth:`dbutterfly.ButterflyOperator.to_lazylinop`."""
    lazylinop = _import("lazylinop", "lazylinop psutil pandas")
    _import("lazylinop.butterfly", "lazylinop psutil pandas")
    is_standard = operator.orderings.rows is None and operator.orderings.cols is None
    if is_standard and operator.chain.ranks is not None:
        factors = [np.ascontiguousarray(values, operator.dtype) for values in operator.ks_values]
        return lazylinop.butterfly.ksm(factors if len(factors) > 1 else factors[0])
    return lazylinop.LazyLinOp(
        operator.shape, matmat=lambda x: operator @ x, rmatmat=lambda x: operator.H @ x, dtype=operator.dtype
    )


def from_lazylinop(operator: Any) -> tuple[list[NDArray[Any]], Orderings]:
    """Factors and orderings of an operator of ``lazylinop.butterfly``.

    Raises
    ------
    InputError
        If it has no ``ks_values``.
    """
    found = getattr(operator, "ks_values", None)
    if found is None:
        raise InputError(
            f"operator={show_value(operator)} has no ks_values; operators of lazylinop.butterfly (ksm, ksd, dft, ...) "
            "have"
        )
    factors = [found] if getattr(found, "ndim", None) == 4 else list(found)
    reversed_side = getattr(operator, "bitrev_perm", None)
    rows, cols = (
        digit_reversal((size.bit_length() - 1) * (2,)) if reversed_side in (side, "both") else None
        for side, size in zip(("left", "right"), operator.shape, strict=True)
    )
    return [np.asarray(values) for values in factors], Orderings(rows, cols)


def pylops_of(operator: Any) -> Any:
    """Operator of PyLops; see :meth:`dbutterfly.ButterflyOperator.to_pylops`."""
    return _import("pylops", "pylops").aslinearoperator(operator)


def pylops_of_stack(operator: Any, columns: int) -> Any:
    """Operator of PyLops for a stack; see :meth:`dbutterfly.StackedOperator.to_pylops`."""
    pylops = _import("pylops", "pylops")
    count, rows, cols = operator.shape
    wide = read_count("columns", columns)
    adjoint, base = operator.H, pylops.LinearOperator

    class Stacked(base):  # type: ignore[misc, valid-type]  # PyLops has no types
        """A stack of matrices, in the place of Fredholm1."""

        def _matvec(self, x: NDArray[Any]) -> NDArray[Any]:
            return (operator @ x.reshape(self.dims)).reshape(-1)  # type: ignore[no-any-return]

        def _rmatvec(self, x: NDArray[Any]) -> NDArray[Any]:
            return (adjoint @ x.reshape(self.dimsd)).reshape(-1)  # type: ignore[no-any-return]

    return Stacked(dtype=operator.dtype, dims=(count, cols, wide), dimsd=(count, rows, wide))


def _import(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} cannot be imported ({error}); install it with: pip install {install}") from error
