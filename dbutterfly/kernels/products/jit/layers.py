"""Compiled loops for segments of factors of small 2 x 2 matrices: butterflies, layer by layer, in a buffer.

``m`` neighbouring factors of small 2 x 2 matrices whose ``d`` are ``d, 2d, ..., 2**(m-1) d`` in any order multiply to a
factor of pattern ``(a, 2**m, 2**m, d)``. Each of its small matrices is a network of ``m`` layers with ``2**(m-1)``
butterflies each: the factor with ``2**k d`` combines rows that are ``2**k`` apart. A network has ``m 2**(m+1)`` values,
the matrix that it makes ``2**(2m)``.

Half of these values are ones. A product does not change when the columns of a factor are multiplied by numbers and
the rows of the next factor are divided by them: this makes the first column of all 2 x 2 matrices of a factor one, and
such a *unit* layer stores the second column only. A *full* layer stores all of them. Rounding errors of a product obey
``|fl(A x) - A x| <= gamma |A| |x|``, entry by entry, both sides of which scale alike: it costs no accuracy, as long as
nothing overflows (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5).

A butterfly takes the rows ``x0`` and ``x1`` to ``y0`` and ``y1``::

    unit               y0 = x0 + v0 x1          y1 = x0 + v1 x1             (1)
    unit, transposed   y0 = x0 + x1             y1 = v0 x0 + v1 x1          (2)
    full               y0 = v00 x0 + v01 x1     y1 = v10 x0 + v11 x1        (3)
    full, transposed   (3) with v01 and v10 exchanged
"""

from __future__ import annotations

from typing import Any

from ...compiler import FOUR, ONE, THREE, TWO, ZERO, inline
from .sizes import N_SLOTS

__all__ = ["apply_network"]


@inline
def apply_network(
    v: Any, o: Any, layers: Any, begin: Any, count: Any, transposed: Any, xs: Any, x0: Any, x_step: Any, ys: Any,
    y0: Any, y_step: Any, mid: Any, n: Any, shared: Any, planes: Any,
) -> None:  # fmt: skip
    """Send ``2**count`` rows of ``n`` entries through ``count`` layers.

    The first layer reads ``xs``, the last one writes ``ys``. The k-th of the layers between them, counted from 1,
    writes ``mid[k % 2]``. ``xs`` may be ``mid[0]``, and ``ys`` may be ``mid[count % 2]``: no layer reads and writes the
    same buffer, which would keep the compiler from vector instructions.

    Rows of ``xs`` and ``ys`` begin ``x_step`` and ``y_step`` apart. With ``planes`` 2, ``n`` imaginary parts follow the
    ``n`` real ones of a row. The values ``v`` are those of ``n`` slots from ``o`` on, or, where ``shared``, those of
    one slot for all ``n`` entries.
    """
    half, width = ONE << (count - ONE), planes * n
    for k in range(count):
        layer = begin + (k if transposed else count - ONE - k)
        at, apart, full = o + layers[layer, 0], layers[layer, 1], layers[layer, 2] != ZERO
        from_, i0, i_step = (xs, x0, x_step) if k == ZERO else (mid[k % TWO], ZERO, width)
        to, o0, o_step = (ys, y0, y_step) if k == count - ONE else (mid[(k + ONE) % TWO], ZERO, width)
        for pair in range(half):
            first = pair + (pair & ~(apart - ONE))
            second = first + apart
            i1, i2 = i0 + first * i_step, i0 + second * i_step
            o1, o2 = o0 + first * o_step, o0 + second * o_step
            if full:
                _apply_full(v, at, transposed, from_, i1, i2, to, o1, o2, n, shared, planes)
                at += FOUR * planes * N_SLOTS
            else:
                _apply_unit(v, at, transposed, from_, i1, i2, to, o1, o2, n, shared, planes)
                at += TWO * planes * N_SLOTS


