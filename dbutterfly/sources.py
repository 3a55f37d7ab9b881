"""Matrices to factorize: one interface over arrays in memory, Zarr and Dask arrays, and entry functions.

A source knows its shape, dtype and chunk grid, and reads one tile of a cut at a time as a grid of blocks. Reading is
all it does: conversion to the computing dtype and every check of the entries happen where the tile is worked on.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
from numpy.typing import NDArray

from .entries import Entries
from .errors import DButterflyError, InputError, SourceError
from .layout import Axis, Edges, Index, Part
from .plan import SourceInfo, Tile

__all__ = [
    "ArraySource",
    "DaskSource",
    "EntriesSource",
    "MatrixSource",
    "ZarrSource",
    "as_source",
    "first_bad_entry",
    "unfold",
    "work_dtype",
]


class MatrixSource(ABC):
    """A matrix that can be read tile by tile.

    Attributes
    ----------
    name : str
        What error messages call it.
    shape : (int, int)
        Rows and columns.
    dtype : numpy.dtype
        As stored.
    shared : bool
        Whether a pickled copy can read the matrix in another process.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    shared = True
    edges: tuple[Edges, Edges] = (None, None)
    copies = True
    decode_bytes = 0

    @property
    def info(self) -> SourceInfo:
        """What the plan needs to know."""
        work = work_dtype(self.dtype, self.name)
        return SourceInfo(self.shape, self.dtype.name, work.name, self.edges, self.copies, self.decode_bytes)

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Plain values that differ between matrices, so that a store is not continued with another one."""

    @abstractmethod
    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a contiguous range of rows and columns."""

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read one tile as a grid of blocks.

        Returns
        -------
        array, shape (r1 - r0, c1 - c0, p, v)
            A view of the tile's buffer: row groups and column groups numbered as in storage, members likewise.

        Raises
        ------
        SourceError
            If the storage fails; the message names the range.
        """
        row_parts, col_parts = rows.parts(tile.r0, tile.r1), cols.parts(tile.c0, tile.c1)
        if len(row_parts) == len(col_parts) == 1 and _whole(row_parts[0]) and _whole(col_parts[0]):
            return unfold(self._read_part(row_parts[0], col_parts[0]), rows, cols, tile)
        buffer = np.empty(
            ((tile.r1 - tile.r0) * rows.members, (tile.c1 - tile.c0) * cols.members), self.dtype.newbyteorder("=")
        )
        for row in row_parts:
            for col in col_parts:
                _place(buffer, row, col, self._read_part(row, col))
        return unfold(buffer, rows, cols, tile)

    def _read_part(self, row: Part, col: Part) -> NDArray[Any]:
        try:
            block = np.asarray(self.read_block(slice(row.start, row.stop), slice(col.start, col.stop)))
        except (DButterflyError, MemoryError):
            raise
        except Exception as error:
            raise SourceError(
                f"{self.name}: cannot read rows {row.start}..{row.stop - 1}, columns {col.start}..{col.stop - 1}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if block.shape != (row.stop - row.start, col.stop - col.start):
            raise SourceError(
                f"{self.name}: rows {row.start}..{row.stop - 1}, columns {col.start}..{col.stop - 1} came back with "
                f"shape {block.shape}"
            )
        return block


class ArraySource(MatrixSource):
    """A NumPy array or memory map: tiles are views, nothing is copied."""

    copies = False

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self.shared = _is_whole_memmap(array)
        path = getattr(array, "filename", None) if self.shared else None
        self.name = f"memmap {path}" if path else "array"

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        if not self.shared:
            return ArraySource, (array,)
        assert isinstance(array, np.memmap)
        order = "C" if array.flags.c_contiguous else "F"
        return _reopen_memmap, (str(array.filename), array.dtype, array.offset, array.shape, order)

    def fingerprint(self) -> dict[str, Any]:
        """Hash of the entries at 64 x 64 crossings."""
        rows, cols = (np.unique(np.linspace(0, size - 1, 64).astype(int)) for size in self.shape)
        sample = np.ascontiguousarray(self.array[np.ix_(rows, cols)])
        return {"kind": "array", "sample": hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()}

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """View of a range of rows and columns."""
        return self.array[rows, cols]

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """View of a tile; a copy where a side is scattered."""
        array = self.array
        if rows.index is not None:
            array = array[rows.positions(tile.r0, tile.r1)]
        if cols.index is not None:
            array = array[:, cols.positions(tile.c0, tile.c1)]
        whole = Tile(
            0 if rows.index is None else tile.r0,
            rows.groups if rows.index is None else tile.r1,
            0 if cols.index is None else tile.c0,
            cols.groups if cols.index is None else tile.c1,
        )
        grid = unfold(array, rows, cols, whole)
        return grid[tile.r0 - whole.r0 : tile.r1 - whole.r0, tile.c0 - whole.c0 : tile.c1 - whole.c0]


class EntriesSource(MatrixSource):
    """A matrix given by an entry function: exactly the entries of a tile are evaluated, each once."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.shape, self.dtype = entries.shape, entries.dtype
        self.name = repr(entries)

    def fingerprint(self) -> dict[str, Any]:
        """Hash of the entries at 64 x 64 crossings."""
        rows, cols = (np.unique(np.linspace(0, size - 1, 64).astype(np.int64)) for size in self.shape)
        sample = np.ascontiguousarray(self.entries.block(rows, cols))
        return {"kind": "entries", "sample": hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()}

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Evaluate a range of rows and columns."""
        return self.entries.block(rows, cols)

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Evaluate a tile."""
        block = self.entries.block(rows.positions(tile.r0, tile.r1), cols.positions(tile.c0, tile.c1))
        return unfold(block, rows, cols, tile)


