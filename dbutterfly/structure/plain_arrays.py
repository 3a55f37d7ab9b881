"""Plain NumPy arrays from what callers and their functions hand over, in which nothing is hidden under a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .shown_values import show_value

__all__ = ["as_plain_array", "is_masked"]


def as_plain_array(value: Any, name: str, error: type[InputError] = InputError) -> NDArray[Any]:
    """Convert to an array, as :func:`numpy.asarray` does, but refuse masks.

    Parameters
    ----------
    value : array_like
        What was handed over.
    name : str
        What error messages call it.
    error : type
        Class of the error.

    Raises
    ------
    InputError
        If it is a masked array, or a list of some: NumPy would take what lies under the mask.
    """
    if type(value) is np.ndarray:
        return value
    masked = is_masked(value)  # before it is converted: of some lists NumPy makes numbers
    try:
        found = None if masked else np.asanyarray(value)
    except Exception as fault:  # whatever an object does when it is made an array
        unlike = "; all rows need the same length" if "inhomogeneous" in str(fault) else ""
        raise error(f"{name}={show_value(value)} is no array: {type(fault).__name__}: {fault}{unlike}") from fault
    if masked or is_masked(found):
        raise error(f"{name} is a masked array; pass {name}.filled(value), as what lies under the mask is no entry")
    return np.asarray(found)


def is_masked(value: Any) -> bool:
    """Whether something is a masked array of NumPy's or Astropy's, or a list that holds one."""
    if isinstance(value, (list, tuple)):
        return any(map(is_masked, value))
    return isinstance(value, np.ma.MaskedArray) or (
        isinstance(value, np.ndarray) and hasattr(value, "mask") and hasattr(value, "unmasked")
    )
