"""Compiled loops for factors of small matrices that are stored in full.

Small matrix ``v`` takes rows ``xs`` to rows ``ys``::

    ys[ib, :] = sum over ic of v[ib, ic, :] * xs[ic, :]        (1)

four terms of the sum at a time, so that a row of ``ys`` is read and written once for four rows of ``xs``.
"""

from __future__ import annotations

from typing import Any

from ...compiler import FOUR, ONE, THREE, TWO, ZERO, inline
from .sizes import N_SLOTS

__all__ = ["apply_matrix"]


@inline
def apply_matrix(
    v: Any, o: Any, b: Any, c: Any, by_row: Any, by_col: Any, xs: Any, x0: Any, x_step: Any, ys: Any, y0: Any,
    y_step: Any, n: Any, shared: Any, planes: Any,
) -> None:  # fmt: skip
    """Multiply rows of ``n`` entries by a small matrix of ``b`` rows and ``c`` columns, equation (1).

    Rows of ``xs`` and ``ys`` begin ``x_step`` and ``y_step`` apart, rows and columns of values ``by_row`` and
    ``by_col``. The other arguments are those of :func:`dbutterfly.kernels.products.jit.layers.apply_network`.
    """
    for ib in range(b):
        y, q, x = y0 + ib * y_step, o + ib * by_row, x0
        for k in range(c // FOUR):
            if k == ZERO:
                _add_four_terms(v, q, by_col, xs, x, x_step, ys, y, False, n, shared, planes)
            else:
                _add_four_terms(v, q, by_col, xs, x, x_step, ys, y, True, n, shared, planes)
            q, x = q + FOUR * by_col, x + FOUR * x_step
        for k in range(c % FOUR):
            if k == ZERO and c < FOUR:
                _add_one_term(v, q, xs, x, ys, y, False, n, shared, planes)
            else:
                _add_one_term(v, q, xs, x, ys, y, True, n, shared, planes)
            q, x = q + by_col, x + x_step


@inline
def _add_four_terms(
    v: Any, q: Any, by_col: Any, xs: Any, x: Any, x_step: Any, ys: Any, y: Any, adds: Any, n: Any, shared: Any,
    planes: Any,
) -> None:  # fmt: skip
    """Set or add to a row of ``ys`` the products of four rows of ``xs``."""
    q1, q2, q3 = q + by_col, q + TWO * by_col, q + THREE * by_col
    x1, x2, x3 = x + x_step, x + TWO * x_step, x + THREE * x_step
    to_imag = (planes - ONE) * N_SLOTS
    if shared:
        a, b, c, d = v[q], v[q1], v[q2], v[q3]
        a_imag, b_imag, c_imag, d_imag = v[q + to_imag], v[q1 + to_imag], v[q2 + to_imag], v[q3 + to_imag]
    if planes == TWO:
        for i in range(n):
            j = i + n
            if not shared:
                k = i + N_SLOTS
                a, b, c, d = v[q + i], v[q1 + i], v[q2 + i], v[q3 + i]
                a_imag, b_imag, c_imag, d_imag = v[q + k], v[q1 + k], v[q2 + k], v[q3 + k]
            real = (  # (1), four terms
                a * xs[x + i] - a_imag * xs[x + j] + b * xs[x1 + i] - b_imag * xs[x1 + j]
                + c * xs[x2 + i] - c_imag * xs[x2 + j] + d * xs[x3 + i] - d_imag * xs[x3 + j]
            )  # fmt: skip
            imag = (
                a * xs[x + j] + a_imag * xs[x + i] + b * xs[x1 + j] + b_imag * xs[x1 + i]
                + c * xs[x2 + j] + c_imag * xs[x2 + i] + d * xs[x3 + j] + d_imag * xs[x3 + i]
            )  # fmt: skip
            ys[y + i] = ys[y + i] + real if adds else real
            ys[y + j] = ys[y + j] + imag if adds else imag
    else:
        for i in range(n):
            if not shared:
                a, b, c, d = v[q + i], v[q1 + i], v[q2 + i], v[q3 + i]
            real = a * xs[x + i] + b * xs[x1 + i] + c * xs[x2 + i] + d * xs[x3 + i]
            ys[y + i] = ys[y + i] + real if adds else real


@inline
def _add_one_term(
    v: Any, q: Any, xs: Any, x: Any, ys: Any, y: Any, adds: Any, n: Any, shared: Any, planes: Any
) -> None:
    """Set or add to a row of ``ys`` the products of one row of ``xs``."""
    if shared:
        a, a_imag = v[q], v[q + (planes - ONE) * N_SLOTS]
    if planes == TWO:
        for i in range(n):
            j = i + n
            if not shared:
                a, a_imag = v[q + i], v[q + i + N_SLOTS]
            real, imag = a * xs[x + i] - a_imag * xs[x + j], a * xs[x + j] + a_imag * xs[x + i]
            ys[y + i] = ys[y + i] + real if adds else real
            ys[y + j] = ys[y + j] + imag if adds else imag
    else:
        for i in range(n):
            if not shared:
                a = v[q + i]
            real = a * xs[x + i]
            ys[y + i] = ys[y + i] + real if adds else real
