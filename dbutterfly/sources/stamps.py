"""Stamps: numbers that change when the content of a piece of a matrix does, had without reading the matrix.

A stamp is a hash of what the storage says of a file or an object, or of the content itself where that is in memory::

    kind        piece                     stamp of it
    content     band of rows or columns   its entries, of an array in memory
    chunks      stored chunk              its stored bytes, of a Zarr array in memory
    files       chunk or map in a file    size, times of change and number of the file
    objects     object of a store         size and tag (ETag) of the object

Equal stamps say that nothing has changed. Of the first two kinds, other stamps say that something has. Of the last two
they say less: a copy of a file has another time, and holds the same entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zarr
import zarr.storage
from numpy.typing import NDArray

from ..kernels.backend.cores import available_cores
from ..storage.places import innermost_store, is_remote
from ..storage.retries import retry
from ..storage.trails import directory_of
from ..structure.axes import Index, chunk_edges
from .chunk_files import chunk_keys, chunk_shape
from .mapped_files import find_memmap, mapped_file

__all__ = ["ABSENT", "Stamps", "fold_stamps", "stamp_array", "stamp_chunks", "stamp_path", "stamp_sparse", "stamp_zarr"]

BANDS = 64
"""Bands of an array in memory, of which the changed ones are named. Not tuned."""

SAID = ("size", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created", "ino")
"""What file systems of fsspec's say of a file that changes with it."""

BESIDE = ("attributes", "dimension_names", "consolidated_metadata")
"""Metadata of an array on which its entries do not depend."""

ABSENT = 0
"""Stamp of a chunk that is not stored."""


@dataclass(frozen=True, eq=False)
class Stamps:
    """Stamps of the pieces of a matrix.

    Attributes
    ----------
    kind : str
        What they are stamps of (see the table of the module), and after a slash how the entries are made of that.
    values : array of uint64, shape (h, w)
        Stamps of the pieces, a grid.
    edges : pair of array of int
        Boundaries of the pieces along the rows and along the columns.
    """

    kind: str
    values: NDArray[np.uint64]
    edges: tuple[Index, Index]

    @property
    def is_of_content(self) -> bool:
        """Whether pieces with other stamps have other entries for sure."""
        return self.kind.startswith(("content", "chunks"))

    @property
    def tells_nothing(self) -> bool:
        """Whether no piece is stored, or was found under another name: no sign by which anything is known again."""
        return not self.values.any()

    @property
    def kind_of_storage(self) -> str:
        """What they are stamps of, in a word."""
        return self.kind.partition("/")[0]

    def name_piece(self, row: int, col: int) -> str:
        """Rows and columns of a piece, for messages."""
        (r0, r1), (c0, c1) = (edges[at : at + 2].tolist() for edges, at in zip(self.edges, (row, col), strict=True))
        return f"rows {r0}..{r1 - 1}, columns {c0}..{c1 - 1}"


def stamp_array(array: NDArray[Any]) -> Stamps:
    """Stamps of an array: of the file that it maps, where that can be named, else of its content."""
    mapped = find_memmap(array)
    file = None if mapped is None else mapped_file(mapped)  # flushed, so that a later change shows in its time
    if file is None:
        return _stamp_bands(array)
    assert mapped is not None
    start = array.__array_interface__["data"][0] - mapped.__array_interface__["data"][0] + int(mapped.offset)
    whole = (np.array([0, array.shape[0]]), np.array([0, array.shape[1]]))
    kind = f"files/{array.dtype.str} from byte {start} by {array.strides}"
    return Stamps(kind, np.array([[stamp_path(file.path)]], np.uint64), whole)


def stamp_sparse(matrix: Any) -> Stamps:
    """Stamp of the content of a SciPy sparse matrix, of any format."""
    rows = matrix.tocsr(copy=True)
    rows.sum_duplicates()
    found = xxhash.xxh3_64()
    for part in (rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data):
        found.update(np.ascontiguousarray(part).view(np.uint8).data)
    whole = (np.array([0, matrix.shape[0]]), np.array([0, matrix.shape[1]]))
    return Stamps("content of a sparse matrix", np.array([[found.intdigest()]], np.uint64), whole)


def stamp_zarr(array: zarr.Array[Any]) -> Stamps | None:
    """Stamps of the chunks of a Zarr array; None where its store tells nothing of them, or cannot be reached."""
    edges = tuple(chunk_edges(size, chunk) for size, chunk in zip(array.shape, chunk_shape(array), strict=True))
    shape = (edges[0].size - 1, edges[1].size - 1)
    found = stamp_chunks(array)
    if found is None:
        return None
    kind, values = found
    return Stamps(kind, values.reshape(shape), (edges[0], edges[1]))