@inline
def _apply_unit(
    v: Any, q: Any, transposed: Any, xs: Any, x0: Any, x1: Any, ys: Any, y0: Any, y1: Any, n: Any, shared: Any,
    planes: Any,
) -> None:  # fmt: skip
    """Apply a butterfly whose first column is ones, equation (1), or its transpose, equation (2).

    ``p`` is ``v0``, ``r`` is ``v1``; ``a + bi`` is an entry of row ``x0``, ``c + di`` one of row ``x1``.
    """
    q1 = q + planes * N_SLOTS
    if shared:
        p, p_imag, r, r_imag = v[q], v[q + (planes - ONE) * N_SLOTS], v[q1], v[q1 + (planes - ONE) * N_SLOTS]
    if planes == TWO:
        for i in range(n):
            j = i + n
            if not shared:
                p, p_imag, r, r_imag = v[q + i], v[q + i + N_SLOTS], v[q1 + i], v[q1 + i + N_SLOTS]
            a, b, c, d = xs[x0 + i], xs[x0 + j], xs[x1 + i], xs[x1 + j]
            if transposed:
                ys[y0 + i] = a + c  # (2)
                ys[y0 + j] = b + d
                ys[y1 + i] = p * a - p_imag * b + r * c - r_imag * d
                ys[y1 + j] = p * b + p_imag * a + r * d + r_imag * c
            else:
                ys[y0 + i] = a + p * c - p_imag * d  # (1)
                ys[y0 + j] = b + p * d + p_imag * c
                ys[y1 + i] = a + r * c - r_imag * d
                ys[y1 + j] = b + r * d + r_imag * c
    else:
        for i in range(n):
            if not shared:
                p, r = v[q + i], v[q1 + i]
            a, c = xs[x0 + i], xs[x1 + i]
            if transposed:
                ys[y0 + i] = a + c  # (2)
                ys[y1 + i] = p * a + r * c
            else:
                ys[y0 + i] = a + p * c  # (1)
                ys[y1 + i] = a + r * c


@inline
def _apply_full(
    v: Any, q: Any, transposed: Any, xs: Any, x0: Any, x1: Any, ys: Any, y0: Any, y1: Any, n: Any, shared: Any,
    planes: Any,
) -> None:  # fmt: skip
    """Apply a butterfly with four values, equation (3), or its transpose.

    ``e, f, g, h`` are ``v00, v01, v10, v11``; ``a + bi`` is an entry of row ``x0``, ``c + di`` one of row ``x1``.
    """
    one, imag = planes * N_SLOTS, (planes - ONE) * N_SLOTS
    q01, q10 = (q + TWO * one, q + one) if transposed else (q + one, q + TWO * one)
    q11 = q + THREE * one
    if shared:
        e, f, g, h = v[q], v[q01], v[q10], v[q11]
        e_imag, f_imag, g_imag, h_imag = v[q + imag], v[q01 + imag], v[q10 + imag], v[q11 + imag]
    if planes == TWO:
        for i in range(n):
            j = i + n
            if not shared:
                e, f, g, h = v[q + i], v[q01 + i], v[q10 + i], v[q11 + i]
                k = i + N_SLOTS
                e_imag, f_imag, g_imag, h_imag = v[q + k], v[q01 + k], v[q10 + k], v[q11 + k]
            a, b, c, d = xs[x0 + i], xs[x0 + j], xs[x1 + i], xs[x1 + j]
            ys[y0 + i] = e * a - e_imag * b + f * c - f_imag * d  # (3)
            ys[y0 + j] = e * b + e_imag * a + f * d + f_imag * c
            ys[y1 + i] = g * a - g_imag * b + h * c - h_imag * d
            ys[y1 + j] = g * b + g_imag * a + h * d + h_imag * c
    else:
        for i in range(n):
            if not shared:
                e, f, g, h = v[q + i], v[q01 + i], v[q10 + i], v[q11 + i]
            a, c = xs[x0 + i], xs[x1 + i]
            ys[y0 + i] = e * a + f * c  # (3)
            ys[y1 + i] = g * a + h * c
