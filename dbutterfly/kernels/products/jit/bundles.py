"""Compiled loops that take rows of a vector into a bundle, and put rows of a bundle where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import ONE, TWO, ZERO, inline, subroutine
from .sizes import N_COLUMNS, N_SLOTS

__all__ = ["load", "load_columns", "store", "store_columns"]

SHORT = np.uint64(16)
"""Length ``d`` of runs of neighbouring rows below which :func:`load` and :func:`store` go slot by slot.

Not tuned. A loop over so short a run costs more than its vector instructions save.
"""


@inline
def _take(xs: Any, at: Any, src: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Take an entry of ``src`` into a bundle; in ``src`` its imaginary part lies ``apart`` from its real part."""
    xs[at] = src[j]
    if planes == TWO:
        xs[at + N_SLOTS] = sign * src[j + apart]


@inline
def _put(ys: Any, at: Any, dst: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Put an entry of a bundle where it belongs in ``dst``; the inverse of :func:`_take`."""
    dst[j] = ys[at]
    if planes == TWO:
        dst[j + apart] = sign * ys[at + N_SLOTS]


@inline
def _offset(row: Any, planes: Any) -> Any:
    """Offset of a row between two factors: 64 real parts, their 64 imaginary ones, the next 64 real ones."""
    slot = row % N_SLOTS
    return planes * (row - slot) + slot


@inline
def _row(p0: Any, i: Any, c: Any, d: Any, ic: Any) -> Any:
    """Row ``(ia*c + ic)*d + id`` of slot ``p0 + i``, where ``d`` is a power of two and divides ``p0``."""
    return p0 * c + ic * d + i + (i & ~(d - ONE)) * (c - ONE)


@subroutine
def load(
    xs: Any, src: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, c: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Take the rows that slots ``p0 .. p0 + w`` multiply: rows ``(ia*c + ic)*d + id`` of ``src`` for slot ``(ia, id)``.

    ``src`` is the vector that the chain is applied to (``outer``, then in the order ``index`` where ``ordered``), or
    lies between two factors.
    """
    if d < SHORT and N_SLOTS % d == ZERO:
        for ic in range(c):
            at = planes * ic * N_SLOTS
            if ordered:
                for i in range(w):
                    _take(xs, at + i, src, planes * np.uint64(index[_row(p0, i, c, d, ic)]), sign, planes, ONE)
            elif outer:
                for i in range(w):
                    _take(xs, at + i, src, planes * _row(p0, i, c, d, ic), sign, planes, ONE)
            else:
                for i in range(w):
                    _take(xs, at + i, src, _offset(_row(p0, i, c, d, ic), planes), sign, planes, N_SLOTS)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ic in range(c):
            row, at = (ia * c + ic) * d + id_, planes * ic * N_SLOTS + p
            if ordered:
                for i in range(count):
                    _take(xs, at + i, src, planes * np.uint64(index[row + i]), sign, planes, ONE)
            elif outer:
                for i in range(count):
                    _take(xs, at + i, src, planes * (row + i), sign, planes, ONE)
            elif row % N_SLOTS + count <= N_SLOTS:
                first = _offset(row, planes)
                for i in range(count):
                    _take(xs, at + i, src, first + i, sign, planes, N_SLOTS)
            else:
                for i in range(count):
                    _take(xs, at + i, src, _offset(row + i, planes), sign, planes, N_SLOTS)
        p, ia, id_ = p + count, ia + ONE, ZERO


@subroutine
def store(
    ys: Any, dst: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, b: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Put the products of slots ``p0 .. p0 + w`` where they belong: the inverse of :func:`load`."""
    if d < SHORT and N_SLOTS % d == ZERO:
        for ib in range(b):
            at = planes * ib * N_SLOTS
            if ordered:
                for i in range(w):
                    _put(ys, at + i, dst, planes * np.uint64(index[_row(p0, i, b, d, ib)]), sign, planes, ONE)
            elif outer:
                for i in range(w):
                    _put(ys, at + i, dst, planes * _row(p0, i, b, d, ib), sign, planes, ONE)
            else:
                for i in range(w):
                    _put(ys, at + i, dst, _offset(_row(p0, i, b, d, ib), planes), sign, planes, N_SLOTS)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ib in range(b):
            row, at = (ia * b + ib) * d + id_, planes * ib * N_SLOTS + p
            if ordered:
                for i in range(count):
                    _put(ys, at + i, dst, planes * np.uint64(index[row + i]), sign, planes, ONE)
            elif outer:
                for i in range(count):
                    _put(ys, at + i, dst, planes * (row + i), sign, planes, ONE)
            elif row % N_SLOTS + count <= N_SLOTS:
                first = _offset(row, planes)
                for i in range(count):
                    _put(ys, at + i, dst, first + i, sign, planes, N_SLOTS)
            else:
                for i in range(count):
                    _put(ys, at + i, dst, _offset(row + i, planes), sign, planes, N_SLOTS)
        p, ia, id_ = p + count, ia + ONE, ZERO


@inline
def load_columns(xs: Any, src: Any, index: Any, row: Any, c: Any, d: Any, part: Any, sign: Any, planes: Any) -> None:
    """Take columns of ``c`` rows of ``src`` that are ``d`` apart.

    ``part`` is ``(width, column, w)``: ``src`` has ``width`` columns, of which ``w`` are taken, from ``column`` on.
    """
    width, column, w = part
    for ic in range(c):
        place = row + ic * d
        place = np.uint64(index[place]) if index.shape[0] > 0 else place
        for i in range(w):
            j = planes * (place * width + column + i)
            xs[ic * planes * N_COLUMNS + i] = src[j]
            if planes == TWO:
                xs[(ic * planes + ONE) * N_COLUMNS + i] = sign * src[j + ONE]


@inline
def store_columns(ys: Any, dst: Any, index: Any, row: Any, b: Any, d: Any, part: Any, sign: Any, planes: Any) -> None:
    """Put columns of ``b`` rows that are ``d`` apart where they belong: the inverse of :func:`load_columns`."""
    width, column, w = part
    for ib in range(b):
        place = row + ib * d
        place = np.uint64(index[place]) if index.shape[0] > 0 else place
        for i in range(w):
            j = planes * (place * width + column + i)
            dst[j] = ys[ib * planes * N_COLUMNS + i]
            if planes == TWO:
                dst[j + ONE] = sign * ys[(ib * planes + ONE) * N_COLUMNS + i]
