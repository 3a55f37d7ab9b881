"""Points to which rows and columns belong, and the order of their recursive bisection.

Where nearby points give similar rows (smooth and oscillatory kernels), the groups of a chain should be parts of space.
The points are split into as many parts as the radix of a digit says, each part again for the next digit, always across
the longest extent of the part. All parts of a level have equal numbers of positions; where the side of the chain is
longer than there are points, its gaps are spread evenly, so that numbers of points differ by one at most::

    digits 2, 2, 2        o o | o o | o o | o o        order: part by part, which is sorted in one dimension
                          first split: 4 | 4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ChainError, InputError
from .arguments import read_number, show_value
from .chain import Chain
from .digits import prime_factors
from .plain_arrays import as_plain_array

__all__ = ["Points", "bisect_points", "open_coordinates", "part_bounds", "prime_splits", "read_points"]

Coordinates: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]
Period: TypeAlias = "tuple[float | None, ...] | float | None"

SAME_GAP = 1 - 1e-9
"""Part of the largest gap of a circle from which on another one is as large. Equidistant points have gaps that differ
by rounding alone; both sides of a matrix should be opened at the same place then."""


@dataclass(frozen=True, eq=False, repr=False)
class Points:
    """Points to which the rows and the columns of a matrix belong, from which the order of both follows.

    Parameters
    ----------
    rows, cols : array_like of float, shape (M, d) and (N, d), optional
        Coordinates: NumPy, Zarr, xarray, or lists; (M,) and (N,) in one dimension. A side without points stays as it
        is. The sides may have different numbers of coordinates.
    period : float or sequence of float or None, optional
        Length after which coordinates wrap: of all coordinates, or one for each, None where one does not wrap. 360 for
        a longitude in degrees, ``(None, 360)`` for latitude and longitude.

    Raises
    ------
    InputError
        If coordinates are no finite real numbers, or a period is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> import dbutterfly as dbf
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.random((512, 2)), rng.random((512, 2)) + (2, 0)
    >>> distances = np.linalg.norm(x[:, None] - y, axis=-1)
    >>> dbf.factorize(np.exp(4j * distances) / distances, points=(x, y), tol=1e-4).compression > 4
    True
    """

    rows: Any = None
    cols: Any = None
    period: Any = None
    _orders: dict[tuple[str, int, tuple[int, ...]], Index] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            object.__setattr__(self, name, _read_coordinates(f"points: {name}", getattr(self, name)))
        object.__setattr__(self, "period", _read_period(self.period, self.sides))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={None if p is None else p.shape}" for name, p in self.sides.items())
        return f"Points({shapes}, period={self.period})"

    @property
    def sides(self) -> dict[str, Coordinates | None]:
        """Coordinates of both sides by name: ``rows`` and ``cols``, each of shape (points, coordinates) or None."""
        return {"rows": self.rows, "cols": self.cols}

    def validate(self, shape: tuple[int, int]) -> None:
        """Raise InputError unless each row, and each column, of a side with points has one.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the matrix.
        """
        for (name, points), size in zip(self.sides.items(), shape, strict=True):
            if points is not None and len(points) != size:
                raise InputError(
                    f"points: {name} has {len(points)} points and the matrix {size} {name}; give one for each, in the "
                    "order of the matrix"
                )

    def orders(self, chain: Chain) -> tuple[Index | None, Index | None]:
        """Order of the points of both sides, part by part of a chain; None of a side without points.

        Parameters
        ----------
        chain : Chain
            Chain of at least as many rows and columns.

        Returns
        -------
        pair of array of int or None
            Numbers of the points of the rows, and of the columns.
        """
        return (
            self._order("rows", chain.shape[0], chain.row_radices[::-1]),
            self._order("cols", chain.shape[1], chain.col_radices),
        )

    def _order(self, name: str, length: int, radices: Sequence[int]) -> Index | None:
        points, splits = self.sides[name], prime_splits(radices)
        if points is None:
            return None
        if len(points) > length:
            raise ChainError(f"chain has {length} {name} for {len(points)} points; give a chain of at least as many")
        key = name, length, splits
        if key not in self._orders:  # chains of many digits have the same splits
            self._orders[key] = bisect_points(points, length, splits, self.period)
        return self._orders[key]


def read_points(name: str, value: Any) -> Points | None:
    """Read points as callers give them: None, Points, or a pair of coordinates.

    Raises
    ------
    InputError
        If they are none.
    """
    if value is None or isinstance(value, Points):
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InputError(
            f"{name}={show_value(value)} is neither Points nor a pair (rows, cols) of coordinates; a side without "
            "points is None"
        )
    return Points(*value)


def prime_splits(radices: Sequence[int]) -> tuple[int, ...]:
    """Splits of which the digits consist, each into a prime number of parts.

    A split into 16 slabs would make thin parts. Helmholtz kernel between squares, 1024 points, balanced chain of rank
    16: up to 4 times the error of halves.
    """
    return tuple(prime for radix in radices for prime in prime_factors(radix) if prime > 1)


def part_bounds(parts: int, count: int, length: int) -> Index:
    """Bounds of the points in each of so many parts with equal numbers of positions, the gaps being spread evenly."""
    return -(-np.arange(0, length + 1, length // parts, dtype=np.int64) * count // length)


def bisect_points(points: Coordinates, length: int, splits: Sequence[int], period: tuple[float | None, ...]) -> Index:
    """Order of points, all parts of a level being split at once.

    Parameters
    ----------
    points : array of float, shape (n, d)
        Coordinates.
    length : int
        Positions, over which the points are spread evenly.
    splits : sequence of int
        Numbers of parts into which each part of a level is split.
    period : tuple of float or None
        Length after which each coordinate wraps, None where it does not.
    """
    order, parts = np.arange(len(points)), 1
    for split in splits:
        counts = np.diff(part_bounds(parts, len(points), length))
        filled = counts[counts > 0]
        part, starts = np.repeat(np.arange(filled.size), filled), np.cumsum(filled) - filled
        opened = open_coordinates(points[order], part, starts, period)
        with np.errstate(over="ignore"):
            extents = np.maximum.reduceat(opened, starts, axis=1) - np.minimum.reduceat(opened, starts, axis=1)
        along = opened[np.argmax(extents, axis=0)[part], np.arange(order.size)]
        order = order[np.lexsort((along, part))]
        parts *= split
    return order


def open_coordinates(points: Coordinates, part: Index, starts: Index, period: tuple[float | None, ...]) -> Coordinates:
    """Coordinates, shape (d, n), of points in the order of their parts, each one that wraps opened in each part."""
    return np.stack([_open(c, part, starts, p) for c, p in zip(points.T, period, strict=False)])


def _open(coordinate: Coordinates, part: Index, starts: Index, period: float | None) -> Coordinates:
    """Coordinate of points that wraps, opened in each part at the largest gap."""
    if period is None:
        return coordinate
    wrapped = np.mod(coordinate, period)
    wrapped[wrapped >= period] = 0  # of a number just below zero
    ordered = wrapped[np.lexsort((wrapped, part))]
    gaps = np.diff(ordered, prepend=0)
    gaps[starts] = ordered[starts] + period - ordered[np.append(starts[1:], ordered.size) - 1]
    largest = np.maximum.reduceat(gaps, starts)[part]
    candidates = np.where(gaps >= SAME_GAP * largest, np.arange(gaps.size), gaps.size)
    first = ordered[np.minimum.reduceat(candidates, starts)][part]
    opened: Coordinates = np.mod(wrapped - first, period)
    return opened


def _read_coordinates(name: str, value: Any) -> Coordinates | None:
    if value is None:
        return None
    array = as_plain_array(value, name)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} has dtype {array.dtype}; coordinates are real numbers, complex ones two of them each")
    if array.ndim not in (1, 2) or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; give (points, coordinates), or (points,) in one dimension")
    found = np.array(array.reshape(len(array), -1), np.float64)
    if not np.isfinite(found).all():
        point, coordinate = np.argwhere(~np.isfinite(found))[0]
        raise InputError(
            f"{name} has {found[point, coordinate]} in point {point}, coordinate {coordinate}; give finite numbers, or "
            "leave out the row or column of a point that is nowhere"
        )
    found.flags.writeable = False
    return found


def _read_period(value: Any, sides: dict[str, Coordinates | None]) -> tuple[float | None, ...]:
    """Period of each coordinate of the sides."""
    dimensions = {name: points.shape[1] for name, points in sides.items() if points is not None}
    several = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    given = list(value) if several else [value] * max(dimensions.values(), default=0)
    for name, count in dimensions.items() if several else ():
        if len(given) != count:
            raise InputError(
                f"period={show_value(value)} has {len(given)} entries and the points of {name} {count} coordinates; "
                "give one for each, None where it does not wrap"
            )
    remedy = "give the positive length after which a coordinate wraps, None where it does not"
    return tuple(
        None if one is None else read_number("period", one, least=np.finfo(float).tiny, fault="is none", remedy=remedy)
        for one in given
    )
