"""Compiled loops that lay the values of factors of 2 x 2 matrices out in bundles, with first columns of ones.

Row ``(v0, v1)`` of a small matrix becomes, with ``s0`` and ``s1`` the numbers by which the factor to the right has
divided the rows that these two columns multiply::

    (w0, w1) = (v0 s0, v1 s1)                                                                    (1)

    full layer    stores w0 and w1, and divides nothing                                          (2)
    unit layer    stores w1 / w0, and divides its row by w0: a scale of the factor to the left   (3)
"""

from __future__ import annotations

import functools
from typing import Any

from ...compiler import FOUR, ONE, TWO, ZERO, Loop, array_type, inline, number_type, types
from .sizes import N_SLOTS, STAMP

__all__ = ["layer_filler"]


@inline
def _fill_layer(
    values: Any, a: Any, d: Any, scales: Any, divisors: Any, packed: Any, start: Any, size: Any, slots_a: Any,
    slots_d: Any, full: Any, limit: Any, planes: Any,
) -> Any:  # fmt: skip
    """Lay out a factor; the arguments are those of the function that :func:`layer_filler` compiles."""
    before, apart, bad, slots = a // slots_a, d // slots_d, ZERO, slots_a * slots_d
    for p0 in range(ZERO, slots, N_SLOTS):
        end = min(p0 + N_SLOTS, slots)
        for above in range(before):
            for ib in range(TWO):
                for below in range(apart):
                    pair = above * apart + below
                    entry = FOUR * pair + TWO * ib if full else TWO * pair + ib
                    at = start + p0 // N_SLOTS * size + entry * planes * N_SLOTS
                    outer = p0 // slots_d
                    inner, slot = p0 - outer * slots_d, p0
                    while slot < end:
                        count, ia = min(slots_d - inner, end - slot), outer * before + above
                        col = ia * TWO * d + below * slots_d + inner
                        q, row = col + (ia + ib) * TWO * d, col + ib * d
                        bad += _fill_run(
                            values, q, d, scales, col, divisors, row, packed, at, count, full, limit, planes
                        )
                        at, slot, outer, inner = at + count, slot + count, outer + ONE, ZERO
    return bad


@inline
def _fill_run(
    values: Any, q: Any, d: Any, scales: Any, col: Any, divisors: Any, row: Any, packed: Any, at: Any, count: Any,
    full: Any, limit: Any, planes: Any,
) -> Any:  # fmt: skip
    """Lay out one row of each small matrix of ``count`` slots; returns how many cannot be divided by their first entry.

    The two entries of a row are ``d`` apart in ``values``, and so are the scales of their columns in ``scales``.
    """
    bad, second, most = ZERO, at + planes * N_SLOTS, limit * limit
    for i in range(count):
        if planes == TWO:
            j, k, m, n, r = TWO * (q + i), TWO * (q + d + i), TWO * (col + i), TWO * (col + d + i), TWO * (row + i)
            a, b = _product(values[j], values[j + ONE], scales[m], scales[m + ONE])  # (1)
            e, f = _product(values[k], values[k + ONE], scales[n], scales[n + ONE])
            if full:
                packed[at + i], packed[at + i + N_SLOTS] = a, b  # (2)
                packed[second + i], packed[second + i + N_SLOTS] = e, f
                divisors[r], divisors[r + ONE] = ONE, ZERO
            else:
                energy = a * a + b * b
                re, im = _product(e / energy, f / energy, a, -b)  # (3): w1 conj(w0) / |w0|^2
                packed[at + i], packed[at + i + N_SLOTS] = re, im
                divisors[r], divisors[r + ONE] = a, b
                bad += not (energy * most >= ONE and energy <= most and re * re + im * im <= most)
        else:
            a, e = values[q + i] * scales[col + i], values[q + d + i] * scales[col + d + i]  # (1)
            if full:
                packed[at + i], packed[second + i] = a, e  # (2)
                divisors[row + i] = ONE
            else:
                packed[at + i], divisors[row + i] = e / a, a  # (3)
                bad += not (abs(a) * limit >= ONE and abs(a) <= limit and abs(e / a) <= limit)
    return bad


@inline
def _product(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Real and imaginary part of ``(a + bi)(c + di)``."""
    return a * c - b * d, a * d + b * c


@functools.cache
def layer_filler(char: str) -> Loop:
    """Function that lays out a factor of pattern (a, 2, 2, d), for one of the dtypes "fdFD".

    Its arguments:

    - ``values``, ``a``, ``d``: values of the factor, and two numbers of its pattern;
    - ``scales``: numbers by which to multiply its columns;
    - ``divisors``: array to fill with the numbers by which it divides its rows;
    - ``packed``, ``start``, ``size``: bundles, where in them the layer begins, and how many entries a bundle has;
    - ``slots_a``, ``slots_d``: ``a`` and ``d`` of the slots of the segment;
    - ``full``: whether to store the first columns and divide nothing;
    - ``limit``: how far from one, as a factor, first entries and the quotients may be.

    It returns how many rows break this limit.
    """
    planes, stamp = (TWO if char in "FD" else ONE), STAMP
    number, whole = number_type(char), types.uint64
    read, write = array_type(number, readonly=True), array_type(number)

    def fill(  # type: ignore[no-untyped-def]
        values, a, d, scales, divisors, packed, start, size, slots_a, slots_d, full, limit
    ):
        if stamp == ZERO:  # never: it keeps the stamp among the constants of the closure
            return ZERO
        return _fill_layer(values, a, d, scales, divisors, packed, start, size, slots_a, slots_d, full, limit, planes)

    signature = [read, whole, whole, write, write, write, whole, whole, whole, whole, types.boolean, number]
    return Loop(fill, whole, signature)
