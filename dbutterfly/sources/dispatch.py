"""Turn anything that a caller may hand over into a source: the one entrance of this room."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
import zarr.storage
from numpy.typing import NDArray

from ..errors import InputError, SourceError
from ..storage.arrays import check_written
from ..structure.plain_arrays import as_plain_array
from .arrays import ArraySource
from .base import MatrixSource
from .entries import Entries
from .entries_source import EntriesSource
from .info import work_dtype
from .labelled import is_labelled, unlabelled
from .no_matrix import refuse_thing
from .operators import is_operator, operator_source
from .packed_zarr import PackedSource
from .packing import find_packing
from .paths import is_store_in_dict, list_arrays, open_dict, open_path, open_zarr_array
from .zarr_array import ZarrSource

__all__ = ["as_source"]


def as_source(source: Any, *, decode: bool = True) -> MatrixSource:
    """Wrap anything that holds a matrix.

    Parameters
    ----------
    source : array, memmap, zarr.Array, Zarr store, dask.array.Array, xarray.DataArray, Entries, LinearOperator, ...
        Paths name a ``.npy`` file (memory-mapped) or a Zarr array, local or a URL such as ``s3://bucket/z.zarr``. CuPy
        arrays are copied to the host. A Dataset of xarray is taken if it has one two-dimensional variable. Of an
        operator, five products and five of its adjoint are taken to look at it.
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
    found = _wrap(unlabelled(source, decode=decode) if is_labelled(source) else source)
    if isinstance(found, ZarrSource) and decode:
        packing = find_packing(found.array, found.name)
        found = found if packing is None else PackedSource(found, packing)
    work_dtype(found.dtype, found.name)
    return found


def _wrap(source: Any) -> MatrixSource:
    """Choose the source for the type of an object."""
    if isinstance(source, Entries):
        return EntriesSource(source)
    if is_store_in_dict(source):
        source = open_dict(source)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source))
    refuse_thing(source)
    if is_operator(source):
        _check_matrix(tuple(source.shape), f"operator {type(source).__name__}")
        return operator_source(source)
    if isinstance(source, zarr.AsyncArray):
        source = zarr.Array(source)
    if isinstance(source, zarr.Array):
        _check_matrix(source.shape, f"Zarr array {source.store_path}")
        check_written(source)
        return ZarrSource(source)
    if isinstance(source, zarr.Group):
        names = list_arrays(source)
        raise SourceError(f"source is the Zarr group {source.store_path}; name one of its arrays: {names}")
    if isinstance(source, (zarr.abc.store.Store, zarr.storage.StorePath)):
        return _wrap(open_zarr_array(source))
    if hasattr(source, "dask") and hasattr(source, "chunks"):
        _check_matrix(source.shape, "Dask array")
        from .dask_array import DaskSource  # dask.array is imported by those who have one

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
    return as_plain_array(source, "source", SourceError)


def _check_matrix(shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape that is not that of a matrix."""
    if len(shape) != 2:
        raise SourceError(f"{name} has {len(shape)} dimensions, shape {tuple(shape)}; a matrix has two")
    if 0 in shape:
        raise SourceError(f"{name} is empty, shape {tuple(shape)}; both sides must be at least 1")


def _from_path(path: str) -> MatrixSource:
    """Open a ``.npy`` file or a Zarr array."""
    found = open_path(path)
    _check_matrix(found.shape, f"source={path!r}")
    if isinstance(found, np.ndarray):
        return ArraySource(found)
    check_written(found)
    return ZarrSource(found)
