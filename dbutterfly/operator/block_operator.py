"""A hierarchical matrix as a SciPy linear operator: what it holds, its transposes, its entries and its pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import InputError
from .array_operator import ArrayOperator
from .block_checks import check_blocks, check_order, check_symmetry
from .block_entries import BlockEntries
from .block_factors import BlockFactors
from .block_products import BlockProducts
from .checks import Index
from .scaling import scale_factors

__all__ = ["BlockOperator"]


class BlockOperator(ArrayOperator):
    """Blocks and orders with what makes them a ``LinearOperator``.

    :class:`dbutterfly.HierarchicalOperator` adds the public methods. The transpose, the adjoint and the conjugate of an
    operator share its :class:`~dbutterfly.operator.block_products.BlockProducts`.

    Parameters
    ----------
    blocks, shape, dtype, row_order, col_order, symmetry
        As for :class:`dbutterfly.HierarchicalOperator`.
    """

    _products: BlockProducts

    def __init__(
        self,
        blocks: Sequence[BlockFactors],
        shape: tuple[int, int],
        dtype: DTypeLike,
        row_order: ArrayLike | None = None,
        col_order: ArrayLike | None = None,
        symmetry: str = "none",
    ) -> None:
        found = np.dtype(dtype)
        rows = check_order("row_order", row_order, shape[0])
        cols = check_order("col_order", col_order, shape[1])
        kind = check_symmetry(symmetry, shape, found)
        checked = check_blocks(blocks, shape, found, is_half=kind != "none")
        self._become(BlockProducts(checked, shape, found, rows, cols, kind))

    def _become(self, products: BlockProducts, *, transposed: bool = False, conjugated: bool = False) -> Self:
        shape = products.shape[::-1] if transposed else products.shape
        self._begin(products, shape, transposed=transposed, conjugated=conjugated)
        return self

    # ---- attributes

    @property
    def blocks(self) -> tuple[BlockFactors, ...]:
        """The blocks, in the order of the positions."""
        found = self._products.blocks
        if self._transposed and self.symmetry == "none":
            found = tuple(block.T for block in found)
        if self._conjugated != (self._transposed and self.symmetry == "hermitian"):
            found = tuple(block.conj() for block in found)
        return found

    @property
    def symmetry(self) -> str:
        """``"none"``, ``"symmetric"`` or ``"hermitian"``."""
        return self._products.symmetry

    @property
    def row_order(self) -> Index | None:
        """Row at each position; None where they stay as they are."""
        return self._products.col_order if self._transposed else self._products.row_order

    @property
    def col_order(self) -> Index | None:
        """Column at each position; None where they stay as they are."""
        return self._products.row_order if self._transposed else self._products.col_order

    @property
    def nnz(self) -> int:
        """Number of values that all blocks hold together."""
        return sum(block.nnz for block in self._products.blocks)

    @property
    def _values(self) -> tuple[NDArray[Any], ...]:
        """Arrays that it holds."""
        return tuple(values for block in self._products.blocks for values in block.ks_values)

    @property
    def _most_rows(self) -> int:
        """Most rows of what a product gathers between right and left panels."""
        return self._products.most_rows

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all blocks."""
        return sum(values.nbytes for values in self._values)

    def __repr__(self) -> str:
        rows, cols = self.shape
        symmetry = "" if self.symmetry == "none" else f", {self.symmetry}"
        return (
            f"<{rows}x{cols} {type(self).__name__} of {len(self._products.blocks)} blocks with dtype={self.dtype}, "
            f"nnz={self.nnz}{symmetry}>"
        )

    # ---- transposes

    def _derive(self, *, transpose: bool, conjugate: bool) -> Self:
        new: Self = object.__new__(type(self))  # the stubs know the factory __new__ only
        conjugated = self._conjugated != (conjugate and self.dtype.kind == "c")
        return new._become(self._products, transposed=self._transposed != transpose, conjugated=conjugated)

    # ---- entries

    @cached_property
    def _entries(self) -> BlockEntries:
        return BlockEntries(self._products.blocks, self.dtype, self.symmetry)

    def _ranges(self, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[Any]:
        """Entries at a range of positions of the rows and of the columns."""
        found = self._entries.take(cols, rows).T if self._transposed else self._entries.take(rows, cols)
        return np.conj(found) if self._conjugated else found

    def _scale(self, number: Any, scale: Any = np.multiply) -> Self:
        if self.symmetry == "hermitian" and np.iscomplexobj(number) and number.imag != 0:
            raise InputError(
                f"number={number} would take a Hermitian operator out of its form; scale the products instead"
            )
        blocks = [
            block.with_values(scale_factors(block.ks_values, number, scale) if block.ks_values else ())
            for block in self.blocks
        ]
        dtype = np.result_type(self.dtype, *(values.dtype for block in blocks for values in block.ks_values))
        return self._with_blocks(blocks, dtype)

    def _with_blocks(self, blocks: Sequence[BlockFactors], dtype: np.dtype[Any]) -> Self:
        return type(self)(blocks, self.shape, dtype, self.row_order, self.col_order, self.symmetry)

    # ---- pickling, and names for Dask

    def __reduce__(self) -> tuple[Any, ...]:
        base = self._products
        given = base.blocks, base.shape, base.dtype, base.row_order, base.col_order, base.symmetry
        return _rebuild, (type(self), given, self._transposed, self._conjugated)

    def __dask_tokenize__(self) -> Any:
        return self._token

    @cached_property
    def _token(self) -> tuple[Any, ...]:
        digest, base = hashlib.blake2b(digest_size=16), self._products
        for block in base.blocks:
            described = [(values.shape, values.dtype.str) for values in block.ks_values]
            sides = block.orderings.permutations(block.chain) if block.kind == "butterfly" else (None, None)
            digest.update(f"{block.rows}{block.cols}{described}".encode())
            for values in (*block.ks_values, *(side for side in sides if side is not None)):
                digest.update(np.ascontiguousarray(values).tobytes())
        for order in (base.row_order, base.col_order):
            digest.update(b"" if order is None else order.tobytes())
        flags = self._transposed, self._conjugated
        return type(self).__name__, digest.hexdigest(), base.shape, base.dtype.str, base.symmetry, flags


def _rebuild(kind: type[BlockOperator], given: Any, transposed: bool, conjugated: bool) -> BlockOperator:
    """Make an operator from its pickle, which leaves out the layout for products: it is made again when wanted."""
    return kind(*given)._derive(transpose=transposed, conjugate=conjugated)
