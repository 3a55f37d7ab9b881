"""Orderings as a caller gives them, of which a side, or both, may be unknown; nothing is identified here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..structure.arguments import show_value
from ..structure.orderings import Orderings

__all__ = ["IDENTIFY", "are_unknown", "is_unknown", "read_orderings"]

IDENTIFY = "identify"
"""Value of an ordering that is to be found."""


def read_orderings(name: str, value: Any) -> Any:
    """Read orderings of which a side, or both, may be ``"identify"``.

    Returns
    -------
    None, Orderings, "identify" or pair (rows, cols)
        Sides of a pair are ``"identify"`` or what :class:`Orderings` takes.

    Raises
    ------
    InputError
        If they are none.
    """
    if value is None or isinstance(value, Orderings) or (isinstance(value, str) and value == IDENTIFY):
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InputError(
            f"{name}={show_value(value)} is not None, an Orderings, or a pair (rows, cols); a side is None, "
            f'"bitreversal", an index array, or "identify"'
        )
    wanted = _unknown_sides(value)
    known = Orderings(*(None if want else side for want, side in zip(wanted, value, strict=True)))
    if not any(wanted):
        return known
    return tuple(IDENTIFY if want else side for want, side in zip(wanted, (known.rows, known.cols), strict=True))


def is_unknown(orderings: Any) -> bool:
    """Whether orderings are to be found, of one side or both."""
    return any(_unknown_sides(orderings))


def are_unknown(orderings: Any) -> bool:
    """Whether the orderings of both sides are to be found."""
    return all(_unknown_sides(orderings))


def _unknown_sides(orderings: Any) -> list[bool]:
    """For each side of the orderings as given, whether it is to be found."""
    sides = (orderings,) if isinstance(orderings, str) or not isinstance(orderings, Sequence) else orderings
    return [isinstance(side, str) and side == IDENTIFY for side in sides]
