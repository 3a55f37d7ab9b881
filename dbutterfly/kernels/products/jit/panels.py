"""Compiled loops that take rows of a vector into a panel, and put rows of a panel where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import N_COLUMNS, N_LANES, ONE, TWO, ZERO, called, inlined

__all__ = ["load", "load_columns", "store", "store_columns"]

SHORT = np.uint64(16)
"""Length of runs below which lanes are counted instead of runs."""


@inlined
def _take(xs: Any, at: Any, src: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Take an entry into a buffer of lanes; its imaginary part lies ``apart`` from its real part."""
    xs[at] = src[j]
    if planes == TWO:
        xs[at + N_LANES] = sign * src[j + apart]


@inlined
def _put(ys: Any, at: Any, dst: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Put an entry of a buffer of lanes where it belongs."""
    dst[j] = ys[at]
    if planes == TWO:
        dst[j + apart] = sign * ys[at + N_LANES]


@inlined
def _place(row: Any, planes: Any) -> Any:
    """Where a row lies between two factors: 64 real parts, their 64 imaginary ones, the next 64 real ones."""
    lane = row % N_LANES
    return planes * (row - lane) + lane


@inlined
def _row(p0: Any, i: Any, c: Any, d: Any, ic: Any) -> Any:
    """Row ``(ia*c + ic)*d + id`` of lane ``p0 + i``, where ``d`` is a power of two and divides ``p0``."""
    return p0 * c + ic * d + i + (i & ~(d - ONE)) * (c - ONE)


@called
def load(
    xs: Any, src: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, c: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Take what lanes ``p0 .. p0 + w`` multiply: row ``(ia*c + ic)*d + id`` of ``src`` for lane ``(ia, id)``."""
    if d < SHORT and N_LANES % d == ZERO:
        for ic in range(c):
            at = planes * ic * N_LANES
            if ordered:
                for i in range(w):
                    _take(xs, at + i, src, planes * np.uint64(index[_row(p0, i, c, d, ic)]), sign, planes, ONE)
            elif outer:
                for i in range(w):
                    _take(xs, at + i, src, planes * _row(p0, i, c, d, ic), sign, planes, ONE)
            else:
                for i in range(w):
                    _take(xs, at + i, src, _place(_row(p0, i, c, d, ic), planes), sign, planes, N_LANES)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ic in range(c):
            row, at = (ia * c + ic) * d + id_, planes * ic * N_LANES + p
            if ordered:
                for i in range(count):
                    _take(xs, at + i, src, planes * np.uint64(index[row + i]), sign, planes, ONE)
            elif outer:
                for i in range(count):
                    _take(xs, at + i, src, planes * (row + i), sign, planes, ONE)
            elif row % N_LANES + count <= N_LANES:
                first = _place(row, planes)
                for i in range(count):
                    _take(xs, at + i, src, first + i, sign, planes, N_LANES)
            else:
                for i in range(count):
                    _take(xs, at + i, src, _place(row + i, planes), sign, planes, N_LANES)
        p, ia, id_ = p + count, ia + ONE, ZERO


@called
def store(
    ys: Any, dst: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, b: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Put the products of lanes ``p0 .. p0 + w`` where they belong."""
    if d < SHORT and N_LANES % d == ZERO:
        for ib in range(b):
            at = planes * ib * N_LANES
            if ordered:
                for i in range(w):
                    _put(ys, at + i, dst, planes * np.uint64(index[_row(p0, i, b, d, ib)]), sign, planes, ONE)
            elif outer:
                for i in range(w):
                    _put(ys, at + i, dst, planes * _row(p0, i, b, d, ib), sign, planes, ONE)
            else:
                for i in range(w):
                    _put(ys, at + i, dst, _place(_row(p0, i, b, d, ib), planes), sign, planes, N_LANES)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ib in range(b):
            row, at = (ia * b + ib) * d + id_, planes * ib * N_LANES + p
            if ordered:
                for i in range(count):
                    _put(ys, at + i, dst, planes * np.uint64(index[row + i]), sign, planes, ONE)
            elif outer:
                for i in range(count):
                    _put(ys, at + i, dst, planes * (row + i), sign, planes, ONE)
            elif row % N_LANES + count <= N_LANES:
                first = _place(row, planes)
                for i in range(count):
                    _put(ys, at + i, dst, first + i, sign, planes, N_LANES)
            else:
                for i in range(count):
                    _put(ys, at + i, dst, _place(row + i, planes), sign, planes, N_LANES)
        p, ia, id_ = p + count, ia + ONE, ZERO


@inlined
def load_columns(xs: Any, src: Any, index: Any, row: Any, c: Any, d: Any, part: Any, sign: Any, planes: Any) -> None:
    """Take ``w`` columns, from ``column`` on, of ``width`` in ``c`` rows that are ``d`` apart."""
    width, column, w = part
    for ic in range(c):
        place = row + ic * d
        place = np.uint64(index[place]) if index.shape[0] > 0 else place
        for i in range(w):
            j = planes * (place * width + column + i)
            xs[ic * planes * N_COLUMNS + i] = src[j]
            if planes == TWO:
                xs[(ic * planes + ONE) * N_COLUMNS + i] = sign * src[j + ONE]


@inlined
def store_columns(ys: Any, dst: Any, index: Any, row: Any, b: Any, d: Any, part: Any, sign: Any, planes: Any) -> None:
    """Put ``w`` columns in ``b`` rows that are ``d`` apart where they belong."""
    width, column, w = part
    for ib in range(b):
        place = row + ib * d
        place = np.uint64(index[place]) if index.shape[0] > 0 else place
        for i in range(w):
            j = planes * (place * width + column + i)
            dst[j] = ys[ib * planes * N_COLUMNS + i]
            if planes == TWO:
                dst[j + ONE] = sign * ys[(ib * planes + ONE) * N_COLUMNS + i]