def stamp_chunks(array: zarr.Array[Any]) -> tuple[str, NDArray[np.uint64]] | None:
    """Kind and stamps of the chunks of a Zarr array, in row-major order; None where its store tells nothing of them."""
    found = _stamp_keys(array)
    if found is None:
        return None
    kind, stamps = found
    kind = f"{kind}/{_hash_text(_describe_layout(array)):016x}"
    return kind, np.fromiter(map(stamps, chunk_keys(array)), np.uint64)


def fold_stamps(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One stamp for each row of stamps; that of pieces which are all absent is absent too."""
    hashes = (xxhash.xxh3_64_intdigest(np.ascontiguousarray(row).view(np.uint8).data) for row in values)
    return np.where(values.any(axis=1), np.fromiter(hashes, np.uint64), np.uint64(ABSENT))


def _describe_layout(array: zarr.Array[Any]) -> str:
    """All of the metadata of an array on which its entries depend, and none of what is written beside them."""
    metadata = array.metadata.to_dict()
    return repr(sorted((name, value) for name, value in metadata.items() if name not in BESIDE))


def _stamp_bands(array: NDArray[Any]) -> Stamps:
    """Hash an array band by band, along the side that lies together in memory."""
    by_cols = abs(array.strides[0]) < abs(array.strides[1])
    bands = array.T if by_cols else array
    edges = np.unique(np.linspace(0, bands.shape[0], min(BANDS, bands.shape[0]) + 1).astype(np.int64))

    def hash_band(number: int) -> int:
        band = bands[edges[number] : edges[number + 1]]
        plain = np.ascontiguousarray(band, band.dtype.newbyteorder("="))
        return int(xxhash.xxh3_64_intdigest(plain.view(np.uint8).data))

    with ThreadPoolExecutor(available_cores()) as pool:
        values = np.fromiter(pool.map(hash_band, range(edges.size - 1)), np.uint64)
    across = np.array([0, bands.shape[1]])
    if by_cols:
        return Stamps("content of columns", values[None, :], (across, edges))
    return Stamps("content of rows", values[:, None], (edges, across))


def _stamp_keys(array: zarr.Array[Any]) -> tuple[str, Callable[[str], int]] | None:
    """Kind and stamp by key of what the store of an array holds below it."""
    directory, store = directory_of(array), innermost_store(array)
    if directory is not None:
        return "files", lambda key: stamp_path(f"{directory}/{key}")
    if isinstance(store, zarr.storage.MemoryStore):
        start = f"{array.path}/" if array.path else ""
        held = store._store_dict
        return "chunks", lambda key: _stamp_bytes(held.get(start + key))
    if isinstance(store, zarr.storage.ZipStore):
        stamp = stamp_path(Path(store.path))
        return "files", lambda _: stamp
    if isinstance(store, zarr.storage.ObjectStore) and store.supports_listing:
        what = f"list {array.store_path}"
        try:
            listed = retry(lambda: dict(_list_objects(store, array.path)), describe=what, remote=is_remote(store))
        except Exception:
            return None
        return "objects", lambda key: listed.get(key, ABSENT)
    if isinstance(store, zarr.storage.FsspecStore) and hasattr(store.fs, "sync_fs"):
        above = "/".join(part for part in (store.path.rstrip("/"), array.path) if part)
        found = {_relative(name, above): info for name, info in _list_files(store.fs.sync_fs, above).items()}
        return "objects", lambda key: _hash_text(repr([found[key].get(name) for name in SAID])) if key in found else 0
    return None


def _list_files(files: Any, directory: str) -> dict[str, dict[str, Any]]:
    """What a file system of fsspec's says of all files below a directory."""
    found: dict[str, dict[str, Any]] = files.find(directory, detail=True)
    return found


def _relative(name: str, directory: str) -> str:
    return name.strip("/").removeprefix(directory.strip("/")).strip("/")


def _list_objects(store: zarr.storage.ObjectStore[Any], path: str) -> Iterator[tuple[str, int]]:
    """Keys below an array, with their stamps, from one listing of a store of obstore's."""
    import obstore

    start = f"{path}/" if path else ""
    batches: Iterable[Any] = obstore.list(store.store, prefix=path or None)
    for batch in batches:
        for found in batch:
            said = (found["size"], found["e_tag"] or found["last_modified"])
            yield str(found["path"]).removeprefix(start), _hash_text(repr(said))


def stamp_path(path: str | Path) -> int:
    """Stamp of a file, :data:`ABSENT` where there is none."""
    try:
        return _stamp_file(os.stat(path))
    except OSError:
        return ABSENT


def _stamp_file(found: os.stat_result) -> int:
    """Hash of what changes with a file. The time of its metadata changes even where that of its content is set back."""
    return _hash_text(f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}")


def _stamp_bytes(held: Any) -> int:
    return ABSENT if held is None else int(xxhash.xxh3_64_intdigest(held.to_bytes()))


def _hash_text(text: str) -> int:
    return int(xxhash.xxh3_64_intdigest(text.encode()))
