"""Zarr's compiled codec pipeline, held to one thread."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

import zarr

__all__ = ["compiled_codecs", "own_codecs"]

_ONE_THREAD = {
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
    with _opening, warnings.catch_warnings(), zarr.config.set(_ONE_THREAD):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def own_codecs() -> Iterator[None]:
    """Open Zarr arrays with Zarr's own codec pipeline, whatever is set elsewhere or by another thread."""
    with _opening, zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        yield
