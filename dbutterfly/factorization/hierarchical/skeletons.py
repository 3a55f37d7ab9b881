r"""Approximate a block of an entry function from some of its columns and rows, which alone are evaluated.

Rows that are drawn at random in strata, the *proxies*, tell which columns all others are combinations of; these columns
tell the same of the rows, and the rows that are found take the place of the proxies:

    (1)  rows A at random                ->  columns J: pivoted QR of Z[A, :]
    (2)  columns J                       ->  rows I and coefficients P: pivoted QR of Z[:, J]^H, Z[:, J] ~ P Z[I, J]
    (3)  Z ~ P Z[I, :]                   ->  recompressed: orthonormal columns, singular values

(skeletonization: Cheng, Gimbutas, Martinsson and Rokhlin, "On the compression of low rank matrices", 2005). Entries at
which other rows and columns cross are compared with it. Where they differ by more than is allowed, the skeletons have
missed something: there are twice as many proxies then.

A kernel of short range has most of its energy at the few pairs of points where two clusters nearly touch, which rows
and columns drawn at random seldom meet. So rows nearest to the columns are among the proxies, and among what is
compared are entries of such rows and of the columns next to them. The proxies, which are known along all columns, are
compared as well: the skeleton stands for them only as far as the rows that have taken their place do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from ...kernels.low_rank.truncated import Truncated, cut_rank, rank_within
from ...sources.samples import spread_indices
from ...structure.axes import Index

__all__ = ["COMPARED", "NEAREST", "Estimated", "Near", "Take", "fit_skeletons", "is_cheaper_in_full"]

Take = Callable[[Index, Index], NDArray[Any]]
"""Evaluates the entries at the crossings of some positions of the rows and of the columns."""

SPARE = 16
"""Proxies beyond the rank that is expected.

Measured together with :data:`COMPARED` and :data:`MISSED` at N = 4096, on the Helmholtz and Laplace kernels of a circle
at 1e-6. With 8, 8 and 1/16, a few blocks left most of the error, so that the estimate could not tell how large it was,
and .43 and .20 of the entries were evaluated; with 16, 12 and 1/16 it could, by .51 and .18 of them; with 16, 12 and
1/64 too, by .36 and .18, in .7 of the time."""

COMPARED = 12
"""Rows and columns whose crossings are compared; see :data:`SPARE`."""

MISSED = 1 / 64
"""Part of the squared error allowed that columns beyond the skeleton may leave on the proxies.

What they leave elsewhere is a few times as much. See :data:`SPARE`."""

WORTH = 0.75
"""Entries of skeletons over those of the block from which it is evaluated in full. Not tuned."""


ROUNDED = 4
"""Columns that leave less than so many units in the last place of the whole are rounding. Not tuned."""


NEAREST = 36
"""Rows that lie nearest to the columns, of which some are compared. Not tuned: three times :data:`COMPARED`."""

NEAR_PART = 4
"""Proxies over those of them that are taken from the nearest rows.

