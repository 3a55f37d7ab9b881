"""The chunks of an intermediate array that a range touches: where they lie, and whether their files can be read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import zarr

from .guarded_store import GuardedStore, check_file

__all__ = ["Selection", "check_chunk_files", "chunks_of", "is_whole"]

Selection: TypeAlias = tuple[slice, ...]


def is_whole(array: zarr.Array[Any], selection: Selection) -> bool:
    """Whether a range is made of chunks that lie in the array from end to end."""
    parts = (*selection, *[slice(None)] * (array.ndim - len(selection)))
    for size, chunk, part in zip(array.shape, array.chunks, parts, strict=True):
        start, stop, _ = part.indices(size)
        if start % chunk or stop % chunk:
            return False
    return True


def chunks_of(array: zarr.Array[Any], selection: Selection) -> Iterator[tuple[tuple[int, ...], Selection]]:
    """Grid position and range of every chunk that a selection touches."""
    spans = [part.indices(size) for part, size in zip(selection, array.shape, strict=False)]
    spans += [(0, size, 1) for size in array.shape[len(spans) :]]
    grid = [
        range(start // chunk, math.ceil(stop / chunk))
        for (start, stop, _), chunk in zip(spans, array.chunks, strict=True)
    ]
    for at in itertools.product(*grid):
        yield (
            at,
            tuple(
                slice(index * chunk, min((index + 1) * chunk, size))
                for index, chunk, size in zip(at, array.chunks, array.shape, strict=True)
            ),
        )


def check_chunk_files(array: zarr.Array[Any], selection: Selection) -> None:
    """Raise ObstacleError if what has the place of a chunk in a directory is no file.

    The compiled codec pipeline opens files by itself, and would wait for a pipe for ever.
    """
    if isinstance(array.store, GuardedStore):
        directory = array.store.root / array.path
        for at, _ in chunks_of(array, selection):
            check_file(directory / array.metadata.encode_chunk_key(at))
