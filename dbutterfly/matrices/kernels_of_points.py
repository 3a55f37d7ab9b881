"""Kernels of one set of points with itself: covariances, Laplace and Helmholtz kernels, and kernels of a graph.

Blocks near the diagonal have full rank, so that these matrices are no butterflies: their chain is None.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..sources.entries import check_dtype
from ..structure.arguments import read_count, read_number
from ..structure.points import Points
from .known import Indices, KnownMatrix, Seed, check_choice, check_size
from .one_set import OneSet, Place, cell_counts, distances_within, make_set
from .points import Spread

__all__ = ["covariance", "graph_kernel", "helmholtz_of_one_set", "laplace"]

_SURROUNDINGS = [Place.CIRCLE, Place.SPHERE, Place.SQUARE, Place.CUBE]
_GRAPH_KERNELS = ("heat", "resolvent")

_COVARIANCES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "exponential": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-math.sqrt(5) * r),
    "gaussian": lambda r: np.exp(-(r**2) / 2),
}
"""Covariances by the distance over the length (Rasmussen and Williams, "Gaussian Processes for Machine Learning",
2006, 4.2)."""


def covariance(
    n: int,
    *,
    kernel: str = "exponential",
    dimension: int = 2,
    points: str = "random",
    length: float = 0.1,
    nugget: float = 0.0,
    dtype: DTypeLike = np.float64,
    seed: Seed = None,
) -> KnownMatrix:
    """Covariance of a Gaussian process at ``n`` points, which is symmetric and positive definite.

    Parameters
    ----------
    n : int
        Number of points, at least 1.
    kernel : {"exponential", "matern32", "matern52", "gaussian"}
        With ``s = |x_i - x_j| / length``: ``exp(-s)``, ``(1 + sqrt(3) s) exp(-sqrt(3) s)``,
        ``(1 + sqrt(5) s + 5/3 s^2) exp(-sqrt(5) s)`` or ``exp(-s^2 / 2)``.
    dimension : {1, 2, 3}
        Points of the unit interval, square or cube.
    points : {"random", "grid"}
        Independent uniform points, in no order; or the midpoints of equal cells, row by row.
    length : float
        Length of the kernel, positive.
    nugget : float
        What is added to the diagonal, from 0 on: the variance of noise. A Gaussian kernel is positive definite to
        working precision with some only.
    dtype : dtype
        Any of the four types.
    seed : int, numpy.random.Generator or None
        Seed of random points; None is new at every call. A grid takes no notice of it.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Its ``points`` are those of the rows and columns; its chain is None. The norm is computed when it is asked for,
        from all entries.

    Raises
    ------
    InputError
        If an argument is not as above.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    chosen = check_choice(kernel, "kernel", list(_COVARIANCES))
    dimension = read_count("dimension", dimension, most=3, remedy="use 1, 2 or 3")
    spread = Spread(check_choice(points, "points", list(Spread)))
    tiny = float(np.finfo(np.float64).tiny)
    length = read_number("length", length, least=tiny, fault="is no length", remedy="use a positive number")
    nugget = read_number("nugget", nugget, least=0, fault="is no variance", remedy="use a number from 0 on")
    place = (Place.INTERVAL, Place.SQUARE, Place.CUBE)[dimension - 1]
    f = _Covariance(make_set(n, place, spread, seed), chosen, length, nugget)
    return KnownMatrix(f, (n, n), dtype, norm=None, points=f.sets.points)


