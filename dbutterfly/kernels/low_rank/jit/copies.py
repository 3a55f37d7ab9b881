"""Compiled copies of blocks that lie strewn in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import ZERO, called, spliced
from ...linalg import RUN

__all__ = ["TURN", "copy_blocks"]

TURN = np.uint64(RUN)
"""Entries of a run, as an offset."""


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

    All blocks are copied row by row: rows of neighbouring blocks make long runs of memory. Offsets are unsigned, see
    :mod:`dbutterfly.kernels.compiler`. Energies are in float64, beyond runs as in :func:`.vectors.sum_squares`.
    """
    v = np.uint64(stack.shape[2])
    for k in range(len(offsets)):
        offsets[k] = np.uint64((begin + k) // peers) * steps[0] + np.uint64((begin + k) % peers) * steps[1]
    for i in range(stack.shape[1]):
        for k in range(len(offsets)):
            at, whole, first = offsets[k] + np.uint64(i) * steps[2], 0.0, ZERO
            while v - first >= TURN + TURN:
                whole += np.float64(_copy_run(stack, k, i, source, at, first, first + TURN))
                first += TURN
            rows[k, i] = whole + np.float64(_copy_run(stack, k, i, source, at, first, v))
