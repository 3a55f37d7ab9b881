"""Kernels of two points: the Helmholtz kernel of waves, and Cauchy matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..sources.entries import check_dtype
from ..structure.arguments import read_number
from ..structure.orderings import BITREVERSAL
from ..structure.points import Points
from .kernels_of_points import helmholtz_of_one_set
from .known import Indices, KnownMatrix, Seed, check_choice, check_size, draw_entropy
from .one_set import Place
from .points import Geometry, PointSets, Spread, distances, pair_sum
from .ranked import ranked_chain

__all__ = ["cauchy", "helmholtz"]

# Ranks by tolerance: the most singular values above the tolerance times the largest one, in any block of n entries.
# They were measured, on the matrices that the notes of each function name.
_RANKS = {
    (Geometry.SEGMENTS, Spread.GRID): {1e-3: 3, 1e-6: 4, 1e-9: 6},
    (Geometry.SEGMENTS, Spread.RANDOM): {1e-3: 4, 1e-6: 5, 1e-9: 7},
    (Geometry.CIRCLES, Spread.GRID): {1e-3: 4, 1e-6: 6, 1e-9: 8},
    (Geometry.CIRCLES, Spread.RANDOM): {1e-3: 5, 1e-6: 8, 1e-9: 10},
    (Geometry.SQUARES, Spread.GRID): {1e-3: 4, 1e-6: 7, 1e-9: 12},
    (Geometry.SQUARES, Spread.RANDOM): {1e-3: 4, 1e-6: 7, 1e-9: 12},
}
_ONE_SET = (Place.CIRCLE, Place.SQUARE, Place.SPHERE, Place.CUBE)
_CAUCHY_RANKS = {1e-3: 1, 1e-6: 2, 1e-9: 3}


def helmholtz(
    n: int,
    *,
    geometry: str = "segments",
    points: str = "grid",
    wavenumber: float | None = None,
    tol: float = 1e-6,
    dtype: DTypeLike = np.complex128,
    seed: Seed = None,
) -> KnownMatrix:
    """Helmholtz kernel of waves: of two sets of points, or of one set with itself.

    In the plane it is ``Z[i, j] = exp(i k |x_i - y_j|) / sqrt(|x_i - y_j|)``, in space
    ``exp(i k |x_i - y_j|) / |x_i - y_j|``.

    Parameters
    ----------
    n : int
        Number of points of each set, at least 1.
    geometry : {"segments", "circles", "squares", "circle", "square", "sphere", "cube"}
        Two parallel unit segments at distance 1; two concentric circles of radius 1 (rows) and 2 (columns); or two unit
        squares in the plane with a gap of 1 between them. One set: a unit circle, square, sphere or cube.
    points : {"grid", "random"}
        Midpoints of equal cells, or independent uniform points. A grid in the square has as many rows of cells as the
        divisor of ``n`` next to ``sqrt(n)``, so only a line of cells for a prime.
    wavenumber : float, optional
        The k of the kernel. By default it grows with ``n`` to ten points per wavelength: ``2 pi n / 10`` on segments,
        ``n / 20`` on circles (measured on the outer one), ``2 pi sqrt(n) / 10`` on squares; on one set, the distance of
        points is their share of the length, area or volume, to the power of one over the dimension.
    tol : float
        Tolerance of the rank of the chain, at least 1e-9.
    dtype : dtype
        complex64 or complex128.
    seed : int, numpy.random.Generator or None
        Seed of random points; None is new at every call. A grid takes no notice of it.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Points of segments and circles are sorted, points of squares are ordered by recursive bisection (with the
        prime factors of ``n`` in place of twos, where it has others). So the matrix is in standard order once its rows
        are bit-reversed: neighbours in either order are neighbours in space. Its norm is accurate to 1e-9.

        Points of one set are in no order, the chain of their matrix is None, as it is no butterfly, and the norm is
        computed when it is asked for. On the diagonal is the mean over a ball (an arc, a disc) of radius a around the
        point, as large as the share of each point, to first order in ``k a``: with the dimension d of the set and p 1/2
        in the plane and 1 in space, ``d / (d - p) a^-p + i k d / (d - p + 1) a^(1 - p)``. ``points`` of either matrix
        are those of its rows and columns.

    Raises
    ------
    InputError
        If ``n`` is not positive, ``geometry`` or ``points`` is unknown, ``wavenumber`` is not finite, ``tol`` is below
        1e-9 or ``dtype`` is not complex.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts, each of
    ``n`` entries: with the dyadic chain at n = 256 and at n = 1024, and the largest of those and eight more sizes from
    210 to 1000 with other prime factors (three seeds for random points, one for n above 600):

    ========  ======  ======  =======  ========  =====
    geometry  points  tol     n = 256  n = 1024  any n
    ========  ======  ======  =======  ========  =====
    segments  grid    1e-3          3         3      3
    segments  grid    1e-6          4         4      4
    segments  grid    1e-9          5         6      6
    segments  random  1e-3          3         3      4
    segments  random  1e-6          5         5      5
    segments  random  1e-9          7         6      7
    circles   grid    1e-3          4         4      4
    circles   grid    1e-6          6         6      6
    circles   grid    1e-9          8         8      8
    circles   random  1e-3          5         5      5
    circles   random  1e-6          7         7      8
    circles   random  1e-9          9         9     10
    squares   grid    1e-3          3         3      4
    squares   grid    1e-6          6         6      7
    squares   grid    1e-9         11        11     12
    squares   random  1e-3          3         3      4
    squares   random  1e-6          7         6      7
    squares   random  1e-9         11        12     12
    ========  ======  ======  =======  ========  =====

    On grids the middle cut at n = 4096 has none larger than n = 1024. The chain has the rank of the last column at
    every junction. It is meant for the default wavenumber and smaller ones; a few blocks of random points may exceed it
    by one where these happen to lie unevenly.

    References
    ----------
    Michielssen and Boag, "A multilevel matrix decomposition algorithm for analyzing scattering from large structures",
    IEEE Transactions on Antennas and Propagation 44, 1996.

    Examples
    --------
    >>> z = helmholtz(1024, tol=1e-3)
    >>> z.rank, z.orderings.describe()
    (3, 'rows bitreversal, columns standard')
    """
    n, dtype = check_size(n), check_dtype(dtype)
    chosen = check_choice(geometry, "geometry", [*Geometry, *_ONE_SET])
    spread = Spread(check_choice(points, "points", list(Spread)))
    if dtype.kind != "c":
        raise InputError(f"dtype={dtype}: a wave is complex; use complex64 or complex128")
    given = None if wavenumber is None else _check_wavenumber(wavenumber)
    if chosen in list(_ONE_SET):
        return helmholtz_of_one_set(n, Place(chosen), spread, given, dtype, seed)
    kind = Geometry(chosen)
    k = _default_wavenumber(n, kind) if given is None else given
    sets = PointSets(n, kind, spread, draw_entropy(seed) if spread is Spread.RANDOM else 0)
    return KnownMatrix(
        _Helmholtz(sets, k),
        (n, n),
        dtype,
        norm=math.sqrt(pair_sum(sets, np.reciprocal)),
        chain=ranked_chain(n, _RANKS[kind, spread], tol),
        orderings=(BITREVERSAL, None),
        tol=tol,
        points=sets.points,
    )


def _default_wavenumber(n: int, geometry: Geometry) -> float:
    """Wavenumber of ten points per wavelength, on circles those of the outer one."""
    spacing = {
        Geometry.SEGMENTS: 1 / n,
        Geometry.CIRCLES: 4 * math.pi / n,
        Geometry.SQUARES: 1 / math.sqrt(n),
    }[geometry]
    return 2 * math.pi / (10 * spacing)


def _check_wavenumber(wavenumber: Any) -> float:
    return read_number("wavenumber", wavenumber, remedy="None stands for ten points per wavelength")


def cauchy(n: int, *, points: str = "separated", tol: float = 1e-6, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Cauchy matrix of two sets of equispaced points, ``Z[i, j] = 1 / (x_i - y_j)``.

    Parameters
    ----------
    n : int
        Size, at least 1.
    points : {"separated", "interlaced"}
        ``x_i = i / n`` in [0, 1) and ``y_j = 2 + j / n`` in [2, 3); or ``x_i = (i + 1/2) / n`` and ``y_j = j / n``, of
        which no two are equal, both in [0, 1).
    tol : float
        Tolerance of the rank of the chain, at least 1e-9; without effect on interlaced points.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Points are sorted. With separated ones it is in standard order once its rows are bit-reversed; with interlaced
        ones its chain is None, since it is no butterfly. The norm is exact.

    Raises
    ------
    InputError
        If ``n`` is not positive, ``points`` is unknown or ``tol`` is below 1e-9.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts of a
    dyadic chain, separated points, n = 256 and 1024 alike: 1 at 1e-3, 2 at 1e-6 and 3 at 1e-9. The whole matrix is of
    low rank too.

    Interlaced points are the case that butterflies do not cover: blocks on the diagonal have full rank at any of
    these tolerances. At the middle cut for n = 1024, bit-reversed rows, tolerance 1e-6, 32 of the 1024 blocks have
    rank 32, the 62 next to them 7 or 8 and all others 4 or less; the full ranks grow as ``sqrt(n)``.

    References
    ----------
    Gerasoulis, "A fast algorithm for the multiplication of generalized Hilbert matrices with vectors", Mathematics of
    Computation 50, 1988.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    interlaced = check_choice(points, "points", ["separated", "interlaced"]) == "interlaced"
    f = _Cauchy(n, interlaced)
    lag = np.arange(1 - n, n)
    norm = math.sqrt(float(((n - np.abs(lag)) / f.denominator(lag) ** 2).sum()))
    chain = ranked_chain(n, _CAUCHY_RANKS, tol)
    if interlaced:
        return KnownMatrix(f, (n, n), dtype, norm=norm, points=f.points)
    return KnownMatrix(
        f, (n, n), dtype, norm=norm, chain=chain, orderings=(BITREVERSAL, None), tol=tol, points=f.points
    )


@dataclass(frozen=True)
class _Helmholtz:
    """Entry function of :func:`helmholtz`."""

    sets: PointSets
    wavenumber: float

    def __repr__(self) -> str:
        return f"helmholtz({self.sets.n}, {self.sets.geometry}, {self.sets.spread}, k={self.wavenumber:.6g})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        distance = distances(self.sets, rows, cols)
        phase, amplitude = self.wavenumber * distance, 1 / np.sqrt(distance)
        block = np.empty(distance.shape, np.complex128)
        np.multiply(np.cos(phase), amplitude, out=block.real)
        np.multiply(np.sin(phase), amplitude, out=block.imag)
        return block


@dataclass(frozen=True)
class _Cauchy:
    """Entry function of :func:`cauchy`."""

    n: int
    interlaced: bool

    def __repr__(self) -> str:
        return f"cauchy({self.n}, {'interlaced' if self.interlaced else 'separated'})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        return 1 / self.denominator(np.subtract.outer(rows, cols))

    def points(self) -> Points:
        """Points of the rows and of the columns."""
        x = np.arange(self.n) / self.n
        return Points(x + 0.5 / self.n, x) if self.interlaced else Points(x, x + 2)

    def denominator(self, lag: Indices) -> NDArray[np.float64]:
        """``x_i - y_j`` for ``lag = i - j``."""
        return (lag + 0.5) / self.n if self.interlaced else lag / self.n - 2
