"""Checks of the factors and orderings that an operator is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ChainError, InputError
from ..structure.arguments import show_value
from ..structure.chain import Chain, Pattern
from ..structure.orderings import Orderings
from ..structure.plain_arrays import as_plain_array

__all__ = [
    "SUPPORTED",
    "Index",
    "check_chain",
    "check_factors",
    "check_permutations",
    "product_dtype",
]

Index: TypeAlias = NDArray[np.int64]
"""Permutation of one side, as an array of indices, with -1 at gaps."""

SUPPORTED = "fdFD"
"""NumPy's characters of the dtypes that factors may have: float32, float64, complex64 and complex128."""


def check_factors(ks_values: Iterable[ArrayLike]) -> tuple[NDArray[Any], ...]:
    """Return factors as arrays of native byte order; only those of the other byte order are copied.

    Raises
    ------
    InputError
        If there is none, or one is not a 4-D array of float32, float64, complex64 or complex128.
    """
    if not isinstance(ks_values, Iterable) or getattr(ks_values, "ndim", 1) == 0:
        raise InputError(
            f"ks_values={show_value(ks_values)} is not a sequence of 4-D arrays (a, b, c, d), one per factor"
        )
    factors = tuple(
        _check_factor(as_plain_array(values, f"ks_values[{index}]"), index) for index, values in enumerate(ks_values)
    )
    if not factors:
        raise InputError("ks_values is empty; an operator needs at least one 4-D array (a, b, c, d)")
    return factors


def _check_factor(values: NDArray[Any], index: int) -> NDArray[Any]:
    if values.ndim != 4 or values.size == 0:
        raise InputError(
            f"ks_values[{index}] has shape {values.shape}; every factor is a 4-D array (a, b, c, d) without an empty "
            "axis, and a single one is passed as [values]"
        )
    if values.dtype.char not in SUPPORTED:
        raise InputError(
            f"ks_values[{index}] has dtype {values.dtype}; convert it with astype to float32, float64, complex64 or "
            "complex128"
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def check_chain(factors: Sequence[NDArray[Any]]) -> Chain:
    """Return the chain of some factors.

    Raises
    ------
    ChainError
        If two neighbours do not multiply.
    """
    for index, (left, right) in enumerate(itertools.pairwise(Pattern(*values.shape) for values in factors)):
        if left.shape[1] != right.shape[0]:
            raise ChainError(
                f"ks_values[{index}] of shape {left} is a matrix of {left.shape[1]} columns but ks_values[{index + 1}] "
                f"of shape {right} is one of {right.shape[0]} rows; neighbours of shapes (a1, b1, c1, d1) and "
                "(a2, b2, c2, d2) must satisfy a1*c1*d1 == a2*b2*d2"
            )
    return Chain([values.shape for values in factors])


def product_dtype(dtype: np.dtype[Any], operand: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Dtype of the product of an operator and an operand, by NumPy's rules.

    Raises
    ------
    InputError
        If the operand does not hold numbers; the message calls it ``name``.
    """
    try:
        found = np.result_type(dtype, operand)
    except TypeError:
        found = None
    if found is None or found.kind not in "fc":
        raise InputError(f"{name} has dtype {operand}, which holds no numbers to multiply; convert it with astype")
    return found


def check_permutations(orderings: Orderings, chain: Chain) -> tuple[Index | None, Index | None]:
    """Return the index arrays of both sides, None for the standard order.

    Raises
    ------
    InputError
        If one does not name every index of its side once, with -1 at the other positions of the chain.
    ChainError
        If "bitreversal" is asked of a chain whose indices have no digits to reverse.
    """
    orderings.validate(orderings.shape(chain))  # each array has an entry for every position
    reverses_digits = isinstance(orderings.rows, str) or isinstance(orderings.cols, str)
    if reverses_digits and not chain.is_dense:
        raise ChainError(
            f'orderings ({orderings.describe()}): "bitreversal" needs a chainable chain that starts with a = 1 and '
            f"ends with d = 1, not {chain!r}; pass an index array"
        )
    return orderings.permutations(chain)
