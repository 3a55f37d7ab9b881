"""Compiled first round of :mod:`dbutterfly.kernels.low_rank.rank_one_grid`: one block after the other, in the cache."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...compiler import Loop, array_type, called, entry_type, types
from ...linalg import RELATIVE_SLACK
from ..gram_parts import PART
from ..rank_one import FLAT, ROUNDED_UNITS
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
    residual,
    scale,
    sum_squares,
)

__all__ = ["round_loop"]


@called
def _go_round(z: Any, start: Any, a: Any, k: Any, left: Any, b: Any) -> Any:
    """One round of products from a unit row; ``t^2``, ``|Z v|^2`` and ``|w|^2``.

    ``a`` (1, p) is filled with (1), row k of ``left`` with ``Z v``, and row k of ``b`` with ``v^H`` of (4). Four
    rows of the block at a time: row after row, each would wait for the sum over the one before.
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
    for i in range(0, fours, 4):
        t0, t1, t2, t3 = inner_with_four(b, k, z, i, v)  # (3) and (4): Z v
        left[k, i], left[k, i + 1], left[k, i + 2], left[k, i + 3] = np.conj(t0), np.conj(t1), np.conj(t2), np.conj(t3)
    for i in range(fours, p):
        left[k, i] = inner(z, i, b, k, v)
    caught, over = sum_squares(left, k, p), real_like(z, np.sqrt(b2) / a2 if a2 > 0 else 0.0)
    for i in range(p):
        a[0, i] = left[k, i] - a[0, i] * over  # (4): w
    return (b2 / a2 if a2 > 0 else 0.0), caught, sum_squares(a, 0, p)


@functools.cache
def round_loop(char: str) -> Loop:
    """Loop over the blocks of a stack, for one of the dtypes "fdFD".

    Its arguments are the stack (k, p, v), the left parts (k, p) and right parts (k, v) to fill, the numbers (k, 5) to
    fill, which are energy, discarded energy, ``|w|^2``, ``t^2`` and a bound on the energy that any vector captures, the
    part of the energy below which the discarded energy is formed from the residual, the most rounds, and how many more
    there are for a flat block. Those after the first one start from the v of the one before, until one gains little
    beside what is discarded. The bound is formed for flat blocks alone, if there are further rounds for them.
    """
    stamp, real = STAMP, np.float64 if char in "dD" else np.float32
    eps = float(np.finfo(real).eps)
    rounding = (ROUNDED_UNITS * eps) ** 2

    def first_round(stack, left, right, numbers, cancelling, rounds, products):  # type: ignore[no-untyped-def]
        count, p, v = stack.shape
        side = PART if products > 0 else 0
        cols = np.empty((side, p if p > v else 0), stack.dtype)
        shifted, squared = np.empty((side, side), stack.dtype), np.empty((side, side), stack.dtype)
        start, a, row = np.empty((1, v), stack.dtype), np.empty((1, p), stack.dtype), np.empty((1, v), stack.dtype)
        for k in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            z, whole, largest, at = stack[k], 0.0, -1.0, 0
            for i in range(p):
                here = sum_squares(z, i, v)
                whole += here
                if here > largest:
                    largest, at = here, i
            copy_row(start, 0, z, at, v)
            scale(start, 0, real(1 / np.sqrt(largest) if largest > 0 else 0), v)
            for _ in range(rounds):
                t2, caught, rise = _go_round(z, start, a, k, left, right)
                discarded = whole - caught
                if not rise > max(RELATIVE_SLACK * discarded, rounding * whole):
                    break
                copy_row(start, 0, right, k, v)
            if discarded < cancelling * whole:
                discarded = residual(z, left, right, k, 1, row)
            most = np.inf
            if products > 0 and discarded > FLAT * whole:
                for _ in range(products):
                    before = discarded
                    copy_row(start, 0, right, k, v)
                    t2, caught, rise = _go_round(z, start, a, k, left, right)
                    discarded = whole - caught
                    if not before - discarded > RELATIVE_SLACK * discarded:
                        break
                most = bound_by_parts(z, cols, shifted, squared, eps)
            numbers[k, 0], numbers[k, 1], numbers[k, 2], numbers[k, 3], numbers[k, 4] = whole, discarded, rise, t2, most

    number = entry_type(char)
    signature = [array_type(number, 3), array_type(number, 2), array_type(number, 2), array_type(types.float64, 2)]
    return Loop(first_round, types.void, [*signature, types.float64, types.int64, types.int64])
