"""Compiled products with a whole chain: one column, or many columns that share the values.

The last ``depth`` segments of a chain are block diagonal, with as many equal blocks as ``order`` has entries. Each
block goes through all of them in ``local`` buffers, which stay in the second-level cache. The other segments take all
rows at a time, in ``work`` buffers.
"""

from __future__ import annotations

import functools

import numpy as np

from ...compiler import ONE, TWO, ZERO, Loop, array_type, number_type, types
from .blocks import multiply_columns, multiply_vector
from .sizes import STAMP

__all__ = ["chain_product"]


@functools.cache
def chain_product(char: str, many: bool) -> Loop:
    """Product for one of the dtypes "fdFD", of one column or of many."""
    planes, stamp = (TWO if char in "FD" else ONE), STAMP

    def product(  # type: ignore[no-untyped-def]
        values, segments, layers, x, gather, out, scatter, work, scratch, transposed, sign, local, depth, order, width,
        column, w,
    ):  # fmt: skip
        if stamp == ZERO:  # never: it keeps the stamp among the constants of the closure
            return
        chain, ends = (values, segments, layers), (x, gather, out, scatter)
        how, part = (transposed, sign, planes), (width, column, w)
        count = np.uint64(segments.shape[0])
        middle = count - depth if transposed else depth
        for half in range(2):
            begin, end = (ZERO, middle) if half == 0 else (middle, count)
            pieces = np.uint64(order.shape[0]) if (half == 1) == transposed else ONE
            for turn in range(pieces):
                piece = order[turn] if pieces > ONE else ZERO
                for k in range(begin, end):
                    near_in, near_out = pieces > ONE and k > begin, pieces > ONE and k < end - ONE
                    src = local[(k + ONE) % TWO] if near_in else work[(k + ONE) % TWO]
                    dst = local[k % TWO] if near_out else work[k % TWO]
                    place = k, piece, pieces, near_in, near_out
                    layered = segments[k if transposed else count - ONE - k, 7] > ZERO
                    # Each call passes a constant, so that both versions are compiled, each with registers of its own.
                    if many:
                        if layered:
                            multiply_columns(chain, ends, src, dst, scratch, how, place, part, True)
                        else:
                            multiply_columns(chain, ends, src, dst, scratch, how, place, part, False)
                    elif layered:
                        multiply_vector(chain, ends, src, dst, scratch, how, place, True)
                    else:
                        multiply_vector(chain, ends, src, dst, scratch, how, place, False)

    number, index = number_type(char), array_type(types.int64, readonly=True)
    read, write, buffer = array_type(number, readonly=True), array_type(number), array_type(number, 2)
    table = array_type(types.uint64, 2, readonly=True)
    signature = [read, table, table, read, index, write, index, buffer, buffer, types.boolean, number]
    signature += [buffer, types.uint64, array_type(types.uint64, readonly=True), *3 * [types.uint64]]
    return Loop(product, types.void, signature)
