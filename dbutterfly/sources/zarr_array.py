"""A stored matrix: a two-dimensional Zarr array, version 2 or 3, on any store that zarr-python opens.

Arrays in local directories are read by the compiled codec pipeline (zarrs) in the calling thread, all others by
zarr-python's own, whose requests overlap. What each of them does not see is looked at here:

    fault                                              seen by
    chunk damaged, compressed or with a checksum       either pipeline, but the compiled one skips the checksum of a
                                                       chunk wanted in part: those are read by zarr-python's own
    uncompressed chunk too short or too long           the length of the file, in a local directory
    empty file, directory in place of a file           the file, in a local directory
    chunk lost while the array is in use               the file, if none was missing at first; ``recount``
    whole array gone                                   its metadata, read again after a tile or when a chunk is absent

An uncompressed chunk that was overwritten by other bytes is seen by nobody: store a checksum.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import zarr
import zarr.buffer.cpu
import zarr.storage
from numpy.typing import NDArray

from ..errors import SourceError
from ..storage.codecs import compiled_codecs
from ..storage.places import is_remote
from ..storage.retries import reason, retry
from ..structure.axes import Axis, Index, Part, Tile, chunk_edges
from .base import MatrixSource, place_part
from .chunk_files import (
    UNCOMPRESSED,
    ChunkFault,
    ChunkFiles,
    absent_chunks,
    chunk_key,
    chunk_shape,
    chunks_of,
    codec_names,
)

__all__ = ["ZarrSource"]

CHECKSUMS = frozenset(
    name
    for codec in ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
    for name in (codec, f"numcodecs.{codec}")
)

PIECE_BYTES = 1 << 23
"""Most bytes of chunks (or one chunk) that are held decoded at a time, where they are not decoded in place."""

REQUEST_BYTES = 1 << 26
"""Most bytes of chunks (or one chunk) that zarr-python's own pipeline is given at a time."""


class _Route(NamedTuple):
    """An open array, the most chunks it is asked for at once (0: any), and those of which it holds copies meanwhile."""

    array: zarr.Array[Any]
    chunks: int
    copies: int


