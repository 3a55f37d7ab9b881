"""Compiled rounds of :mod:`dbutterfly.kernels.low_rank.rank_one_grid`: one block after the other, in the cache."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...compiler import ZERO, Loop, array_type, called, entry_type, spliced, types
from ...linalg import CANCELLING, RELATIVE_SLACK
from ..compiled import ROUNDS_UNCERTIFIED
from ..gram_parts import PART, PARTS_SLACK
from ..rank_one import FLAT, PRODUCTS, ROUNDED_UNITS
from .copies import TURN, copy_blocks
from .grams import bound_by_parts
from .vectors import (
    STAMP,
    add_four,
    add_multiple,
    clear,
    copy_row,
    inner,
    inner_with_four,
    real_like,
    scale,
    sum_squares,
)

__all__ = ["round_loop"]


@spliced
def _begin(z: Any, rows: Any, k: Any, start: Any) -> Any:
    """Set the start of a block to its largest row, scaled to norm one; the energy of the block."""
    whole, largest = 0.0, 0
    for i in range(z.shape[0]):
        whole += rows[k, i]
        if rows[k, i] > rows[k, largest]:
            largest = i
    unit = np.sqrt(rows[k, largest])
    copy_row(start, 0, z, largest, z.shape[1])
    scale(start, 0, real_like(z, 1 / unit if unit > 0 else 0.0), z.shape[1])
    return whole


@spliced
def _rest_of_run(z: Any, i: Any, left: Any, b: Any, k: Any, first: Any, last: Any) -> Any:
    """Sum of the squared moduli of some entries of ``z_i - left_ki b_k``, in their precision; offsets are unsigned."""
    total, c = z.dtype.type(0).real, left[k, i]
    for j in range(first, last):
        rest = z[i, j] - c * b[k, j]
        total += rest.real * rest.real + rest.imag * rest.imag
    return total


@called
def _rest_of_rows(z: Any, first: Any, last: Any, left: Any, b: Any, k: Any) -> Any:
    """Energy of some rows of ``Z - left_k^T b_k``, in float64 beyond runs as in :func:`.vectors.sum_squares`."""
    v, whole = np.uint64(z.shape[1]), 0.0
    for i in range(first, last):
        begin = ZERO
        while v - begin >= TURN + TURN:
            whole += np.float64(_rest_of_run(z, i, left, b, k, begin, begin + TURN))
            begin += TURN
        whole += np.float64(_rest_of_run(z, i, left, b, k, begin, v))
    return whole


@called
def _go_round(z: Any, start: Any, a: Any, k: Any, left: Any, b: Any, whole: Any, small: Any) -> Any:
    """One round of products from a unit row; ``t^2``, ``|w|^2`` and the energy that is discarded.

    ``a`` (1, p) is filled with (1), row k of ``left`` with ``Z v``, and row k of ``b`` with ``v^H`` of (4). Four
    rows of the block at a time: row after row, each would wait for the sum over the one before. Discarded energy below
    ``small`` is formed from the residual: while rows are at hand, where ``t^2`` leaves as little already.
    """
    p, v = z.shape
    fours = p - p % 4
    clear(b, k, 0, v)
    for i in range(0, fours, 4):
        t0, t1, t2, t3 = inner_with_four(start, 0, z, i, v)
        a[0, i], a[0, i + 1], a[0, i + 2], a[0, i + 3] = np.conj(t0), np.conj(t1), np.conj(t2), np.conj(t3)  # (1)
        add_four(b, k, t0, t1, t2, t3, z, i)  # (2)
    for i in range(fours, p):
        a[0, i] = inner(z, i, start, 0, v)
        add_multiple(b, k, np.conj(a[0, i]), z, i, v)
    a2, b2 = sum_squares(a, 0, p), sum_squares(b, k, v)
    scale(b, k, real_like(z, 1 / np.sqrt(b2) if b2 > 0 else 0.0), v)  # (4): v^H
    first_part = b2 / a2 if a2 > 0 else 0.0
    at_hand, rest = whole - first_part < small, 0.0
    for i in range(0, fours, 4):
        t0, t1, t2, t3 = inner_with_four(b, k, z, i, v)  # (3) and (4): Z v
        left[k, i], left[k, i + 1], left[k, i + 2], left[k, i + 3] = np.conj(t0), np.conj(t1), np.conj(t2), np.conj(t3)
        if at_hand:
            rest += _rest_of_rows(z, i, i + 4, left, b, k)
    for i in range(fours, p):
        left[k, i] = inner(z, i, b, k, v)
    discarded = whole - sum_squares(left, k, p)
    if discarded < small:
        discarded = rest + _rest_of_rows(z, fours if at_hand else 0, p, left, b, k)
    over = real_like(z, np.sqrt(b2) / a2 if a2 > 0 else 0.0)
    for i in range(p):
        a[0, i] = left[k, i] - a[0, i] * over  # (4): w
    return first_part, sum_squares(a, 0, p), discarded


@spliced
def _slack(t2: Any, rise: Any, rest: Any) -> Any:
    """:func:`dbutterfly.kernels.low_rank.rank_one.slack_bound`."""
    gap = t2 - (rise + rest)
    root = np.sqrt(gap * gap + 4 * t2 * rise)
    above = 2 * t2 * rise / (root + gap) if gap > 0 else (root - gap) / 2
    return max(above - rise, 0.0)


@functools.cache
def round_loop(char: str) -> Loop:
    """Loop over the blocks of a grid, for one of the dtypes "fdFD".

    Its arguments are the entries of the grid (G, H, p, v) as one line, how many of them a step along each of its axes
    goes over, H, how many blocks are copied together, whether bounds are wanted, the left parts (G*H, p), right parts
    (G*H, v) and numbers (G*H, 4) to fill, which are the energy, the discarded energy, the slack, and whether there is
    more to gain. Rounds after the first one start from the v of the one before, until one gains little beside what is
    discarded. Where much is open then, a large block is bounded by its parts.
    """
    stamp, eps = STAMP, float(np.finfo(np.float64 if char in "dD" else np.float32).eps)
    rounding = (ROUNDED_UNITS * eps) ** 2

    def approximate(source, steps, peers, count, certified, left, right, numbers):  # type: ignore[no-untyped-def]
        (blocks, p), v, like, short = left.shape, right.shape[1], left.dtype, min(left.shape[1], right.shape[1])
        side = PART if certified and short >= 2 * PART and short % PART == 0 else 0
        part = np.empty((side, max(p, v)), like)
        shifted, squared = np.empty((side, side), like), np.empty((side, side), like)
        stack, rows = np.empty((count, p, v), like), np.empty((count, p))
        start, a = np.empty((1, v), like), np.empty((1, p), like)
        for k in range(blocks if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            at = k % count
            if at == 0:
                copy_blocks(source, steps, peers, k, np.empty(min(count, blocks - k), np.uint64), stack, rows)
            z = stack[at]
            whole = _begin(z, rows, at, start)
            small, enough, before = (CANCELLING * eps * whole if certified else 0.0), rounding * whole, np.inf
            for turn in range(1 + PRODUCTS if certified else ROUNDS_UNCERTIFIED):
                if turn > 0:
                    copy_row(start, 0, right, k, v)
                t2, rise, discarded = _go_round(z, start, a, k, left, right, whole, small)
                slack, limit = _slack(t2, rise, discarded), RELATIVE_SLACK * discarded
                is_settled = slack <= limit or rise + slack <= enough
                if is_settled or not (before - discarded if certified else rise) > max(limit, enough):
                    break
                before = discarded
            if not certified:
                discarded = max(discarded, eps * whole)
            elif side > 0 and not is_settled:
                most = bound_by_parts(z, left, right, k, part, shifted, squared, eps)
                slack = min(_slack(t2, rise, most), slack)
                is_settled = slack <= (PARTS_SLACK if discarded > FLAT * whole else RELATIVE_SLACK) * discarded
            numbers[k, 0], numbers[k, 1], numbers[k, 2] = whole, discarded, min(slack, discarded)
            numbers[k, 3] = 0.0 if is_settled or not certified else 1.0

    number, energies, offset = entry_type(char), types.float64, types.uint64
    signature = [array_type(number, readonly=True), array_type(offset), types.int64, types.int64, types.boolean]
    signature += [array_type(number, 2), array_type(number, 2), array_type(energies, 2)]
    return Loop(approximate, types.void, signature)