def laplace(
    n: int,
    *,
    geometry: str = "circle",
    points: str = "grid",
    dtype: DTypeLike = np.float64,
    seed: Seed = None,
) -> KnownMatrix:
    """Laplace kernel of one set of points: ``-log |x_i - x_j|`` in the plane and ``1 / |x_i - x_j|`` in space.

    Parameters
    ----------
    n : int
        Number of points, at least 1.
    geometry : {"circle", "square", "sphere", "cube"}
        Unit circle or square in the plane; unit sphere or cube in space.
    points : {"grid", "random"}
        Equal angles, midpoints of equal cells, or a spiral on the sphere; or independent uniform points, in no order.
    dtype : dtype
        Any of the four types.
    seed : int, numpy.random.Generator or None
        Seed of random points; None is new at every call.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Its ``points`` are those of the rows and columns; its chain is None. On the diagonal, where the kernel is
        singular, is its mean over a ball (an arc, a disc) around the point that is as large as the share of each point
        of the whole: ``1 - log a`` and ``1/2 - log a`` on a circle and in a square with the radius a, ``2 / a`` and
        ``3 / (2 a)`` on a sphere and in a cube. The norm is computed when it is asked for, from all entries.

    Raises
    ------
    InputError
        If an argument is not as above.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    place = Place(check_choice(geometry, "geometry", _SURROUNDINGS))
    spread = Spread(check_choice(points, "points", list(Spread)))
    f = _Laplace(make_set(n, place, spread, seed))
    return KnownMatrix(f, (n, n), dtype, norm=None, points=f.sets.points)


def helmholtz_of_one_set(
    n: int, geometry: Place, spread: Spread, wavenumber: float | None, dtype: np.dtype[Any], seed: Seed
) -> KnownMatrix:
    """Helmholtz kernel of one set of points; see :func:`dbutterfly.matrices.helmholtz`."""
    sets = make_set(n, geometry, spread, seed)
    if wavenumber is None:  # ten points per wavelength
        wavenumber = 2 * math.pi / (10 * (geometry.measure / n) ** (1 / geometry.dimension))
    f = _Helmholtz(sets, wavenumber)
    return KnownMatrix(f, (n, n), dtype, norm=None, points=sets.points)


def graph_kernel(n: int, *, kernel: str = "heat", time: float = 10.0, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Kernel of a graph: of a grid whose opposite sides are joined, with the Laplacian L.

    Parameters
    ----------
    n : int
        Number of nodes, at least 1: those of a grid that is as square as the divisors of ``n`` allow.
    kernel : {"heat", "resolvent"}
        ``exp(-time L)``, how heat spreads; or ``(I + time L)^-1``.
    time : float
        Time, positive.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Symmetric and positive definite. Nodes are row by row; its ``points`` are their places on the grid, with the
        period of each side. Its chain is None, its norm exact.

    Raises
    ------
    InputError
        If an argument is not as above.

    References
    ----------
    Kondor and Lafferty, "Diffusion kernels on graphs and other discrete input spaces", ICML 2002.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    tiny = float(np.finfo(np.float64).tiny)
    time = read_number("time", time, least=tiny, fault="is no time", remedy="use a positive number")
    f = _Graph(n, check_choice(kernel, "kernel", _GRAPH_KERNELS), time)
    return KnownMatrix(f, (n, n), dtype, norm=float(np.linalg.norm(_graph_spectrum(f))), points=f.points)


@dataclass(frozen=True)
class _Covariance:
    """Entry function of :func:`covariance`."""

    sets: OneSet
    kernel: str
    length: float
    nugget: float

    def __repr__(self) -> str:
        noise = f", nugget={self.nugget:g}" if self.nugget else ""
        return f"covariance({self.sets.n}, {self.kernel}, {self.sets.place}, length={self.length:g}{noise})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block = _COVARIANCES[self.kernel](distances_within(self.sets, rows, cols) / self.length)
        if self.nugget:
            block[np.equal.outer(rows, cols)] += self.nugget
        return block


@dataclass(frozen=True)
class _Laplace:
    """Entry function of :func:`laplace`."""

    sets: OneSet

    def __repr__(self) -> str:
        return f"laplace({self.sets.n}, {self.sets.place}, {self.sets.spread})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        distance, is_same = _distances_and_self(self.sets, rows, cols)
        if self.sets.place.coordinates == 3:
            block, alone = 1 / distance, self.sets.mean_power(-1)
        else:
            block, alone = -np.log(distance), 1 / self.sets.place.dimension - math.log(self.sets.radius)
        block[is_same] = alone
        return np.asarray(block)


@dataclass(frozen=True)
class _Helmholtz:
    """Entry function of :func:`helmholtz_of_one_set`."""

    sets: OneSet
    wavenumber: float

    def __repr__(self) -> str:
        return f"helmholtz({self.sets.n}, {self.sets.place}, {self.sets.spread}, k={self.wavenumber:.6g})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        distance, is_same = _distances_and_self(self.sets, rows, cols)
        power = 0.5 if self.sets.place.coordinates == 2 else 1.0
        block = np.exp(1j * self.wavenumber * distance) / distance**power
        block[is_same] = self.sets.mean_power(-power) + 1j * self.wavenumber * self.sets.mean_power(1 - power)
        return np.asarray(block)


def _distances_and_self(sets: OneSet, rows: Indices, cols: Indices) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distances, and where they are those of a point to itself, which are set to 1."""
    distance, is_same = distances_within(sets, rows, cols), np.equal.outer(rows, cols)
    distance[is_same] = 1.0
    return distance, is_same


@dataclass(frozen=True)
class _Graph:
    """Entry function of :func:`graph_kernel`."""

    n: int
    kernel: str
    time: float

    def __repr__(self) -> str:
        return f"graph_kernel({self.n}, {self.kernel}, time={self.time:g})"

    @property
    def sides(self) -> tuple[int, int]:
        """Nodes of the grid along both sides."""
        down, across = cell_counts(self.n, 2)
        return down, across

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        (down, across), table = self.sides, _graph_table(self)
        steps = np.subtract.outer(rows // across, cols // across) % down
        return np.asarray(table[steps, np.subtract.outer(rows % across, cols % across) % across])

    def points(self) -> Points:
        """Places of the nodes on the grid."""
        found = np.stack(np.divmod(np.arange(self.n), self.sides[1]), axis=1).astype(np.float64)
        return Points(found, found, period=tuple(map(float, self.sides)))


def _graph_spectrum(graph: _Graph) -> NDArray[np.float64]:
    """Eigenvalues of the kernel, by the frequencies along both sides of the grid."""
    down, across = (4 * np.sin(math.pi * np.arange(size) / size) ** 2 for size in graph.sides)
    laplacian = np.add.outer(down, across)
    return np.asarray(np.exp(-graph.time * laplacian) if graph.kernel == "heat" else 1 / (1 + graph.time * laplacian))


@functools.lru_cache(maxsize=4)
def _graph_table(graph: _Graph) -> NDArray[np.float64]:
    """Entries by the steps between two nodes along both sides, made once per process."""
    table = np.ascontiguousarray(np.fft.ifft2(_graph_spectrum(graph)).real)
    table.flags.writeable = False
    return table
