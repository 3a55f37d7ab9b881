"""Orderings that are others for each chain, since they follow from points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .arguments import show_value
from .chain import Chain
from .orderings import AUTO, BITREVERSAL, Orderings, orderings_of_parts
from .points import Points

__all__ = ["PointOrderings", "check_unordered"]


@dataclass(frozen=True, eq=False)
class PointOrderings:
    """Orderings for any chain: of points, where there are some.

    Parameters
    ----------
    points : Points
        Points of one side or both.
    others : Orderings
        Orderings of the sides without points, and None of the others.
    """

    points: Points
    others: Orderings = field(default_factory=Orderings)

    def validate(self, shape: tuple[int, int]) -> None:
        """Raise InputError unless points and index arrays are as many as the rows, and columns, of ``shape``."""
        self.points.validate(shape)
        self.others.validate(shape)

    def for_chain(self, chain: Chain) -> Orderings:
        """Orderings for a chain."""
        found = orderings_of_parts(chain, *self.points.orders(chain))
        pairs = zip(self.points.sides.values(), found.sides.values(), self.others.sides.values(), strict=True)
        return Orderings(*(other if points is None else side for points, side, other in pairs))


def check_unordered(points: Points | None, orderings: Any) -> None:
    """Refuse orderings beside points, unless they are known ones of a side without points.

    Parameters
    ----------
    points : Points or None
        Points, if there are some.
    orderings : None, Orderings, str, or pair
        Orderings as they were given; a side may still have to be found.

    Raises
    ------
    InputError
        If a side has both, or is still to be found.
    """
    if points is None or orderings is None or (isinstance(orderings, str) and orderings == AUTO):
        return
    if isinstance(orderings, Orderings):
        orderings = orderings.rows, orderings.cols
    sides = (orderings, orderings) if isinstance(orderings, str) else orderings
    for (name, given), side in zip(points.sides.items(), sides, strict=True):
        if given is not None and side is not None:
            raise InputError(
                f"points={show_value(points)} and orderings={show_value(orderings)} both order the {name}; leave "
                "one out: a side of a pair may be None"
            )
        if isinstance(side, str) and side != BITREVERSAL:
            raise InputError(
                f"points and orderings={show_value(orderings)} exclude each other; give dbutterfly.identify what "
                "dbutterfly.Orderings.from_points makes of the points of one side, and it finds the other"
            )
