r"""The product of a hierarchical matrix with columns, from its panels, in any array namespace.

With the blocks H below the diagonal and D on it, a symmetric matrix is ``H + D + H^T``, and a Hermitian one is
``H + D + H^H`` with ``H^H x = conj(H^T conj(x))``. Both products of a left panel are made while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..kernels.backend import Array, is_complex, namespace
from .block_layout import BlockLayout, ButterflyBlock, Panel

__all__ = ["Run", "multiply_panels", "run_in_turn"]

Run: TypeAlias = Callable[[Callable[[Any], None], Sequence[Any]], None]
"""Calls a function for each of some parts, which write to disjoint places."""

Butterfly: TypeAlias = Callable[[ButterflyBlock, Array, bool], Array]
"""Multiplies columns by a butterfly, or with True by its transpose."""


def run_in_turn(call: Callable[[Any], None], parts: Sequence[Any]) -> None:
    """Call a function for one part after the other."""
    for part in parts:
        call(part)


def multiply_panels(
    layout: BlockLayout,
    symmetry: str,
    x: Array,
    *,
    transposed: bool,
    conjugated: bool,
    run: Run,
    butterfly: Butterfly,
) -> Array:
    """Multiply the matrix, its transpose, conjugate or adjoint, by columns.

    Parameters
    ----------
    layout : BlockLayout
        Panels and butterflies, on the device of the columns.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether the blocks below the diagonal stand for those above it.
    x : array, shape (n, k)
        Columns, in the order of the positions.
    transposed, conjugated : bool
        Whether to multiply by the transpose, and by the conjugate; both make the adjoint.
    run : callable
        Calls a function for parts.
    butterfly : callable
        Multiplies by a butterfly.

    Returns
    -------
    array, shape (m, k)
        Products, in the order of the positions.
    """
    xp = namespace(x)
    if symmetry == "hermitian" and transposed:
        transposed, conjugated = False, not conjugated
    x = _conjugate(x, xp) if conjugated else x
    if symmetry == "none":
        y = (_multiply_transposed if transposed else _multiply)(layout, x, run, butterfly)
    else:
        other = _conjugate(x, xp) if symmetry == "hermitian" else x
        y, mirrored = _multiply_both(layout, x, other, run, butterfly)
        y = y + (_conjugate(mirrored, xp) if symmetry == "hermitian" else mirrored)
    return _conjugate(y, xp) if conjugated else y


def _conjugate(x: Array, xp: Any) -> Array:
    return xp.conj(x) if is_complex(xp, x.dtype) else x


def _multiply(layout: BlockLayout, x: Array, run: Run, butterfly: Butterfly) -> Array:
    gathered, y = _gather(layout, x, run), _zeros(layout, layout.shape[0], x)

    def add(panel: Panel) -> None:
        y[panel.first : panel.last, :] += panel.values.T @ gathered[panel.start : panel.stop, :]

    for group in layout.lefts:
        run(add, group)
    _add_butterflies(layout, x, y, run, butterfly)
    return y


def _multiply_transposed(layout: BlockLayout, x: Array, run: Run, butterfly: Butterfly) -> Array:
    gathered = _zeros(layout, layout.gather.shape[0] + 1, x)  # the last one stands for none

    def fill(panel: Panel) -> None:
        gathered[panel.start : panel.stop, :] = panel.values @ x[panel.first : panel.last, :]

    for group in layout.lefts:
        run(fill, group)
    y = _scatter(layout, gathered, run)
    _add_transposed_butterflies(layout, x, y, run, butterfly)
    return y


def _multiply_both(layout: BlockLayout, x: Array, other: Array, run: Run, butterfly: Butterfly) -> tuple[Array, Array]:
    """Product with x, and transposed product with another operand, without the blocks on the diagonal."""
    gathered, y = _gather(layout, x, run), _zeros(layout, layout.shape[0], x)
    mirrored = _zeros(layout, layout.gather.shape[0] + 1, x)

    def add(panel: Panel) -> None:
        rows, part = slice(panel.first, panel.last), slice(panel.start, panel.stop)
        y[rows, :] += panel.values.T @ gathered[part, :]
        mirrored[part, :] = panel.values @ other[rows, :]

    for group in layout.lefts:
        run(add, group)
    _add_butterflies(layout, x, y, run, butterfly)
    y_other = _scatter(layout, mirrored, run)
    _add_transposed_butterflies(layout, other, y_other, run, butterfly)
    return y, y_other


def _gather(layout: BlockLayout, x: Array, run: Run) -> Array:
    """What left panels multiply: entries of x, and its products with the right panels."""
    columns = layout.shape[1]
    known = _zeros(layout, columns + layout.coefficients.shape[0], x)
    known[:columns, :] = x

    def fill(panel: Panel) -> None:
        known[columns + panel.start : columns + panel.stop, :] = panel.values @ x[panel.first : panel.last, :]

    run(fill, layout.rights)
    return namespace(x).take(known, layout.gather, axis=0)


def _scatter(layout: BlockLayout, gathered: Array, run: Run) -> Array:
    """Transpose of :func:`_gather`: each entry adds its coefficients in one order, whatever runs first."""
    xp = namespace(gathered)
    y = _zeros(layout, layout.shape[1], gathered)
    for place in range(layout.entries.shape[0]):
        y += xp.take(gathered, layout.entries[place, :], axis=0)
    coefficients = xp.take(gathered, layout.coefficients, axis=0)

    def add(panel: Panel) -> None:
        y[panel.first : panel.last, :] += panel.values.T @ coefficients[panel.start : panel.stop, :]

    for group in layout.transposed_rights:
        run(add, group)
    return y


def _add_butterflies(layout: BlockLayout, x: Array, y: Array, run: Run, butterfly: Butterfly) -> None:
    def add(block: ButterflyBlock) -> None:
        y[slice(*block.rows), :] += butterfly(block, x[slice(*block.cols), :], False)

    for group in layout.butterflies:
        run(add, group)


def _add_transposed_butterflies(layout: BlockLayout, x: Array, y: Array, run: Run, butterfly: Butterfly) -> None:
    def add(block: ButterflyBlock) -> None:
        y[slice(*block.cols), :] += butterfly(block, x[slice(*block.rows), :], True)

    for group in layout.transposed_butterflies:
        run(add, group)


def _zeros(layout: BlockLayout, rows: int, x: Array) -> Array:
    """Zeros of the dtype of products with ``x``, on its device."""
    xp = namespace(x)
    dtype = xp.result_type(x.dtype, layout.dtype)
    return xp.zeros((rows, x.shape[1]), dtype=dtype, device=x.device)