Measured on ``exp(-(r / .05)^2)`` at N = 4096, 1e-6: with 8, 4 and 2, the worst of 4096 rows has .08, .08 and .05 of the
residual, and .33 of the entries are evaluated. Where proxies are not compared, it has .12, .11 and .04, by .37 to .38,
and with 8 and 4 the estimate cannot tell."""


class Near(NamedTuple):
    """Where the two clusters of a block are nearest to each other.

    Attributes
    ----------
    rows : array of int
        Positions of the rows nearest to the columns, nearest first.
    pairs : pair of array of int, shape (k,)
        Some of these rows, and the column next to each.
    """

    rows: Index
    pairs: tuple[Index, Index]


class Estimated(NamedTuple):
    """An approximation of low rank, and how well its error is known.

    Attributes
    ----------
    cut : Truncated
        The approximation; ``rest`` is an estimate where the block was sampled.
    deviation : float
        Standard deviation of the squared error.
    is_sampled : bool
        Whether some entries of the block were evaluated only.
    """

    cut: Truncated
    deviation: float = 0.0
    is_sampled: bool = False

    def map(self, change: Callable[[Any], NDArray[Any]]) -> Estimated:
        """The same with other arrays."""
        return self._replace(cut=self.cut._replace(left=change(self.cut.left), right=change(self.cut.right)))

    def lower(self, rank: int) -> Estimated:
        """The same with a lower rank."""
        return self._replace(cut=self.cut._replace(left=self.cut.left[:, :rank], right=self.cut.right[:rank]))


def is_cheaper_in_full(rows: int, cols: int, rank: int) -> bool:
    """Whether the skeletons of a block take about as many entries as it has."""
    return (rank + SPARE) * cols + rank * (rows + cols) + COMPARED**2 >= WORTH * rows * cols


def fit_skeletons(
    take: Take,
    spans: tuple[tuple[int, int], tuple[int, int]],
    allowed: float,
    most: int,
    expected: int,
    near: Near | None = None,
) -> Estimated | None:
    """Approximate a block by one of low rank.

    Parameters
    ----------
    take : callable
        Evaluates entries.
    spans : pair of (int, int)
        Positions of the rows and of the columns of the block.
    allowed : float
        Squared error that may be left; with 0, the rank is ``most``.
    most : int
        Largest rank of use.
    expected : int
        Rank that is expected.
    near : Near, optional
        Where its clusters are nearest to each other.

    Returns
    -------
    Estimated or None
        None where the rank would be larger than ``most``.
    """
    (r0, r1), (c0, c1) = spans
    rng = np.random.default_rng([r0, c0, r1, c1])
    rows, cols = np.arange(r0, r1, dtype=np.int64), np.arange(c0, c1, dtype=np.int64)
    proxies, width, limit = np.empty(0, np.int64), expected + SPARE, most if allowed == 0 else 2 * most
    known: NDArray[Any] | None = None
    while proxies.size < min(rows.size, 4 * most + SPARE):
        drawn = spread_indices(r0, r1, min(width, rows.size), rng)
        nearest = drawn[:0] if near is None else near.rows[: (proxies.size + width) // NEAR_PART]
        more = np.setdiff1d(np.concatenate((drawn, nearest)), proxies)
        if proxies.size and (proxies.size + more.size) * cols.size >= WORTH * rows.size * cols.size:
            return None  # in full, it would take as many
        known = take(more, cols) if known is None else np.concatenate((known, take(more, cols)))
        proxies = np.concatenate((proxies, more))
        skeleton = _pivots(known, MISSED * allowed * proxies.size / rows.size, limit)[0]
        if skeleton.size < proxies.size or skeleton.size == limit:  # else there may be more
            found = _fit(take, (rows, cols), cols[skeleton], rng, near, (proxies - r0, known))
            if allowed == 0:
                return found.lower(most)
            if found.cut.rest <= allowed:
                cut = found.lower(rank_within(found.cut.values, allowed - found.cut.rest))
                return cut if cut.cut.left.shape[1] <= most else None
        width = 2 * proxies.size
    return None


def _pivots(matrix: NDArray[Any], floor: float, most: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Columns of which all others are combinations up to a squared error, most important first, and the coefficients.

    Returns
    -------
    array of int, shape (r,)
        The columns.
    array, shape (r, n)
        ``matrix ~ matrix[:, columns] coefficients``.
    """
    triangle, order = qr(matrix, mode="r", pivoting=True, check_finite=False)
    size = min(matrix.shape)
    squares: NDArray[np.float64] = np.sum(np.abs(triangle[:size]) ** 2, axis=1, dtype=np.float64)
    left = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    eps = float(np.finfo(matrix.dtype).eps)
    rank = min(int(np.argmax(left <= max(floor, (ROUNDED * eps) ** 2 * left[0]))), most)
    coefficients = np.empty((rank, matrix.shape[1]), matrix.dtype)
    coefficients[:, order[:rank]] = np.eye(rank, dtype=matrix.dtype)
    if rank and rank < matrix.shape[1]:
        solved = solve_triangular(triangle[:rank, :rank], triangle[:rank, rank:], check_finite=False)
        coefficients[:, order[rank:]] = solved
    return order[:rank], coefficients


def _fit(
    take: Take,
    sides: tuple[Index, Index],
    skeleton: Index,
    rng: np.random.Generator,
    near: Near | None,
    proxies: tuple[Index, NDArray[Any]],
) -> Estimated:
    """Skeleton of a block from columns of it, and what entries that it does not know say of its error."""
    rows, cols = sides
    columns = take(rows, skeleton)
    picked, coefficients = _pivots(np.ascontiguousarray(columns.T), 0.0, skeleton.size)
    across = take(rows[picked], cols)

    def missed(at_rows: Index, at_cols: Index) -> NDArray[np.float64]:
        """Squares of what the skeleton misses where some rows and columns cross."""
        there = coefficients[:, at_rows].T @ across[:, at_cols]
        squares: NDArray[np.float64] = np.abs(take(rows[at_rows], cols[at_cols]) - there).astype(np.float64) ** 2
        return squares

    scale = float(rows.size * cols.size)
    drawn = (spread_indices(0, side.size, min(COMPARED, side.size), rng) for side in sides)
    squares = scale * np.mean(missed(*drawn), axis=1)
    rest, deviation = float(squares.mean()), float(squares.std()) / math.sqrt(squares.size)
    if near is not None:
        at_rows, at_cols = (np.unique(each - side[0]) for each, side in zip(near.pairs, sides, strict=True))
        squares = near.rows.size * np.sum(missed(at_rows, at_cols), axis=1)
        rest += float(squares.mean())
        deviation = math.hypot(deviation, float(squares.std()) / math.sqrt(squares.size))
    at_rows, known = proxies
    squares = np.sum(np.abs(known - coefficients[:, at_rows].T @ across).astype(np.float64) ** 2, axis=1)
    rest = max(rest, _missed_by_rows(squares, rows.size, None if near is None else np.isin(rows[at_rows], near.rows)))
    basis, triangle = np.linalg.qr(coefficients.T)
    cut = cut_rank(basis, triangle @ across, (0.0, rest), skeleton.size)
    energy = float(np.sum(cut.values**2)) + rest
    return Estimated(cut._replace(energy=energy), deviation, is_sampled=True)


def _missed_by_rows(squares: NDArray[np.float64], rows: int, is_near: NDArray[np.bool_] | None) -> float:
    """Energy that a skeleton misses, by what it misses of rows that are known: near ones stand for themselves alone."""
    if is_near is None:
        return rows * float(squares.mean())
    others = squares[~is_near]
    return float(squares[is_near].sum()) + (rows * float(others.mean()) if others.size else 0.0)
