"""Checks of the blocks and the orders that a hierarchical operator is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..structure.arguments import read_choice
from ..structure.plain_arrays import as_plain_array
from .block_factors import BlockFactors
from .checks import SUPPORTED, Index, check_permutations

__all__ = ["check_blocks", "check_order", "check_symmetry"]

SYMMETRIES = ("none", "symmetric", "hermitian")


def check_symmetry(symmetry: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> str:
    """Return the symmetry; of a real matrix, Hermitian is symmetric.

    Raises
    ------
    InputError
        If it is unknown, or the matrix is not square.
    """
    found = str(read_choice("symmetry", symmetry, choices=SYMMETRIES, remedy=f"use one of {', '.join(SYMMETRIES)}"))
    if found != "none" and shape[0] != shape[1]:
        raise InputError(f'symmetry="{found}" is for square matrices, and this one is {shape[0]} x {shape[1]}')
    return "symmetric" if found == "hermitian" and dtype.kind == "f" else found


def check_order(name: str, order: ArrayLike | None, size: int) -> Index | None:
    """Return the order of one side as an index array, None where it stays as it is.

    Raises
    ------
    InputError
        If it is no permutation.
    """
    if order is None:
        return None
    found = as_plain_array(order, name)
    is_whole = found.shape == (size,) and found.dtype.kind in "iu"
    if not is_whole or not np.array_equal(np.sort(found), np.arange(size)):
        raise InputError(f"{name} of shape {found.shape} does not name each of {size} once; give a permutation")
    return found.astype(np.int64, copy=False)


def check_blocks(
    blocks: Sequence[BlockFactors], shape: tuple[int, int], dtype: np.dtype[Any], *, is_half: bool
) -> tuple[BlockFactors, ...]:
    """Return the blocks.

    Raises
    ------
    InputError
        If the dtype is none that is supported; if a block lies outside of the matrix or above the diagonal, its factors
        have other shapes, or values that the dtype cannot hold; or if blocks overlap, as their sizes tell.
    """
    if dtype.char not in SUPPORTED:
        raise InputError(f"dtype={dtype} is not supported; use float32, float64, complex64 or complex128")
    for number, block in enumerate(blocks):
        (first, last), (left, right) = block.rows, block.cols
        if not (0 <= first < last <= shape[0] and 0 <= left < right <= shape[1]):
            raise InputError(
                f"blocks[{number}] has rows {block.rows} and columns {block.cols}, outside of a "
                f"{shape[0]} x {shape[1]} matrix; give a block within it"
            )
        if is_half and block.rows != block.cols and right > first:
            raise InputError(
                f"blocks[{number}] has rows {block.rows} and columns {block.cols}, above the diagonal; "
                "with a symmetry, give those on it and below"
            )
        _check_factors(number, block, dtype)
    area = sum(block.shape[0] * block.shape[1] * (2 if is_half and block.rows != block.cols else 1) for block in blocks)
    if area > shape[0] * shape[1]:
        raise InputError(f"blocks cover {area} entries of a {shape[0]} x {shape[1]} matrix; give disjoint blocks")
    return tuple(blocks)


def _check_factors(number: int, block: BlockFactors, dtype: np.dtype[Any]) -> None:
    """Refuse factors whose product is not the block."""
    for values in block.ks_values:
        if not isinstance(values, np.ndarray) or values.ndim != 4 or values.size == 0:
            raise InputError(f"blocks[{number}] has a factor that is no 4-D array (a, b, c, d) with entries; give one")
        if values.dtype.char not in SUPPORTED or np.result_type(values, dtype) != dtype:
            raise InputError(f"blocks[{number}] has a factor of dtype {values.dtype}, which {dtype} does not hold")
    if block.kind == "butterfly":
        check_permutations(block.orderings, block.chain)
        fits = block.orderings.shape(block.chain) == block.shape
    else:
        fits = _plain_shape(block.ks_values) in (None, block.shape)
    if not fits:
        raise InputError(
            f"blocks[{number}] has rows {block.rows} and columns {block.cols}, and factors of shapes "
            f"{[values.shape for values in block.ks_values]}, whose product is no matrix of {block.shape}"
        )


def _plain_shape(factors: Sequence[NDArray[Any]]) -> tuple[int, int] | None:
    """Shape of a dense block, or of one of low rank; None without factors, and (0, 0) where they do not multiply."""
    if not factors:
        return None
    inner = [values.shape[2] for values in factors[:-1]] == [values.shape[1] for values in factors[1:]]
    flat = all(values.shape[0] == values.shape[3] == 1 for values in factors)
    return (factors[0].shape[1], factors[-1].shape[2]) if inner and flat else (0, 0)
