"""The chunks of a Zarr array as its store holds them: their keys, which of them exist, whether files can be whole.

A shard counts as one chunk here, since it is what a store holds.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.abc.store
import zarr.storage
from numpy.typing import NDArray

from ..errors import SourceError
from ..storage.places import is_remote, is_web
from ..storage.present_store import expect_present
from ..storage.retries import AbsentError, may_pass, reason, retry

__all__ = [
    "ChunkFault",
    "ChunkFiles",
    "absent_chunks",
    "chunk_key",
    "chunk_keys",
    "chunk_shape",
    "chunks_of",
    "codec_names",
]

METADATA_KEYS = frozenset({"zarr.json", ".zarray"})
"""Keys of the metadata of an array, in Zarr 3 and 2."""

UNCOMPRESSED = frozenset({"bytes", "transpose"})
"""Codecs after which a chunk has as many bytes as its entries."""


class ChunkFault(Exception):
    """A chunk cannot be read; the message says why."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"chunk {self.key} {self.reason}"


def chunk_shape(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Shape of what the store holds under one key: a shard, or a chunk."""
    return tuple(array.shards or array.chunks)


def chunk_key(array: zarr.Array[Any], *at: int) -> str:
    """Key of a chunk below that of its array, such as ``c/3/17``, or ``3.17`` in version 2."""
    return str(array.metadata.encode_chunk_key(at))


def chunk_keys(array: zarr.Array[Any]) -> Iterator[str]:
    """Keys of all chunks, in row-major order; see :func:`chunk_key`.

    They are made of the key of one chunk, where numbers stand for the others: a call of Zarr's for each takes longer
    than to look at its file.
    """
    sizes = [-(-size // chunk) for size, chunk in zip(array.shape, chunk_shape(array), strict=True)]
    signs = [str((1 << 61) + axis) for axis in range(len(sizes))]
    rest, parts = chunk_key(array, *map(int, signs)), []
    for sign in signs:
        part, found, rest = rest.partition(sign)
        assert found
        parts.append(part)
    *outer, last = parts
    for at in itertools.product(*map(range, sizes[:-1])):
        line = "".join(f"{part}{index}" for part, index in zip(outer, at, strict=True)) + last
        for index in range(sizes[-1]):
            yield f"{line}{index}{rest}"


def chunks_of(array: zarr.Array[Any], *ranges: slice) -> Iterator[tuple[int, ...]]:
    """Grid positions of the chunks that hold a range, in row-major order."""
    sides = zip(ranges, chunk_shape(array), strict=True)
    return itertools.product(*(range(side.start // chunk, -(-side.stop // chunk)) for side, chunk in sides))


def codec_names(array: zarr.Array[Any]) -> list[str]:
    """Names of the codecs of an array, from the entries to the bytes, those inside shards too."""
    metadata = array.metadata.to_dict()
    if "codecs" in metadata:
        return list(_codec_names(metadata["codecs"]))
    stages = [*(metadata.get("filters") or ()), metadata.get("compressor")]  # type: ignore[misc]
    return ["bytes", *_codec_names(stages)]


def _codec_names(codecs: Any) -> Iterator[str]:
    """Names of codecs as the metadata lists them, those inside of others behind them."""
    for codec in codecs:
        if codec is not None:
            yield str(codec.get("name", codec.get("id")))
            yield from _codec_names((codec.get("configuration") or {}).get("codecs", ()))


# ---------------------------------------------------------------- which of them exist


class _Listing(zarr.storage.WrapperStore[zarr.abc.store.Store]):
    """A store that keeps the keys it lists, and hands none of them on.

    Zarr's count of the chunks lists the store in the event loop that the store belongs to, which is what is needed
    here, and then takes quadratic time to count, which is avoided by handing on no keys.
    """

    def __init__(self, store: zarr.abc.store.Store) -> None:
        super().__init__(store)
        self.keys: set[str] = set()

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in super().list_prefix(prefix):
            self.keys.add(key)
        for _ in ():
            yield ""


def _list_keys(array: zarr.Array[Any]) -> set[str]:
    """Every key below an array."""
    if isinstance(array.store, zarr.storage.LocalStore):
        below = f"{array.path}/" if array.path else ""
        return set(_list_files(os.path.join(array.store.root, array.path), below))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = zarr.open_array(_Listing(array.store), path=array.path, mode="r")
        _ = opened.nchunks_initialized
    assert isinstance(opened.store, _Listing)  # not always the one given: of a writable store, a wrapper that reads
    return opened.store.keys


def _list_files(directory: str, below: str) -> Iterator[str]:
    """Names of all files in a directory, below a name.

    Zarr lists a directory file by file through its event loop, which takes ten times as long: 100,000 chunks 1.2 s
    (one core of an AMD EPYC).
    """
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _list_files(entry.path, f"{below}{entry.name}/")
            elif entry.is_file():
                yield below + entry.name


def _list_below(array: zarr.Array[Any], has_index: bool) -> set[str]:
    """Every key below an array, without its path."""
    start = len(array.path) + 1 if array.path else 0
    found = {key[start:] for key in _list_keys(array)}
    if has_index and found.isdisjoint(METADATA_KEYS):
        raise AbsentError("the listing lacks the metadata of the array")
    return found


def absent_chunks(array: zarr.Array[Any]) -> NDArray[np.int64] | None:
    """List the store once; return the row-major numbers of the chunks that it does not hold.

    None if the store cannot be listed: if it says so, refuses, or does not even list the metadata of the array (as a
    web server would that has no index pages).

    Raises
    ------
    SourceError
        If the store can be listed, and does not answer.
    """
    if not array.store.supports_listing:
        return None
    has_index = is_remote(array) and not is_web(array)
    call = partial(_list_below, array, has_index)
    try:
        found = retry(
            expect_present(call) if has_index else call,
            describe=f"list {array.store_path}",
            remote=is_remote(array),
        )
    except Exception as error:
        if has_index and may_pass(error):
            raise SourceError(
                f"Zarr array {array.store_path} cannot be listed, so that missing chunks would go unnoticed: "
                f"{reason(error)}; repeat the call"
            ) from error
        return None
    if found.isdisjoint(METADATA_KEYS):
        return None
    held = np.fromiter((key in found for key in chunk_keys(array)), np.bool_)
    return np.flatnonzero(~held).astype(np.int64)


# ---------------------------------------------------------------- whether their files can be whole


class ChunkFiles:
    """The files of an array in a local directory, looked at before they are read.

    Zarr reads a directory in place of a chunk as a missing chunk, and the compiled pipeline takes what it wants from
    an uncompressed file of any length.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        assert isinstance(array.store, zarr.storage.LocalStore)
        self.array = array
        self.directory = Path(array.store.root) / array.path
        self.size = _stored_size(array)

    def check(self, chunks: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return the grid positions of the chunks that are not there.

        Raises
        ------
        ChunkFault
            If a chunk is no file, cannot be reached, is empty, or is uncompressed and has not the length it must have.
        """
        absent = []
        for at in chunks:
            key = chunk_key(self.array, *at)
            try:
                found = (self.directory / key).stat()
            except (FileNotFoundError, NotADirectoryError):
                absent.append(at)
                continue
            except OSError as error:
                raise ChunkFault(key, f"cannot be reached: {type(error).__name__}: {error}") from error
            if not stat.S_ISREG(found.st_mode):
                raise ChunkFault(key, "is no file")
            if found.st_size == 0 or (self.size is not None and found.st_size != self.size):
                expected = "" if self.size is None else f" instead of {self.size}"
                raise ChunkFault(key, f"holds {found.st_size} bytes{expected}")
        return absent


def _stored_size(array: zarr.Array[Any]) -> int | None:
    """Length of every stored chunk; None where it depends on the entries."""
    names = codec_names(array)
    checksums = names.count("crc32c")
    if not set(names) <= UNCOMPRESSED | {"crc32c"}:
        return None
    return math.prod(chunk_shape(array)) * np.dtype(array.dtype).itemsize + 4 * checksums
