"""Stored results that the command line names."""

from __future__ import annotations

import re
from typing import Any

from ..errors import InputError
from ..factorization.results.opening import open_result
from ..factorization.results.stacked import StackedFactorization
from ..structure.arguments import show_value

__all__ = ["open_one"]


def open_one(place: str, matrix: str | None) -> Any:
    """Open a stored result; of a stack, that of one matrix where a number or a name is given.

    Raises
    ------
    InputError
        If there is no such matrix.
    """
    found = open_result(place)
    if matrix is None:
        return found
    if not isinstance(found, StackedFactorization):
        raise InputError(f"--matrix {show_value(matrix)} is for stacks, and {place!r} holds one matrix; leave it out")
    is_name = found.names is not None and matrix in found.names
    return found[int(matrix) if not is_name and re.fullmatch(r"-?[0-9]+", matrix) else matrix]
