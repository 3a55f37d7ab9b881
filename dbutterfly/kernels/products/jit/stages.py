"""Compiled loops for groups of factors of small 2 x 2 matrices: butterflies, stage by stage, in a buffer.

``m`` neighbouring factors of small 2 x 2 matrices whose ``d`` are ``d, 2d, ..., 2**(m-1) d`` in any order multiply to a
factor of pattern ``(a, 2**m, 2**m, d)``. Each of its small matrices is a network of ``m`` stages with ``2**(m-1)``
butterflies each: the factor with ``2**k d`` combines rows that are ``2**k`` apart. A network has ``m 2**(m+1)`` values,
the matrix that it makes ``2**(2m)``.

Half of these values are ones. A product does not change when the columns of a factor are multiplied by numbers and
the rows of the next factor are divided by them: this makes the first column of all 2 x 2 matrices of a factor one, and
such a *unit* stage stores the second column only. A *full* stage stores all of them. Rounding errors of a product obey
``|fl(A x) - A x| <= gamma |A| |x|``, entry by entry, both sides of which scale alike: it costs no accuracy, as long as
nothing overflows (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5).
"""

from __future__ import annotations

from typing import Any

from .compiler import FOUR, N_LANES, ONE, THREE, TWO, ZERO, inlined

__all__ = ["network"]


@inlined
def network(
    v: Any, o: Any, stages: Any, begin: Any, count: Any, transposed: Any, xs: Any, x0: Any, x_step: Any, ys: Any,
    y0: Any, y_step: Any, mid: Any, n: Any, shared: Any, planes: Any,
) -> None:  # fmt: skip
    """Send ``2**count`` rows of ``n`` entries through ``count`` stages.

    The first stage reads ``xs``, the last one writes ``ys``; what the k-th of the others writes, counted from 1, is in
    ``mid[k % 2]``. ``xs`` may be ``mid[0]``, and ``ys`` ``mid[count % 2]``: no stage works in place, which would keep
    the compiler from vector instructions.

    Rows of ``xs`` and ``ys`` begin ``x_step`` and ``y_step`` apart. With ``planes`` 2, ``n`` imaginary parts follow the
    ``n`` real ones of a row. Values are those of ``n`` lanes from ``o`` on, or those of one lane for all ``n`` entries
    (``shared``).
    """
    half, width = ONE << (count - ONE), planes * n
    for k in range(count):
        stage = begin + (k if transposed else count - ONE - k)
        at, apart, full = o + stages[stage, 0], stages[stage, 1], stages[stage, 2] != ZERO
        from_, i0, i_step = (xs, x0, x_step) if k == ZERO else (mid[k % TWO], ZERO, width)
        to, o0, o_step = (ys, y0, y_step) if k == count - ONE else (mid[(k + ONE) % TWO], ZERO, width)
        for pair in range(half):
            first = pair + (pair & ~(apart - ONE))
            second = first + apart
            i1, i2 = i0 + first * i_step, i0 + second * i_step
            o1, o2 = o0 + first * o_step, o0 + second * o_step
            if full:
                _full(v, at, transposed, from_, i1, i2, to, o1, o2, n, shared, planes)
                at += FOUR * planes * N_LANES
            else:
                _unit(v, at, transposed, from_, i1, i2, to, o1, o2, n, shared, planes)
                at += TWO * planes * N_LANES


@inlined
def _unit(
    v: Any, q: Any, transposed: Any, xs: Any, x0: Any, x1: Any, ys: Any, y0: Any, y1: Any, n: Any, shared: Any,
    planes: Any,
) -> None:  # fmt: skip
    """``(y0, y1) = (x0 + v0*x1, x0 + v1*x1)``, or the transpose, ``(x0 + x1, v0*x0 + v1*x1)``."""
    q1 = q + planes * N_LANES
    if shared:
        p, p_imag, r, r_imag = v[q], v[q + (planes - ONE) * N_LANES], v[q1], v[q1 + (planes - ONE) * N_LANES]
    if planes == TWO:
        for i in range(n):
            j = i + n
            if not shared:
                p, p_imag, r, r_imag = v[q + i], v[q + i + N_LANES], v[q1 + i], v[q1 + i + N_LANES]
            a, b, c, d = xs[x0 + i], xs[x0 + j], xs[x1 + i], xs[x1 + j]
            if transposed:
                ys[y0 + i] = a + c
                ys[y0 + j] = b + d
                ys[y1 + i] = p * a - p_imag * b + r * c - r_imag * d
                ys[y1 + j] = p * b + p_imag * a + r * d + r_imag * c
            else:
                ys[y0 + i] = a + p * c - p_imag * d
                ys[y0 + j] = b + p * d + p_imag * c
                ys[y1 + i] = a + r * c - r_imag * d
                ys[y1 + j] = b + r * d + r_imag * c
    else:
        for i in range(n):
            if not shared:
                p, r = v[q + i], v[q1 + i]
            a, c = xs[x0 + i], xs[x1 + i]
            if transposed:
                ys[y0 + i] = a + c
                ys[y1 + i] = p * a + r * c
            else:
                ys[y0 + i] = a + p * c
                ys[y1 + i] = a + r * c


@inlined
def _full(
    v: Any, q: Any, transposed: Any, xs: Any, x0: Any, x1: Any, ys: Any, y0: Any, y1: Any, n: Any, shared: Any,
    planes: Any,
) -> None:  # fmt: skip
    """``(y0, y1) = (v00*x0 + v01*x1, v10*x0 + v11*x1)``, or with ``v01`` and ``v10`` exchanged."""
    one, imag = planes * N_LANES, (planes - ONE) * N_LANES
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
                k = i + N_LANES
                e_imag, f_imag, g_imag, h_imag = v[q + k], v[q01 + k], v[q10 + k], v[q11 + k]
            a, b, c, d = xs[x0 + i], xs[x0 + j], xs[x1 + i], xs[x1 + j]
            ys[y0 + i] = e * a - e_imag * b + f * c - f_imag * d
            ys[y0 + j] = e * b + e_imag * a + f * d + f_imag * c
            ys[y1 + i] = g * a - g_imag * b + h * c - h_imag * d
            ys[y1 + j] = g * b + g_imag * a + h * d + h_imag * c
    else:
        for i in range(n):
            if not shared:
                e, f, g, h = v[q + i], v[q01 + i], v[q10 + i], v[q11 + i]
            a, c = xs[x0 + i], xs[x1 + i]
            ys[y0 + i] = e * a + f * c
            ys[y1 + i] = g * a + h * c
