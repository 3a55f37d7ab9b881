"""An operator times a number: which numbers there are, and the factor that takes one up."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..structure.arguments import show_value

__all__ = ["as_number", "scale_factors"]


def as_number(value: Any) -> Any:
    """A number with which NumPy's arrays can be multiplied, or None for what is none.

    Python's numbers leave the dtype of an array as it is, NumPy's scalars count with their own dtype, as they do in
    NumPy; but no number makes an operator wider than double precision. Fractions and decimals count as Python's floats.

    Raises
    ------
    InputError
        If it is not finite.
    """
    if type(value) is np.ndarray and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.generic):
        if value.dtype.kind not in "biufc":
            return None
        number: Any = value.astype(np.result_type(value.dtype, np.float16)) if value.dtype.kind == "b" else value
        if value.dtype.itemsize > (16 if value.dtype.kind == "c" else 8):
            number = np.complex128(value) if value.dtype.kind == "c" else np.float64(value)
    elif isinstance(value, (numbers.Number, decimal.Decimal)):
        number = _python_number(value)
    else:
        return None
    if number is None or not np.isfinite(number):
        raise InputError(f"number={show_value(value)} is not finite in double precision; an operator needs one that is")
    return number


def _python_number(value: Any) -> Any:
    try:
        return (
            complex(value)
            if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)
            else float(value)
        )
    except Exception:  # too large, a Decimal that signals, or whatever other classes of numbers do
        return None


def scale_factors(
    ks_values: Sequence[NDArray[Any]],
    number: Any,
    scale: Callable[[NDArray[Any], Any], NDArray[Any]],
) -> list[NDArray[Any]]:
    """Multiply the smallest factor by a number, or divide it.

    Parameters
    ----------
    ks_values : sequence of ndarray
        Factors.
    number : scalar
        From :func:`as_number`.
    scale : callable
        ``numpy.multiply`` or ``numpy.divide``.

    Raises
    ------
    InputError
        If values leave the range of the dtype: some become infinite, or all become zero.
    """
    factors = list(ks_values)
    smallest = min(range(len(factors)), key=lambda index: factors[index].size)
    before = factors[smallest]
    with np.errstate(all="ignore"):  # what has left the range is looked for
        after = scale(before, number)
    is_lost = np.any(before) and number != 0 and not np.any(after)
    if is_lost or not (np.isfinite(after).all() or not np.isfinite(before).all()):
        raise InputError(
            f"number={show_value(number)} takes a factor of dtype {before.dtype} out of its range; use another number, "
            "or convert the operator with astype first"
        )
    factors[smallest] = after
    return factors
