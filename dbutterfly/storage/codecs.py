"""How arrays are created and opened, whatever is set in Zarr's configuration, which belongs to the process.

Format, codecs and memory order of what is created are stated. What is opened is read by a pipeline that is named, and
its entries lie in memory in C order, which the compiled pipeline needs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

import zarr
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore

from ..errors import StoreError

__all__ = ["CHECKSUM", "FORMAT_3", "SIDE_BY_SIDE", "check_groups_open", "compiled_codecs", "own_codecs"]

FORMAT_3: Final[dict[str, Any]] = {
    "zarr_format": 3,
    "filters": (),
    "serializer": BytesCodec(endian="little"),
    "config": {"order": "C", "write_empty_chunks": False},
}
"""Arguments of :func:`zarr.create_array` that Zarr's configuration would decide otherwise, or that nothing does."""

CHECKSUM = (Crc32cCodec(),)
"""Codecs of every chunk of a run's store: four bytes that tell a chunk damaged or half written."""

SIDE_BY_SIDE: Any = {"name": "default", "separator": "."}
"""Names of chunks: the chunks of an array lie in one directory. With one for each index, as is usual, there are more
directories than chunks, and making and deleting them takes longer than all else that a small run does on its disk."""

_MEMORY = {"array.order": "C", "array.write_empty_chunks": False, "default_zarr_format": 3}
"""Settings that :func:`zarr.open_array` takes from nowhere else."""

_OWN = _MEMORY | {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}

_ONE_THREAD = _MEMORY | {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "threading.max_workers": 1,
    "codec_pipeline.chunk_concurrent_minimum": 1,  # four by default, whatever the number of threads
    "codec_pipeline.chunk_concurrent_maximum": 1,
}

_opening = threading.Lock()
"""Zarr's configuration and Python's warnings belong to the process, and are left as they were found."""


@contextlib.contextmanager
def compiled_codecs() -> Iterator[None]:
    """Open Zarr arrays with the compiled codec pipeline, which falls back to Zarr's own, with a warning, where it must.

    It reads uncompressed chunks about twice as fast as Zarr's own (``python -m benchmarks read_limit``). Each call runs
    in one thread: tasks run side by side already, and a pool of threads in each would only be in the way of the others.
    """
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _make_threads(os.getpid())
        with zarr.config.set(_ONE_THREAD):
            yield


@functools.cache
def _make_threads(process: int) -> None:  # noqa: ARG001
    """Have Zarr make the threads of a process, in which all of its reading is done, by the settings of the process.

    It makes them where it first waits for anything while their number is set. Where that is :data:`_ONE_THREAD`, one
    thread reads for all workers from then on, and for the rest of the program.
    """
    number = zarr.config.get("threading.max_workers") or (os.cpu_count() or 1) + 4
    with zarr.config.set({"threading.max_workers": number}):
        zarr.create_array(MemoryStore(), shape=(1,), dtype="u1")


@contextlib.contextmanager
def own_codecs() -> Iterator[None]:
    """Open Zarr arrays with Zarr's own codec pipeline, whatever is set elsewhere or by another thread."""
    with _opening, zarr.config.set(_OWN):
        yield


def check_groups_open() -> None:
    """Refuse to begin where Zarr cannot open groups: some versions do what they need within ``assert``.

    Raises
    ------
    StoreError
        Under ``python -O``, with such a version (3.1.6 is one).
    """
    if not __debug__ and not _can_open_groups():
        raise StoreError(
            f"zarr {zarr.__version__} cannot open groups under python -O, which takes away its assertions; run without "
            "-O and PYTHONOPTIMIZE, or install another version of zarr"
        )


@functools.cache
def _can_open_groups() -> bool:
    store = MemoryStore()
    try:
        zarr.create_group(store, path="outer/inner", zarr_format=3)
        return "inner" in zarr.open_group(store, path="outer", mode="r", zarr_format=3)
    except Exception:
        return False
