"""Matrices of one phase per entry: the non-uniform Fourier transform, and a Fourier integral operator."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..sources.entries import EntryFunction, check_dtype
from ..structure.chain import Chain
from ..structure.orderings import BITREVERSAL
from .known import Indices, KnownMatrix, Seed, check_size, draw_entropy
from .ranked import ranked_chain

__all__ = ["fourier_integral", "nudft"]

# Ranks by tolerance: the most singular values above the tolerance times the largest one, in any block of n entries.
# They were measured, on the matrices that the notes of each function name.
_NUDFT_RANKS = {1e-3: 6, 1e-6: 9, 1e-9: 11}
_INTEGRAL_RANKS = {1e-3: 6, 1e-6: 9, 1e-9: 11}


def nudft(n: int, *, tol: float = 1e-6, dtype: DTypeLike = np.complex128, seed: Seed = None) -> KnownMatrix:
    """Non-uniform Fourier transform, type 2: ``Z[j, k] = exp(-2 pi i x_j k)``, unscaled as :func:`dft`.

    Parameters
    ----------
    n : int
        Number of points and of frequencies ``k = 0 .. n-1``, at least 1.
    tol : float
        Tolerance of the rank of the chain, at least 1e-9.
    dtype : dtype
        complex64 or complex128.
    seed : int, numpy.random.Generator or None
        Seed of the points ``x_j``, independent and uniform in [0, 1), sorted. None is new at every call.

    Returns
    -------
    KnownMatrix, shape (n, n)
        In standard order once its rows are bit-reversed. (So is the matrix of ``dft``, with these ranks; its rank one
        under bit-reversed columns needs equispaced points.) The norm is exact.

    Raises
    ------
    InputError
        If ``n`` is not positive, ``tol`` is below 1e-9 or ``dtype`` is not complex.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts, each of
    ``n`` entries, of a dyadic chain at n = 256 and 1024, three seeds: 6 at 1e-3, 9 at 1e-6 (8 for n = 256) and 11 at
    1e-9 (10 for n = 256). The middle cut at n = 4096 has 5, 8 and 10, and sizes from 210 to 1000 with other prime
    factors have none larger. The chain has these ranks at every junction; a few blocks may exceed them by one where the
    points happen to lie unevenly.

    The phase ``x_j k`` modulo one is exact, in integers, at any size.

    References
    ----------
    Dutt and Rokhlin, "Fast Fourier transforms for nonequispaced data", SIAM Journal on Scientific Computing 14, 1993.
    """
    n = check_size(n)
    return _phase_matrix(_Nonuniform(n, draw_entropy(seed)), n, dtype, ranked_chain(n, _NUDFT_RANKS, tol), tol)


def fourier_integral(n: int, *, tol: float = 1e-6, dtype: DTypeLike = np.complex128) -> KnownMatrix:
    """Fourier integral operator in one dimension, ``Z[i, j] = exp(2 pi i Phi(x_i, xi_j))``.

    Parameters
    ----------
    n : int
        Number of points ``x_i = i / n`` and of frequencies ``xi_j = j - floor(n/2)``, at least 1.
    tol : float
        Tolerance of the rank of the chain, at least 1e-9.
    dtype : dtype
        complex64 or complex128.

    Returns
    -------
    KnownMatrix, shape (n, n)
        ``Phi(x, xi) = x xi + c(x) |xi|`` with ``c(x) = (2 + sin(2 pi x)) / 8``. In standard order once its rows are
        bit-reversed. The norm is exact.

    Raises
    ------
    InputError
        If ``n`` is not positive, ``tol`` is below 1e-9 or ``dtype`` is not complex.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts, each of
    ``n`` entries, of a dyadic chain at n = 256 and 1024, and of the middle cut at n = 4096: 6 at 1e-3, 9 at 1e-6 and
    11 at 1e-9. Sizes from 210 to 1000 with other prime factors have none larger. The chain has these ranks at every
    junction. The phase is not smooth at ``xi = 0``; for even ``n`` that is a border between column groups, for odd
    ``n`` one group has it inside.

    References
    ----------
    Li, Yang, Martin, Ho and Ying, "Butterfly factorization", Multiscale Modeling and Simulation 13, 2015. Candes,
    Demanet and Ying, "A fast butterfly algorithm for the computation of Fourier integral operators", Multiscale
    Modeling and Simulation 7, 2009.
    """
    n = check_size(n)
    return _phase_matrix(_Integral(n), n, dtype, ranked_chain(n, _INTEGRAL_RANKS, tol), tol)


def _phase_matrix(f: EntryFunction, n: int, dtype: DTypeLike, chain: Chain, tol: float) -> KnownMatrix:
    """Matrix of entries of modulus one, in standard order once its rows are bit-reversed."""
    dtype = check_dtype(dtype)
    if dtype.kind != "c":
        raise InputError(f"dtype={dtype}: a complex exponential is complex; use complex64 or complex128")
    return KnownMatrix(f, (n, n), dtype, norm=n, chain=chain, orderings=(BITREVERSAL, None), tol=tol)


@dataclass(frozen=True)
class _Nonuniform:
    """Entry function of :func:`nudft`."""

    n: int
    entropy: int

    def __repr__(self) -> str:
        return f"nudft({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        turns = _fixed_point(-sorted_points(self.n, self.entropy)[rows])
        return _exponential(np.multiply.outer(turns, cols))


@dataclass(frozen=True)
class _Integral:
    """Entry function of :func:`fourier_integral`."""

    n: int

    def __repr__(self) -> str:
        return f"fourier_integral({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        # Phi(x, xi) = (x + c) xi for xi >= 0 and (x - c) xi below: the turns are one number per row and sign.
        x, xi = _fraction(rows, self.n), cols - self.n // 2
        shift = _fixed_point((2 + np.sin(2 * math.pi * (rows / self.n))) / 8)
        out = np.empty((rows.size, cols.size), np.complex128)
        for at, slope in ((xi >= 0, x + shift), (xi < 0, x - shift)):
            out[:, at] = _exponential(np.multiply.outer(slope, xi[at]))
        return out


@functools.lru_cache(maxsize=8)
def sorted_points(n: int, entropy: int) -> NDArray[np.float64]:
    """``n`` sorted random points in [0, 1), read-only, made once per process."""
    points = np.sort(np.random.default_rng(entropy).random(n))
    points.flags.writeable = False
    return points


# A fraction of a turn is an integer in units of 2^-64. Its multiples are exact modulo whole turns, since integers wrap.


def _fixed_point(turns: NDArray[np.float64]) -> Indices:
    """Fractions of a turn in units of 2^-64, rounded to multiples of 2^-53."""
    return np.rint((turns - np.round(turns)) * 2.0**53).astype(np.int64) << 11


def _fraction(rows: Indices, n: int) -> Indices:
    """``rows / n`` rounded down, for ``n`` below 2^31: two steps of long division."""
    high, rest = np.divmod(rows << 32, n)
    return (high << 32) + (rest << 32) // n


def _exponential(turns: Indices) -> NDArray[Any]:
    """``exp(2 pi i t)`` of turns in units of 2^-64."""
    angle = turns * (2 * math.pi * 2.0**-64)
    out = np.empty(turns.shape, np.complex128)
    np.cos(angle, out=out.real)
    np.sin(angle, out=out.imag)
    return out
