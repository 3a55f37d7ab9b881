"""Intermediate arrays of a run: named arrays that its tasks read and write by ranges.

In a store, every chunk carries a checksum, and a chunk that is not there reads as NaN, which no task ever writes: what
is damaged or lost is told, and never used. Tasks write whole chunks that no other task writes, so they need no lock;
the row of ``done/STAGE`` that vouches for the chunks of a task is written after them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from ..errors import CheckpointError
from .codecs import compiled_codecs, own_codecs
from .places import is_remote, is_shared
from .retries import as_store_error, may_pass, reason, retry

__all__ = ["CHECKSUM", "MemoryWorkspace", "Selection", "Workspace", "ZarrWorkspace"]

Selection: TypeAlias = tuple[slice, ...]

_log = logging.getLogger("dbutterfly")

_DAMAGE = (ValueError, TypeError, AttributeError, LookupError, RuntimeError, FileNotFoundError)
"""What Zarr's two codec pipelines raise for a chunk that is not what was written, and for an array that is gone."""

CALL_AGAIN = "what was finished is kept, and the same call continues the run once the store is well again"

CHECKSUM = (Crc32cCodec(),)
"""Codecs of every chunk of a run's store: four bytes that tell a chunk damaged or half written."""

SIDE_BY_SIDE: Any = {"name": "default", "separator": "."}
"""Names of chunks: the chunks of an array lie in one directory. With one for each index, as is usual, there are more
directories than chunks, and making and deleting them takes longer than all else that a small run does on its disk."""


class _Damage(Exception):
    """A chunk or an array is not what was written."""


class Workspace(Protocol):
    """Named arrays that the tasks of a run read and write by ranges.

    Attributes
    ----------
    shared : bool
        Whether a pickled copy reaches the same arrays from another process.
    """

    shared: bool

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array of NaN, unless it is there already; whether it was made."""

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, all of which has been written."""

    def read_rows(self, name: str) -> NDArray[Any]:
        """Read a two-dimensional array of one chunk per row; rows that are missing or damaged come back as NaN."""

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""


