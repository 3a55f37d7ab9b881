"""A stored matrix: a two-dimensional Zarr array, version 2 or 3, on any store that zarr-python opens.

Arrays in local directories are read by the compiled codec pipeline (zarrs) in the calling thread, all others by
zarr-python's own, whose requests overlap (:mod:`dbutterfly.sources.zarr_requests`). Each of them misses some faults,
which are looked for here:

    fault                                              seen by
    chunk damaged, compressed or with a checksum       either pipeline, but the compiled one skips the checksum of a
                                                       chunk wanted in part: those are read by zarr-python's own
    uncompressed chunk too short or too long           the length of the file, in a local directory
    empty file, directory in place of a file           the file, in a local directory
    chunk lost while the array is in use               the file, or the answer of the store, if it was there at first
    store that does not find a chunk now and then      the same: it is asked again
    whole array gone                                   its metadata, read again after a tile or when a chunk is absent

What is absent is known from the listing of the store, which is made before a remote one is first read. A web server
that cannot be listed may say of any chunk that it is not there, and is believed; a warning says so.

An uncompressed chunk that was overwritten by as many other bytes is seen by nobody: store a checksum.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import zarr
import zarr.buffer.cpu
import zarr.storage
from numpy.typing import NDArray

from ..errors import SourceError
from ..storage.places import is_remote, is_shared
from ..storage.present_store import expect_present, through
from ..storage.retries import AbsentError, reason, retry
from ..structure.axes import Axis, Index, Part, Tile, chunk_edges
from .base import MatrixSource
from .chunk_files import ChunkFault, ChunkFiles, chunk_key, chunk_shape, chunks_of
from .counted_chunks import CountedChunks
from .stamps import Stamps, stamp_zarr
from .stored_chunks import StoredChunks
from .tile_parts import is_kept_whole, place_part, restrict_part
from .zarr_requests import Requests

__all__ = ["SPARE_BYTES", "ZarrSource", "open_array_again"]

SPARE_BYTES = 1 << 23
"""Bytes of chunks that may be read to know a matrix again, however small it is. Not tuned: some milliseconds."""


class ZarrSource(CountedChunks, MatrixSource):
    """A two-dimensional Zarr array.

    Parameters
    ----------
    array : zarr.Array
        The matrix.
    packed : bytes, optional
        Which chunks were there when they were counted in another process, so that an absent one has been lost
        (:class:`~dbutterfly.sources.stored_chunks.StoredChunks`).
    """

    reads_in_place = True
    spare_bytes = SPARE_BYTES

    def __init__(self, array: zarr.Array[Any], packed: bytes | None = None) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = np.dtype(array.dtype)
        self.name = f"Zarr array {array.store_path}"
        self.shared = is_shared(array)
        self.fill_value = array.fill_value
        height, width = chunk_shape(array)
        self.chunks = height, width
        rows, cols = (chunk_edges(size, chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))
        self.edges = (rows, cols)
        self.chunk_count = (rows.size - 1) * (cols.size - 1)
        self._packed, self._listing = packed, threading.Lock()
        self._remote = is_remote(array)
        self._files = ChunkFiles(array) if isinstance(array.store, zarr.storage.LocalStore) else None
        self.requests = Requests(array if self._files is not None or not self.shared else through(array, self._exists))
        self.decode_bytes = self.requests.held_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self._stored
        return _reopen, (self.array.store, self.array.path, None if stored is None else stored.to_bytes())

    def stamps(self) -> Stamps | None:
        """Stamps of the chunks, from their files or from a listing of the store; no chunk is read for this."""
        return stamp_zarr(self.array)

    # ------------------------------------------------------------ missing chunks

    def missing_keys(self, limit: int) -> list[str]:
        """Keys of the first ``limit`` missing chunks below that of the array, in row-major order."""
        absent = self._absent
        first: list[int] = [] if absent is None else absent[:limit].tolist()
        across = -(-self.shape[1] // self.chunks[1])
        return [chunk_key(self.array, *divmod(number, across)) for number in first]

    # ------------------------------------------------------------ reading

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        rows, cols = (slice(*side.indices(size)[:2]) for side, size in zip((rows, cols), self.shape, strict=True))
        block = np.empty((rows.stop - rows.start, cols.stop - cols.start), self.dtype.newbyteorder("="))
        self.read_into(block, rows, cols)
        return block

    def read_into(self, out: NDArray[Any], rows: slice, cols: slice) -> None:
        """Read a range of rows and columns into an array of its shape.

        Raises
        ------
        SourceError
            If a chunk cannot be read; the message names the range and the first such chunk.
        """
        try:
            if self._remote and self._stored is None:
                self._list_once()
            self._check_files(rows, cols)
            self._read_requests(out, rows, cols)
        except (MemoryError, SourceError):
            raise
        except Exception as error:
            fault = error if isinstance(error, ChunkFault) else self._find_fault(rows, cols)
            what = (
                f"{fault}; restore it"
                if fault is not None
                else f"{reason(error)}, though now each of its chunks can be read"
            )
            raise SourceError(
                f"{self.name}: cannot read rows {rows.start}..{rows.stop - 1}, columns {cols.start}..{cols.stop - 1}: "
                f"{what}, and repeat the call"
            ) from (error if fault is None else fault.__cause__ or fault)

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read one tile as a grid of blocks; see :meth:`MatrixSource.read`."""
        grid = super().read(rows, cols, tile)
        self.check_still_there()
        return grid

    def check_still_there(self) -> None:
        """Raise if the array is gone, where what is absent cannot be told from what was never written."""
        if self._files is None and self.shared:
            self._check_present()

    def _fill(self, buffer: NDArray[Any], row: Part, col: Part) -> None:
        """Read one part of a tile, straight into the tile's buffer where all of it is kept as it is."""
        rows, cols = slice(row.start, row.stop), slice(col.start, col.stop)
        if is_kept_whole(row) and is_kept_whole(col):
            self.read_into(buffer[row.dest, col.dest], rows, cols)
            return
        for r, c in self.requests.cut_small(rows, cols):
            place_part(buffer, restrict_part(row, r), restrict_part(col, c), self.read_block(r, c))

    def _read_requests(self, out: NDArray[Any], rows: slice, cols: slice) -> None:
        """Read a range request by request."""
        spare = np.empty(0, out.dtype)
        for route, r, c in self.requests.cut(rows, cols, out.flags.c_contiguous):
            place = out[r.start - rows.start : r.stop - rows.start, c.start - cols.start : c.stop - cols.start]
            if not route.compiled:
                self._read_with_retries(route.array, r, c, place)
                continue
            if place.flags.c_contiguous:
                _read_selection(route.array, r, c, place)
                continue
            # The compiled pipeline writes contiguous arrays only.
            if spare.size < place.size:
                spare = np.empty(place.size, out.dtype)
            block = spare[: place.size].reshape(place.shape)
            _read_selection(route.array, r, c, block)
            place[...] = block

    def _read_with_retries(self, array: zarr.Array[Any], rows: slice, cols: slice, out: NDArray[Any]) -> None:
        """Read what may come over a network, again where an error may pass."""
        what = f"read rows {rows.start}..{rows.stop - 1}, columns {cols.start}..{cols.stop - 1} of {self.name}"
        retry(lambda: _read_selection(array, rows, cols, out), describe=what, remote=self._remote)

    # ------------------------------------------------------------ faults

    def _check_files(self, rows: slice, cols: slice) -> None:
        """Raise if the file of a chunk cannot be whole, or is absent though it was there when they were counted."""
        absent = self._files.check(chunks_of(self.array, rows, cols)) if self._files is not None else []
        if not absent:
            return
        self._check_present()
        stored = self._stored
        for row, col in absent:
            if stored is not None and stored.has(row, col):
                raise ChunkFault(chunk_key(self.array, row, col), "was there and has been lost")

    def _list_once(self) -> None:
        """List a remote store, unless that was done: by one of the threads that read."""
        with self._listing:
            _ = self._absent

    @property
    def _stored(self) -> StoredChunks | None:
        """The chunks that were there when they were counted, if they were: here, or where this source comes from."""
        if "_counted" not in self.__dict__ and "_absent" not in self.__dict__ and self._packed is None:
            return None
        return self._counted

    @cached_property
    def _counted(self) -> StoredChunks | None:
        path, across = self.array.path, -(-self.shape[1] // self.chunks[1])
        absent: Index | None = self.__dict__.get("_absent")
        if absent is not None:
            return StoredChunks.without(path, absent, self.chunk_count, across)
        return None if self._packed is None else StoredChunks.from_bytes(path, self._packed, self.chunk_count, across)

    def _exists(self, key: str) -> bool:
        """Whether the chunk under a key is known to exist."""
        stored = self._stored
        return stored is not None and stored.has_key(key)

    def _check_present(self) -> None:
        """Raise unless the array is still there: the chunks of an array that is gone read as missing ones."""
        try:
            again = open_array_again(self.array.store, self.array.path)
        except Exception as error:
            raise SourceError(
                f"{self.name} has vanished or become unreachable while it was read: {reason(error)}; restore it and "
                "repeat the call"
            ) from error
        if (again.shape, again.dtype, chunk_shape(again)) != (self.array.shape, self.array.dtype, self.chunks):
            raise SourceError(
                f"{self.name} was replaced by one of shape {again.shape}, dtype {again.dtype} and chunks "
                f"{chunk_shape(again)} while it was read; open it anew"
            )

    def _find_fault(self, rows: slice, cols: slice) -> ChunkFault | None:
        """Read the chunks of a range one at a time to find the first that fails."""
        for row, col in chunks_of(self.array, rows, cols):
            r = _overlap(rows, row, self.chunks[0])
            c = _overlap(cols, col, self.chunks[1])
            block = np.empty((r.stop - r.start, c.stop - c.start), self.dtype.newbyteorder("="))
            try:
                self._read_requests(block, r, c)
            except Exception as cause:
                lost = isinstance(cause, AbsentError)
                what = "was there and is not found now" if lost else f"cannot be read: {reason(cause)}"
                fault = ChunkFault(chunk_key(self.array, row, col), what)
                fault.__cause__ = cause
                return fault
        return None


def _open(store: Any, path: str) -> zarr.Array[Any]:
    """Open an array for reading; what Zarr warns of was said when the user opened it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open_array(store, path=path, mode="r")


def open_array_again(store: Any, path: str) -> zarr.Array[Any]:
    """Open an array that has been opened before, again where its storage does not find it now and then."""
    call: Callable[[], zarr.Array[Any]] = partial(_open, store, path)
    return retry(expect_present(call), describe=f"open {path or 'array'} of {store}", remote=is_remote(store))


def _reopen(store: Any, path: str, packed: bytes | None) -> ZarrSource:
    return ZarrSource(open_array_again(store, path), packed)


def _read_selection(array: zarr.Array[Any], rows: slice, cols: slice, out: NDArray[Any]) -> None:
    """Read a range by one request of Zarr's, straight into an array."""
    array.get_basic_selection((rows, cols), out=zarr.buffer.cpu.NDBuffer.from_numpy_array(out))


def _overlap(wanted: slice, number: int, chunk: int) -> slice:
    """Part of a range of one side that lies in a chunk."""
    return slice(max(wanted.start, number * chunk), min(wanted.stop, (number + 1) * chunk))
