"""Products of given or random Kronecker-sparse factors, entry by entry and without multiplying them out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ChainError, InputError
from ..sources.entries import check_dtype
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from .known import Indices, KnownMatrix, Seed, check_chain, check_power, generator
from .noise import standard_normal
from .permutations import undo_orderings

__all__ = ["butterfly", "gaussian_butterfly", "orthogonal_butterfly"]


def butterfly(ks_values: Sequence[NDArray[Any]], orderings: Any = None) -> KnownMatrix:
    """Build the product of given Kronecker-sparse factors, entry by entry and without multiplying them out.

    Parameters
    ----------
    ks_values : sequence of ndarray, shape (a, b, c, d)
        Factors, left to right, of a dense chainable chain of any rank.
    orderings : Orderings or pair, optional
        The returned matrix Z is stored such that ``Z[rows][:, cols]`` is the product.

    Returns
    -------
    KnownMatrix
        Matrix of the common dtype of the factors. Its norm is exact.

    Raises
    ------
    ChainError
        If the supports are not chainable or their product is not a full matrix.
    InputError
        If a factor is not four-dimensional, its dtype is not supported, or an ordering is not a permutation.

    Notes
    -----
    A pair of indices (i, j) meets one value (rank one) or one small matrix (rank r) of each factor: with the digits
    ``i_l, j_l`` of ``Chain.row_radices`` and ``Chain.col_radices``, ``Z[i, j] = prod_l ks_l[a, b, c, d]`` where
    ``a = (j_1 .. j_(l-1))``, ``b = (rho_(l-1), i_l)``, ``c = (j_l, rho_l)``, ``d = (i_(l+1) .. i_J)``, summed over the
    indices ``rho`` of the junctions. So a factor depends on i modulo ``m_l ... m_J`` and on j divided by
    ``n_(l+1) ... n_J`` only.
    """
    factors = [np.asarray(factor) for factor in ks_values]
    for index, factor in enumerate(factors):
        if factor.ndim != 4:
            raise InputError(f"ks_values[{index}] has shape {factor.shape}; a factor has four dimensions (a, b, c, d)")
    chain = Chain([factor.shape for factor in factors])
    dtype = check_dtype(np.result_type(*factors))
    layered = [factor.reshape(layer) for factor, layer in zip(factors, _layers(chain), strict=True)]
    matrix = KnownMatrix(_Product(chain, _tables(layered, dtype)), chain.shape, dtype, norm=_norm(layered), chain=chain)
    return undo_orderings(matrix, Orderings.from_any(orderings))


def orthogonal_butterfly(n: int, *, dtype: DTypeLike = np.float64, seed: Seed = None) -> KnownMatrix:
    """Random orthogonal butterfly: ``log2(n)`` factors of random 2 x 2 rotations (Parker, 1995).

    Parameters
    ----------
    n : int
        Size, a power of two, at least 2.
    dtype : dtype
        A real type gives rotations by uniform angles, a complex one Haar-distributed unitary 2 x 2 blocks.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix, shape (n, n)
        Orthogonal or unitary matrix, in standard order.

    Raises
    ------
    InputError
        If ``n`` is not a power of two or is 1.
    """
    n, dtype, rng = check_power(n, "orthogonal_butterfly"), check_dtype(dtype), generator(seed)
    if n == 1:
        raise InputError("n=1: orthogonal_butterfly needs at least 2 rows")
    blocks = _unitaries if dtype.kind == "c" else _rotations
    return butterfly([blocks(rng, a, d).astype(dtype) for a, _, _, d in Chain.square_dyadic(n)])


def gaussian_butterfly(
    chain: Chain | int | tuple[int, int], *, dtype: DTypeLike = np.float64, seed: Seed = None
) -> KnownMatrix:
    """Product of factors whose values are independent standard normal numbers.

    Parameters
    ----------
    chain : Chain, int or (int, int)
        A dense chainable chain; a size or a shape stands for ``Chain.square_dyadic`` where that is a power of two,
        else for ``Chain.chainable``. A chain of ``lazylinop.butterfly`` is taken as well.
    dtype : dtype
        For a complex type, real and imaginary part each have variance 1/2.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix
        Matrix in standard order. Its entries have variance 1 for a chain of rank one, else the product of the ranks of
        the junctions.

    Raises
    ------
    ChainError
        If the chain is not chainable or its product is not a full matrix.
    """
    checked, dtype, rng = check_chain(chain), check_dtype(dtype), generator(seed)
    return butterfly([standard_normal(rng, pattern, dtype) for pattern in checked])


@dataclass(frozen=True, eq=False)
class _Product:
    """Entry function of a product of factors.

    ``tables[l][:, :, i mod R_l, j // C_l]`` is the small matrix that factor l contributes to entry (i, j), R_l the
    product of the row radices from l on and C_l that of the column radices after l.
    """

    chain: Chain
    tables: tuple[NDArray[Any], ...]

    def __repr__(self) -> str:
        return f"butterfly({self.chain!r})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block: NDArray[Any] = self._evaluate(0, len(self.tables), rows, cols)[0, 0]
        return block

    def _evaluate(self, first: int, last: int, rows: Indices, cols: Indices) -> NDArray[Any]:
        """Product of the factors first .. last-1 as an array (rank before, rank after, rows, columns)."""
        if last - first == 1:
            rows, cols = rows % self._period(first), cols // self._stride(first)
            values: NDArray[Any] = self.tables[first][:, :, rows[:, None], cols]
            return values
        # The left half sees j only through j // stride and the right half sees i only through i mod period: both have
        # far fewer distinct columns or rows than the block, and only their product has its full size.
        middle = (first + last) // 2
        stride, period = self._stride(middle - 1), self._period(middle)
        upper, spread_cols = np.unique(cols // stride, return_inverse=True)
        lower, spread_rows = np.unique(rows % period, return_inverse=True)
        left = self._evaluate(first, middle, rows, upper * stride)
        right = self._evaluate(middle, last, lower, cols)
        total: NDArray[Any] = _spread(left, right, 0, spread_rows, spread_cols)
        for rho in range(1, left.shape[1]):
            total += _spread(left, right, rho, spread_rows, spread_cols)
        return total

    def _period(self, index: int) -> int:
        """Number R such that factor ``index`` depends on i modulo R."""
        return int(self.tables[index].shape[2])

    def _stride(self, index: int) -> int:
        """Number C such that factor ``index`` depends on j divided by C."""
        return self.chain.shape[1] // int(self.tables[index].shape[3])


def _spread(left: NDArray[Any], right: NDArray[Any], rho: int, rows: Indices, cols: Indices) -> NDArray[Any]:
    """Term ``rho`` of the sum over a junction, its distinct columns and rows repeated where they occur."""
    term: NDArray[Any] = left[:, rho, None].take(cols, axis=-1) * right[None, rho].take(rows, axis=-2)
    return term


def _layers(chain: Chain) -> list[tuple[int, ...]]:
    """Shapes ``(a, rank before, m, n, rank after, d)`` of the factors, with row digit m and column digit n apart."""
    if chain.ranks is None or not chain.is_dense:
        raise ChainError(
            f"{chain!r} is not a chainable chain of a full matrix; it must be chainable, with a=1 in the first pattern "
            "and d=1 in the last, as Chain.chainable(shape) builds them"
        )
    ends = itertools.pairwise((1, *chain.ranks, 1))
    return [
        (a, before, b // before, c // after, after, d)
        for (a, b, c, d), (before, after) in zip(chain.patterns, ends, strict=True)
    ]


def _tables(layered: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """Factors as the ``tables`` of :class:`_Product`, shapes (rank before, rank after, m d, a n)."""
    tables = []
    for factor in layered:
        a, before, m, n, after, d = factor.shape
        table = factor.astype(dtype).transpose(1, 4, 2, 5, 0, 3)
        tables.append(np.ascontiguousarray(table.reshape(before, after, m * d, a * n)))
    return tuple(tables)


def _norm(layered: Sequence[NDArray[Any]]) -> float:
    """Frobenius norm of the product, exact in float64 and without forming it.

    ``|Z[i, j]|^2`` is an entry of the butterfly whose small matrices are ``K (x) conj(K)``, since ``|u^T K v|^2 =
    (u (x) conj(u))^T (K (x) conj(K)) (v (x) conj(v))``; with rank one, K a number, that is ``|K|^2``. The sum of its
    entries is what a vector of ones on either side of its factors gives; they are applied here from the right.
    """
    sums: NDArray[Any] = np.ones(math.prod(layered[-1].shape[i] for i in (0, 3, 5)))
    for factor in reversed(layered):
        a, _, _, n, after, d = factor.shape
        exact = factor.astype(np.result_type(factor, np.float64))
        sums = sums.reshape(a, n, after, after, d)
        sums = np.einsum("apmnsd,aqmntd,anstd->apqmd", exact, exact.conj(), sums, optimize=True)
    return math.sqrt(max(float(sums.sum().real), 0.0))


def _rotations(rng: np.random.Generator, a: int, d: int) -> NDArray[Any]:
    """Random 2 x 2 rotations by uniform angles, shape (a, 2, 2, d)."""
    angle = rng.uniform(0, 2 * math.pi, (a, d))
    return _two_by_two(np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))


def _unitaries(rng: np.random.Generator, a: int, d: int) -> NDArray[Any]:
    """Random unitary 2 x 2 matrices of Haar measure, shape (a, 2, 2, d)."""
    # The Haar measure of U(2): three uniform phases, and a uniform squared cosine (Zyczkowski and Kus, 1994).
    squared = rng.random((a, d))
    cos, sin = np.sqrt(squared), np.sqrt(1 - squared)
    common, first, second = np.exp(1j * rng.uniform(0, 2 * math.pi, (3, a, d)))
    special = _two_by_two(cos * first, sin * second, -sin * second.conj(), cos * first.conj())
    unitary: NDArray[Any] = common[:, None, None] * special
    return unitary


def _two_by_two(top_left: Any, top_right: Any, bottom_left: Any, bottom_right: Any) -> NDArray[Any]:
    """Stack four arrays of shape (a, d) to 2 x 2 matrices, shape (a, 2, 2, d)."""
    return np.stack([np.stack([top_left, top_right], 1), np.stack([bottom_left, bottom_right], 1)], 1)
