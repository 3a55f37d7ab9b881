"""Compiled loops that lay the values of factors of 2 x 2 matrices out in panels, their first columns made one."""

from __future__ import annotations

import functools
from typing import Any

from .compiler import FOUR, N_LANES, ONE, STAMP, TWO, ZERO, array_type, compile_loop, inlined, number_type, types

__all__ = ["stage_filler"]


@inlined
def _stage(
    values: Any, a: Any, d: Any, scales: Any, made: Any, packed: Any, start: Any, size: Any, lanes_a: Any, lanes_d: Any,
    full: Any, limit: Any, planes: Any,
) -> Any:  # fmt: skip
    """Lay out a factor; the arguments are those of the function that :func:`stage_filler` compiles."""
    before, apart, bad, lanes = a // lanes_a, d // lanes_d, ZERO, lanes_a * lanes_d
    for p0 in range(ZERO, lanes, N_LANES):
        end = min(p0 + N_LANES, lanes)
        for above in range(before):
            for ib in range(TWO):
                for below in range(apart):
                    pair = above * apart + below
                    entry = FOUR * pair + TWO * ib if full else TWO * pair + ib
                    at = start + p0 // N_LANES * size + entry * planes * N_LANES
                    outer = p0 // lanes_d
                    inner, lane = p0 - outer * lanes_d, p0
                    while lane < end:
                        count, ia = min(lanes_d - inner, end - lane), outer * before + above
                        col = ia * TWO * d + below * lanes_d + inner
                        q, row = col + (ia + ib) * TWO * d, col + ib * d
                        bad += _run(values, q, d, scales, col, made, row, packed, at, count, full, limit, planes)
                        at, lane, outer, inner = at + count, lane + count, outer + ONE, ZERO
    return bad


@inlined
def _run(
    values: Any, q: Any, d: Any, scales: Any, col: Any, made: Any, row: Any, packed: Any, at: Any, count: Any,
    full: Any, limit: Any, planes: Any,
) -> Any:  # fmt: skip
    """Lay out one row of each small matrix of ``count`` lanes; returns how many cannot be divided by their first entry.

    The two entries of a row are ``d`` apart in ``values``, and what their columns are multiplied by in ``scales``.
    """
    bad, second, most = ZERO, at + planes * N_LANES, limit * limit
    for i in range(count):
        if planes == TWO:
            j, k, m, n, r = TWO * (q + i), TWO * (q + d + i), TWO * (col + i), TWO * (col + d + i), TWO * (row + i)
            a, b = _times(values[j], values[j + ONE], scales[m], scales[m + ONE])
            e, f = _times(values[k], values[k + ONE], scales[n], scales[n + ONE])
            if full:
                packed[at + i], packed[at + i + N_LANES] = a, b
                packed[second + i], packed[second + i + N_LANES] = e, f
                made[r], made[r + ONE] = ONE, ZERO
            else:
                energy = a * a + b * b
                re, im = _times(e / energy, f / energy, a, -b)
                packed[at + i], packed[at + i + N_LANES] = re, im
                made[r], made[r + ONE] = a, b
                bad += not (energy * most >= ONE and energy <= most and re * re + im * im <= most)
        else:
            a, e = values[q + i] * scales[col + i], values[q + d + i] * scales[col + d + i]
            if full:
                packed[at + i], packed[second + i] = a, e
                made[row + i] = ONE
            else:
                packed[at + i], made[row + i] = e / a, a
                bad += not (abs(a) * limit >= ONE and abs(a) <= limit and abs(e / a) <= limit)
    return bad


@inlined
def _times(a: Any, b: Any, c: Any, d: Any) -> Any:
    return a * c - b * d, a * d + b * c


@functools.cache
def stage_filler(char: str) -> Any:
    """Compiled function that lays out a factor of pattern (a, 2, 2, d), for one of the dtypes "fdFD".

    Its arguments are the values of the factor, ``a`` and ``d``; the numbers by which to multiply its columns, and an
    array for those by which it divides its rows; the panels, where in them the stage begins, and how many entries a
    panel has; the ``a`` and ``d`` of the lanes of the group; whether to store the first columns and divide nothing; how
    far from one, as a factor, first entries and what is divided by them may be. It returns how many rows break this.
    """
    planes, stamp = (TWO if char in "FD" else ONE), STAMP
    number, whole = number_type(char), types.uint64
    read, write = array_type(number, readonly=True), array_type(number)

    def fill(  # type: ignore[no-untyped-def]
        values, a, d, scales, made, packed, start, size, lanes_a, lanes_d, full, limit
    ):
        if stamp == ZERO:
            return ZERO
        return _stage(values, a, d, scales, made, packed, start, size, lanes_a, lanes_d, full, limit, planes)

    signature = [read, whole, whole, write, write, write, whole, whole, whole, whole, types.boolean, number]
    return compile_loop(fill, whole, signature)
