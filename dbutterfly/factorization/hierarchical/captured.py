r"""Capture rows that are smooth along many columns by a few orthonormal columns, with the energy of what is left out.

Some columns at equal distances tell most of the directions, those that are left with the largest norms the others::

    (1)  columns J              ->  Q: pivoted QR of Z[:, J], cut where little enough is left
    (2)  B = Q^H R, R <- R - Q B    with R = Z at first
    (3)  columns J of R that are largest  ->  more columns Q, and (2) again, until ||R||^2 is small enough

What is left is formed, so that its energy is known without a difference of large numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from ...structure.axes import Index

__all__ = ["Captured", "DenseRest", "ProductRest", "Wanted", "capture", "capture_all"]

SAMPLED = 64
"""Columns at equal distances that are looked at.

Measured together with :data:`STEP` and :data:`MISSED` on a panel of 16384 x 2048 entries of the matrix of
:data:`dbutterfly.planning.bands.LEAST_ROWS`: with 48, 8 and .25 it takes .2 s of a core, at a mean rank of 16, with 64,
4 and .05 .14 s, at 12.7."""

STEP = 4
"""Columns by which a basis grows; see :data:`SAMPLED`."""

MISSED = 0.05
"""Part of the energy that may be left out which the columns looked at may leave, for their number: those that were not
looked at leave more. See :data:`SAMPLED`."""

SMALL_PRODUCT = 10**6
"""Multiplications of a product up to which OpenBLAS takes its kernels for small matrices, which copy nothing before.

