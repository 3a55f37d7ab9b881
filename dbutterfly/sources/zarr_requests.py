"""How a range of a Zarr array is cut into requests, and which pipeline reads each of them.

Two pipelines decode chunks: the compiled one (zarrs) in the calling thread, straight into its destination, and
zarr-python's own, whose requests overlap. The compiled one takes arrays in local directories, with the exceptions that
:func:`choose_routes` gives. What is held besides the destination is bounded: a request that is decoded
somewhere else first asks for few chunks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import zarr
import zarr.storage

from ..storage.codecs import compiled_codecs
from .chunk_files import UNCOMPRESSED, chunk_shape, codec_names

__all__ = ["Requests", "Route", "choose_routes", "cut_into_chunks", "open_compiled"]

CHECKSUMS = frozenset(
    name
    for codec in ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
    for name in (codec, f"numcodecs.{codec}")
)
"""Codecs that add a checksum, under the names of Zarr and of numcodecs."""

PIECE_BYTES = 1 << 23
"""Most bytes of chunks (or one chunk) that are held decoded at a time, where they are not decoded in place.

Not tuned: 8 MiB are little beside a tile, and much beside what a request costs in a local directory.
"""

REQUEST_BYTES = 1 << 26
"""Most bytes of chunks (or one chunk) that zarr-python's own pipeline is given at a time.

