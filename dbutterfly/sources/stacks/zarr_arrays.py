"""Zarr arrays with three axes as stacks: whole matrices are read, and every chunk once.

Faults are looked for as in matrices (:mod:`dbutterfly.sources.zarr_array`): a file that cannot be whole, a chunk that
was there and is lost, an array that is gone.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import zarr
import zarr.buffer.cpu
import zarr.storage
from numpy.typing import NDArray

from ...errors import SourceError
from ...kernels.backend import tile_memory
from ...storage.places import is_remote, is_shared
from ...storage.present_store import through
from ...storage.retries import AbsentError, reason, retry
from ...structure.axes import Index, chunk_edges
from ..base import MatrixSource
from ..chunk_files import ChunkFault, ChunkFiles, chunk_key, chunk_shape, chunks_of
from ..counted_chunks import CountedChunks
from ..packing import Packing
from ..stamps import Stamps, fold_stamps, stamp_chunks
from ..stored_chunks import StoredChunks
from ..zarr_array import SPARE_BYTES, open_array_again
from ..zarr_requests import Route, choose_routes, cut_into_chunks, open_compiled
from .base import PartOfStack, StackSource, check_not_empty

__all__ = ["ZarrStack"]


class ZarrStack(CountedChunks, StackSource):
    """A Zarr array of shape (K, M, N).

    Parameters
    ----------
    array : zarr.Array
        The matrices.
    packing : Packing, optional
        How the numbers that are stored become entries.
    packed : bytes, optional
        Which chunks were there when they were counted in another process.
    """

    reads_in_place = True
    spare_bytes = SPARE_BYTES

    def __init__(self, array: zarr.Array[Any], packing: Packing | None = None, packed: bytes | None = None) -> None:
        name = f"Zarr array {array.store_path}"
        check_not_empty(array.shape, name)
        count, rows, cols = array.shape
        dtype = np.dtype(array.dtype) if packing is None else packing.dtype
        super().__init__(name, [(rows, cols)] * count, [dtype] * count)
        self.array, self.packing, self._packed = array, packing, packed
        self.decoding = "" if packing is None else str(packing)
        self.fill_value, self.shared = array.fill_value, is_shared(array)
        self.chunks = chunk_shape(array)
        self.per_chunk = self.chunks[0]
        self.edges_of_matrix = chunk_edges(rows, self.chunks[1]), chunk_edges(cols, self.chunks[2])
        self._grid = tuple(-(-size // chunk) for size, chunk in zip(array.shape, self.chunks, strict=True))
        self.chunk_count = math.prod(self._grid)
        self._listing, self._remote = threading.Lock(), is_remote(array)
        self._files = ChunkFiles(array) if isinstance(array.store, zarr.storage.LocalStore) else None
        read = array if self._files is not None or not self.shared else through(array, self._exists)
        chunk_bytes = math.prod(self.chunks) * np.dtype(array.dtype).itemsize
        self._whole, self._partial = choose_routes(read, open_compiled(read), chunk_bytes, self.chunk_count)
        self.decode_bytes = max(self._whole.held, self._partial.held) * chunk_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self._stored
        packed = None if stored is None else stored.to_bytes()
        return _reopen, (self.array.store, self.array.path, self.packing, packed)

    def matrix(self, number: int) -> MatrixSource:
        """Source of one matrix."""
        return PartOfStack(self, number)

    def bytes_of(self, numbers: Index) -> int:
        """Bytes of the chunks that reading several matrices asks the storage for: all matrices of each chunk."""
        blocks = np.unique(numbers // self.per_chunk)
        count = np.minimum((blocks + 1) * self.per_chunk, len(self)) - blocks * self.per_chunk
        return int(count.sum()) * math.prod(self.shapes[0]) * self.dtype.itemsize

    # ------------------------------------------------------------ missing chunks

    def missing_keys(self, limit: int) -> list[str]:
        """Keys of the first ``limit`` missing chunks, in row-major order."""
        first: list[int] = [] if self._absent is None else self._absent[:limit].tolist()
        return [chunk_key(self.array, *map(int, np.unravel_index(number, self._grid))) for number in first]

    @property
    def _stored(self) -> StoredChunks | None:
        """The chunks that were there when they were counted, if they were: here, or where this source comes from."""
        if "_counted" not in self.__dict__ and "_absent" not in self.__dict__ and self._packed is None:
            return None
        return self._counted

    @cached_property
    def _counted(self) -> StoredChunks | None:
        path, across = self.array.path, self._grid[1:]
        absent: Index | None = self.__dict__.get("_absent")
        if absent is not None:
            return StoredChunks.without(path, absent, self.chunk_count, *across)
        return None if self._packed is None else StoredChunks.from_bytes(path, self._packed, self.chunk_count, *across)

    def _exists(self, key: str) -> bool:
        """Whether the chunk under a key is known to exist."""
        stored = self._stored
        return stored is not None and stored.has_key(key)

    # ------------------------------------------------------------ reading

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """Read matrices, those that follow each other together."""
        found = tile_memory.empty((numbers.size, *self.shapes[0]), self.array.dtype.newbyteorder("="))
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for first, last in itertools.pairwise([0, *breaks.tolist(), numbers.size]):
            span = slice(int(numbers[first]), int(numbers[last - 1]) + 1)
            self._read(found[first:last], (span, slice(0, self.shapes[0][0]), slice(0, self.shapes[0][1])))
        self._check_still_there()
        return found if self.packing is None else self.packing.decode(found)

    def read_part(self, number: int, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of one matrix."""
        rows, cols = (slice(*side.indices(size)[:2]) for side, size in zip((rows, cols), self.shapes[0], strict=True))
        shape = (1, rows.stop - rows.start, cols.stop - cols.start)
        found = np.empty(shape, self.array.dtype.newbyteorder("="))
        self._read(found, (slice(number, number + 1), rows, cols))
        return found[0] if self.packing is None else self.packing.decode(found[0])

    def _read(self, out: NDArray[Any], ranges: tuple[slice, slice, slice]) -> None:
        """Read a range into an array of its shape.

        Raises
        ------
        SourceError
            If a chunk cannot be read; the message names the matrices and the first such chunk.
        """
        try:
            if self._remote and self._stored is None:
                with self._listing:
                    _ = self._absent
            self._check_files(ranges)
            self._read_requests(out, ranges)
        except (MemoryError, SourceError):
            raise
        except Exception as error:
            fault = error if isinstance(error, ChunkFault) else self._find_fault(ranges)
            what = f"{reason(error)}, though now each of its chunks can be read" if fault is None else str(fault)
            raise SourceError(
                f"{self.name}: cannot read matrices {ranges[0].start}..{ranges[0].stop - 1}: {what}; restore it, and "
                "repeat the call"
            ) from (error if fault is None else fault.__cause__ or fault)

    def _read_requests(self, out: NDArray[Any], ranges: tuple[slice, slice, slice]) -> None:
        """Read a range request by request."""
        first, rows, cols = ranges
        for start, stop, route in self._requests(ranges):
            place = out[start - first.start : stop - first.start]
            chunks = self.chunks[1], self.chunks[2]
            pieces = cut_into_chunks(rows, cols, chunks, route.at_once) if route.at_once else [(rows, cols)]
            for r, c in pieces:
                part = place[:, r.start - rows.start : r.stop - rows.start, c.start - cols.start : c.stop - cols.start]
                self._read_one(route, (slice(start, stop), r, c), part)

    def _requests(self, ranges: tuple[slice, slice, slice]) -> Iterator[tuple[int, int, Route]]:
        """Cut a range at the chunks of its first axis; say whether these are wanted whole."""
        span, *sides = ranges
        sizes = zip(sides, self.shapes[0], self.chunks[1:], strict=True)
        is_whole = all(
            side.start % chunk == 0 and (side.stop % chunk == 0 or side.stop == size) for side, size, chunk in sizes
        )
        for start in range(span.start - span.start % self.per_chunk, span.stop, self.per_chunk):
            first, last = max(start, span.start), min(start + self.per_chunk, span.stop)
            all_matrices = last - first == min(self.per_chunk, len(self) - start)
            yield first, last, self._whole if is_whole and all_matrices else self._partial

    def _read_one(self, route: Route, ranges: tuple[slice, slice, slice], out: NDArray[Any]) -> None:
        """Read a range by one request of Zarr's, again where that may help."""
        into = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        buffer = zarr.buffer.cpu.NDBuffer.from_numpy_array(into)
        what = f"read matrices {ranges[0].start}..{ranges[0].stop - 1} of {self.name}"
        retry(
            lambda: route.array.get_basic_selection(ranges, out=buffer),
            describe=what,
            remote=self._remote and not route.compiled,
        )
        if into is not out:
            out[...] = into

    # ------------------------------------------------------------ faults

    def _check_files(self, ranges: tuple[slice, slice, slice]) -> None:
        """Raise if the file of a chunk cannot be whole, or is absent though it was there when they were counted."""
        absent = self._files.check(chunks_of(self.array, *ranges)) if self._files is not None else []
        if not absent:
            return
        self._check_present()
        stored = self._stored
        for at in absent:
            if stored is not None and stored.has(*at):
                raise ChunkFault(chunk_key(self.array, *at), "was there and has been lost")

    def _check_still_there(self) -> None:
        """Raise if the array is gone, where what is absent cannot be told from what was never written."""
        if self._files is None and self.shared:
            self._check_present()

    def _check_present(self) -> None:
        try:
            again = open_array_again(self.array.store, self.array.path)
        except Exception as error:
            raise SourceError(
                f"{self.name} has vanished or become unreachable while it was read: {reason(error)}; restore it and "
                "repeat the call"
            ) from error
        if (again.shape, again.dtype, chunk_shape(again)) != (self.array.shape, self.array.dtype, self.chunks):
            raise SourceError(f"{self.name} was replaced by another array while it was read; open it anew")

    def _find_fault(self, ranges: tuple[slice, slice, slice]) -> ChunkFault | None:
        """Read the chunks of a range one at a time to find the first that fails."""
        for at in chunks_of(self.array, *ranges):
            piece = tuple(
                slice(max(side.start, number * chunk), min(side.stop, (number + 1) * chunk))
                for side, number, chunk in zip(ranges, at, self.chunks, strict=True)
            )
            block = np.empty([side.stop - side.start for side in piece], self.array.dtype.newbyteorder("="))
            try:
                self._read_requests(block, (piece[0], piece[1], piece[2]))
            except Exception as cause:
                lost = isinstance(cause, AbsentError)
                what = "was there and is not found now" if lost else f"cannot be read: {reason(cause)}"
                fault = ChunkFault(chunk_key(self.array, *at), what)
                fault.__cause__ = cause
                return fault
        return None

    # ------------------------------------------------------------ known again

    def stamps_of_matrices(self) -> Stamps | None:
        """Hash of the stamps of the chunks of each matrix, from their files or from a listing of the store."""
        found = stamp_chunks(self.array)
        if found is None:
            return None
        kind, values = found
        if self.decoding:
            kind = f"{kind} {self.decoding}"
        by_block = fold_stamps(values.reshape(self._grid[0], -1))
        stamps = self._make_stamps(kind, np.repeat(by_block, self.per_chunk)[: len(self)])
        return replace(stamps, kind=f"{kind} of matrices")


def _reopen(store: Any, path: str, packing: Packing | None, packed: bytes | None) -> ZarrStack:
    return ZarrStack(open_array_again(store, path), packing, packed)
