"""Writing a matrix into a Zarr array, chunk by chunk."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..execution.progress import ProgressBar
from ..sources.entries import Entries
from ..sources.places_read import places_read
from ..storage.arrays import new_array, open_array
from ..structure.arguments import read_flag, read_shape
from ..structure.axes import largest_divisor
from .known import KnownMatrix, Matrix, as_entries

if TYPE_CHECKING:
    import zarr

__all__ = ["default_chunks", "write"]

_CHUNK_BYTES = 8 << 20
"""Most bytes of a default chunk. Not tuned: no benchmark varies it."""

_SLAB_BYTES = 2 << 20
"""Bytes of a default chunk of whole rows, if one row is not longer. Not tuned.

Slabs are smaller than other chunks, since a tile takes one out of each of about sqrt(M) row groups.
"""

_CHUNK_SIDE = 1024
"""Longest side of a default chunk that is no slab: in float64, 1024 x 1024 entries are ``_CHUNK_BYTES``."""


def write(
    matrix: Matrix,
    store: Any,
    *,
    chunks: tuple[int, int] | None = None,
    overwrite: bool = False,
    compressors: Any = None,
    progress: bool | Callable[[int, int], None] = False,
) -> zarr.Array[Any]:
    """Write a matrix into a new Zarr array, chunk by chunk.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        Only a few chunks of it are in memory at a time.
    store : path, URL or Zarr store
        Where the array is created (Zarr format 3). In a local directory, nothing is there before it is complete.
    chunks : (int, int), optional
        Shape of a chunk, by default that of :func:`default_chunks`.
    overwrite : bool
        Whether to replace an array or group that is there. It stays until the new array is complete, and stays if that
        fails. Runs and other files are never replaced, and neither is what object storage holds, which has no rename.
    compressors : optional
        As for :func:`zarr.create_array`; by default none, as dense floating-point numbers hardly compress.
    progress : bool or callable
        True shows a bar on stderr; a callable is called as ``progress(done, total)`` after every chunk.

    Returns
    -------
    zarr.Array
        Its attribute ``"dbutterfly_matrix"`` describes the matrix. It is set last: an array without it, as object
        storage may have, was not written to its end.

    Raises
    ------
    InputError
        If ``matrix`` is not two-dimensional or has an unsupported dtype, ``chunks`` are not positive, or the matrix is
        read from where the array would be.
    StoreError
        If there is something at the place already, or the array cannot be created; nothing was changed then.
    SourceError
        If an entry function fails.
    """
    entries = as_entries(matrix)
    chunks = default_chunks(matrix) if chunks is None else _check_chunks(chunks, entries.shape)
    overwrite = read_flag("overwrite", overwrite)
    if not callable(progress):
        progress = read_flag("progress", progress)
    known = isinstance(entries, KnownMatrix) or entries is not matrix
    with new_array(
        store,
        entries.shape,
        entries.dtype,
        chunks,
        sources=places_read(matrix),
        overwrite=overwrite,
        compressors=compressors,
    ) as array:
        _fill(array, entries, chunks, progress)
        array.attrs["dbutterfly_matrix"] = repr(entries.f) if known else "entries"
    return open_array(store, read_only=False)


def _fill(
    array: zarr.Array[Any], entries: Entries, chunks: tuple[int, int], progress: bool | Callable[[int, int], None]
) -> None:
    """Write every chunk."""
    starts = [range(0, side, step) for side, step in zip(entries.shape, chunks, strict=True)]
    total = len(starts[0]) * len(starts[1])
    with ProgressBar(progress is True) as bar:
        bar.start("write", total, 0)
        for done, (row, col) in enumerate(itertools.product(*starts), 1):
            at = slice(row, row + chunks[0]), slice(col, col + chunks[1])
            block = entries.block(*at)
            array[at] = block
            bar.advance(block.nbytes)
            if callable(progress):
                progress(done, total)


def default_chunks(matrix: Matrix) -> tuple[int, int]:
    """Choose a chunk shape with which the root cut can read every chunk once, in tiles of few chunks.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        Only shape, dtype, chain and orderings are looked at.

    Returns
    -------
    (int, int)
        A chunk of at most 8 MiB.

    Notes
    -----
    Cutting the chain in the middle views the rows as ``(p, u)``, and a tile takes a range of the u rows ``rl`` out of
    every one of the p groups. With columns in standard order a column group is contiguous and squares serve well. With
    bit-reversed columns a group is strided too, and a tile spans all columns: chunks are slabs of whole rows, whose
    number divides u and is at most a quarter of it, such that there are a few tiles to choose from, of about 2 MiB.
    """
    entries = as_entries(matrix)
    (rows, cols), itemsize = entries.shape, entries.dtype.itemsize
    slab = _strided_rows(entries)
    if slab is not None:
        fitting = max(_SLAB_BYTES // (cols * itemsize), 1)
        height = largest_divisor(slab, min(fitting, max(slab // 4, 1)))
        return height, _chunk_side(cols, _CHUNK_BYTES // (height * itemsize))
    width = _chunk_side(cols, _CHUNK_SIDE)
    return _chunk_side(rows, min(_CHUNK_SIDE, _CHUNK_BYTES // (width * itemsize))), width


def _strided_rows(entries: Entries) -> int | None:
    """Stride u of the row groups at the middle cut, if rows and columns are both strided in storage; else None."""
    chain = getattr(entries, "chain", None)
    if chain is None or len(chain) < 2 or not isinstance(entries, KnownMatrix):
        return None
    if entries.orderings.rows is not None or not isinstance(entries.orderings.cols, str):
        return None
    return int(chain.cut(len(chain) // 2)[0].u)


def _chunk_side(size: int, limit: int) -> int:
    """Largest divisor of ``size`` up to ``limit``, or the limit where that is much smaller."""
    limit = min(size, limit)
    divisor = largest_divisor(size, limit)
    return divisor if 4 * divisor >= limit else limit


def _check_chunks(chunks: Any, shape: tuple[int, int]) -> tuple[int, int]:
    """Return ``chunks`` as two integers, no larger than ``shape``; raise InputError if that cannot be."""
    rows, cols = read_shape("chunks", chunks)
    return min(rows, shape[0]), min(cols, shape[1])
