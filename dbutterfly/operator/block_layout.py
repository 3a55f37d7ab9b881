r"""The values of a hierarchical matrix, laid out so that a product is few calls of BLAS.

A dense block is a *left* piece of shape (m, n), a block of low rank a left piece (m, r) and a *right* one (r, n). All
right pieces of a cluster of columns, one below the other, are a panel; so are all left pieces of a cluster of rows, one
beside the other. A product gathers once between the two::

    coefficients = right panels * x          x, coefficients  --gather-->  z          y += left panels * z

    right panel:  .--------.  r1             left panel:  .------.----.-------.  m
    of columns    |--------|  r2             of rows      | dense|  r1|  r2   |
                  '--------'                              '------'----'-------'

Left pieces are stored transposed. So a panel is one contiguous array, and a store that holds panel after panel holds
the layout: nothing is copied when it is opened (:mod:`dbutterfly.operator.block_values`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .block_factors import BlockFactors
from .block_values import Piece, order_pieces
from .checks import Index, check_permutations
from .factors import clear_gaps
from .products import Products

__all__ = ["BlockLayout", "ButterflyBlock", "Panel", "lay_out", "prepare_butterfly"]

Span: TypeAlias = tuple[int, int]


class Panel(NamedTuple):
    """Pieces of one cluster, as one matrix.

    Attributes
    ----------
    first, last : int
        Positions of the cluster.
    start, stop : int
        Coefficients of the panel: of a right one among all of them, of a left one among those gathered.
    values : array, shape (stop - start, last - first)
        The pieces one below the other, left ones transposed.
    """

    first: int
    last: int
    start: int
    stop: int
    values: Any


class ButterflyBlock(NamedTuple):
    """A block that is a butterfly.

    Attributes
    ----------
    rows, cols : (int, int)
        Positions.
    products : Products
        What multiplies by it.
    """

    rows: Span
    cols: Span
    products: Products


class BlockLayout(NamedTuple):
    """Panels and butterflies of a hierarchical matrix, in groups of which each has disjoint places to write to.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    dtype : dtype
        Dtype of the panels, of their namespace.
    rights : tuple of Panel
        Right panels.
    lefts, transposed_rights : tuple of tuple of Panel
        Left panels in groups of disjoint rows, and right ones in groups of disjoint columns.
    butterflies, transposed_butterflies : tuple of tuple of ButterflyBlock
        Butterflies in groups of disjoint rows, and those that the transpose has in groups of disjoint columns.
    gather : array of int, shape (gathered,)
        For the product, what each gathered coefficient is: an entry of x, or from ``shape[1]`` on a coefficient.
    entries : array of int, shape (most, n)
        For the transposed product, the gathered coefficients that belong to each entry; ``gathered`` for none.
    coefficients : array of int, shape (coefficients,)
        For the transposed product, the gathered coefficient that belongs to each coefficient; ``gathered`` for none.
    """

    shape: tuple[int, int]
    dtype: Any
    rights: tuple[Panel, ...]
    lefts: tuple[tuple[Panel, ...], ...]
    transposed_rights: tuple[tuple[Panel, ...], ...]
    butterflies: tuple[tuple[ButterflyBlock, ...], ...]
    transposed_butterflies: tuple[tuple[ButterflyBlock, ...], ...]
    gather: Any
    entries: Any
    coefficients: Any

    def panels(self) -> Iterator[Panel]:
        """All panels."""
        yield from self.rights
        for group in self.lefts:
            yield from group


def lay_out(blocks: Sequence[BlockFactors], shape: tuple[int, int], dtype: Any, *, is_half: bool) -> BlockLayout:
    """Lay blocks out for products.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        Blocks of a matrix.
    shape : (int, int)
        Its rows and columns.
    dtype : dtype
        Dtype of the panels.
    is_half : bool
        Whether the blocks below the diagonal stand for those above it, too: then the transposed product leaves out
        those on it.
    """
    lefts, rights, _ = order_pieces(blocks, [len(block.ks_values) for block in blocks])
    right_panels, coefficients = _join_rights(blocks, rights, dtype)
    left_panels, gather, is_counted = _join_lefts(blocks, lefts, shape[1], coefficients, dtype, is_half=is_half)
    entries, places = _invert(gather, is_counted, shape[1], sum(panel.values.shape[0] for panel in right_panels))
    butterflies = [prepare_butterfly(block) for block in blocks if block.kind == "butterfly"]
    transposed = [block for block in butterflies if not (is_half and block.rows == block.cols)]
    return BlockLayout(
        shape,
        dtype,
        tuple(right_panels),
        _group(left_panels, _span_of_panel),
        _group(right_panels, _span_of_panel),
        _group(butterflies, lambda block: block.rows),
        _group(transposed, lambda block: block.cols),
        gather,
        entries,
        places,
    )


def _join_rights(
    blocks: Sequence[BlockFactors], pieces: Sequence[Piece], dtype: Any
) -> tuple[list[Panel], dict[int, int]]:
    """Right panels, and the first coefficient of each block of low rank."""
    panels, coefficients, start = [], {}, 0
    for cols, members in _by_span(pieces, [block.cols for block in blocks]).items():
        parts = [blocks[piece.block].ks_values[1][0, :, :, 0] for piece in members]
        stop = start
        for piece, part in zip(members, parts, strict=True):
            coefficients[piece.block] = stop
            stop += part.shape[0]
        panels.append(Panel(*cols, start, stop, _join(parts, dtype)))
        start = stop
    return panels, coefficients


def _join_lefts(
    blocks: Sequence[BlockFactors],
    pieces: Sequence[Piece],
    cols: int,
    coefficients: dict[int, int],
    dtype: Any,
    *,
    is_half: bool,
) -> tuple[list[Panel], Index, NDArray[np.bool_]]:
    """Left panels, what is gathered for them, and which of that the transposed product counts."""
    panels: list[Panel] = []
    gathered, is_counted = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    start = 0
    for rows, members in _by_span(pieces, [block.rows for block in blocks]).items():
        parts = []
        for piece in members:
            block = blocks[piece.block]
            parts.append(block.ks_values[0][0, :, :, 0].T)
            count = parts[-1].shape[0]
            first = block.cols[0] if block.kind == "dense" else cols + coefficients[piece.block]
            gathered.append(np.arange(first, first + count))
            is_counted.append(np.full(count, not (is_half and block.rows == block.cols)))
        values = _join(parts, dtype)
        panels.append(Panel(*rows, start, start + values.shape[0], values))
        start += values.shape[0]
    return panels, np.concatenate(gathered), np.concatenate(is_counted)


def _invert(gather: Index, is_counted: NDArray[np.bool_], cols: int, coefficients: int) -> tuple[Index, Index]:
    """Gathered coefficients of each entry of x, padded by their number, and of each coefficient."""
    places = np.flatnonzero(is_counted)
    of = gather[places]
    inner = np.full(coefficients, gather.size, np.int64)
    inner[of[of >= cols] - cols] = places[of >= cols]
    places, of = places[of < cols], of[of < cols]
    order = np.argsort(of, kind="stable")
    counts = np.bincount(of, minlength=cols)
    rank = np.arange(of.size) - np.repeat(np.cumsum(counts) - counts, counts)
    entries = np.full((int(counts.max(initial=0)), cols), gather.size, np.int64)
    entries[rank, of[order]] = places[order]
    return entries, inner


def _join(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """One array of matrices one below the other: a view where they lie so in memory already."""
    base, start = parts[0].base, parts[0].__array_interface__["data"][0]
    width, rows = parts[0].shape[1], sum(part.shape[0] for part in parts)
    if isinstance(base, np.ndarray) and base.ndim == 1 and base.dtype == dtype and base.flags.c_contiguous:
        offset = start - base.__array_interface__["data"][0]
        at = start
        for part in parts:
            if part.base is not base or not part.flags.c_contiguous or part.__array_interface__["data"][0] != at:
                break
            at += part.nbytes
        else:
            first = offset // base.itemsize
            return base[first : first + rows * width].reshape(rows, width)
    joined = np.empty((rows, width), dtype)  # of parts in Fortran's order, concatenate would make one in that order
    return np.concatenate(parts, axis=0, out=joined)


def _by_span(pieces: Iterable[Piece], spans: Sequence[Span]) -> dict[Span, list[Piece]]:
    found = defaultdict(list)
    for piece in pieces:
        found[spans[piece.block]].append(piece)
    return found


Part = TypeVar("Part", Panel, ButterflyBlock)


def _span_of_panel(panel: Panel) -> Span:
    return panel.first, panel.last


def _group(parts: Sequence[Part], span_of: Callable[[Part], Span]) -> tuple[tuple[Part, ...], ...]:
    """Groups of disjoint spans: nested spans get as many as they are deep."""
    groups: list[list[Part]] = []
    ends: list[int] = []
    for part in sorted(parts, key=lambda part: (span_of(part)[0], -span_of(part)[1])):
        first, last = span_of(part)
        place = next((k for k, end in enumerate(ends) if end <= first), len(groups))
        if place == len(groups):
            groups.append([])
            ends.append(0)
        groups[place].append(part)
        ends[place] = last
    return tuple(map(tuple, groups))


def prepare_butterfly(block: BlockFactors) -> ButterflyBlock:
    """Checked factors of a butterfly, ready to multiply."""
    rows, cols = check_permutations(block.orderings, block.chain)
    return ButterflyBlock(block.rows, block.cols, Products(clear_gaps(block.ks_values, rows, cols), rows, cols))
