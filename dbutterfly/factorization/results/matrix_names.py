"""Which matrix of a stack a number, or a name, is."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import NoSuchMatrixError
from ...operator.stacked import as_index

__all__ = ["number_of_matrix"]


def number_of_matrix(number: int | str, count: int, names: Sequence[str] | None) -> int:
    """Number of a matrix, from 0 on.

    Parameters
    ----------
    number : int or str
        Its number, negative ones from the end; or its name.
    count : int
        Matrices of the stack.
    names : sequence of str or None
        Their names, where they have any.

    Raises
    ------
    NoSuchMatrixError
        If there is none.
    """
    if not isinstance(number, str):
        return as_index(number, count)
    if names is None or number not in names:
        known = "the matrices have no names" if names is None else f"there are {', '.join(names[:8])}"
        raise NoSuchMatrixError(f"number={number!r} names no matrix of the stack; {known}")
    return names.index(number)
