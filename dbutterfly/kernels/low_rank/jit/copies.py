"""Compiled copies of blocks that lie strewn in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import ZERO, called, spliced
from ...linalg import RUN

__all__ = ["TURN", "copy_blocks"]

TURN = np.uint64(RUN)
"""Entries of a run, as an offset."""

ROWS_AT_ONCE = 8
"""Rows of each block that are copied before those of the next block.

Measured for tiles of 128 x 8 blocks of 128 x 128 that stand side by side, in stacks of 1 MiB, on a busy core of an AMD
EPYC: one, two, four, eight and sixteen rows take 6.3, 5.2, 4.7, 4.4 and 6.3 ms for float32, and all rows 7.4 ms; for
complex128 27, 24, 25, 26 and 27 ms. For blocks of 32 x 32 to 512 x 512, eight rows are within 16 % of the best.
"""


@spliced
def _copy_run(stack: Any, k: Any, i: Any, source: Any, at: Any, first: Any, last: Any) -> Any:
    """Copy some entries of row i of block k; the sum of their squared moduli, in their precision."""
    total = stack.dtype.type(0).real
    for j in range(first, last):
        value = source[at + j]
        stack[k, i, j] = value
        total += value.real * value.real + value.imag * value.imag
    return total


@called
def copy_blocks(source: Any, steps: Any, peers: Any, begin: Any, offsets: Any, stack: Any, rows: Any) -> None:
    """Copy the blocks from one on together, as many as there is room for ``offsets``, and the energies of their rows.

    All blocks are copied a few rows at a time: rows of neighbouring blocks make long runs of memory. Offsets are
    unsigned, see :mod:`dbutterfly.kernels.compiler`. Energies are in float64, beyond runs as in
    :func:`.vectors.sum_squares`.
    """
    p, v = stack.shape[1], np.uint64(stack.shape[2])
    for k in range(len(offsets)):
        offsets[k] = np.uint64((begin + k) // peers) * steps[0] + np.uint64((begin + k) % peers) * steps[1]
    for top in range(0, p, ROWS_AT_ONCE):
        for k in range(len(offsets)):
            for i in range(top, min(top + ROWS_AT_ONCE, p)):
                at, whole, first = offsets[k] + np.uint64(i) * steps[2], 0.0, ZERO
                while v - first >= TURN + TURN:
                    whole += np.float64(_copy_run(stack, k, i, source, at, first, first + TURN))
                    first += TURN
                rows[k, i] = whole + np.float64(_copy_run(stack, k, i, source, at, first, v))
