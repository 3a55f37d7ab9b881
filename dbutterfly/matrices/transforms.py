"""Known transforms: Fourier, Hadamard and cosine, exact to the last place at any size."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..sources.entries import check_dtype
from ..structure.chain import Chain
from ..structure.digits import digit_reversal
from ..structure.orderings import BITREVERSAL
from .known import Indices, KnownMatrix, check_power, check_size, square_chain

__all__ = ["dct2", "dft", "hadamard"]


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
        Matrix in standard order once its columns are bit-reversed (Cooley and Tukey, 1965).

    Raises
    ------
    InputError
        If ``n`` is not positive or ``dtype`` is not complex.

    Notes
    -----
    The phase ``k j mod n`` is exact in integers, and its root of unity is looked up in a table of ``n`` of them.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    if dtype.kind != "c":
        raise InputError(
            f"dtype={dtype}: a Fourier matrix is complex; use complex64 or complex128, or dct2 for a real one"
        )
    return KnownMatrix(_Fourier(n, dtype), (n, n), dtype, norm=n, chain=square_chain(n), orderings=(None, BITREVERSAL))


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
        Matrix in standard order as it is.

    Raises
    ------
    InputError
        If ``n`` is not a power of two.
    """
    n = check_power(n, "hadamard")
    return KnownMatrix(_Hadamard(n, check_dtype(dtype)), (n, n), dtype, norm=n, chain=Chain.square_dyadic(n))


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
        ``Z[k, j] = sqrt(2/n) cos(pi (2j+1) k / (2n))``, row 0 divided by ``sqrt(2)``. In its order, every block of
        every cut has rank two.

    Raises
    ------
    InputError
        If ``n`` is not positive.

    Notes
    -----
    With the even columns first, upwards, and the odd ones after them, downwards (Makhoul, "A fast cosine transform in
    one and two dimensions", 1980), all columns are ``cos(2 pi (i + 1/4) k / n)``, i = 0 .. n - 1: real parts of a
    Fourier matrix whose rows are multiplied by ``exp(i pi k / (2n))``. Its blocks have rank one, with columns in
    bit-reversed order, and their real parts rank two.
    """
    n = check_size(n)
    chain = Chain.chainable((n, n), min(2, n), balanced=True, longer=False)
    upwards = np.arange(0, n, 2, dtype=np.int64)
    downwards = np.arange(1, n, 2, dtype=np.int64)[::-1]
    columns = np.concatenate([upwards, downwards])[digit_reversal(chain.col_radices)]
    cosine = _Cosine(n, check_dtype(dtype))
    return KnownMatrix(cosine, (n, n), dtype, norm=math.sqrt(n), chain=chain, orderings=(None, columns))


@dataclass(frozen=True)
class _Fourier:
    """Entry function of :func:`dft`."""

    n: int
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return f"dft({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block: NDArray[Any] = _roots_of_unity(self.n, self.dtype)[_phase(rows, cols, self.n)]
        return block


@dataclass(frozen=True)
class _Hadamard:
    """Entry function of :func:`hadamard`."""

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
    """Entry function of :func:`dct2`."""

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
    return _freeze((np.cos(angle) - 1j * np.sin(angle)) * unit, dtype)


@functools.lru_cache(maxsize=4)
def _cosines(n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``sqrt(2/n) cos(2 pi t / (4n))`` for t = 0 .. 4n-1."""
    return _freeze(_roots_of_unity(4 * n, np.dtype(np.complex128)).real * math.sqrt(2 / n), dtype)


def _freeze(table: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert a table, and make it read-only, as all callers share it."""
    table = table.astype(dtype)
    table.flags.writeable = False
    return table
