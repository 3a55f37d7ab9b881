"""One set of points, in no order: on an interval, in a square or a cube, on a circle or a sphere."""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.points import Points
from .known import Indices, Seed, draw_entropy
from .points import Spread

__all__ = ["OneSet", "Place", "coordinates_of", "distances_within", "make_set"]

_Points = NDArray[np.float64]

GOLDEN = (1 + math.sqrt(5)) / 2


class Place(enum.StrEnum):
    """Where the points lie."""

    INTERVAL = "interval"
    SQUARE = "square"
    CUBE = "cube"
    CIRCLE = "circle"
    SPHERE = "sphere"

    @property
    def coordinates(self) -> int:
        """Number of coordinates of a point."""
        return {Place.INTERVAL: 1, Place.SQUARE: 2, Place.CIRCLE: 2}.get(self, 3)

    @property
    def dimension(self) -> int:
        """Dimension of the place itself: 1 of a circle, 2 of a sphere."""
        return self.coordinates - (self in (Place.CIRCLE, Place.SPHERE))

    @property
    def measure(self) -> float:
        """Its length, area or volume."""
        return {Place.CIRCLE: 2 * math.pi, Place.SPHERE: 4 * math.pi}.get(self, 1.0)


@dataclass(frozen=True)
class OneSet:
    """``n`` points of one set. Each process makes them from these few numbers."""

    n: int
    place: Place
    spread: Spread
    entropy: int

    @property
    def radius(self) -> float:
        """Radius of a ball, of the dimension of the place, as large as the share of a point of the place."""
        share, d = self.place.measure / self.n, self.place.dimension
        return float((share / {1: 2.0, 2: math.pi, 3: 4 * math.pi / 3}[d]) ** (1 / d))

    def mean_power(self, power: float) -> float:
        """Mean of ``r**power`` over that ball, where r is the distance from its middle."""
        d = self.place.dimension
        return float(d / (d + power) * self.radius**power)

    def points(self) -> Points:
        """The points of the rows and of the columns, which are the same."""
        found = np.ascontiguousarray(coordinates_of(self).T)
        return Points(found, found)


def make_set(n: int, place: Place, spread: Spread, seed: Seed) -> OneSet:
    """Points of one set; a grid takes no notice of the seed."""
    return OneSet(n, place, spread, draw_entropy(seed) if spread is Spread.RANDOM else 0)


@functools.lru_cache(maxsize=4)
def coordinates_of(points: OneSet) -> _Points:
    """Coordinates, a read-only array of shape (coordinates, n), made once per process."""
    made: _Points = _random(points) if points.spread is Spread.RANDOM else _regular(points)
    found = np.ascontiguousarray(made.T)
    found.flags.writeable = False
    return found


def distances_within(points: OneSet, rows: Indices, cols: Indices) -> _Points:
    """Distances between some of the points and others, shape (len(rows), len(cols))."""
    squares: Any = 0.0
    for x in coordinates_of(points):
        squares = squares + np.subtract.outer(x[rows], x[cols]) ** 2
    return np.asarray(np.sqrt(squares))


def _random(points: OneSet) -> _Points:
    """Independent uniform points, shape (n, coordinates)."""
    rng, size = np.random.default_rng([points.entropy, 0]), (points.n, points.place.coordinates)
    if points.place in (Place.CIRCLE, Place.SPHERE):
        found = rng.standard_normal(size)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))
    return rng.random(size)


def _regular(points: OneSet) -> _Points:
    """Points of equal cells, of equal angles, or of a spiral on the sphere, shape (n, coordinates)."""
    number = np.arange(points.n)
    if points.place is Place.CIRCLE:
        angle = 2 * math.pi * number / points.n
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if points.place is Place.SPHERE:  # of Fibonacci: Gonzalez, Mathematical Geosciences 42, 2010
        height = 1 - (2 * number + 1) / points.n
        turn = 2 * math.pi * number / GOLDEN
        width = np.sqrt(1 - height**2)
        return np.stack([width * np.cos(turn), width * np.sin(turn), height], axis=1)
    axes = [(np.arange(size) + 0.5) / size for size in cell_counts(points.n, points.place.coordinates)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(points.n, len(axes))


def cell_counts(n: int, dimension: int) -> tuple[int, ...]:
    """Cells along each axis, ``n`` in all, as nearly the same for each axis as the divisors of ``n`` allow.

    >>> cell_counts(4096, 2), cell_counts(4096, 3), cell_counts(30, 2), cell_counts(7, 2)
    ((64, 64), (16, 16, 16), (6, 5), (7, 1))
    """
    counts: list[int] = []
    for left in range(dimension, 1, -1):
        side = round(n ** (1 / left))
        counts.append(next(size for size in range(side, 0, -1) if n % size == 0))
        n //= counts[-1]
    return (n, *counts[::-1])
