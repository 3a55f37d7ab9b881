"""Turn anything that holds a matrix, or several, into a source: the entrance of this room for both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
import zarr.storage

from ...errors import DButterflyError, InputError, SourceError
from ...storage.arrays import check_written
from ...storage.local_paths import is_url, local_path
from ...storage.manifest import KEY
from ...structure.plain_arrays import as_plain_array, is_masked
from ..base import MatrixSource
from ..dispatch import as_source
from ..entries import Entries
from ..labelled import is_labelled, unlabelled
from ..operators import is_operator
from ..packing import find_packing
from ..paths import is_store_in_dict, open_node, open_path
from .arrays import ArrayStack
from .base import ListedStack
from .tensor_files import SUFFIX, open_tensor_file
from .zarr_arrays import ZarrStack

__all__ = ["open_matrices"]


def open_matrices(source: Any, *, decode: bool = True) -> MatrixSource:
    """Wrap anything that holds a matrix, or several.

    Parameters
    ----------
    source : object
        Anything that :func:`dbutterfly.factorize` takes.
    decode : bool
        As for :func:`dbutterfly.sources.dispatch.as_source`.

    Returns
    -------
    MatrixSource
        A StackSource where it holds several.

    Raises
    ------
    SourceError
        If it cannot be opened, is empty, or has four axes and more.
    InputError
        If the dtype of a matrix cannot be factorized; the message names the matrix.
    """
    found = _find(source, decode)
    return as_source(source, decode=decode) if found is None else found


def _find(source: Any, decode: bool) -> MatrixSource | None:
    """Stack, or a matrix that had to be opened to be told from one; None for any other matrix, and for what is none."""
    if isinstance(source, MatrixSource):
        return source
    if isinstance(source, Entries) or is_store_in_dict(source) or is_operator(source):
        return None
    if isinstance(source, (str, os.PathLike)):
        return _of_path(os.fspath(source), decode)
    if isinstance(source, (zarr.abc.store.Store, zarr.storage.StorePath)):
        return _of_node(open_node(source), decode)
    if isinstance(source, zarr.AsyncArray):
        source = zarr.Array(source)
    if isinstance(source, (zarr.Array, zarr.Group)):
        return _of_node(source, decode)
    if isinstance(source, (list, tuple)):
        return _of_list(source, decode)
    return _of_array(source, decode)


def _of_path(path: str, decode: bool) -> MatrixSource | None:
    """Stack of a file of tensors, of an array with three axes, or of a group of matrices."""
    if path.endswith(SUFFIX):
        return open_tensor_file(path)
    if is_url(path) or (path.strip() and Path(local_path(path, "source")).is_dir()):
        return _of_node(open_node(path), decode)
    if not path.endswith(".npy"):
        return None
    found = open_path(path)
    return ArrayStack(found) if isinstance(found, np.ndarray) and _has_three_axes(found.shape, path) else None


def _of_node(node: zarr.Array[Any] | zarr.Group, decode: bool) -> MatrixSource | None:
    """Stack of an array with three axes, or of the matrices of a group; an array with two as it is."""
    if isinstance(node, zarr.Group):
        return _of_group(node, decode)
    if not _has_three_axes(node.shape, f"Zarr array {node.store_path}"):
        return as_source(node, decode=decode) if node.ndim == 2 and node.size else None
    check_written(node)
    return ZarrStack(node, find_packing(node, f"Zarr array {node.store_path}") if decode else None)


def _of_group(group: zarr.Group, decode: bool) -> MatrixSource | None:
    """Stack of the matrices of a group, or of its one array with three axes; None where there is neither."""
    if KEY in group.attrs:
        return None
    arrays = sorted(group.arrays())
    matrices = [(name, array) for name, array in arrays if array.ndim == 2 and array.size]
    if not matrices:
        stacks = [array for _, array in arrays if array.ndim == 3]
        return _of_node(stacks[0], decode) if len(stacks) == 1 else None
    left = [f"{name} {array.shape}" for name, array in arrays if array.ndim != 2 or not array.size]
    sources = [_source(array, name, decode) for name, array in matrices]
    return ListedStack(sources, f"Zarr group {group.store_path}", [name for name, _ in matrices], left)


def _of_list(sources: list[Any] | tuple[Any, ...], decode: bool) -> MatrixSource | None:
    """Stack of a list of anything that is a matrix; None for lists of rows, which are a matrix themselves."""
    if not sources:
        raise SourceError("source is an empty list; a stack has one matrix at least")
    if not any(_is_matrix(each) for each in sources):
        array = as_plain_array(sources, "source", SourceError) if _depth(sources) > 2 else None
        return None if array is None else _of_array(array, decode)
    return ListedStack([_source(each, str(number), decode) for number, each in enumerate(sources)])


def _of_array(source: Any, decode: bool) -> MatrixSource | None:
    """Stack of an array in memory, of xarray or of Dask."""
    if is_labelled(source) and getattr(source, "ndim", 0) == 3:
        return _find(unlabelled(source, decode=decode, ndim=3), decode)
    shape = getattr(source, "shape", None)
    if not isinstance(shape, tuple) or is_labelled(source) or hasattr(source, "tocsr"):
        return None
    if not _has_three_axes(shape, "array"):
        return None
    if hasattr(source, "dask") and hasattr(source, "chunks"):
        from .dask_arrays import DaskStack  # dask.array is imported by those who have one

        return DaskStack(source)
    if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
        source = source.get()
    if is_masked(source):
        raise SourceError("source is a masked array; pass source.filled(value)")
    array = source if isinstance(source, np.memmap) else as_plain_array(source, "source", SourceError)
    return ArrayStack(array)


def _has_three_axes(shape: tuple[int, ...], name: str) -> bool:
    """Whether a shape is that of a stack; of more axes, it is refused."""
    if len(shape) > 3:
        raise SourceError(
            f"{name} has {len(shape)} dimensions, shape {tuple(shape)}; a matrix has two, and a stack of matrices "
            "three: reshape it, or take a part"
        )
    return len(shape) == 3


def _is_matrix(each: Any) -> bool:
    """Whether something in a list is a matrix by itself, and no row of one."""
    if isinstance(each, (MatrixSource, Entries, str, os.PathLike, zarr.abc.store.Store, zarr.storage.StorePath)):
        return True
    shape = getattr(each, "shape", None)
    return isinstance(shape, tuple) and len(shape) == 2


def _depth(nested: Any) -> int:
    """Levels of nested lists, along their first items."""
    depth = 0
    while isinstance(nested, (list, tuple)) and nested:
        depth, nested = depth + 1, nested[0]
    return depth + len(getattr(nested, "shape", ()))


def _source(each: Any, name: str, decode: bool) -> MatrixSource:
    """Source of one matrix of a list or group, named in errors."""
    try:
        return as_source(each, decode=decode)
    except DButterflyError as error:
        kind = SourceError if isinstance(error, SourceError) else InputError
        raise kind(f"matrix {name} of the stack: {error}") from error
