"""The pairs of orderings among which advice chooses: each side standard, bit-reversed, or by its points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from ...structure.orderings import BITREVERSAL, Orderings
from ...structure.point_orderings import PointOrderings
from ...structure.points import Points

__all__ = ["OrderingPair", "list_pairs"]

STANDARD, POINTS = "none", "points"


@dataclass(frozen=True, eq=False)
class OrderingPair:
    """Orderings of both sides.

    Attributes
    ----------
    rows, cols : {"none", "bitreversal", "points"}
        What each side has.
    points : Points or None
        Points of the sides that have them.
    orderings : Orderings or PointOrderings
        Orderings for any chain.
    """

    rows: str
    cols: str
    points: Points | None
    orderings: Orderings | PointOrderings

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments ``orderings`` and ``points`` of :func:`dbutterfly.factorize`."""
        named = tuple(side if side == BITREVERSAL else None for side in (self.rows, self.cols))
        orderings = {"orderings": named} if named != (None, None) else {}
        return orderings if self.points is None else {**orderings, "points": self.points}

    @property
    def sides_of_run(self) -> dict[str, str | None]:
        """What the manifest of a run in these orderings has for each side; points in order have names."""
        kinds = {STANDARD: None, BITREVERSAL: BITREVERSAL, POINTS: "array"}
        return {"rows": kinds[self.rows], "cols": kinds[self.cols]}


def list_pairs(points: Points | None) -> list[OrderingPair]:
    """List all pairs of the orderings of the rows and of those of the columns; points are an ordering where given."""
    sides = {"rows": None, "cols": None} if points is None else points.sides
    ways = ([STANDARD, BITREVERSAL, *([] if given is None else [POINTS])] for given in sides.values())
    return [_pair(points, rows, cols) for rows, cols in itertools.product(*ways)]


def _pair(points: Points | None, rows: str, cols: str) -> OrderingPair:
    others = Orderings(*(side if side == BITREVERSAL else None for side in (rows, cols)))
    used = None if points is None else _points_of(points, {"rows": rows == POINTS, "cols": cols == POINTS})
    return OrderingPair(rows, cols, used, others if used is None else PointOrderings(used, others))


def _points_of(points: Points, wanted: dict[str, bool]) -> Points | None:
    """Points of the sides that are wanted."""
    if all(wanted[name] == (given is not None) for name, given in points.sides.items()):
        return points
    kept = {name: given for name, given in points.sides.items() if given is not None and wanted[name]}
    if not kept:
        return None
    period = points.period[: max(given.shape[1] for given in kept.values())]
    return Points(**kept, period=period if any(period) else None)
