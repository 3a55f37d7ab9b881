"""Compiled first round of :mod:`dbutterfly.kernels.low_rank.rank_one_grid`: one block after the other, in the cache."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...compiler import Loop, array_type, called, entry_type, types
from ...linalg import RELATIVE_SLACK
from ..rank_one import ROUNDED_UNITS
from .vectors import STAMP, add_multiple, clear, copy_row, inner, real_like, residual, scale, sum_squares

__all__ = ["round_loop"]


@called
def _go_round(z: Any, start: Any, a: Any, k: Any, left: Any, b: Any) -> Any:
    """One round of products from a unit row; ``t^2``, ``|Z v|^2`` and ``|w|^2``.

    ``a`` (1, p) is filled with (1), row k of ``left`` with ``Z v``, and row k of ``b`` with ``v^H`` of (4).
    """
    p, v = z.shape
    clear(b, k, 0, v)
    a2 = 0.0
    for i in range(p):
        c = inner(z, i, start, 0, v)  # (1)
        a[0, i] = c
        a2 += c.real * c.real + c.imag * c.imag
        add_multiple(b, k, np.conj(c), z, i, v)  # (2)
    b2 = sum_squares(b, k, v)
    scale(b, k, real_like(z, 1 / np.sqrt(b2) if b2 > 0 else 0.0), v)  # (4): v^H
    caught, rise, over = 0.0, 0.0, real_like(z, np.sqrt(b2) / a2 if a2 > 0 else 0.0)
    for i in range(p):
        c = inner(z, i, b, k, v)  # (3) and (4): Z v
        left[k, i] = c
        caught += c.real * c.real + c.imag * c.imag
        c -= a[0, i] * over
        rise += c.real * c.real + c.imag * c.imag
    return (b2 / a2 if a2 > 0 else 0.0), caught, rise


@functools.cache
def round_loop(char: str) -> Loop:
    """Loop over the blocks of a stack, for one of the dtypes "fdFD".

    Its arguments are the stack (k, p, v), the left parts (k, p) and right parts (k, v) to fill, the numbers (k, 4) to
    fill, which are energy, discarded energy, ``|w|^2`` and ``t^2``, the part of the energy below which the discarded
    energy is formed from the residual, and the most rounds: those after the first one start from the v of the one
    before, until one gains little beside what is discarded.
    """
    stamp, real = STAMP, np.float64 if char in "dD" else np.float32
    rounding = (ROUNDED_UNITS * float(np.finfo(real).eps)) ** 2

    def first_round(stack, left, right, numbers, cancelling, rounds):  # type: ignore[no-untyped-def]
        count, p, v = stack.shape
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
            numbers[k, 0], numbers[k, 1], numbers[k, 2], numbers[k, 3] = whole, discarded, rise, t2

    number = entry_type(char)
    signature = [array_type(number, 3), array_type(number, 2), array_type(number, 2), array_type(types.float64, 2)]
    return Loop(first_round, types.void, [*signature, types.float64, types.int64])
