"""What a block or a product must be that a source was asked for: one rule for all sources.

It has the shape that was asked for, no mask, and the dtype that the matrix was declared with. Another dtype is
converted within its kind, as entry functions are told, and only if no entry changes by more than rounding to float32 or
better: a matrix that is declared as integers, truth values or float16 must keep every entry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..structure.plain_arrays import as_plain_array, is_masked

__all__ = ["check_block", "with_checked_blocks"]


def check_block(
    given: Any, shape: tuple[int, ...], dtype: np.dtype[Any], explain: Callable[[str, str], SourceError]
) -> NDArray[Any]:
    """Return a block as a plain array of the dtype that was declared.

    Parameters
    ----------
    given : array_like
        What a source has returned.
    shape : tuple of int
        Shape that was asked for.
    dtype : numpy.dtype
        Dtype that was declared.
    explain : callable
        Makes an error from what the block has or is, such as ``"dtype int64"``, and from why that is wrong.

    Raises
    ------
    SourceError
        If it is masked, has another shape, or entries that the dtype does not hold.
    """
    if is_masked(given):
        raise explain("a masked array", "; return filled(value) of it, as what lies under a mask is no entry")
    if hasattr(given, "tocsr") or hasattr(given, "todense"):
        raise explain("a sparse array", "; return a dense one, by toarray() or todense()")
    try:
        block = as_plain_array(given, "it", SourceError)
    except SourceError:
        raise
    except Exception as error:
        raise explain(f"a {type(given).__name__}", f", which is no array: {type(error).__name__}: {error}") from error
    if block.shape != shape:
        raise explain(f"shape {block.shape}", f"; {shape} is needed")
    if block.dtype == dtype:
        return block
    if not np.can_cast(block.dtype, dtype, casting="same_kind"):
        raise explain(
            f"dtype {block.dtype}", f", which does not cast to dtype={dtype}; convert it, or declare another dtype"
        )
    with np.errstate(all="ignore"):
        cast = block.astype(dtype)
        is_wide = dtype.kind in "fc" and dtype.itemsize >= 4
        changed = np.isfinite(block) & ~np.isfinite(cast) if is_wide else (cast != block) & (block == block)
    if changed.any():
        entry = block[tuple(np.argwhere(changed)[0])]
        raise explain(
            f"dtype {block.dtype}",
            f" and entries such as {entry}, which dtype={dtype} does not hold; convert it, or declare another dtype",
        )
    return cast


def with_checked_blocks(array: Any, name: str) -> Any:
    """Dask array whose blocks are each checked when they are computed, before Dask puts them together.

    Dask joins blocks into an array of the first one's dtype, and broadcasts those that are too small.
    """
    check = functools.partial(_check_dask_block, called=name, chunks=array.chunks, declared=array.dtype)
    return array.map_blocks(check, dtype=array.dtype, meta=np.empty((0,) * array.ndim, array.dtype))


def _check_dask_block(
    block: Any, *, called: str, chunks: tuple[tuple[int, ...], ...], declared: np.dtype[Any], block_id: tuple[int, ...]
) -> NDArray[Any]:
    """Check a block of a Dask array by the chunks and the dtype that the array declares."""

    def explain(what: str, why: str) -> SourceError:
        return SourceError(f"{called}: block {block_id} came back with {what}{why}")

    return check_block(block, tuple(sizes[at] for sizes, at in zip(chunks, block_id, strict=True)), declared, explain)
