"""Compiled loops over the blocks of the nodes of a stack.

Row ``i*u + g`` of a matrix belongs to row group g and column ``h*v + j`` to column group h. The columns X of the left
children, and the matrices B of the right children, meet in block (g, h)::

    column h*r + a of X_g          row a*u + g of B_h
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler import Loop, array_type, entry_type, inline, stamp_of, types

__all__ = ["multiply_loop", "project_loop"]

STAMP = stamp_of(Path(__file__).parent, ("nodes",))


@inline
def _add(to: Any, first: Any, factor: Any, of: Any, start: Any, count: Any) -> None:
    """Add a multiple of ``count`` entries of one row to those of another."""
    for j in range(count):
        to[first + j] += factor * of[start + j]


@functools.cache
def project_loop(char: str) -> Loop:
    """Loop that forms ``B = X^H Z``, equation (3), for one of the dtypes "fdFD".

    Its arguments are the matrices Z (K, m, n), the columns X (K*u, p, q*r), the rank r, and B (K*q, r*u, v) to fill.
    """
    stamp = STAMP

    def project(matrices, x, rank, b):  # type: ignore[no-untyped-def]
        count, p, q = matrices.shape[0], x.shape[1], x.shape[2] // rank
        u, v = x.shape[0] // max(count, 1), b.shape[2]
        for k in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            b[k * q : (k + 1) * q] = 0
            for i in range(p):
                for g in range(u):
                    row, columns = matrices[k, i * u + g], x[k * u + g, i]
                    for h in range(q):
                        for a in range(rank):
                            _add(b[k * q + h, a * u + g], 0, np.conj(columns[h * rank + a]), row, h * v, v)

    number = entry_type(char)
    read = array_type(number, 3, readonly=True)
    return Loop(project, types.void, [read, read, types.int64, array_type(number, 3)])


@functools.cache
def multiply_loop(char: str) -> Loop:
    """Loop that forms the products ``X B`` of nodes, for one of the dtypes "fdFD".

    Its arguments are the columns X (K*u, p, q*r), the matrices B (K*q, r*u, v), the rank r, and the products (K, m, n)
    to fill.
    """
    stamp = STAMP

    def multiply(x, b, rank, products):  # type: ignore[no-untyped-def]
        count, p, q = products.shape[0], x.shape[1], x.shape[2] // rank
        u, v = x.shape[0] // max(count, 1), b.shape[2]
        for k in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            products[k] = 0
            for i in range(p):
                for g in range(u):
                    row, columns = products[k, i * u + g], x[k * u + g, i]
                    for h in range(q):
                        for a in range(rank):
                            _add(row, h * v, columns[h * rank + a], b[k * q + h, a * u + g], 0, v)

    number = entry_type(char)
    read = array_type(number, 3, readonly=True)
    return Loop(multiply, types.void, [read, read, types.int64, array_type(number, 3)])