class DaskSource(MatrixSource):
    """A two-dimensional Dask array; its chunks are computed in the task that wants them."""

    def __init__(self, array: Any) -> None:
        if any(np.isnan(size) for sizes in array.chunks for size in sizes):
            raise SourceError("the Dask array has chunks of unknown size; call compute_chunk_sizes() on it first")
        self.array = array
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = np.dtype(array.dtype)
        self.name = f"dask array {array.name}"
        rows, cols = (np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) for sizes in array.chunks)
        self.edges = (rows, cols)
        self.decode_bytes = max(array.chunks[0]) * max(array.chunks[1]) * self.dtype.itemsize

    def fingerprint(self) -> dict[str, Any]:
        """Dask's own token of the array."""
        return {"kind": "dask", "name": self.array.name}

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Compute a range of rows and columns in the calling thread."""
        return np.asarray(self.array[rows, cols].compute(scheduler="synchronous"))


class ZarrSource(MatrixSource):
    """A two-dimensional Zarr array, version 2 or 3, on any store that zarr-python opens."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = np.dtype(array.dtype)
        self.name = f"Zarr array {array.store_path}"
        self.shared = not isinstance(array.store, zarr.storage.MemoryStore)
        chunks = array.shards or array.chunks
        rows, cols = (
            np.append(np.arange(0, size, chunk, dtype=np.int64), np.int64(size))
            for size, chunk in zip(self.shape, chunks, strict=True)
        )
        self.edges = (rows, cols)
        self.decode_bytes = 2 * chunks[0] * chunks[1] * self.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen_zarr, (self.array.store, self.array.path)

    def fingerprint(self) -> dict[str, Any]:
        """Place and metadata of the array; its chunks are not read for this."""
        metadata = repr(sorted(self.array.metadata.to_dict().items(), key=lambda item: item[0]))
        digest = hashlib.blake2b(metadata.encode(), digest_size=16).hexdigest()
        return {"kind": "zarr", "path": str(self.array.store_path), "metadata": digest}

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        return np.asarray(self.array[rows, cols])