Measured on a core of an EPYC, float32, with 14 columns and their coefficients of 256 x 2048 entries: .15 and .2 ms in
such parts, .25 to .35 and .4 as a whole."""

NARROWEST = 64
"""Least columns of such a part. Not tuned: a call takes about a microsecond by itself."""

PART_BYTES = 1 << 18
"""Bytes of rows from which is removed what was captured, at a time, which stay in the cache. Measured as
:data:`SMALL_PRODUCT`: with 128, 256 and 512 KiB, that and the energies take .4, .36 and .56 ms."""

ROUNDED = 4
"""Directions of less than so many units in the last place of the largest are rounding. Not tuned."""


class Captured(NamedTuple):
    """A matrix of low rank near another one.

    Attributes
    ----------
    basis : array, shape (m, r)
        Orthonormal columns.
    coefficients : array, shape (r, n)
        What they are multiplied by.
    left_out : array of float64, shape (n,)
        Energy of what each column of their product differs by.
    """

    basis: NDArray[Any]
    coefficients: NDArray[Any]
    left_out: NDArray[np.float64]


class Rest(Protocol):
    """What is left of a matrix whose columns are captured."""

    shape: tuple[int, int]

    def columns(self, at: Index) -> NDArray[Any]:
        """Some columns."""

    def remove(self, basis: NDArray[Any]) -> NDArray[Any]:
        """Remove what orthonormal columns capture; their coefficients."""

    def energies(self) -> NDArray[np.float64]:
        """Energy of each column, at least."""


class DenseRest:
    """What is left of some columns of a matrix.

    Parameters
    ----------
    values : array, shape (m, k)
        The matrix, C-contiguous, which what is left takes the place of.
    at : array of int, shape (n,), optional
        The columns, by default all. Others are carried along: to gather those that are wanted takes longer.
    """

    def __init__(self, values: NDArray[Any], at: Index | None = None) -> None:
        self._rest, self._at = values, np.arange(values.shape[1]) if at is None else at
        self.shape = values.shape[0], self._at.size
        self._energies: NDArray[np.float64] | None = None

    def columns(self, at: Index) -> NDArray[Any]:
        """Some columns."""
        return np.take(self._rest, self._at[at], axis=1, mode="clip")

    def remove(self, basis: NDArray[Any]) -> NDArray[Any]:
        """Remove what orthonormal columns capture; their coefficients."""
        rest, (rows, rank) = self._rest, basis.shape
        cols = rest.shape[1]
        coefficients = _multiply_wide(basis.conj().T, rest)
        step = max(1, min(PART_BYTES // (cols * rest.itemsize), SMALL_PRODUCT // max(cols * rank, 1)))
        captured = np.empty((min(step, rows), cols), rest.dtype)
        for first in range(0, rows, step):
            some = rest[first : first + step]
            some -= np.matmul(basis[first : first + step], coefficients, out=captured[: some.shape[0]])
        self._energies = None
        return np.take(coefficients, self._at, axis=1, mode="clip")

    def energies(self) -> NDArray[np.float64]:
        """Energy of each column, at least."""
        if self._energies is None:
            self._energies = column_energies(self._rest)[self._at]
        return self._energies


class ProductRest:
    """What is left of products side by side.

    Parameters
    ----------
    products : sequence of (array of int, array, array)
        Of each, the columns that it fills, and its factors, shapes (m, k) and (k, columns).
    cols : int
        Columns of all of them together.
    """

    def __init__(self, products: Sequence[tuple[Index, NDArray[Any], NDArray[Any]]], cols: int) -> None:
        self._products, self.shape = list(products), (products[0][1].shape[0], cols)
        self._dtype = products[0][1].dtype
        self._owner, self._place = np.empty(cols, np.int64), np.empty(cols, np.int64)
        for number, (at, _, _) in enumerate(products):
            self._owner[at], self._place[at] = number, np.arange(at.size)

    def columns(self, at: Index) -> NDArray[Any]:
        """Some columns."""
        found = np.empty((self.shape[0], at.size), self._dtype)
        for number in np.unique(self._owner[at]).tolist():
            own = self._owner[at] == number
            _, left, right = self._products[number]
            found[:, own] = left @ right[:, self._place[at[own]]]
        return found

    def remove(self, basis: NDArray[Any]) -> NDArray[Any]:
        """Remove what orthonormal columns capture; their coefficients."""
        coefficients = np.empty((basis.shape[1], self.shape[1]), self._dtype)
        for number, (at, left, right) in enumerate(self._products):
            across = basis.conj().T @ left
            coefficients[:, at] = across @ right
            self._products[number] = at, left - basis @ across, right
        return coefficients

    def energies(self) -> NDArray[np.float64]:
        """Energy of each column, at least."""
        found = np.empty(self.shape[1])
        for at, left, right in self._products:
            found[at] = column_energies(np.linalg.qr(left, mode="r") @ right)
        return found


def column_energies(values: NDArray[Any]) -> NDArray[np.float64]:
    """Energy of each column of a matrix, in float64, and no less than it is."""
    rows, cols = values.shape
    real = values.view(values.real.dtype)
    squares = np.einsum("ij,ij->j", real, real).astype(np.float64).reshape(cols, values.itemsize // real.itemsize)
    eps = float(np.finfo(real.dtype).eps)
    energies: NDArray[np.float64] = np.sum(squares, axis=1) * (1 + (rows + 2) * eps)
    return energies


def _multiply_wide(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Product with a wide matrix, some columns at a time, so that they are small."""
    rows, cols = left.shape[0], right.shape[1]
    product = np.empty((rows, cols), right.dtype)
    step = max(NARROWEST, SMALL_PRODUCT // max(left.size, 1))
    for first in range(0, cols, step):
        some = slice(first, first + step)
        np.matmul(left, right[:, some], out=product[:, some])
    return product


def capture(rest: Rest, allowed: float, most: int) -> Captured:
    """Capture a matrix by a few orthonormal columns.

    Parameters
    ----------
    rest : Rest
        The matrix, of which this leaves the rest.
    allowed : float
        Energy that may be left out. Rounding is, where that is more.
    most : int
        Largest rank. Where that is too low, more is left out.
    """
    rows, cols = rest.shape
    if not rows or not cols:
        nothing = rest.columns(np.empty(0, np.int64))
        return Captured(nothing[:, :0], np.empty((0, cols), nothing.dtype), np.zeros(cols))
    step = -(-cols // SAMPLED)
    looked_at = np.arange(step // 2, cols, step)
    basis = _directions(rest.columns(looked_at), MISSED * allowed * looked_at.size / cols, most)
    parts = [rest.remove(basis)]
    left = rest.energies()
    rounded = _rounding_of(np.sum(column_energies(parts[0])) + left.sum(), basis.dtype)
    while left.sum() > max(allowed, rounded) and basis.shape[1] < most:
        worst = np.sort(np.argsort(-left, kind="stable")[:STEP])
        more = _directions(rest.columns(worst), 0.0, most - basis.shape[1])
        for _ in range(2):  # what is left is little more than rounding, in part along the columns before
            more = np.linalg.qr(more - basis @ (basis.conj().T @ more))[0]
        if not more.shape[1]:
            break
        basis = np.concatenate((basis, more), axis=1)
        parts.append(rest.remove(more))
        left = rest.energies()
    return Captured(basis, np.concatenate(parts), left)


class Wanted(NamedTuple):
    """A matrix that is to be captured beside others.

    Attributes
    ----------
    rest : callable
        Gives the matrix, anew each time.
    allowed : float
        Energy that may be left out.
    most : int
        Largest rank, where others do not leave room for more.
    """

    rest: Callable[[], Rest]
    allowed: float
    most: int


def capture_all(matrices: Sequence[Wanted]) -> list[Captured]:
    """Capture matrices that share the room of their largest ranks: those that need more have what others leave."""
    found = [capture(each.rest(), each.allowed, each.most) for each in matrices]
    sizes = [each.basis.shape[0] + each.coefficients.shape[1] for each in found]
    room = sum(
        (wanted.most - each.basis.shape[1]) * size for wanted, each, size in zip(matrices, found, sizes, strict=True)
    )
    for number, wanted in enumerate(matrices):
        before = found[number]
        rank = min(before.basis.shape[1] + room // max(sizes[number], 1), *before.basis.shape[:1])
        is_short = before.basis.shape[1] >= wanted.most  # else what is left is rounding
        if is_short and before.left_out.sum() > wanted.allowed and rank > before.basis.shape[1]:
            found[number] = capture(wanted.rest(), wanted.allowed, rank)
            room -= (found[number].basis.shape[1] - before.basis.shape[1]) * sizes[number]
    return found


def _directions(columns: NDArray[Any], allowed: float, most: int) -> NDArray[Any]:
    """Orthonormal columns that leave little enough of some columns."""
    if not columns.size:
        return columns[:, :0]
    reduce, expand = _lapack(columns.dtype)
    packed, _, scales, _, _ = reduce(columns)
    squares = np.sum(np.abs(np.triu(packed[: scales.size])).astype(np.float64) ** 2, axis=1)
    tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    rank = min(int(np.argmax(tails <= max(allowed, _rounding_of(tails[0], columns.dtype)))), most)
    if not rank:
        return columns[:, :0]
    return np.ascontiguousarray(expand(packed[:, :rank], scales[:rank])[0])


def _rounding_of(energy: float, dtype: Any) -> float:
    """Energy of the directions of a matrix that are rounding: no orthonormal columns are to be had of them."""
    return (ROUNDED * float(np.finfo(dtype).eps)) ** 2 * energy


def _lapack(dtype: Any) -> tuple[Callable[..., Any], ...]:
    """QR with pivoting, and the first columns of its Q: :func:`scipy.linalg.qr` forms all of them."""
    names = "geqp3", "ungqr" if np.dtype(dtype).kind == "c" else "orgqr"
    found: Any = get_lapack_funcs(names, dtype=dtype)
    return tuple(found)
