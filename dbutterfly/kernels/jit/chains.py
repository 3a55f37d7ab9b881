"""Compiled products with a whole chain: one column, or many columns that share the values.

The last ``depth`` groups of a chain are block diagonal, with as many equal blocks as ``order`` has entries. Each block
goes through all of them in ``local`` buffers, which stay in the second-level cache; the other groups take all rows at a
time, in ``work`` buffers.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .blocks import columns_of_block, vector_of_block
from .compiler import ONE, STAMP, TWO, ZERO, array_type, compiled, inlined, number_type, types

__all__ = ["chain_product"]


@inlined
def _product(
    chain: Any, ends: Any, work: Any, panel: Any, how: Any, local: Any, depth: Any, order: Any, part: Any, many: Any
) -> None:
    """Multiply; ``chain``, ``ends``, ``how`` and ``part`` as for :mod:`.blocks`."""
    _, groups, _ = chain
    transposed, _, _ = how
    count = np.uint64(groups.shape[0])
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
                if groups[k if transposed else count - ONE - k, 7] > ZERO:
                    _block(chain, ends, src, dst, panel, how, place, part, True, many)
                else:
                    _block(chain, ends, src, dst, panel, how, place, part, False, many)


@inlined
def _block(
    chain: Any, ends: Any, src: Any, dst: Any, panel: Any, how: Any, place: Any, part: Any, staged: Any, many: Any
) -> None:
    """Multiply a block of one group: compiled anew for each of the constants ``staged`` and ``many``."""
    if many:
        columns_of_block(chain, ends, src, dst, panel, how, place, part, staged)
    else:
        vector_of_block(chain, ends, src, dst, panel, how, place, staged)


@functools.cache
def chain_product(char: str, many: bool) -> Any:
    """Compiled product for one of the dtypes "fdFD": when it is first wanted, and kept on disk from then on."""
    planes, stamp = (TWO if char in "FD" else ONE), STAMP
    number, index = number_type(char), array_type(types.int64, readonly=True)
    read, write, buffer = array_type(number, readonly=True), array_type(number), array_type(number, 2)
    table = array_type(types.uint64, 2, readonly=True)

    def product(  # type: ignore[no-untyped-def]
        values, groups, stages, x, gather, out, scatter, work, panel, transposed, sign, local, depth, order, width,
        column, w,
    ):  # fmt: skip
        if stamp != ZERO:
            chain, ends = (values, groups, stages), (x, gather, out, scatter)
            how, part = (transposed, sign, planes), (width, column, w)
            _product(chain, ends, work, panel, how, local, depth, order, part, many)

    signature = [read, table, table, read, index, write, index, buffer, buffer, types.boolean, number]
    signature += [buffer, types.uint64, array_type(types.uint64, readonly=True), *3 * [types.uint64]]
    return compiled(product, types.void, signature)
