"""Compiled loops of :mod:`dbutterfly.kernels.jit`: the only importer of Numba.

All of them are in this file, since Numba's cache on disk knows of changes to the file of the called function only.

Two things make vector instructions of the innermost loops. Offsets are unsigned: for signed ones Numba also compiles
the wrapping of negative indices. And what a loop reads lies a constant number of entries apart where that can be: the
compiler checks places of unknown distance for overlap, pair by pair, and gives up when there are too many.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numba import types

__all__ = ["COLUMNS", "DISABLED", "LANES", "compiled"]

DISABLED = bool(numba.config.DISABLE_JIT)
"""Whether Numba's own switch, the environment variable ``NUMBA_DISABLE_JIT``, is on."""

LANES = 64
"""Small matrices in a panel: twice as many are no faster, half as many take a tenth more time."""

COLUMNS = 32
"""Columns that go through all factors together."""

_ZERO, _ONE, _TWO, _THREE, _FOUR = (np.uint64(k) for k in range(5))
_LANES, _COLUMNS = np.uint64(LANES), np.uint64(COLUMNS)
_SHORT = np.uint64(16)
"""Length of runs below which lanes are counted instead of runs."""

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_inlined = numba.njit(forceinline=True, **_OPTIONS)


@_inlined
def _real_lanes(
    v: Any,
    o: Any,
    b: Any,
    c: Any,
    by_row: Any,
    by_col: Any,
    xs: Any,
    x0: Any,
    x_step: Any,
    ys: Any,
    y0: Any,
    y_step: Any,
) -> None:
    """Multiply a panel: ``ys[ib, :] = sum over ic of v[ib, ic, :] * xs[ic, :]``, four terms at a time.

    Rows of ``xs`` and ``ys`` begin ``x_step`` and ``y_step`` apart.
    """
    for ib in range(b):
        y, q, x = y0 + ib * y_step, o + ib * by_row, x0
        for k in range(c // _FOUR):
            q1, q2, q3 = q + by_col, q + _TWO * by_col, q + _THREE * by_col
            x1, x2, x3 = x + x_step, x + _TWO * x_step, x + _THREE * x_step
            if k == 0:
                for i in range(_LANES):
                    ys[y + i] = _dot(
                        v[q + i], v[q1 + i], v[q2 + i], v[q3 + i], xs[x + i], xs[x1 + i], xs[x2 + i], xs[x3 + i]
                    )
            else:
                for i in range(_LANES):
                    ys[y + i] += _dot(
                        v[q + i], v[q1 + i], v[q2 + i], v[q3 + i], xs[x + i], xs[x1 + i], xs[x2 + i], xs[x3 + i]
                    )
            q, x = q + _FOUR * by_col, x + _FOUR * x_step
        for k in range(c % _FOUR):
            if k == 0 and c < _FOUR:
                for i in range(_LANES):
                    ys[y + i] = v[q + i] * xs[x + i]
            else:
                for i in range(_LANES):
                    ys[y + i] += v[q + i] * xs[x + i]
            q, x = q + by_col, x + x_step


@_inlined
def _complex_lanes(
    v: Any,
    o: Any,
    b: Any,
    c: Any,
    by_row: Any,
    by_col: Any,
    xs: Any,
    x0: Any,
    x_step: Any,
    ys: Any,
    y0: Any,
    y_step: Any,
) -> None:
    """The same with 64 imaginary parts after 64 real ones."""
    for ib in range(b):
        y, q, x = y0 + ib * y_step, o + ib * by_row, x0
        for k in range(c // _FOUR):
            q1, q2, q3 = q + by_col, q + _TWO * by_col, q + _THREE * by_col
            x1, x2, x3 = x + x_step, x + _TWO * x_step, x + _THREE * x_step
            if k == 0:
                for i in range(_LANES):
                    j = i + _LANES
                    re, im = _complex_dot(
                        v[q + i], v[q + j], v[q1 + i], v[q1 + j], v[q2 + i], v[q2 + j], v[q3 + i], v[q3 + j],
                        xs[x + i], xs[x + j], xs[x1 + i], xs[x1 + j], xs[x2 + i], xs[x2 + j], xs[x3 + i], xs[x3 + j],
                    )  # fmt: skip
                    ys[y + i] = re
                    ys[y + j] = im
            else:
                for i in range(_LANES):
                    j = i + _LANES
                    re, im = _complex_dot(
                        v[q + i], v[q + j], v[q1 + i], v[q1 + j], v[q2 + i], v[q2 + j], v[q3 + i], v[q3 + j],
                        xs[x + i], xs[x + j], xs[x1 + i], xs[x1 + j], xs[x2 + i], xs[x2 + j], xs[x3 + i], xs[x3 + j],
                    )  # fmt: skip
                    ys[y + i] += re
                    ys[y + j] += im
            q, x = q + _FOUR * by_col, x + _FOUR * x_step
        for k in range(c % _FOUR):
            if k == 0 and c < _FOUR:
                for i in range(_LANES):
                    j = i + _LANES
                    ys[y + i] = v[q + i] * xs[x + i] - v[q + j] * xs[x + j]
                    ys[y + j] = v[q + i] * xs[x + j] + v[q + j] * xs[x + i]
            else:
                for i in range(_LANES):
                    j = i + _LANES
                    ys[y + i] += v[q + i] * xs[x + i] - v[q + j] * xs[x + j]
                    ys[y + j] += v[q + i] * xs[x + j] + v[q + j] * xs[x + i]
            q, x = q + by_col, x + x_step


@_inlined
def _dot(v0: Any, v1: Any, v2: Any, v3: Any, x0: Any, x1: Any, x2: Any, x3: Any) -> Any:
    return v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3


@_inlined
def _complex_dot(
    v0: Any, w0: Any, v1: Any, w1: Any, v2: Any, w2: Any, v3: Any, w3: Any,
    x0: Any, z0: Any, x1: Any, z1: Any, x2: Any, z2: Any, x3: Any, z3: Any,
) -> Any:  # fmt: skip
    """Real and imaginary part of the sum of four products ``(v + w j) * (x + z j)``."""
    re = v0 * x0 - w0 * z0 + v1 * x1 - w1 * z1 + v2 * x2 - w2 * z2 + v3 * x3 - w3 * z3
    im = v0 * z0 + w0 * x0 + v1 * z1 + w1 * x1 + v2 * z2 + w2 * x2 + v3 * z3 + w3 * x3
    return re, im


@_inlined
def _real_columns(
    v: Any,
    o: Any,
    b: Any,
    c: Any,
    by_row: Any,
    by_col: Any,
    xs: Any,
    x0: Any,
    x_step: Any,
    ys: Any,
    y0: Any,
    y_step: Any,
) -> None:
    """Multiply one lane by many columns: the values are the same for all of them."""
    for ib in range(b):
        y, q, x = y0 + ib * y_step, o + ib * by_row, x0
        for k in range(c // _FOUR):
            x1, x2, x3 = x + x_step, x + _TWO * x_step, x + _THREE * x_step
            v0, v1, v2, v3 = v[q], v[q + by_col], v[q + _TWO * by_col], v[q + _THREE * by_col]
            if k == 0:
                for i in range(_COLUMNS):
                    ys[y + i] = _dot(v0, v1, v2, v3, xs[x + i], xs[x1 + i], xs[x2 + i], xs[x3 + i])
            else:
                for i in range(_COLUMNS):
                    ys[y + i] += _dot(v0, v1, v2, v3, xs[x + i], xs[x1 + i], xs[x2 + i], xs[x3 + i])
            q, x = q + _FOUR * by_col, x + _FOUR * x_step
        for k in range(c % _FOUR):
            v0 = v[q]
            if k == 0 and c < _FOUR:
                for i in range(_COLUMNS):
                    ys[y + i] = v0 * xs[x + i]
            else:
                for i in range(_COLUMNS):
                    ys[y + i] += v0 * xs[x + i]
            q, x = q + by_col, x + x_step


@_inlined
def _complex_columns(
    v: Any,
    o: Any,
    b: Any,
    c: Any,
    by_row: Any,
    by_col: Any,
    xs: Any,
    x0: Any,
    x_step: Any,
    ys: Any,
    y0: Any,
    y_step: Any,
) -> None:
    """The same with 32 imaginary parts after 32 real ones."""
    for ib in range(b):
        y, q, x = y0 + ib * y_step, o + ib * by_row, x0
        for k in range(c // _FOUR):
            x1, x2, x3 = x + x_step, x + _TWO * x_step, x + _THREE * x_step
            q1, q2, q3 = q + by_col, q + _TWO * by_col, q + _THREE * by_col
            v0, v1, v2, v3 = v[q], v[q1], v[q2], v[q3]
            w0, w1, w2, w3 = v[q + _LANES], v[q1 + _LANES], v[q2 + _LANES], v[q3 + _LANES]
            if k == 0:
                for i in range(_COLUMNS):
                    j = i + _COLUMNS
                    re, im = _complex_dot(
                        v0, w0, v1, w1, v2, w2, v3, w3,
                        xs[x + i], xs[x + j], xs[x1 + i], xs[x1 + j], xs[x2 + i], xs[x2 + j], xs[x3 + i], xs[x3 + j],
                    )  # fmt: skip
                    ys[y + i] = re
                    ys[y + j] = im
            else:
                for i in range(_COLUMNS):
                    j = i + _COLUMNS
                    re, im = _complex_dot(
                        v0, w0, v1, w1, v2, w2, v3, w3,
                        xs[x + i], xs[x + j], xs[x1 + i], xs[x1 + j], xs[x2 + i], xs[x2 + j], xs[x3 + i], xs[x3 + j],
                    )  # fmt: skip
                    ys[y + i] += re
                    ys[y + j] += im
            q, x = q + _FOUR * by_col, x + _FOUR * x_step
        for k in range(c % _FOUR):
            v0, w0 = v[q], v[q + _LANES]
            if k == 0 and c < _FOUR:
                for i in range(_COLUMNS):
                    j = i + _COLUMNS
                    ys[y + i] = v0 * xs[x + i] - w0 * xs[x + j]
                    ys[y + j] = v0 * xs[x + j] + w0 * xs[x + i]
            else:
                for i in range(_COLUMNS):
                    j = i + _COLUMNS
                    ys[y + i] += v0 * xs[x + i] - w0 * xs[x + j]
                    ys[y + j] += v0 * xs[x + j] + w0 * xs[x + i]
            q, x = q + by_col, x + x_step


@_inlined
def _take(xs: Any, at: Any, src: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Take an entry into a buffer of lanes; its imaginary part lies ``apart`` from its real part."""
    xs[at] = src[j]
    if planes == _TWO:
        xs[at + _LANES] = sign * src[j + apart]


@_inlined
def _put(ys: Any, at: Any, dst: Any, j: Any, sign: Any, planes: Any, apart: Any) -> None:
    """Put an entry of a buffer of lanes where it belongs."""
    dst[j] = ys[at]
    if planes == _TWO:
        dst[j + apart] = sign * ys[at + _LANES]


@_inlined
def _place(row: Any, planes: Any) -> Any:
    """Where a row lies between two factors: 64 real parts, their 64 imaginary ones, the next 64 real ones."""
    lane = row % _LANES
    return planes * (row - lane) + lane


@_inlined
def _row(p0: Any, i: Any, c: Any, d: Any, ic: Any) -> Any:
    """Row ``(ia*c + ic)*d + id`` of lane ``p0 + i``, where ``d`` is a power of two and divides ``p0``."""
    return p0 * c + ic * d + i + (i & ~(d - _ONE)) * (c - _ONE)


@_inlined
def _load(
    xs: Any, src: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, c: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Take what lanes ``p0 .. p0 + w`` multiply: row ``(ia*c + ic)*d + id`` of ``src`` for lane ``(ia, id)``."""
    if d < _SHORT and _LANES % d == _ZERO:
        for ic in range(c):
            at = planes * ic * _LANES
            if ordered:
                for i in range(w):
                    _take(xs, at + i, src, planes * np.uint64(index[_row(p0, i, c, d, ic)]), sign, planes, _ONE)
            elif outer:
                for i in range(w):
                    _take(xs, at + i, src, planes * _row(p0, i, c, d, ic), sign, planes, _ONE)
            else:
                for i in range(w):
                    _take(xs, at + i, src, _place(_row(p0, i, c, d, ic), planes), sign, planes, _LANES)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, _ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ic in range(c):
            row, at = (ia * c + ic) * d + id_, planes * ic * _LANES + p
            if ordered:
                for i in range(count):
                    _take(xs, at + i, src, planes * np.uint64(index[row + i]), sign, planes, _ONE)
            elif outer:
                for i in range(count):
                    _take(xs, at + i, src, planes * (row + i), sign, planes, _ONE)
            elif row % _LANES + count <= _LANES:
                first = _place(row, planes)
                for i in range(count):
                    _take(xs, at + i, src, first + i, sign, planes, _LANES)
            else:
                for i in range(count):
                    _take(xs, at + i, src, _place(row + i, planes), sign, planes, _LANES)
        p, ia, id_ = p + count, ia + _ONE, _ZERO


@_inlined
def _store(
    ys: Any, dst: Any, index: Any, outer: Any, ordered: Any, p0: Any, w: Any, b: Any, d: Any, sign: Any, planes: Any
) -> None:
    """Put the products of lanes ``p0 .. p0 + w`` where they belong."""
    if d < _SHORT and _LANES % d == _ZERO:
        for ib in range(b):
            at = planes * ib * _LANES
            if ordered:
                for i in range(w):
                    _put(ys, at + i, dst, planes * np.uint64(index[_row(p0, i, b, d, ib)]), sign, planes, _ONE)
            elif outer:
                for i in range(w):
                    _put(ys, at + i, dst, planes * _row(p0, i, b, d, ib), sign, planes, _ONE)
            else:
                for i in range(w):
                    _put(ys, at + i, dst, _place(_row(p0, i, b, d, ib), planes), sign, planes, _LANES)
        return
    ia = p0 // d
    id_, p = p0 - ia * d, _ZERO
    while p < w:
        count = min(d - id_, w - p)
        for ib in range(b):
            row, at = (ia * b + ib) * d + id_, planes * ib * _LANES + p
            if ordered:
                for i in range(count):
                    _put(ys, at + i, dst, planes * np.uint64(index[row + i]), sign, planes, _ONE)
            elif outer:
                for i in range(count):
                    _put(ys, at + i, dst, planes * (row + i), sign, planes, _ONE)
            elif row % _LANES + count <= _LANES:
                first = _place(row, planes)
                for i in range(count):
                    _put(ys, at + i, dst, first + i, sign, planes, _LANES)
            else:
                for i in range(count):
                    _put(ys, at + i, dst, _place(row + i, planes), sign, planes, _LANES)
        p, ia, id_ = p + count, ia + _ONE, _ZERO


@_inlined
def _factor(table: Any, k: Any, transposed: Any, planes: Any) -> Any:
    """Factor ``k`` as it is applied: where its panels begin, its pattern, strides of its values, size of a panel."""
    row = table[k] if transposed else table[table.shape[0] - 1 - k]
    o, a, b, c, d = np.uint64(row[0]), np.uint64(row[1]), np.uint64(row[2]), np.uint64(row[3]), np.uint64(row[4])
    by_col = planes * _LANES
    by_row = c * by_col
    if transposed:
        return o, a, c, b, d, by_col, by_row, b * by_row
    return o, a, b, c, d, by_row, by_col, b * by_row


@_inlined
def _vector(
    values: Any, table: Any, x: Any, gather: Any, out: Any, scatter: Any, work: Any, panel: Any, transposed: Any,
    sign: Any, local: Any, depth: Any, blocks: Any, planes: Any,
) -> None:  # fmt: skip
    """Multiply one column by all factors, blocks of the last ``depth`` of them by themselves: see :func:`_columns`.

    A block has a whole number of panels of every factor.
    """
    xs, ys = panel[0], panel[1]
    width, gathers, scatters = planes * _LANES, gather.shape[0] > 0, scatter.shape[0] > 0
    count = np.uint64(table.shape[0])
    middle = count - depth if transposed else depth
    for part in range(2):
        begin, end = (_ZERO, middle) if part == 0 else (middle, count)
        pieces = blocks if (part == 1) == transposed else _ONE
        for piece in range(pieces):
            for k in range(begin, end):
                o, a, b, c, d, by_row, by_col, size = _factor(table, k, transposed, planes)
                first, last = k == _ZERO, k == count - _ONE
                near_in, near_out = pieces > _ONE and k > begin, pieces > _ONE and k < end - _ONE
                src = local[(k + _ONE) % _TWO] if near_in else work[(k + _ONE) % _TWO]
                dst = local[k % _TWO] if near_out else work[k % _TWO]
                in_place, out_of_place = not first and d % _LANES == 0, not last and d % _LANES == 0
                lanes = a * d // pieces
                in_base, out_base = piece * lanes if near_in else _ZERO, piece * lanes if near_out else _ZERO
                o += piece * lanes // _LANES * size
                for p0 in range(piece * lanes, (piece + _ONE) * lanes, _LANES):
                    w, p_in, p_out = min(_LANES, a * d - p0), p0 - in_base, p0 - out_base
                    if not in_place:
                        turn = sign if first else sign * sign  # one, in the dtype of the values
                        _load(xs, x if first else src, gather, first, first and gathers, p_in, w, c, d, turn, planes)
                    row_in, row_out = p_in // d * (c - _ONE) * d + p_in, p_out // d * (b - _ONE) * d + p_out
                    from_, x0, x_step = (src, planes * row_in, planes * d) if in_place else (xs, _ZERO, width)
                    to, y0, y_step = (dst, planes * row_out, planes * d) if out_of_place else (ys, _ZERO, width)
                    if planes == _TWO:
                        _complex_lanes(values, o, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step)
                    else:
                        _real_lanes(values, o, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step)
                    if not out_of_place:
                        turn = sign if last else sign * sign
                        _store(ys, out if last else dst, scatter, last, last and scatters, p_out, w, b, d, turn, planes)
                    o += size


@_inlined
def _columns(
    values: Any, table: Any, x: Any, gather: Any, out: Any, scatter: Any, work: Any, panel: Any, transposed: Any,
    sign: Any, width: Any, column: Any, w: Any, local: Any, depth: Any, blocks: Any, planes: Any,
) -> None:  # fmt: skip
    """Multiply ``w`` columns, from ``column`` on, of ``width`` by all factors.

    The last ``depth`` factors of the chain are block diagonal with ``blocks`` blocks, each of which goes through all of
    them in a buffer that stays in the second-level cache; the others take all rows at a time.
    """
    count = np.uint64(table.shape[0])
    middle = count - depth if transposed else depth
    for part in range(2):
        begin, end = (_ZERO, middle) if part == 0 else (middle, count)
        pieces = blocks if (part == 1) == transposed else _ONE
        for piece in range(pieces):
            for k in range(begin, end):
                last = k == count - _ONE
                near = pieces > _ONE and k > begin, pieces > _ONE and k < end - _ONE
                src = panel[0] if k == _ZERO else local[(k + _ONE) % _TWO] if near[0] else work[(k + _ONE) % _TWO]
                dst = panel[1] if last else local[k % _TWO] if near[1] else work[k % _TWO]
                _block(
                    values, table, x, gather, out, scatter, src, dst, transposed, sign, width, column, w, k, piece,
                    pieces, near[0], near[1], planes,
                )  # fmt: skip


@_inlined
def _block(
    values: Any, table: Any, x: Any, gather: Any, out: Any, scatter: Any, src: Any, dst: Any, transposed: Any,
    sign: Any, width: Any, column: Any, w: Any, k: Any, piece: Any, pieces: Any, near_in: Any, near_out: Any,
    planes: Any,
) -> None:  # fmt: skip
    """Multiply one of ``pieces`` equal diagonal blocks of factor ``k``; near buffers hold the rows of the block."""
    step = planes * _COLUMNS
    o, a, b, c, d, by_row, by_col, size = _factor(table, k, transposed, planes)
    first, last = k == _ZERO, k == np.uint64(table.shape[0]) - _ONE
    x_step, y_step = step if first else d * step, step if last else d * step
    lanes = a * d // pieces
    x_base = piece * lanes * c if near_in else _ZERO
    y_base = piece * lanes * b if near_out else _ZERO
    for lane in range(piece * lanes, (piece + _ONE) * lanes):
        ia = lane // d
        from_, to = ia * c * d + lane - ia * d, ia * b * d + lane - ia * d
        if first:
            for ic in range(c):
                row = from_ + ic * d
                row = np.uint64(gather[row]) if gather.shape[0] > 0 else row
                for i in range(w):
                    j = planes * (row * width + column + i)
                    src[ic * step + i] = x[j]
                    if planes == _TWO:
                        src[ic * step + _COLUMNS + i] = sign * x[j + _ONE]
        at = o + lane // _LANES * size + lane % _LANES
        x0, y0 = _ZERO if first else (from_ - x_base) * step, _ZERO if last else (to - y_base) * step
        if planes == _TWO:
            _complex_columns(values, at, b, c, by_row, by_col, src, x0, x_step, dst, y0, y_step)
        else:
            _real_columns(values, at, b, c, by_row, by_col, src, x0, x_step, dst, y0, y_step)
        if last:
            for ib in range(b):
                row = to + ib * d
                row = np.uint64(scatter[row]) if scatter.shape[0] > 0 else row
                for i in range(w):
                    j = planes * (row * width + column + i)
                    out[j] = dst[ib * step + i]
                    if planes == _TWO:
                        out[j + _ONE] = sign * dst[ib * step + _COLUMNS + i]


def _one_real(  # type: ignore[no-untyped-def]
    values, table, x, gather, out, scatter, work, panel, transposed, sign, local, depth, blocks
):
    _vector(values, table, x, gather, out, scatter, work, panel, transposed, sign, local, depth, blocks, _ONE)


def _one_complex(  # type: ignore[no-untyped-def]
    values, table, x, gather, out, scatter, work, panel, transposed, sign, local, depth, blocks
):
    _vector(values, table, x, gather, out, scatter, work, panel, transposed, sign, local, depth, blocks, _TWO)


def _many_real(  # type: ignore[no-untyped-def]
    values, table, x, gather, out, scatter, work, panel, transposed, sign, width, column, w, local, depth, blocks
):
    _columns(
        values,
        table,
        x,
        gather,
        out,
        scatter,
        work,
        panel,
        transposed,
        sign,
        width,
        column,
        w,
        local,
        depth,
        blocks,
        _ONE,
    )


def _many_complex(  # type: ignore[no-untyped-def]
    values, table, x, gather, out, scatter, work, panel, transposed, sign, width, column, w, local, depth, blocks
):
    _columns(
        values,
        table,
        x,
        gather,
        out,
        scatter,
        work,
        panel,
        transposed,
        sign,
        width,
        column,
        w,
        local,
        depth,
        blocks,
        _TWO,
    )


@functools.cache
def compiled(char: str, many: bool) -> Any:
    """Compiled function for one of the dtypes "fdFD": when it is first wanted, and kept on disk from then on.

    The signature is explicit: arrays that are read-only need no second version, and no call looks for a version.
    """
    is_complex, number = char in "FD", types.float64 if char in "dD" else types.float32

    def array(dtype: Any, ndim: int = 1, readonly: bool = False) -> Any:
        return types.Array(dtype, ndim, "C", readonly=readonly)

    index = array(types.int64, readonly=True)
    signature = [array(number, readonly=True), array(types.int64, 2, True), array(number, readonly=True), index]
    signature += [array(number), index, array(number, 2), array(number, 2), types.boolean, number]
    if many:
        function: Any = _many_complex if is_complex else _many_real
        signature += 3 * [types.uint64]
    else:
        function = _one_complex if is_complex else _one_real
    signature += [array(number, 2), types.uint64, types.uint64]
    try:
        return numba.njit(types.void(*signature), cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no place to keep it, neither beside this file nor in the user's directory
        return numba.njit(types.void(*signature), **_OPTIONS)(function)
