"""Matrices to factorize: arrays in memory, Zarr and Dask arrays, entry functions and operators, one interface.

The interface is :class:`~dbutterfly.matrix_source.MatrixSource`, which can be imported from here too.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
from numpy.typing import NDArray

from .entries import Entries
from .errors import InputError, MissingChunksError, MissingChunksWarning, SourceError
from .matrix_source import MatrixSource, unfold, work_dtype
from .operator_source import OperatorSource, is_operator, operator_source
from .reproducible import check_reproducible
from .storage.places import as_store, is_remote
from .storage.retries import reason, retried
from .structure.axes import Axis, Index, Tile
from .zarr_source import ZarrSource

__all__ = [
    "ArraySource",
    "DaskSource",
    "EntriesSource",
    "MatrixSource",
    "OperatorSource",
    "ZarrSource",
    "as_source",
    "check_missing",
    "first_bad_entry",
    "unfold",
    "work_dtype",
]


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
        self.sampled = entries.sampled
        self.shape, self.dtype = entries.shape, entries.dtype
        self.name = repr(entries)

    def fingerprint(self) -> dict[str, Any]:
        """Hash of the entries at 64 x 64 crossings."""
        rows, cols = (np.unique(np.linspace(0, size - 1, 64).astype(np.int64)) for size in self.shape)
        sample = np.ascontiguousarray(self.entries.block(rows, cols))
        kind = "sampled entries" if self.sampled else "entries"
        return {"kind": kind, "sample": hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()}

    def check_reproducible(self) -> None:
        """Evaluate some entries again, in other requests."""
        check_reproducible(self.entries)

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


def as_source(source: Any) -> MatrixSource:
    """Wrap anything that holds a matrix.

    Parameters
    ----------
    source : array, memmap, zarr.Array, Zarr store, dask.array.Array, Entries, LinearOperator, sparse matrix, or path
        Paths name a ``.npy`` file (memory-mapped) or a Zarr array, local or a URL such as ``s3://bucket/z.zarr``. CuPy
        arrays are copied to the host. Of an operator, one product and one of its adjoint are taken to look at it.

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
    if is_operator(source):
        _check_matrix(tuple(source.shape), f"operator {type(source).__name__}")
        return operator_source(source)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source))
    if isinstance(source, zarr.Array):
        _check_matrix(source.shape, f"Zarr array {source.store_path}")
        return ZarrSource(source)
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
    found = _open_zarr_array(path)
    _check_matrix(found.shape, f"source={path!r}")
    return ZarrSource(found)


def _open_zarr_array(place: Any) -> zarr.Array[Any]:
    """Open a Zarr array for reading.

    Raises
    ------
    SourceError
        If there is none; for a group, the message lists its arrays.
    """
    store = as_store(place, read_only=True, argument="source")  # absolute: workers elsewhere and later runs know it
    try:
        node = retried(lambda: _open_quietly(store), describe=f"open source={place!r}", remote=is_remote(store))
    except Exception as error:
        raise SourceError(f"source={place!r} cannot be opened as a Zarr array: {reason(error)}") from error
    if isinstance(node, zarr.Group):
        raise SourceError(f"source={place!r} is a Zarr group; name one of its arrays: {_arrays(node)}")
    found: zarr.Array[Any] = node
    return found


def _open_quietly(store: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open(store, mode="r")


def _arrays(group: zarr.Group) -> str:
    names = [name for name, _ in group.arrays()]
    return ", ".join(names[:8]) if names else "it has none"


def _is_whole_memmap(array: NDArray[Any]) -> bool:
    """Whether other processes can map the same file: not so for views, whose offset NumPy does not keep."""
    base: object = array.base
    return isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and array.flags.forc


def _reopen_memmap(path: str, dtype: Any, offset: int, shape: tuple[int, int], order: Any) -> ArraySource:
    return ArraySource(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))


def check_missing(source: MatrixSource, missing: str) -> None:
    """Say, or refuse, that chunks of a matrix are not in its storage.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    missing : {"fill", "error"}
        Whether they are taken for their fill value, with a warning, or refused.

    Warns
    -----
    MissingChunksWarning
        If chunks are missing and are taken for their fill value, or if the storage does not tell which chunks it holds.

    Raises
    ------
    MissingChunksError
        If chunks are missing and refused, or if the storage does not tell which chunks it holds and they must be known.
    InputError
        If ``missing`` is neither of the two.
    """
    if missing not in ("fill", "error"):
        raise InputError(
            f"missing={missing!r} is unknown; use 'fill' (take missing chunks for their fill value) or 'error'"
        )
    if source.lists_chunks and not source.missing_chunks:
        return
    warning, refusal = _missing_texts(source)
    if missing == "error":
        raise MissingChunksError(f"{source.name}: {refusal}")
    warnings.warn(f"{source.name}: {warning}", MissingChunksWarning, stacklevel=4)


def _missing_texts(source: MatrixSource) -> tuple[str, str]:
    """What is said of missing chunks where they are taken for their fill value, and where they are refused."""
    fill = f"the fill value {source.fill_value}"
    if not source.lists_chunks:
        text = f"its store cannot be listed, so that missing chunks, read as {fill}, go unnoticed"
        return text, f"{text}; pass missing='fill' to accept that, or name a store that can be listed"
    count = f"{source.missing_chunks} of {source.chunk_count} chunks are not stored"
    keys = source.missing_keys(5)
    listed = ", ".join(keys) + (", ..." if source.missing_chunks > len(keys) else "")
    return (
        f"{count} and are taken for {fill}, the first being {keys[0]}; this is right if they were never written, and "
        "wrong if they were lost: pass missing='error' to refuse them",
        f"{count}: {listed}; restore them, or pass missing='fill' to take them for {fill} (Zarr need not store chunks "
        "that hold nothing else)",
    )


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
