"""Transforms of special functions: Hankel (Bessel) and Legendre, as matrices that are orthogonal or nearly so."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import DTypeLike, NDArray

from ..sources.entries import Entries, check_dtype
from ..structure.arguments import read_count
from ..structure.orderings import BITREVERSAL
from .known import Indices, KnownMatrix, as_known, check_size
from .legendre_nodes import gauss_nodes, legendre_values
from .ranked import ranked_chain

__all__ = ["hankel", "legendre"]

_LAST_ORDER = 20
"""Highest order of a Hankel transform, which is the highest one whose ranks were measured."""

_EXACT_NORM_UP_TO = 256
"""Sizes up to which the norm of a Hankel transform is computed. Above, ``sqrt(n)`` is accurate to 1e-9."""

_TABULATED_ROOTS = 200
"""Roots for which Newton's method starts from those of SciPy. Not tuned: McMahon's expansion holds for large roots."""

_NEWTON_STEPS = 3
"""Steps of Newton's method for the roots; each squares the error. Not tuned."""

# Ranks by tolerance: the most singular values above the tolerance times the largest one, in any block of n entries.
# They were measured, on the matrices that the notes of each function name.
_HANKEL_RANKS = {1e-3: 8, 1e-6: 12, 1e-9: 16}
_LEGENDRE_RANKS = {1e-3: 8, 1e-6: 12, 1e-9: 16}


