"""Legendre polynomials of any degree at a bounded cost per value, and the Gauss-Legendre nodes as their roots."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.special
from numpy.typing import NDArray

__all__ = ["GaussNodes", "gauss_nodes", "legendre_values"]

_FIRST_ASYMPTOTIC = 32
"""Least degree whose values come from the expansion in Bessel functions; those below come from the recurrence.

The truncated terms of the expansion are below 1e-15 from here on (``tests/matrices/test_legendre_nodes.py``).
"""

_ORDERS = 6
"""Terms of the expansion in ``mu^-2``: ``mu^-12``, the power in the next one, is below 1e-18."""

_TERMS = 48
"""Terms of the power series in ``theta^2``. They fall by a factor of 4 each at ``theta = pi/2``, the worst place."""

_NEWTON_STEPS = 6
"""Steps of Newton's method for the nodes; each squares the error. Not tuned."""

_Table = NDArray[np.float64]


class GaussNodes(NamedTuple):
    """Gauss-Legendre nodes in ascending order."""

    angle: _Table
    """Angle between the node and the nearer end of [-1, 1], in (0, pi/2]: ``|x| = cos(angle)``."""
    root_weight: _Table
    """Square root of the quadrature weight."""


@functools.lru_cache(maxsize=8)
def gauss_nodes(n: int) -> GaussNodes:
    """Return the ``n`` Gauss-Legendre nodes and the square roots of their weights, made once per process.

    Parameters
    ----------
    n : int
        Number of nodes, at least 1.

    Returns
    -------
    GaussNodes
        Two read-only arrays of shape (n,). Angles are accurate relative to themselves, also next to the ends, where
        the nodes themselves would have lost half of their digits.

    Notes
    -----
    Newton's method on :func:`legendre_values`, in O(n) (as Bogaert, Michiels and Fostier, SIAM J. Sci. Comput. 34,
    2012). The weight at a node is ``2 / (d P_n(cos theta) / d theta)^2``.
    """
    angle: _Table = np.arange(0.75, (n + 1) // 2) * (math.pi / (n + 0.5))
    for _ in range(_NEWTON_STEPS):
        below, value = legendre_values(angle, np.array([n - 1, n])).T
        slope = -n * (below - np.cos(angle) * value) / np.sin(angle)
        angle -= value / slope
    below, value = legendre_values(angle, np.array([n - 1, n])).T
    slope = -n * (below - np.cos(angle) * value) / np.sin(angle)
    if n % 2:
        angle[-1] = math.pi / 2
    return GaussNodes(_mirror(angle, n), _mirror(math.sqrt(2) / np.abs(slope), n))


def legendre_values(angle: _Table, degree: NDArray[np.int64]) -> _Table:
    """Evaluate ``P_degree(cos(angle))`` for every angle and every degree.

    Parameters
    ----------
    angle : ndarray of float64, shape (M,)
        In (0, pi/2].
    degree : ndarray of int64, shape (K,)
        At least 0.

    Returns
    -------
    ndarray of float64, shape (M, K)
        The error is about ``1e-16 * degree * angle`` times the local amplitude, what rounding the angle costs.

    Notes
    -----
    With ``mu = degree + 1/2``, ``u = sqrt(sin theta) P`` satisfies ``u'' + (mu^2 + 1/(4 theta^2) + q) u = 0`` with
    ``q = 1/(4 sin^2 theta) - 1/(4 theta^2)``, analytic for ``|theta| < pi``. So

    ``P = sqrt(theta / sin theta) (A J_0(mu theta) + B J_1(mu theta) / mu)``,

    where A and B are series in ``mu^-2`` whose coefficients, functions of theta, follow from each other (Olver,
    "Asymptotics and special functions", 1974, chapter 12); the leading ones are Hilb's formula (Szego, "Orthogonal
    polynomials", 1939, theorem 8.21.6). They hold on all of (0, pi/2], so no value needs those of lower degrees.
    """
    out = np.empty((angle.size, degree.size))
    low = degree < _FIRST_ASYMPTOTIC
    if low.any():
        out[:, low] = _recurrence(angle, int(degree[low].max()))[:, degree[low]]
    if not low.all():
        out[:, ~low] = _expansion(angle, degree[~low].astype(np.float64) + 0.5)
    return out


def _recurrence(angle: _Table, last: int) -> _Table:
    """Values of degrees 0 .. last, from differences of neighbours: exact at the end of the interval, where P = 1."""
    versine = 2 * np.sin(angle / 2) ** 2  # 1 - cos(angle) without cancellation
    values = np.ones((last + 1, angle.size))
    step = np.zeros(angle.size)
    for k in range(last):
        step = (k * step - (2 * k + 1) * versine * values[k]) / (k + 1)
        values[k + 1] = values[k] + step
    return values.T


def _expansion(angle: _Table, mu: _Table) -> _Table:
    """Values of degrees ``mu - 1/2``, by the expansion in Bessel functions in :func:`legendre_values`."""
    even, odd = _series()
    orders = mu ** (-2.0 * np.arange(_ORDERS)[:, None])
    amplitude = np.sqrt(angle / np.sin(angle))
    powers = np.vander(angle**2, _TERMS, increasing=True) * amplitude[:, None]
    argument = np.multiply.outer(angle, mu)
    values: _Table = (powers @ even.T) @ orders
    values *= scipy.special.j0(argument)
    values += ((powers * angle[:, None]) @ odd.T) @ (orders / mu) * scipy.special.j1(argument)
    return values


@functools.lru_cache(maxsize=1)
def _series() -> tuple[_Table, _Table]:
    """Coefficients ``a[s, k], b[s, k]`` of ``A = sum a theta^2k mu^-2s`` and ``B = sum b theta^(2k+1) mu^-2s``.

    Put into the equation of u, with the derivatives of ``sqrt(theta) J_0`` and ``sqrt(theta) J_1``, they give
    ``2 B_s' = -(A_s'' + A_s' / theta + q A_s)`` and ``2 A_(s+1)' = B_s'' - B_s' / theta + B_s / theta^2 + q B_s``,
    and ``A = 1`` at theta = 0 since P = 1 there.
    """
    k = np.arange(_TERMS)
    q = (k + 0.5) * scipy.special.zeta(2 * k + 2) / math.pi ** (2 * k + 2)
    even, odd = np.zeros((2, _ORDERS, _TERMS))
    even[0, 0] = 1
    for s in range(_ORDERS):
        raised = np.append(even[s, 1:], 0)
        odd[s] = -(4 * (k + 1) ** 2 * raised + np.convolve(q, even[s])[:_TERMS]) / (4 * k + 2)
        if s + 1 < _ORDERS:
            product = np.convolve(q, odd[s])[: _TERMS - 1]
            even[s + 1, 1:] = k[1:] * odd[s, 1:] + product / (4 * k[1:])
    return even, odd


def _mirror(half: _Table, n: int) -> _Table:
    """Extend values at the nodes of one half, from its end inwards, to all ``n`` nodes."""
    whole = np.concatenate([half, half[: n // 2][::-1]])
    whole.flags.writeable = False
    return whole
