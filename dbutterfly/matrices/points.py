"""Pairs of point sets in the plane, ordered such that neighbours in the order are neighbours in space."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Chain
from ..structure.points import Points

__all__ = ["Geometry", "PointSets", "Spread", "coordinates", "distances", "pair_sum"]

_Points = NDArray[np.float64]

CHEBYSHEV_POINTS = {1: 120, 2: 20}
"""Chebyshev points of each parameter, by the number of parameters, onto which :func:`pair_sum` condenses a set.

With them the relative error of a sum of ``1 / |x - y|`` is below 1e-9 (``tests/matrices/test_points.py``).
"""

CONDENSED_AT_A_TIME = 1 << 14
"""Points whose Chebyshev polynomials are held at a time: at most 16 MiB for each parameter. Not tuned."""


class Geometry(enum.StrEnum):
    """Where the points of the rows, and those of the columns, lie."""

    SEGMENTS = "segments"
    CIRCLES = "circles"
    SQUARES = "squares"

    @property
    def dimension(self) -> int:
        """Number of parameters of a point, each in [0, 1)."""
        return 2 if self is Geometry.SQUARES else 1

    def place(self, parameters: _Points, side: int) -> _Points:
        """Points in the plane, shape (n, 2), of parameters, shape (n, dimension), for rows (0) or columns (1)."""
        if self is Geometry.CIRCLES:
            angle = 2 * math.pi * parameters[:, 0]
            return (side + 1) * np.stack([np.cos(angle), np.sin(angle)], 1)
        if self is Geometry.SEGMENTS:
            return np.stack([parameters[:, 0], np.full(len(parameters), float(side))], 1)
        shifted: _Points = parameters + np.array([2.0 * side, 0.0])
        return shifted


class Spread(enum.StrEnum):
    """How points fill their set."""

    GRID = "grid"
    RANDOM = "random"


@dataclass(frozen=True)
class PointSets:
    """``n`` points for the rows and ``n`` for the columns. Each process makes them from these few numbers."""

    n: int
    geometry: Geometry
    spread: Spread
    entropy: int

    def parameters(self, side: int) -> _Points:
        """Parameters of the points of one side, shape (n, dimension), in the order of the points."""
        if self.spread is Spread.RANDOM:
            rng = np.random.default_rng([self.entropy, side])
            scattered = rng.random((self.n, self.geometry.dimension))
        else:
            scattered = _grid(self.n, self.geometry.dimension)
        radices = Chain.chainable((self.n, self.n), longer=False).row_radices
        return scattered[_divide(scattered, radices if side else radices[::-1])]

    def points(self) -> Points:
        """Points of the rows and of the columns."""
        return Points(*(np.ascontiguousarray(side.T) for side in coordinates(self)))


@functools.lru_cache(maxsize=4)
def coordinates(sets: PointSets) -> tuple[_Points, _Points]:
    """Points of the rows and of the columns, two read-only arrays of shape (2, n), made once per process."""
    sides = tuple(np.ascontiguousarray(sets.geometry.place(sets.parameters(side), side).T) for side in (0, 1))
    for points in sides:
        points.flags.writeable = False
    return sides[0], sides[1]


def distances(sets: PointSets, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> _Points:
    """Distances between points of the rows and points of the columns, shape (len(rows), len(cols))."""
    (x, y), (s, t) = coordinates(sets)
    between: _Points = np.hypot(np.subtract.outer(x[rows], s[cols]), np.subtract.outer(y[rows], t[cols]))
    return between


def pair_sum(sets: PointSets, f: Callable[[_Points], Any]) -> float:
    """Sum ``f(|x - y|)`` over all pairs of points, in O(n).

    Both sets are condensed onto the Chebyshev points of their parameters: with the Lagrange polynomials ``L_a`` there,
    ``sum_i g(t_i) ~ sum_a (sum_i L_a(t_i)) g(t_a)``. For an ``f`` that is analytic where the sets lie the relative
    error is below 1e-9.
    """
    degree = CHEBYSHEV_POINTS[sets.geometry.dimension]
    axis = (np.cos(math.pi * (np.arange(degree) + 0.5) / degree) + 1) / 2
    grid = np.stack(np.meshgrid(*[axis] * sets.geometry.dimension, indexing="ij"), -1).reshape(
        -1, sets.geometry.dimension
    )
    (x, w), (y, v) = ((sets.geometry.place(grid, side), _condense(sets.parameters(side), degree)) for side in (0, 1))
    between = np.hypot(np.subtract.outer(x[:, 0], y[:, 0]), np.subtract.outer(x[:, 1], y[:, 1]))
    return float(w @ f(between) @ v)


def _condense(parameters: _Points, degree: int) -> _Points:
    """Sum the Lagrange polynomials of the Chebyshev points over given points, shape (degree ** dimension,)."""
    nodes = np.cos(math.pi * (np.arange(degree) + 0.5) / degree)
    to_lagrange = np.polynomial.chebyshev.chebvander(nodes, degree - 1) * (2 / degree)
    to_lagrange[:, 0] /= 2
    total: _Points = np.zeros(degree ** parameters.shape[1])
    for start in range(0, len(parameters), CONDENSED_AT_A_TIME):
        panel = 2 * parameters[start : start + CONDENSED_AT_A_TIME] - 1
        each = [np.polynomial.chebyshev.chebvander(t, degree - 1) @ to_lagrange.T for t in panel.T]
        total += each[0].sum(0) if len(each) == 1 else (each[0].T @ each[1]).ravel()
    return total


def _grid(n: int, dimension: int) -> _Points:
    """Midpoints of ``n`` equal cells; in the square, of as many rows of cells as the divisor next to ``sqrt(n)``."""
    across = 1 if dimension == 1 else max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
    sides = [(np.arange(k) + 0.5) / k for k in (n // across, across)[:dimension]]
    return np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(n, dimension)


def _divide(points: _Points, radices: Sequence[int]) -> NDArray[np.int64]:
    """Divide points recursively into equal parts, and return the order of the points part by part.

    ``radices[0]`` parts are made first; every division is across the side of the square that is longer by then. The
    parts are the groups of a chain with these digits: halves of halves for a power of two. In one dimension the order
    is the sorted one.
    """
    n, dimension = points.shape
    if dimension == 1:
        return np.argsort(points[:, 0], kind="stable")
    order, parts, sides = np.arange(n), 1, [1.0] * dimension
    for radix in radices:
        axis = int(np.argmax(sides))
        group = np.arange(n) // (n // parts)
        order = order[np.lexsort((points[order, axis], group))]
        parts, sides[axis] = parts * radix, sides[axis] / radix
    return order