Not tuned: 64 MiB hold enough chunks of usual size for their requests to overlap, and bound what it holds besides the
tile.
"""


class Route(NamedTuple):
    """A pipeline that reads chunks of an array.

    Attributes
    ----------
    array : zarr.Array
        The array, opened with this pipeline.
    compiled : bool
        Whether it is the compiled pipeline.
    at_once : int
        Most chunks of a request; 0 for any number.
    held : int
        Chunks that it holds besides the destination during a request.
    """

    array: zarr.Array[Any]
    compiled: bool
    at_once: int
    held: int


class Requests:
    """The requests by which ranges of an array are read.

    Parameters
    ----------
    array : zarr.Array
        A two-dimensional array.

    Attributes
    ----------
    whole, partial : Route
        How chunks are read of which everything is wanted, and those of which a part is.
    held_bytes : int
        Most bytes that are held besides the destination while a range is read.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        height, width = chunk_shape(array)
        self._chunks = height, width
        self._itemsize = np.dtype(array.dtype).itemsize
        chunk_bytes = self._chunks[0] * self._chunks[1] * self._itemsize
        count = math.prod(-(-size // chunk) for size, chunk in zip(array.shape, self._chunks, strict=True))
        self.whole, self.partial = choose_routes(array, open_compiled(array), chunk_bytes, count)
        spare = min(max(1, PIECE_BYTES // chunk_bytes), count) if self.whole.compiled else 0
        self.held_bytes = (max(self.whole.held, self.partial.held) + spare) * chunk_bytes

    def cut(self, rows: slice, cols: slice, contiguous: bool) -> Iterator[tuple[Route, slice, slice]]:
        """Cut a range into requests, no two of which share a chunk.

        Parameters
        ----------
        rows, cols : slice
            The range.
        contiguous : bool
            Whether whole rows of the range lie one after the other where they are wanted.
        """
        if self.whole is self.partial:
            runs = [(rows, cols, self.whole)]
        else:
            runs = [
                (r, c, self.whole if all_rows and all_cols else self.partial)
                for r, all_rows in _whole_chunks(rows, self._chunks[0])
                for c, all_cols in _whole_chunks(cols, self._chunks[1])
            ]
        for r, c, route in runs:
            limit = route.at_once
            if not limit and not (contiguous and c == cols):  # decoded into a spare array, which shall stay small
                limit = self._chunks_of_piece(r, c)
            for piece in cut_into_chunks(r, c, self._chunks, limit) if limit else [(r, c)]:
                yield route, *piece

    def cut_small(self, rows: slice, cols: slice, held: int = 0) -> Iterator[tuple[slice, slice]]:
        """Cut a range into pieces that are held one at a time, to be copied to their places.

        ``held`` bytes are held for an entry of a piece, by default those of the entry.
        """
        limit = self._chunks_at_once(held) or self._chunks_of_piece(rows, cols, held)
        return cut_into_chunks(rows, cols, self._chunks, limit)

    def piece_bytes(self, held: int) -> int:
        """Most bytes held for a piece of :meth:`cut_small` if ``held`` bytes are held for each of its entries."""
        chunk_bytes = self._chunks[0] * self._chunks[1] * held
        return max(chunk_bytes, PIECE_BYTES, self._chunks_at_once(held) * chunk_bytes)

    def _chunks_at_once(self, held: int = 0) -> int:
        """Chunks that the pipeline for whole chunks is given at a time; 0 for any number."""
        if not self.whole.at_once or not held:
            return self.whole.at_once
        return max(1, min(self.whole.at_once, REQUEST_BYTES // (self._chunks[0] * self._chunks[1] * held)))

    def _chunks_of_piece(self, rows: slice, cols: slice, held: int = 0) -> int:
        """Chunks of a range that make a piece, by the entries that are wanted of each."""
        height, width = min(rows.stop - rows.start, self._chunks[0]), min(cols.stop - cols.start, self._chunks[1])
        return max(1, PIECE_BYTES // int(height * width * (held or self._itemsize)))


def choose_routes(
    array: zarr.Array[Any], compiled: zarr.Array[Any] | None, chunk_bytes: int, chunk_count: int
) -> tuple[Route, Route]:
    """Choose the pipelines for chunks that are wanted whole and for those that are wanted in part."""
    at_once = max(1, min(int(zarr.config.get("async.concurrency")), REQUEST_BYTES // chunk_bytes))
    own = Route(array, False, at_once, (2 if array.shards is None else 3) * min(at_once, chunk_count) + 4)
    if compiled is None:
        return own, own
    names = codec_names(array)
    in_place = Route(compiled, True, 0, 4)
    if not CHECKSUMS.isdisjoint(names):  # the compiled one does not check those of chunks that are wanted in part
        return in_place, own
    if array.shards is not None or set(names) <= UNCOMPRESSED:
        return in_place, in_place
    # Of compressed chunks wanted in part, it keeps all that one request wants, decoded, until the request is done.
    few = max(1, PIECE_BYTES // chunk_bytes)
    return in_place, Route(compiled, True, few, min(few, chunk_count) + 4)


def open_compiled(array: zarr.Array[Any]) -> zarr.Array[Any] | None:
    """Open an array again with the compiled codec pipeline, where that knows its codecs and its store.

    It reads uncompressed chunks about twice as fast as zarr-python's own, and each call runs in one thread, so
    that as many threads read as there are workers. Big-endian complex entries it gets wrong.
    """
    if not isinstance(array.store, zarr.storage.LocalStore) or not np.dtype(array.dtype).isnative:
        return None
    try:
        with compiled_codecs():
            warnings.filterwarnings("error", message="Array is unsupported by ZarrsCodecPipeline")
            return zarr.open_array(array.store, path=array.path, mode="r")
    except (TypeError, ValueError, NotImplementedError, ImportError, UserWarning):
        return None


def _whole_chunks(wanted: slice, chunk: int) -> Iterator[tuple[slice, bool]]:
    """Cut one side of a range into its run of whole chunks and what is before and after it; say which is the run."""
    first, last = -(-wanted.start // chunk) * chunk, wanted.stop // chunk * chunk
    if first > last:
        yield wanted, False
        return
    for start, stop, whole in ((wanted.start, first, False), (first, last, True), (last, wanted.stop, False)):
        if start < stop:
            yield slice(start, stop), whole


def cut_into_chunks(rows: slice, cols: slice, chunks: tuple[int, int], limit: int) -> Iterator[tuple[slice, slice]]:
    """Cut a range into pieces of at most ``limit`` chunks, whole rows of chunks if they fit."""
    across = min(limit, -(-cols.stop // chunks[1]) - cols.start // chunks[1])
    for r in _steps(rows, chunks[0], max(1, limit // across)):
        for c in _steps(cols, chunks[1], across):
            yield r, c


def _steps(wanted: slice, chunk: int, count: int) -> Iterator[slice]:
    """Cut one side of a range at every ``count``-th chunk boundary."""
    start = wanted.start
    while start < wanted.stop:
        stop = min((start // chunk + count) * chunk, wanted.stop)
        yield slice(start, stop)
        start = stop