class MemoryWorkspace:
    """Arrays of this process, for runs without a store."""

    shared = False

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:  # noqa: ARG002
        """Make an array, unless it is there already; whether it was made."""
        if name in self._arrays:
            return False
        self._arrays[name] = np.full(shape, np.nan, dtype)
        return True

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """View of a range."""
        return self._arrays[name][selection]

    def read_rows(self, name: str) -> NDArray[Any]:
        """Copy of an array."""
        return self._arrays[name].copy()

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Copy values into a range."""
        self._arrays[name][selection] = values


class ZarrWorkspace:
    """Arrays under one group of a Zarr store.

    Parameters
    ----------
    store : Zarr store
        Where they are.
    path : str
        Path of the group in the store.
    """

    def __init__(self, store: Any, path: str) -> None:
        self._store, self._path = store, path
        self._arrays: dict[tuple[str, bool], zarr.Array[Any]] = {}
        self._remote = is_remote(store)
        self.shared = is_shared(store)

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrWorkspace, (self._store, self._path)

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array of NaN, unless it is there already; whether it was made.

        Raises
        ------
        CheckpointError
            If what is there is damaged, or was not made by this run; it is left as it is.
        """
        path = f"{self._path}/{name}"

        def create() -> zarr.Array[Any] | None:
            try:
                return zarr.open_array(self._store, path=path, mode="r")
            except FileNotFoundError:
                zarr.create_array(
                    self._store,
                    name=path,
                    shape=shape,
                    chunks=chunks,
                    dtype=dtype,
                    compressors=CHECKSUM,
                    chunk_key_encoding=SIDE_BY_SIDE,
                    fill_value=np.array(np.nan, dtype)[()],
                )
                return None

        with as_store_error(f"cannot create {self._name(name)}", CALL_AGAIN, but=(CheckpointError,)):
            try:
                found = retry(create, describe=f"creating {self._name(name)}", remote=self._remote)
            except _DAMAGE as error:
                if may_pass(error):
                    raise
                raise self._foreign_error(name, reason(error)) from error
        if found is None:
            return True
        is_ours = (found.shape, found.chunks, found.dtype, found.compressors) == (shape, chunks, dtype, CHECKSUM)
        if not is_ours or not np.isnan(found.fill_value):
            raise self._foreign_error(name, f"an array of shape {found.shape}, chunks {found.chunks}, {found.dtype}")
        return False

    def _foreign_error(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._name(name)} is damaged, or was not made by this run ({what}); it was not used: delete it, and the "
            "same call computes it again, or begin anew with resume=False",
            name,
            (slice(None),),
        )

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, all of which has been written.

        Raises
        ------
        CheckpointError
            If a chunk is damaged or missing; ``selection`` of the error is the range of the first such chunk.
        """
        try:
            values = self._read_or_damage(name, selection)
        except _Damage as damage:
            raise self._damage_error(name, selection) from damage.__cause__
        if np.isnan(values).any():
            raise self._damage_error(name, selection)
        return values

    def read_rows(self, name: str) -> NDArray[Any]:
        """Read an array that has one chunk per row; rows that are missing or damaged come back as NaN."""
        with contextlib.suppress(_Damage):
            return self._read_or_damage(name, (slice(None),))
        array = self._array(name)
        rows = np.full(array.shape, np.nan)
        for row in range(array.shape[0]):
            try:
                rows[row] = self._read_or_damage(name, (slice(row, row + 1),))
            except _Damage as damage:
                _log.warning("row %d of %s is damaged (%s): its task is done again", row, self._name(name), damage)
        return rows

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks, the last of which may reach over the end of the array.

        Zarr's own codecs put a chunk in place as a whole, so that nobody meets half of one; the compiled ones do not.
        """

        def write() -> None:
            self._array(name, compiled=False)[selection] = values

        with as_store_error(f"cannot write {self._name(name)}", CALL_AGAIN):
            retry(write, describe=f"writing {self._name(name)}", remote=self._remote)

    def _read_or_damage(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, and compare the checksums of its chunks.

        The compiled codecs do so for whole chunks only. A range that takes chunks in part, or reaches over the end of
        the array, is read by those of Zarr.

        Raises
        ------
        _Damage
            If a chunk, or the array, is not what was written; its cause is the error of the codecs.
        StoreError
            If the store cannot be read.
        """

        def read() -> Any:
            array = self._array(name)
            return (array if _is_whole(array, selection) else self._array(name, compiled=False))[selection]

        with as_store_error(f"cannot read {self._name(name)}", CALL_AGAIN, but=(_Damage,)):
            try:
                return np.asarray(retry(read, describe=f"reading {self._name(name)}", remote=self._remote))
            except _DAMAGE as error:
                if may_pass(error):
                    raise
                raise _Damage(reason(error)) from error

    def _array(self, name: str, *, compiled: bool = True) -> zarr.Array[Any]:
        if (name, compiled) not in self._arrays:

            def open_() -> zarr.Array[Any]:
                with compiled_codecs() if compiled and self.shared else own_codecs():
                    mode: Any = "r" if self._store.read_only else "r+"
                    return zarr.open_array(self._store, path=f"{self._path}/{name}", mode=mode)

            found = retry(open_, describe=f"opening {self._name(name)}", remote=self._remote)
            self._arrays[name, compiled] = found
        return self._arrays[name, compiled]

    def _name(self, name: str) -> str:
        return f"{self._path}/{name} of store {self._store}"

    def _damage_error(self, name: str, selection: Selection) -> CheckpointError:
        """Error that names the first chunk of a range that is damaged or missing."""
        try:
            array = self._array(name, compiled=False)
        except _DAMAGE as error:
            return CheckpointError(f"{self._name(name)} is missing or damaged: {error}", name, selection)
        for at, span in _chunks(array, selection):
            what = "missing"
            try:
                if not np.isnan(np.asarray(array[span])).any():
                    continue
            except _DAMAGE as error:
                what = f"damaged ({error})"
            key = array.metadata.encode_chunk_key(at)
            return CheckpointError(f"chunk {key} of {self._name(name)} is {what}", name, span)
        return CheckpointError(f"{self._name(name)} was damaged, or is now being changed", name, selection)


def _is_whole(array: zarr.Array[Any], selection: Selection) -> bool:
    """Whether a range is made of chunks that lie in the array from end to end."""
    parts = (*selection, *[slice(None)] * (array.ndim - len(selection)))
    for size, chunk, part in zip(array.shape, array.chunks, parts, strict=True):
        start, stop, _ = part.indices(size)
        if start % chunk or stop % chunk:
            return False
    return True


def _chunks(array: zarr.Array[Any], selection: Selection) -> Iterator[tuple[tuple[int, ...], Selection]]:
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