class ZarrSource(MatrixSource):
    """A two-dimensional Zarr array.

    Parameters
    ----------
    array : zarr.Array
        The matrix.
    complete : bool
        Whether no chunk was missing when they were counted, so that an absent one has been lost.
    """

    reads_in_place = True

    def __init__(self, array: zarr.Array[Any], complete: bool = False) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = np.dtype(array.dtype)
        self.name = f"Zarr array {array.store_path}"
        self.shared = not isinstance(array.store, zarr.storage.MemoryStore)
        self.fill_value = array.fill_value
        self.chunks = chunk_shape(array)
        rows, cols = (chunk_edges(size, chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))
        self.edges = (rows, cols)
        self.chunk_count = (rows.size - 1) * (cols.size - 1)
        self.chunk_bytes = self.chunks[0] * self.chunks[1] * self.dtype.itemsize
        self._complete = complete
        self._remote = is_remote(array)
        self._files = ChunkFiles(array) if isinstance(array.store, zarr.storage.LocalStore) else None
        self._compiled = _compiled(array)
        self._whole, self._partial = self._routes()
        self.decode_bytes = self._held() * self.chunk_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.array.store, self.array.path, self._is_complete())

    def fingerprint(self) -> dict[str, Any]:
        """Place and metadata of the array; its chunks are not read for this."""
        metadata = repr(sorted(self.array.metadata.to_dict().items(), key=lambda item: item[0]))
        digest = hashlib.blake2b(metadata.encode(), digest_size=16).hexdigest()
        return {"kind": "zarr", "path": str(self.array.store_path), "metadata": digest}

    # ------------------------------------------------------------ missing chunks

    @cached_property
    def _absent(self) -> Index | None:
        return absent_chunks(self.array)

    @property
    def lists_chunks(self) -> bool:
        """Whether the store can be listed."""
        return self._absent is not None

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that the store did not hold when it was first listed, which is now if it was not."""
        absent = self._absent
        return 0 if absent is None else int(absent.size)

    def missing_keys(self, limit: int) -> list[str]:
        """Keys of the first ``limit`` missing chunks below that of the array, in row-major order."""
        absent = self._absent
        first: list[int] = [] if absent is None else absent[:limit].tolist()
        across = -(-self.shape[1] // self.chunks[1])
        return [chunk_key(self.array, *divmod(number, across)) for number in first]

    def recount(self) -> int:
        """Number of chunks that the store does not hold now."""
        absent = absent_chunks(self.array)
        return 0 if absent is None else int(absent.size)

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
            self._check_files(rows, cols)
            self._read_pieces(out, rows, cols)
        except (MemoryError, SourceError):
            raise
        except Exception as error:
            fault = error if isinstance(error, ChunkFault) else self._first_fault(rows, cols)
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
        if self._files is None and self.shared:  # what is absent cannot be told from what was never written
            self._check_present()
        return grid

    def _fill(self, buffer: NDArray[Any], row: Part, col: Part) -> None:
        """Read one part of a tile, straight into the tile's buffer where it is wanted as it is."""
        rows, cols = slice(row.start, row.stop), slice(col.start, col.stop)
        if _in_one_piece(row) and _in_one_piece(col):
            self.read_into(buffer[row.dest, col.dest], rows, cols)
            return
        limit = self._whole.chunks or self._spare_chunks(rows, cols)
        for r, c in _cut(rows, cols, self.chunks, limit):
            place_part(buffer, _within(row, r), _within(col, c), self.read_block(r, c))

    def _read_pieces(self, out: NDArray[Any], rows: slice, cols: slice) -> None:
        spare = np.empty(0, out.dtype)
        for route, r, c in self._pieces(rows, cols, out.flags.c_contiguous):
            place = out[r.start - rows.start : r.stop - rows.start, c.start - cols.start : c.stop - cols.start]
            if route.array is not self._compiled:
                self._request(route.array, r, c, place)
                continue
            if place.flags.c_contiguous:
                _read(route.array, r, c, place)
                continue
            if spare.size < place.size:
                spare = np.empty(place.size, out.dtype)
            block = spare[: place.size].reshape(place.shape)
            _read(route.array, r, c, block)
            place[...] = block

    def _request(self, array: zarr.Array[Any], rows: slice, cols: slice, out: NDArray[Any]) -> None:
        """Read over a network, again where an error may pass."""
        what = f"read rows {rows.start}..{rows.stop - 1}, columns {cols.start}..{cols.stop - 1} of {self.name}"
        retry(lambda: _read(array, rows, cols, out), describe=what, remote=self._remote)

    def _pieces(self, rows: slice, cols: slice, contiguous: bool) -> Iterator[tuple[_Route, slice, slice]]:
        """Cut a range for its requests; no chunk is in two of them."""
        if self._whole is self._partial:
            runs = [(rows, cols, self._whole)]
        else:
            runs = [
                (r, c, self._whole if all_rows and all_cols else self._partial)
                for r, all_rows in _runs(rows, self.chunks[0])
                for c, all_cols in _runs(cols, self.chunks[1])
            ]
        for r, c, route in runs:
            limit = route.chunks
            if not limit and not (contiguous and c == cols):  # by way of a spare array, which shall stay small
                limit = self._spare_chunks(r, c)
            for piece in _cut(r, c, self.chunks, limit) if limit else [(r, c)]:
                yield route, *piece

    def _spare_chunks(self, rows: slice, cols: slice) -> int:
        """Chunks of a range that make a piece, going by the entries that are wanted of them."""
        height, width = min(rows.stop - rows.start, self.chunks[0]), min(cols.stop - cols.start, self.chunks[1])
        return max(1, PIECE_BYTES // int(height * width * self.dtype.itemsize))

    def _routes(self) -> tuple[_Route, _Route]:
        """How chunks are read that are wanted whole, and those wanted in part."""
        at_once = max(1, min(int(zarr.config.get("async.concurrency")), REQUEST_BYTES // self.chunk_bytes))
        own = _Route(self.array, at_once, (2 if self.array.shards is None else 3) * min(at_once, self.chunk_count) + 4)
        if self._compiled is None:
            return own, own
        names = codec_names(self.array)
        in_place = _Route(self._compiled, 0, 4)
        if not CHECKSUMS.isdisjoint(names):
            return in_place, own
        if self.array.shards is not None or set(names) <= UNCOMPRESSED:
            return in_place, in_place
        few = max(1, PIECE_BYTES // self.chunk_bytes)  # it keeps all that a request wants in part until that is done
        return in_place, _Route(self._compiled, few, min(few, self.chunk_count) + 4)

    def _held(self) -> int:
        """Chunks held besides the tile and its parts."""
        spare = min(max(1, PIECE_BYTES // self.chunk_bytes), self.chunk_count) if self._compiled is not None else 0
        return max(self._whole.copies, self._partial.copies) + spare

    # ------------------------------------------------------------ faults

    def _check_files(self, rows: slice, cols: slice) -> None:
        absent = self._files.check(chunks_of(self.array, rows, cols)) if self._files is not None else None
        if absent is None:
            return
        self._check_present()
        if self._is_complete():
            raise ChunkFault(absent, "was there and has been lost")

    def _is_complete(self) -> bool:
        """Whether no chunk was missing when they were counted, if they were."""
        absent: Index | None = self.__dict__.get("_absent")
        return self._complete if absent is None else absent.size == 0

    def _check_present(self) -> None:
        """Raise unless the array is still there: the chunks of an array that is gone read as missing ones."""
        try:
            again = retry(
                lambda: _open(self.array.store, self.array.path), describe=f"open {self.name}", remote=self._remote
            )
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

    def _first_fault(self, rows: slice, cols: slice) -> ChunkFault | None:
        """Read the chunks of a range one at a time to find the first that fails."""
        for row, col in chunks_of(self.array, rows, cols):
            r = _overlap(rows, row, self.chunks[0])
            c = _overlap(cols, col, self.chunks[1])
            block = np.empty((r.stop - r.start, c.stop - c.start), self.dtype.newbyteorder("="))
            try:
                self._read_pieces(block, r, c)
            except Exception as cause:
                fault = ChunkFault(chunk_key(self.array, row, col), f"cannot be read: {reason(cause)}")
                fault.__cause__ = cause
                return fault
        return None


def _open(store: Any, path: str) -> zarr.Array[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open_array(store, path=path, mode="r")


def _reopen(store: Any, path: str, complete: bool) -> ZarrSource:
    return ZarrSource(_open(store, path), complete)


def _compiled(array: zarr.Array[Any]) -> zarr.Array[Any] | None:
    """Open an array again with the compiled codec pipeline, where that knows its codecs and its store.

    It reads uncompressed chunks about twice as fast as zarr-python's own, and each call runs in one thread, so that as
    many threads read as there are workers. Big-endian complex entries it gets wrong.
    """
    if not isinstance(array.store, zarr.storage.LocalStore) or not np.dtype(array.dtype).isnative:
        return None
    try:
        with compiled_codecs():
            warnings.filterwarnings("error", message="Array is unsupported by ZarrsCodecPipeline")
            return zarr.open_array(array.store, path=array.path, mode="r")
    except (TypeError, ValueError, NotImplementedError, ImportError, UserWarning):
        return None


def _read(array: zarr.Array[Any], rows: slice, cols: slice, out: NDArray[Any]) -> None:
    array.get_basic_selection((rows, cols), out=zarr.buffer.cpu.NDBuffer.from_numpy_array(out))


def _in_one_piece(part: Part) -> bool:
    """Whether a tile wants all of a range, in its order."""
    if not isinstance(part.keep, slice) or not isinstance(part.dest, slice):
        return False
    return part.keep.indices(part.stop - part.start) == (0, part.stop - part.start, 1)


def _within(part: Part, piece: slice) -> Part:
    """What a tile wants of a piece of a range."""
    start, stop = piece.start - part.start, piece.stop - part.start
    keep = np.arange(part.stop - part.start)[part.keep]
    low, high = (int(at) for at in np.searchsorted(keep, (start, stop)))
    kept: slice | Index = keep[low:high] - start
    if isinstance(part.keep, slice):
        kept = slice(int(keep[low]) - start, int(keep[high - 1]) - start + 1) if low < high else slice(0, 0)
    if isinstance(part.dest, slice):
        first = part.dest.start or 0
        return Part(piece.start, piece.stop, kept, slice(first + low, first + high))
    return Part(piece.start, piece.stop, kept, part.dest[low:high])


def _overlap(wanted: slice, number: int, chunk: int) -> slice:
    return slice(max(wanted.start, number * chunk), min(wanted.stop, (number + 1) * chunk))


def _runs(wanted: slice, chunk: int) -> Iterator[tuple[slice, bool]]:
    """Cut a range into a run of whole chunks and what is before and after it; say which is the run."""
    first, last = -(-wanted.start // chunk) * chunk, wanted.stop // chunk * chunk
    if first > last:
        yield wanted, False
        return
    for start, stop, whole in ((wanted.start, first, False), (first, last, True), (last, wanted.stop, False)):
        if start < stop:
            yield slice(start, stop), whole


def _cut(rows: slice, cols: slice, chunks: tuple[int, int], limit: int) -> Iterator[tuple[slice, slice]]:
    """Cut a range into pieces of at most ``limit`` chunks, whole rows of chunks if they fit."""
    across = min(limit, -(-cols.stop // chunks[1]) - cols.start // chunks[1])
    for r in _steps(rows, chunks[0], max(1, limit // across)):
        for c in _steps(cols, chunks[1], across):
            yield r, c


def _steps(wanted: slice, chunk: int, count: int) -> Iterator[slice]:
    start = wanted.start
    while start < wanted.stop:
        stop = min((start // chunk + count) * chunk, wanted.stop)
        yield slice(start, stop)
        start = stop