def hankel(n: int, *, order: int = 0, tol: float = 1e-6, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Discrete Hankel transform on the Fourier-Bessel grid.

    Parameters
    ----------
    n : int
        Size, at least 1.
    order : int
        Order ``nu`` of the Bessel function, 0 to 20.
    tol : float
        Tolerance of the rank of the chain, at least 1e-9.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        ``Z[m, k] = 2 J_nu(j_m j_k / j_(n+1)) / (j_(n+1) |J_(nu+1)(j_m)| |J_(nu+1)(j_k)|)`` with the positive roots
        ``j_1 < j_2 < ...`` of ``J_nu``: symmetric and nearly orthogonal (order 0: to 1e-8 at n = 50, 1e-10 at 200). In
        standard order once its rows are bit-reversed. The norm is exact up to n = 256 and ``sqrt(n)`` beyond, accurate
        to 1e-9.

    Raises
    ------
    InputError
        If ``n`` is not positive, ``order`` is not an integer from 0 to 20, or ``tol`` is below 1e-9.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts, each of
    ``n`` entries, of a dyadic chain at n = 1024, order 0, 5 and 20, and of the middle cut at n = 4096, order 0: 8 at
    1e-3, 12 at 1e-6 and 16 at 1e-9 (14 for n = 256). The chain has these ranks at every junction. They are about twice
    those of :func:`nudft`, since a Bessel function far out is a cosine, two exponentials; blocks of small argument
    have lower ones, and none has a higher one.

    References
    ----------
    O'Neil, Woolfe and Rokhlin, "An algorithm for the rapid evaluation of special function transforms", Applied and
    Computational Harmonic Analysis 28, 2010. Johnson, "An improved method for computing a discrete Hankel transform",
    Computer Physics Communications 43, 1987.
    """
    n, dtype, order = check_size(n), check_dtype(dtype), _check_order(order)
    chain = ranked_chain(n, _HANKEL_RANKS, tol)
    f = _Hankel(n, order)
    norm = as_known(Entries(f, (n, n), np.float64)).norm if n <= _EXACT_NORM_UP_TO else math.sqrt(n)
    return KnownMatrix(f, (n, n), dtype, norm=norm, chain=chain, orderings=(BITREVERSAL, None), tol=tol)


def legendre(n: int, *, tol: float = 1e-6, dtype: DTypeLike = np.float64) -> KnownMatrix:
    """Legendre transform, ``Z[i, j] = sqrt(w_i) sqrt(j + 1/2) P_j(x_i)``, an orthogonal matrix.

    Parameters
    ----------
    n : int
        Size, at least 1.
    tol : float
        Tolerance of the rank of the chain, at least 1e-9.
    dtype : dtype
        Any of the four types.

    Returns
    -------
    KnownMatrix, shape (n, n)
        ``x_i`` and ``w_i`` are the nodes, ascending, and the weights of Gauss-Legendre quadrature with ``n`` points,
        as in :func:`numpy.polynomial.legendre.leggauss`; the degree ``j`` runs from 0 to n-1. In standard order once
        its rows are bit-reversed. The norm, ``sqrt(n)``, is exact.

    Raises
    ------
    InputError
        If ``n`` is not positive or ``tol`` is below 1e-9.

    Notes
    -----
    Largest numerical rank (singular values above ``tol`` times the block's largest) of all blocks of all cuts, each of
    ``n`` entries, of a dyadic chain at n = 1024, and of the middle cut at n = 4096: 8 at 1e-3, 12 at 1e-6 and 16 at
    1e-9 (14 for n = 256). The chain has these ranks at every junction. Blocks of low degrees or near the ends of the
    interval have lower ranks, and none has a higher one.

    Every entry costs the same, whatever its degree: see :func:`~dbutterfly.matrices.legendre_nodes.legendre_values`.
    Nodes and weights are made once per process, in O(n), and do not travel with the matrix.

    References
    ----------
    O'Neil, Woolfe and Rokhlin, "An algorithm for the rapid evaluation of special function transforms", Applied and
    Computational Harmonic Analysis 28, 2010. Bogaert, Michiels and Fostier, "O(1) computation of Legendre polynomials
    and Gauss-Legendre nodes and weights for parallel computing", SIAM Journal on Scientific Computing 34, 2012.
    """
    n, dtype = check_size(n), check_dtype(dtype)
    chain = ranked_chain(n, _LEGENDRE_RANKS, tol)
    f = _Legendre(n)
    return KnownMatrix(f, (n, n), dtype, norm=math.sqrt(n), chain=chain, orderings=(BITREVERSAL, None), tol=tol)


@dataclass(frozen=True)
class _Hankel:
    """Entry function of :func:`hankel`."""

    n: int
    order: int

    def __repr__(self) -> str:
        return f"hankel({self.n}, order={self.order})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        roots, scale = _fourier_bessel(self.n, self.order)
        last = roots[self.n]
        block = _bessel(self.order, np.multiply.outer(roots[rows], roots[cols]) / last)  # in this order, symmetric
        block *= np.multiply.outer(scale[rows], scale[cols])
        block *= 2 / last
        return block


@dataclass(frozen=True)
class _Legendre:
    """Entry function of :func:`legendre`."""

    n: int

    def __repr__(self) -> str:
        return f"legendre({self.n})"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        angle, root_weight = gauss_nodes(self.n)
        block = legendre_values(angle[rows], cols)
        block *= np.multiply.outer(root_weight[rows], np.sqrt(cols + 0.5))
        block[np.ix_(rows < self.n // 2, cols % 2 == 1)] *= -1  # P_j(-x) = (-1)^j P_j(x)
        return block


@functools.lru_cache(maxsize=8)
def _fourier_bessel(n: int, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First ``n + 1`` positive roots of ``J_order``, and ``1 / |J_(order+1)|`` there; made once per process.

    Newton's method starts from the roots of SciPy, and from McMahon's expansion (Abramowitz and Stegun, 9.5.12) for the
    larger ones.
    """
    count = np.arange(1, n + 2)
    beta, four = (count + order / 2 - 0.25) * math.pi, 4.0 * order**2
    roots = beta - (four - 1) / (8 * beta) - 4 * (four - 1) * (7 * four - 31) / (3 * (8 * beta) ** 3)
    early = min(n + 1, _TABULATED_ROOTS)
    roots[:early] = scipy.special.jn_zeros(order, early)
    for _ in range(_NEWTON_STEPS):
        value = _bessel(order, roots)
        roots -= value / (order / roots * value - _bessel(order + 1, roots))
    scale = 1 / np.abs(_bessel(order + 1, roots))
    for table in (roots, scale):
        table.flags.writeable = False
    return roots, scale


def _bessel(order: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bessel function of the first kind; orders 0 and 1 have functions of their own in SciPy."""
    if order > 1:
        return np.asarray(scipy.special.jv(order, x))
    return np.asarray(scipy.special.j1(x) if order else scipy.special.j0(x))


def _check_order(order: Any) -> int:
    fault = f"is not an integer from 0 to {_LAST_ORDER}"
    return read_count("order", order, least=0, most=_LAST_ORDER, fault=fault, remedy="use one")
