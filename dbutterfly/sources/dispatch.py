"""Turn anything that a caller may hand over into a source: the one entrance of this room."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
from numpy.typing import NDArray

from ..errors import InputError, SourceError
from ..storage.places import as_store, is_remote
from ..storage.retries import reason, retry
from ..structure.plain_arrays import as_plain_array
from .arrays import ArraySource, DaskSource
from .base import MatrixSource
from .entries import Entries
from .entries_source import EntriesSource
from .info import work_dtype
from .operators import is_operator, operator_source
from .packed_zarr import PackedSource
from .packing import find_packing
from .zarr_array import ZarrSource

__all__ = ["as_source"]


def as_source(source: Any, *, decode: bool = True) -> MatrixSource:
    """Wrap anything that holds a matrix.

    Parameters
    ----------
    source : array, memmap, zarr.Array, Zarr store, dask.array.Array, Entries, LinearOperator, sparse matrix, or path
        Paths name a ``.npy`` file (memory-mapped) or a Zarr array, local or a URL such as ``s3://bucket/z.zarr``. CuPy
        arrays are copied to the host. Of an operator, four products and four of its adjoint are taken to look at it.
    decode : bool
        Whether the attributes of a Zarr array that say what its numbers mean are heeded
        (:mod:`dbutterfly.sources.packing`).

    Raises
    ------
    SourceError
        If it cannot be opened, or is no matrix.
    InputError
        If its dtype cannot be factorized.
    """
    if not isinstance(decode, (bool, np.bool_)):
        raise InputError(f"decode={decode!r} is neither True nor False")
    if isinstance(source, MatrixSource):
        return source
    found = _wrap(source)
    if isinstance(found, ZarrSource) and decode:
        packing = find_packing(found.array, found.name)
        found = found if packing is None else PackedSource(found, packing)
    work_dtype(found.dtype, found.name)
    return found


def _wrap(source: Any) -> MatrixSource:
    """Choose the source for the type of an object."""
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
        names = _list_arrays(source)
        raise SourceError(f"source is the Zarr group {source.store_path}; name one of its arrays: {names}")
    if isinstance(source, zarr.abc.store.Store):
        return _wrap(_open_zarr_array(source))
    if hasattr(source, "dask") and hasattr(source, "chunks"):
        _check_matrix(source.shape, "Dask array")
        return DaskSource(source)
    if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
        source = source.get()
    array = np.asanyarray(source) if isinstance(source, np.memmap) else _as_numpy(source)
    _check_matrix(array.shape, "array")
    return ArraySource(array)


def _as_numpy(source: Any) -> NDArray[Any]:
    """Convert an object to an array, but for those of which NumPy would make something else than their entries."""
    if hasattr(source, "tocsr"):
        raise SourceError(f"source is a sparse {type(source).__name__}; pass source.toarray()")
    if not isinstance(source, np.ndarray) and hasattr(source, "chunks"):
        raise SourceError(
            f"source is a {type(source).__module__}.{type(source).__name__}; wrap it as dask.array.from_array(source)"
        )
    if isinstance(source, np.ma.MaskedArray):
        raise SourceError("source is a masked array; pass source.filled(value)")
    try:
        return as_plain_array(source, "source", SourceError)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"source of type {type(source).__name__} is no array: {error}") from error


def _check_matrix(shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape that is not that of a matrix."""
    if len(shape) != 2:
        raise SourceError(f"{name} has {len(shape)} dimensions, shape {tuple(shape)}; a matrix has two")
    if 0 in shape:
        raise SourceError(f"{name} is empty, shape {tuple(shape)}; both sides must be at least 1")


def _from_path(path: str) -> MatrixSource:
    """Open a ``.npy`` file or a Zarr array."""
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
        node = retry(lambda: _open_quietly(store), describe=f"open source={place!r}", remote=is_remote(store))
    except Exception as error:
        raise SourceError(f"source={place!r} cannot be opened as a Zarr array: {reason(error)}") from error
    if isinstance(node, zarr.Group):
        raise SourceError(f"source={place!r} is a Zarr group; name one of its arrays: {_list_arrays(node)}")
    found: zarr.Array[Any] = node
    return found


def _open_quietly(store: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open(store, mode="r")


def _list_arrays(group: zarr.Group) -> str:
    names = [name for name, _ in group.arrays()]
    return ", ".join(names[:8]) if names else "it has none"