def unfold(buffer: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
    """Grid of blocks, shape (row groups, column groups, p, v), as a view of a tile's buffer."""
    grid = buffer.reshape(rows.buffer_shape(tile.r0, tile.r1) + cols.buffer_shape(tile.c0, tile.c1))
    row_axes = (1, 0) if rows.strided else (0, 1)
    col_axes = (3, 2) if cols.strided else (2, 3)
    return grid.transpose(row_axes[0], col_axes[0], row_axes[1], col_axes[1])


def _whole(part: Part) -> bool:
    return part.keep == slice(None) if isinstance(part.keep, slice) else False


def _place(buffer: NDArray[Any], row: Part, col: Part, block: NDArray[Any]) -> None:
    kept = block[row.keep][:, col.keep]
    if isinstance(row.dest, slice) or isinstance(col.dest, slice):
        buffer[row.dest, col.dest] = kept
    else:
        buffer[np.ix_(row.dest, col.dest)] = kept


def work_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Dtype in which a matrix of ``dtype`` is computed.

    Raises
    ------
    InputError
        If the dtype is not numeric, or wider than complex128.
    """
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "fc" and dtype.itemsize <= (8 if dtype.kind == "f" else 16):
        return dtype.newbyteorder("=")
    raise InputError(
        f"{name} has dtype {dtype}; use float32, float64, complex64 or complex128 (float16, integers and booleans are "
        "converted)"
    )


def as_source(source: Any) -> MatrixSource:
    """Wrap anything that holds a matrix.

    Parameters
    ----------
    source : array, memmap, zarr.Array, Zarr store, dask.array.Array, Entries, str or path
        Paths name a ``.npy`` file (memory-mapped) or a Zarr array, local or a URL such as ``s3://bucket/z.zarr``. CuPy
        arrays are copied to the host.

    Raises
    ------
    SourceError
        If it cannot be opened, or is no matrix.
    InputError
        If its dtype cannot be factorized.
    """
    found = _wrapped(source)
    work_dtype(found.dtype, found.name)
    return found


def _wrapped(source: Any) -> MatrixSource:
    if isinstance(source, MatrixSource):
        return source
    if isinstance(source, Entries):
        return EntriesSource(source)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source))
    if isinstance(source, zarr.Array):
        _check_matrix(source.shape, f"Zarr array {source.store_path}")
        return ZarrSource(_reopened(source.store, source.path, source))
    if isinstance(source, zarr.Group):
        raise SourceError(f"source is the Zarr group {source.store_path}; name one of its arrays: {_arrays(source)}")
    if isinstance(source, zarr.abc.store.Store):
        return _wrapped(_open_zarr_array(source))
    if hasattr(source, "dask") and hasattr(source, "chunks"):
        _check_matrix(source.shape, "Dask array")
        return DaskSource(source)
    if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
        source = source.get()
    array = np.asanyarray(source) if isinstance(source, np.memmap) else _as_numpy(source)
    _check_matrix(array.shape, "array")
    return ArraySource(array)


def _as_numpy(source: Any) -> NDArray[Any]:
    if hasattr(source, "tocsr"):
        raise SourceError(f"source is a sparse {type(source).__name__}; pass source.toarray()")
    if isinstance(source, np.ma.MaskedArray):
        raise SourceError("source is a masked array; pass source.filled(value)")
    if not isinstance(source, np.ndarray) and hasattr(source, "chunks"):
        raise SourceError(
            f"source is a {type(source).__module__}.{type(source).__name__}; wrap it as dask.array.from_array(source)"
        )
    try:
        return np.asarray(source)
    except Exception as error:
        raise SourceError(f"source of type {type(source).__name__} is no array: {error}") from error


def _check_matrix(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2:
        raise SourceError(f"{name} has {len(shape)} dimensions, shape {tuple(shape)}; a matrix has two")
    if 0 in shape:
        raise SourceError(f"{name} is empty, shape {tuple(shape)}; both sides must be at least 1")


def _from_path(path: str) -> MatrixSource:
    local = Path(path.removeprefix("file://"))
    if "://" not in path and not local.exists():
        raise SourceError(f"source={path!r} does not exist; give a Zarr array, its URL, or a .npy file")
    if local.suffix == ".npy" and local.is_file():
        try:
            array = np.load(local.absolute(), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"source={path!r} is no readable .npy file of numbers: {error}") from error
        _check_matrix(array.shape, f"source={path!r}")
        return ArraySource(array)
    # Absolute, so that workers in other directories find it, and a resumed run knows it again.
    found = _open_zarr_array(path if "://" in path else local.absolute())
    _check_matrix(found.shape, f"source={path!r}")
    return ZarrSource(found)


def _open_zarr_array(store: Any) -> zarr.Array[Any]:
    """Open a Zarr array for reading.

    Raises
    ------
    SourceError
        If there is none; for a group, the message lists its arrays.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = zarr.open(store, mode="r")
    except Exception as error:
        raise SourceError(
            f"source={store!r} cannot be opened as a Zarr array: {type(error).__name__}: {error}"
        ) from error
    if isinstance(node, zarr.Group):
        raise SourceError(f"source={store!r} is a Zarr group; name one of its arrays: {_arrays(node)}")
    return _reopened(node.store, node.path, node)


def _arrays(group: zarr.Group) -> str:
    names = [name for name, _ in group.arrays()]
    return ", ".join(names[:8]) if names else "it has none"


def _reopened(store: Any, path: str, fallback: zarr.Array[Any]) -> zarr.Array[Any]:
    """Open an array again with the compiled codec pipeline, where that knows its codecs and its store.

    It reads uncompressed chunks about twice as fast as zarr's own (benchmarks/read_limit.py); ``fallback`` is used for
    what it cannot open. It falls back to zarr's own codecs by itself where it lacks one.
    """
    if not np.dtype(fallback.dtype).isnative:
        return fallback
    try:
        with warnings.catch_warnings(), zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            warnings.simplefilter("ignore")
            return zarr.open_array(store, path=path, mode="r")
    except (TypeError, ValueError, NotImplementedError, ImportError):
        return fallback


def _reopen_zarr(store: Any, path: str) -> ZarrSource:
    plain = zarr.open_array(store, path=path, mode="r")
    return ZarrSource(_reopened(store, path, plain))


def _is_whole_memmap(array: NDArray[Any]) -> bool:
    """Whether other processes can map the same file: not so for views, whose offset NumPy does not keep."""
    base: object = array.base
    return isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and array.flags.forc


def _reopen_memmap(path: str, dtype: Any, offset: int, shape: tuple[int, int], order: Any) -> ArraySource:
    return ArraySource(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))


def first_bad_entry(grid: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> tuple[int, int] | None:
    """Row and column in storage of the first NaN or infinity of a tile, in row-major order; None if there is none."""
    row_at = _by_group(rows, tile.r0, tile.r1)
    col_at = _by_group(cols, tile.c0, tile.c1)
    best: tuple[int, int] | None = None
    for g, row_members in enumerate(row_at):
        h, i, j = np.nonzero(~np.isfinite(grid[g]))
        for candidate in _row_major_first(row_members[i], col_at[h, j]):
            best = candidate if best is None else min(best, candidate)
    return best


def _row_major_first(rows: Index, cols: Index) -> Iterator[tuple[int, int]]:
    if rows.size:
        at = np.lexsort((cols, rows))[0]
        yield int(rows[at]), int(cols[at])


def _by_group(axis: Axis, first: int, last: int) -> Index:
    """Storage positions, shape (groups, members)."""
    positions = axis.positions(first, last).reshape(axis.buffer_shape(first, last))
    return positions.T if axis.strided else positions
