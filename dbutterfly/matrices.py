"""Known transforms and random butterflies, whose true chain and orderings come with them.

Every matrix here is an entry function: any block of any size costs what the block costs, nothing of shape ``(M, N)`` is
held, and :func:`write` streams it into a Zarr array. They are what the factorization is tried and tested on.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
import zarr.errors
from numpy.typing import DTypeLike, NDArray

from .chain import Chain
from .entries import Entries, EntryFunction, checked_dtype
from .errors import ChainError, InputError, StoreError
from .orderings import BITREVERSAL, Orderings

__all__ = [
    "KnownMatrix",
    "butterfly",
    "create_array",
    "dct2",
    "default_chunks",
    "dft",
    "gaussian_butterfly",
    "hadamard",
    "noisy",
    "orthogonal_butterfly",
    "shuffled",
    "write",
]

Indices: TypeAlias = NDArray[np.int64]
Seed: TypeAlias = "int | np.random.Generator | None"
Matrix: TypeAlias = "Entries | NDArray[Any]"

# Noise is drawn in cells of this shape: large enough that seeding a generator costs a fifth of a cell, and low, since
# slabs of a few whole rows are what strided column groups need.
_CELL = (8, 1024)

# Limits of a default chunk. Slabs are kept smaller: a tile takes one out of each of about sqrt(M) row groups.
_CHUNK_BYTES = 8 << 20
_SLAB_BYTES = 2 << 20
_CHUNK_SIDE = 1024


class KnownMatrix(Entries):
    """A matrix given by its entry function, of which the norm and the butterfly structure are known.

    Parameters
    ----------
    f : callable
        Entry function, as for :class:`Entries`.
    shape : (int, int)
        Rows M and columns N.
    dtype : dtype
        float32, float64, complex64 or complex128.
    norm : float
        Frobenius norm.
    chain : Chain, optional
        Chain of which the matrix is a product, up to noise; None where there is none.
    orderings : Orderings or pair, optional
        Orderings that bring the matrix into the standard order of ``chain``.

    Attributes
    ----------
    norm : float
        Frobenius norm.
    chain : Chain or None
        Chain of which the matrix is a product, up to noise.
    orderings : Orderings
        ``Z[rows][:, cols]`` is in standard order.
    """

    def __init__(
        self,
        f: EntryFunction,
        shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        norm: float,
        chain: Chain | None = None,
        orderings: Any = None,
    ) -> None:
        super().__init__(f, shape, dtype)
        self.norm = float(norm)
        self.chain = chain
        self.orderings = Orderings.from_any(orderings)


# ---------------------------------------------------------------- transforms


def dft(n: int, *, dtype: DTypeLike = np.complex128) -> KnownMatrix:
    """Discrete Fourier transform, ``Z[k, j] = exp(-2 pi i k j / n)``, unscaled as in :func:`scipy.linalg.dft`.

    Parameters
    ----------
    n : int
        Size, at least 1. For a power of two the chain is square dyadic, else one from the prime factors of ``n``.
    dtype : dtype
        complex64 or complex128.

    Returns
    -------
    KnownMatrix, shape (n, n)
        In standard order once its columns are bit-reversed (Cooley and Tukey, 1965).

    Raises
    ------
    InputError
        If ``n`` is not positive or ``dtype`` is not complex.

    Notes
    -----
    The phase ``k j mod n`` is exact in integers, and its root of unity is looked up in a table of ``n`` of them.
    """
    n, dtype = _checked_size(n), checked_dtype(dtype)
    if dtype.kind != "c":
        raise InputError(
            f"dtype={dtype}: a Fourier matrix is complex; use complex64 or complex128, or dct2 for a real one"
        )
    return KnownMatrix(_Fourier(n, dtype), (n, n), dtype, norm=n, chain=_square_chain(n), orderings=(None, BITREVERSAL))


def hadamard(n: int, *, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Hadamard matrix in Sylvester's order, ``Z[i, j] = (-1)^popcount(i & j)``, as in :func:`scipy.linalg.hadamard`.

    Parameters
    ----------
    n : int
        Size, a power of two.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        In standard order as it is.

    Raises
    ------
    InputError
        If ``n`` is not a power of two.
    """
    n = _checked_power(n, "hadamard")
    return KnownMatrix(_Hadamard(n, checked_dtype(dtype)), (n, n), dtype, norm=n, chain=Chain.square_dyadic(n))


