"""Compiled products of diagonal blocks of one group of factors.

What belongs together is passed on as tuples:

- ``chain``: the arrays ``values``, ``groups`` and ``stages`` of :class:`.packing.JitPacked`;
- ``ends``: ``x`` and where it is taken from, ``out`` and where it goes: what the first group takes and the last one
  makes, real and imaginary parts side by side. Between them, rows are in ``src`` and ``dst``;
- ``how``: whether transposed, -1 for conjugates, 2 for complex numbers;
- ``place``: which group, which of how many equal blocks, whether ``src`` and ``dst`` hold the rows of this block only;
- ``part``: columns of ``x``, the first one that is multiplied, and how many are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import N_COLUMNS, N_LANES, ONE, TWO, ZERO, inlined
from .dense import matrix
from .panels import load, load_columns, store, store_columns
from .stages import network

__all__ = ["columns_of_block", "vector_of_block"]


@inlined
def _group(groups: Any, k: Any, transposed: Any, planes: Any) -> Any:
    """Group ``k`` as it is applied: where its panels begin, pattern, strides of its values, size of a panel, stages."""
    row = groups[k] if transposed else groups[groups.shape[0] - 1 - k]
    o, a, b, c, d = row[0], row[1], row[2], row[3], row[4]
    by_col = planes * N_LANES
    by_row = c * by_col
    if transposed:
        return o, a, c, b, d, by_col, by_row, row[5], row[6], row[7]
    return o, a, b, c, d, by_row, by_col, row[5], row[6], row[7]


@inlined
def vector_of_block(chain: Any, ends: Any, src: Any, dst: Any, panel: Any, how: Any, place: Any, staged: Any) -> None:
    """Multiply one column, by whole panels."""
    (values, groups, stages), (x, gather, out, scatter) = chain, ends
    (transposed, sign, planes), (k, piece, pieces, near_in, near_out) = how, place
    o, a, b, c, d, by_row, by_col, size, stage, depth = _group(groups, k, transposed, planes)
    first, last = k == ZERO, k == np.uint64(groups.shape[0]) - ONE
    gathers, scatters = first and gather.shape[0] > 0, last and scatter.shape[0] > 0
    in_place, out_of_place = not first and d % N_LANES == 0, not last and d % N_LANES == 0
    xs, ys, width = panel[0], panel[depth % TWO] if staged else panel[1], planes * N_LANES
    sign_in, sign_out = sign if first else sign * sign, sign if last else sign * sign  # one, of the dtype of the values
    lanes = a * d // pieces
    in_base, out_base = piece * lanes if near_in else ZERO, piece * lanes if near_out else ZERO
    o += piece * lanes // N_LANES * size
    for p0 in range(piece * lanes, (piece + ONE) * lanes, N_LANES):
        w, p_in, p_out = min(N_LANES, a * d - p0), p0 - in_base, p0 - out_base
        if not in_place:
            load(xs, x if first else src, gather, first, gathers, p_in, w, c, d, sign_in, planes)
        row_in, row_out = p_in // d * (c - ONE) * d + p_in, p_out // d * (b - ONE) * d + p_out
        from_, x0, x_step = (src, planes * row_in, planes * d) if in_place else (xs, ZERO, width)
        to, y0, y_step = (dst, planes * row_out, planes * d) if out_of_place else (ys, ZERO, width)
        if staged:
            network(
                values, o, stages, stage, depth, transposed, from_, x0, x_step, to, y0, y_step, panel, N_LANES, False,
                planes,
            )  # fmt: skip
        else:
            matrix(values, o, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step, N_LANES, False, planes)
        if not out_of_place:
            store(ys, out if last else dst, scatter, last, scatters, p_out, w, b, d, sign_out, planes)
        o += size


@inlined
def columns_of_block(
    chain: Any, ends: Any, src: Any, dst: Any, panel: Any, how: Any, place: Any, part: Any, staged: Any
) -> None:
    """Multiply some columns, lane by lane."""
    (values, groups, stages), (x, gather, out, scatter) = chain, ends
    (transposed, sign, planes), (k, piece, pieces, near_in, near_out) = how, place
    o, a, b, c, d, by_row, by_col, size, stage, depth = _group(groups, k, transposed, planes)
    first, last = k == ZERO, k == np.uint64(groups.shape[0]) - ONE
    from_ = panel[0] if first else src
    to = (panel[depth % TWO] if staged else panel[1]) if last else dst
    step = planes * N_COLUMNS
    x_step, y_step = step if first else d * step, step if last else d * step
    lanes = a * d // pieces
    x_base, y_base = piece * lanes * c if near_in else ZERO, piece * lanes * b if near_out else ZERO
    for lane in range(piece * lanes, (piece + ONE) * lanes):
        ia = lane // d
        row_in, row_out = ia * c * d + lane - ia * d, ia * b * d + lane - ia * d
        if first:
            load_columns(from_, x, gather, row_in, c, d, part, sign, planes)
        at = o + lane // N_LANES * size + lane % N_LANES
        x0, y0 = ZERO if first else (row_in - x_base) * step, ZERO if last else (row_out - y_base) * step
        if staged:
            network(
                values, at, stages, stage, depth, transposed, from_, x0, x_step, to, y0, y_step, panel, N_COLUMNS, True,
                planes,
            )  # fmt: skip
        else:
            matrix(values, at, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step, N_COLUMNS, True, planes)
        if last:
            store_columns(to, out, scatter, row_out, b, d, part, sign, planes)