def dct2(n: int, *, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Discrete cosine transform, type II, orthonormal, as in ``scipy.fft.dct(type=2, norm="ortho")``.

    Parameters
    ----------
    n : int
        Size, at least 1.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        ``Z[k, j] = sqrt(2/n) cos(pi (2j+1) k / (2n))``, row 0 divided by ``sqrt(2)``. Its chain is None: it is no
        butterfly of rank one. (Bit-reversed columns make every block of every cut of rank 4: a cosine is two complex
        exponentials, and each changes sign with the parity of its row or column.)

    Raises
    ------
    InputError
        If ``n`` is not positive.
    """
    n = _checked_size(n)
    return KnownMatrix(_Cosine(n, checked_dtype(dtype)), (n, n), dtype, norm=math.sqrt(n))


@dataclass(frozen=True)
class _Fourier:
    n: int
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return f"dft({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block: NDArray[Any] = _roots_of_unity(self.n, self.dtype)[_phase(rows, cols, self.n)]
        return block


@dataclass(frozen=True)
class _Hadamard:
    n: int
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return f"hadamard({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        odd = np.bitwise_count(np.bitwise_and.outer(rows, cols)) & 1
        signs: NDArray[Any] = np.array([1, -1], self.dtype)[odd]
        return signs


@dataclass(frozen=True)
class _Cosine:
    n: int
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return f"dct2({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block: NDArray[Any] = _cosines(self.n, self.dtype)[_phase(rows, 2 * cols + 1, 4 * self.n)]
        block[rows == 0] = 1 / math.sqrt(self.n)
        return block


def _phase(rows: Indices, cols: Indices, n: int) -> Indices:
    """``rows[i] * cols[j] mod n``, exact below n = 2^31."""
    phase: Indices = np.multiply.outer(rows, cols)
    if n & (n - 1):
        phase %= n
    else:
        phase &= n - 1  # several times faster than the remainder
    return phase


@functools.lru_cache(maxsize=4)
def _roots_of_unity(n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``exp(-2 pi i t / n)`` for t = 0 .. n-1, rounded once: angles are reduced exactly to an eighth of a turn."""
    t = np.arange(n, dtype=np.int64)
    quarter = (8 * t + n) // (2 * n)  # nearest quarter turn
    angle = (4 * t - quarter * n) * (math.pi / (2 * n))
    unit = np.array([1, -1j, -1, 1j])[quarter % 4]
    return _frozen((np.cos(angle) - 1j * np.sin(angle)) * unit, dtype)


@functools.lru_cache(maxsize=4)
def _cosines(n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return _frozen(_roots_of_unity(4 * n, np.dtype(np.complex128)).real * math.sqrt(2 / n), dtype)


def _frozen(table: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    table = table.astype(dtype)
    table.flags.writeable = False
    return table


# ---------------------------------------------------------------- butterflies


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
        Of the common dtype of the factors. Its norm is exact.

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
    dtype = checked_dtype(np.result_type(*factors))
    layered = [factor.reshape(layer) for factor, layer in zip(factors, _layers(chain), strict=True)]
    matrix = KnownMatrix(_Product(chain, _tables(layered, dtype)), chain.shape, dtype, norm=_norm(layered), chain=chain)
    return _stored(matrix, Orderings.from_any(orderings))


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
        Orthogonal or unitary, in standard order.

    Raises
    ------
    InputError
        If ``n`` is not a power of two or is 1.
    """
    n, dtype, rng = _checked_power(n, "orthogonal_butterfly"), checked_dtype(dtype), _generator(seed)
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
        In standard order. Entries have variance 1 for a chain of rank one, else the product of the junctions' ranks.

    Raises
    ------
    ChainError
        If the chain is not chainable or its product is not a full matrix.
    """
    checked, dtype, rng = _checked_chain(chain), checked_dtype(dtype), _generator(seed)
    return butterfly([_normal(rng, pattern, dtype) for pattern in checked])


@dataclass(frozen=True, eq=False)
class _Product:
    """Entries of a chain of factors.

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
        return int(self.tables[index].shape[2])

    def _stride(self, index: int) -> int:
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
    angle = rng.uniform(0, 2 * math.pi, (a, d))
    return _two_by_two(np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))


def _unitaries(rng: np.random.Generator, a: int, d: int) -> NDArray[Any]:
    # Haar measure of U(2): three uniform phases, and a uniform squared cosine (Zyczkowski and Kus, 1994).
    squared = rng.random((a, d))
    cos, sin = np.sqrt(squared), np.sqrt(1 - squared)
    common, first, second = np.exp(1j * rng.uniform(0, 2 * math.pi, (3, a, d)))
    special = _two_by_two(cos * first, sin * second, -sin * second.conj(), cos * first.conj())
    unitary: NDArray[Any] = common[:, None, None] * special
    return unitary


def _two_by_two(top_left: Any, top_right: Any, bottom_left: Any, bottom_right: Any) -> NDArray[Any]:
    """Shape (a, 2, 2, d) from four arrays of shape (a, d)."""
    return np.stack([np.stack([top_left, top_right], 1), np.stack([bottom_left, bottom_right], 1)], 1)


# ---------------------------------------------------------------- noise and shuffles


def noisy(matrix: Matrix, eps: float, *, seed: Seed = None) -> KnownMatrix:
    """Add independent Gaussian noise of relative size ``eps`` in the Frobenius norm.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        For the latter two the norm is computed, which evaluates every entry once.
    eps : float
        Standard deviation of the noise is ``eps * norm / sqrt(M*N)``; complex noise has half of its variance in each
        part.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix
        With the chain and the orderings of ``matrix``. Its norm is the expected one, ``norm * sqrt(1 + eps^2)``; the
        actual one deviates from it by a fraction of about ``eps / sqrt(M*N)``.

    Raises
    ------
    InputError
        If ``eps`` is negative or not finite.

    Notes
    -----
    The noise of an entry depends on the seed and the entry only, not on the block it is asked for in. It is drawn in
    cells of 8 x 1024 entries with a generator each, so a single row costs as much as 8 and a single column as 1024.
    """
    known = _known(matrix)
    if not (math.isfinite(eps) and eps >= 0):
        raise InputError(f"eps={eps!r} is not a relative size of noise; use a finite number, at least 0")
    deviation = eps * known.norm / math.sqrt(math.prod(known.shape))
    noise = _Noise(known.dtype, deviation, int(_generator(seed).integers(2**63)))
    return KnownMatrix(
        _Noisy(known, noise, eps),
        known.shape,
        known.dtype,
        norm=known.norm * math.sqrt(1 + eps**2),
        chain=known.chain,
        orderings=known.orderings,
    )


def shuffled(matrix: Matrix, *, seed: Seed = None) -> KnownMatrix:
    """Permute rows and columns at random.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray
        The latter two are taken to be in standard order.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix
        Its ``orderings`` are index arrays, the true ones: ``Z[rows][:, cols]`` is in standard order.

    Raises
    ------
    InputError
        If an ordering of ``matrix`` is ``"bitreversal"`` and it has no chain to say in which digits.
    """
    known, rng = _known(matrix), _generator(seed)
    shuffles = tuple(rng.permutation(size).astype(np.int64, copy=False) for size in known.shape)
    # Z'[i] = Z[shuffle[i]], so the row of Z' that holds row k of Z is shuffle^-1[k].
    rows, cols = (
        _inverse(shuffle) if side is None else _inverse(shuffle)[side]
        for shuffle, side in zip(shuffles, _permutations(known), strict=True)
    )
    return KnownMatrix(
        _Permuted(known, *shuffles),
        known.shape,
        known.dtype,
        norm=known.norm,
        chain=known.chain,
        orderings=(rows, cols),
    )


@dataclass(frozen=True)
class _Noise:
    dtype: np.dtype[Any]
    deviation: float
    entropy: int

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        out = np.empty((rows.size, cols.size), self.dtype)
        col_cells = _by_cell(cols, _CELL[1])
        for cell_row, at_rows in _by_cell(rows, _CELL[0]):
            for cell_col, at_cols in col_cells:
                cell = self._cell(cell_row, cell_col)
                inside = np.ix_(rows[at_rows] % _CELL[0], cols[at_cols] % _CELL[1])
                out[np.ix_(at_rows, at_cols)] = cell[inside]
        return out

    def _cell(self, row: int, col: int) -> NDArray[Any]:
        bits = np.random.PCG64(np.random.SeedSequence(self.entropy, spawn_key=(row, col)))
        cell = _normal(np.random.Generator(bits), _CELL, self.dtype)
        cell *= self.deviation
        return cell


@dataclass(frozen=True, eq=False)
class _Noisy:
    matrix: Entries
    noise: _Noise
    eps: float

    def __repr__(self) -> str:
        return f"{self.matrix.f!r} + noise {self.eps:g}"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block = self.noise(rows, cols)
        block += self.matrix.block(rows, cols)
        return block


@dataclass(frozen=True, eq=False)
class _Permuted:
    matrix: Entries
    rows: Indices | None
    cols: Indices | None

    def __repr__(self) -> str:
        return f"permuted {self.matrix.f!r}"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        return self.matrix.block(
            rows if self.rows is None else self.rows[rows], cols if self.cols is None else self.cols[cols]
        )


@dataclass(frozen=True, eq=False)
class _Stored:
    array: NDArray[Any]

    def __repr__(self) -> str:
        return "array"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        return self.array[rows[:, None], cols]


def _by_cell(index: Indices, side: int) -> list[tuple[int, Indices]]:
    """Cells that the indices fall into, each with the positions of its indices."""
    cells = index // side
    return [(int(cell), np.flatnonzero(cells == cell)) for cell in np.unique(cells)]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Standard normal numbers of a real or complex dtype, drawn in its own precision."""
    single = dtype.itemsize == (8 if dtype.kind == "c" else 4)
    precision: Any = np.float32 if single else np.float64
    if dtype.kind != "c":
        return rng.standard_normal(shape, dtype=precision)
    pairs = rng.standard_normal((*shape, 2), dtype=precision)
    pairs *= math.sqrt(0.5)
    return pairs.view(dtype)[..., 0]


def _stored(matrix: KnownMatrix, orderings: Orderings) -> KnownMatrix:
    """Store a matrix in standard order such that ``orderings`` bring it back."""
    orderings.validate(matrix.shape)
    assert matrix.chain is not None
    sides = orderings.permutations(matrix.chain)
    if all(side is None for side in sides):
        return matrix
    f = _Permuted(matrix, *(None if side is None else _inverse(side) for side in sides))
    return KnownMatrix(f, matrix.shape, matrix.dtype, norm=matrix.norm, chain=matrix.chain, orderings=orderings)


def _permutations(known: KnownMatrix) -> tuple[Indices | None, Indices | None]:
    if known.chain is not None:
        return known.orderings.permutations(known.chain)
    rows, cols = known.orderings.rows, known.orderings.cols
    if isinstance(rows, str) or isinstance(cols, str):
        raise InputError(
            f"matrix={known!r} is ordered by bit reversal but has no chain to say in which digits; give it a chain or "
            "index arrays"
        )
    return rows, cols


def _inverse(permutation: Indices) -> Indices:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(permutation.size)
    return inverse


def _known(matrix: Matrix) -> KnownMatrix:
    if isinstance(matrix, KnownMatrix):
        return matrix
    entries = _as_entries(matrix)
    return KnownMatrix(entries.f, entries.shape, entries.dtype, norm=_frobenius_norm(entries))


def _as_entries(matrix: Any) -> Entries:
    if isinstance(matrix, Entries):
        return matrix
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise InputError(
            f"matrix of type {type(matrix).__name__} and shape {getattr(matrix, 'shape', None)} is neither a "
            "two-dimensional NumPy array nor an entry function (dbutterfly.entries)"
        )
    return Entries(_Stored(matrix), (matrix.shape[0], matrix.shape[1]), matrix.dtype)


def _frobenius_norm(entries: Entries) -> float:
    step = max((1 << 20) // entries.shape[1], 1)
    total = 0.0
    for start in range(0, entries.shape[0], step):
        panel = entries.block(slice(start, start + step), slice(None))
        panel = panel.astype(np.result_type(panel, np.float64), copy=False)
        total += float(np.vdot(panel, panel).real)
    return math.sqrt(total)


# ---------------------------------------------------------------- writing


def write(
    matrix: Matrix,
    store: Any,
    *,
    chunks: tuple[int, int] | None = None,
    overwrite: bool = False,
    compressors: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> zarr.Array[Any]:
    """Write a matrix into a new Zarr array, chunk by chunk.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        Only a few chunks of it are in memory at a time.
    store : path, URL or Zarr store
        Where the array is created (Zarr format 3).
    chunks : (int, int), optional
        Shape of a chunk, by default that of :func:`default_chunks`.
    overwrite : bool
        Whether an array or group that is already there is deleted first. Other files are never deleted.
    compressors : optional
        As for :func:`zarr.create_array`; by default none, as dense floating-point numbers hardly compress.
    progress : callable, optional
        Called as ``progress(done, total)`` after every chunk.

    Returns
    -------
    zarr.Array
        Its attribute ``"dbutterfly_matrix"`` describes the matrix. It is set last: an array without it was not
        written to its end.

    Raises
    ------
    InputError
        If ``matrix`` is not two-dimensional or has an unsupported dtype, or ``chunks`` are not positive.
    StoreError
        If there is something at the place already, or the array cannot be created; nothing was changed then.
    SourceError
        If an entry function fails.
    """
    entries = _as_entries(matrix)
    chunks = default_chunks(matrix) if chunks is None else _checked_chunks(chunks, entries.shape)
    array = create_array(store, entries.shape, entries.dtype, chunks, overwrite=overwrite, compressors=compressors)
    starts = [range(0, side, step) for side, step in zip(entries.shape, chunks, strict=True)]
    total = len(starts[0]) * len(starts[1])
    for done, (row, col) in enumerate(itertools.product(*starts), 1):
        at = slice(row, row + chunks[0]), slice(col, col + chunks[1])
        array[at] = entries.block(*at)
        if progress is not None:
            progress(done, total)
    known = isinstance(entries, KnownMatrix) or entries is not matrix
    array.attrs["dbutterfly_matrix"] = repr(entries.f) if known else "entries"
    return array


def default_chunks(matrix: Matrix) -> tuple[int, int]:
    """Choose a chunk shape under which the first split can read every chunk once, in tiles of few chunks.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        Only shape, dtype, chain and orderings are looked at.

    Returns
    -------
    (int, int)
        A chunk of at most 8 MiB.

    Notes
    -----
    Cutting the chain in the middle views the rows as ``(p, u)``, and a tile takes a range of the u rows ``rl`` out of
    every one of the p groups. With columns in standard order a column group is contiguous and squares serve well. With
    bit-reversed columns a group is strided too, and a tile spans all columns: chunks are slabs of whole rows, whose
    number divides u and is at most a quarter of it, such that there are a few tiles to choose from, of about 2 MiB.
    """
    entries = _as_entries(matrix)
    (rows, cols), itemsize = entries.shape, entries.dtype.itemsize
    slab = _strided_rows(entries)
    if slab is not None:
        fitting = max(_SLAB_BYTES // (cols * itemsize), 1)
        height = _largest_divisor(slab, min(fitting, max(slab // 4, 1)))
        return height, _chunk_side(cols, _CHUNK_BYTES // (height * itemsize))
    width = _chunk_side(cols, _CHUNK_SIDE)
    return _chunk_side(rows, min(_CHUNK_SIDE, _CHUNK_BYTES // (width * itemsize))), width


def create_array(
    store: Any,
    shape: tuple[int, int],
    dtype: DTypeLike,
    chunks: tuple[int, int],
    *,
    overwrite: bool = False,
    compressors: Any = None,
) -> zarr.Array[Any]:
    """Create an empty Zarr array (format 3), where nothing is or an array or group may be replaced.

    Parameters
    ----------
    store : path, URL or Zarr store
        Place of the array.
    shape, chunks : (int, int)
        Shapes of the array and of its chunks.
    dtype : dtype
        Type of the entries.
    overwrite : bool
        Whether to delete an array or group that is there.
    compressors : optional
        As for :func:`zarr.create_array`.

    Raises
    ------
    StoreError
        If something is there that may not be replaced, or the array cannot be created.
    """
    occupant = _occupant(store)
    if occupant == "other files":
        raise StoreError(
            f"store={store!r} holds files that are not Zarr; they are never deleted, so name another place"
        )
    if occupant is not None and not overwrite:
        raise StoreError(f"store={store!r} already holds a Zarr {occupant}; pass overwrite=True to replace it")
    try:
        return zarr.create_array(
            store, shape=shape, dtype=np.dtype(dtype), chunks=chunks, compressors=compressors, overwrite=overwrite
        )
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"no array can be created at store={store!r}: {error}") from error


def _occupant(store: Any) -> str | None:
    try:
        node = zarr.open(store, mode="r")
    except FileNotFoundError:  # also the parent of Zarr's own errors of a missing node
        return "other files" if _holds_files(store) else None
    except Exception as error:
        raise StoreError(
            f"store={store!r} cannot be opened: {type(error).__name__}: {error}; name a path, a URL or a Zarr store"
        ) from error
    return "array" if isinstance(node, zarr.Array) else "group"


def _holds_files(store: Any) -> bool:
    if not isinstance(store, (str, Path)) or "://" in str(store):
        return False
    path = Path(store)
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _strided_rows(entries: Entries) -> int | None:
    """Length u of a row group's stride at the middle cut, where rows and columns are both strided in storage."""
    chain = getattr(entries, "chain", None)
    if chain is None or len(chain) < 2 or not isinstance(entries, KnownMatrix):
        return None
    if entries.orderings.rows is not None or not isinstance(entries.orderings.cols, str):
        return None
    return int(chain.cut(len(chain) // 2)[0].u)


def _chunk_side(size: int, limit: int) -> int:
    """Largest divisor of ``size`` up to ``limit``, or the limit where that is much smaller."""
    limit = min(size, limit)
    divisor = _largest_divisor(size, limit)
    return divisor if 4 * divisor >= limit else limit


def _largest_divisor(size: int, limit: int) -> int:
    return next(k for k in range(min(size, limit), 0, -1) if size % k == 0)


def _checked_chunks(chunks: Any, shape: tuple[int, int]) -> tuple[int, int]:
    try:
        rows, cols = (operator.index(side) for side in chunks)
    except (TypeError, ValueError):
        raise InputError(f"chunks={chunks!r} is not a pair of integers (rows, columns)") from None
    if rows < 1 or cols < 1:
        raise InputError(f"chunks={chunks!r} has an empty side; both must be at least 1")
    return min(rows, shape[0]), min(cols, shape[1])


# ---------------------------------------------------------------- arguments


def _checked_size(n: Any) -> int:
    try:
        size = operator.index(n)
    except TypeError:
        raise InputError(f"n={n!r} is not an integer; it is the number of rows and columns") from None
    if size < 1:
        raise InputError(f"n={n!r} is not positive; the smallest matrix has one row")
    return size


def _checked_power(n: Any, name: str) -> int:
    size = _checked_size(n)
    if size & (size - 1):
        raise InputError(f"n={n!r} is not a power of two; {name} exists for 1, 2, 4, 8, ... rows only")
    return size


def _square_chain(n: int) -> Chain:
    return Chain.chainable((n, n)) if n & (n - 1) else Chain.square_dyadic(n)


def _checked_chain(chain: Any) -> Chain:
    sides = (chain, chain) if isinstance(chain, (int, np.integer)) else chain
    if isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(side, (int, np.integer)) for side in sides):
        rows, cols = (_checked_size(side) for side in sides)
        return _square_chain(rows) if rows == cols else Chain.chainable((rows, cols))
    return Chain.from_any(chain)


def _generator(seed: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(
            f"seed={seed!r} is not usable; give a non-negative integer, a numpy Generator or None"
        ) from None
