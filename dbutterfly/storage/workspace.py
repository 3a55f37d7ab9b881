"""Intermediate arrays of a run: named arrays that its tasks read and write by ranges.

In a store, every chunk carries a checksum, which is that of its array too (:mod:`dbutterfly.storage.array_checksum`),
and a chunk that is not there reads as NaN, which no task ever writes: what is damaged, lost or of another run is told,
and never used. Tasks write whole chunks that no other task writes, so they need no lock;
the row of ``done/STAGE`` that vouches for the chunks of a task is written after them.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import CheckpointError
from .array_checksum import ArrayChecksum
from .chunk_grid import Selection, check_chunk_files, chunks_of, is_whole
from .codecs import CHECKSUM, FORMAT_3, SIDE_BY_SIDE, compiled_codecs, own_codecs
from .guarded_store import GuardedStore
from .memory_workspace import MemoryWorkspace, Workspace
from .places import is_remote, is_shared
from .present_store import expect_present, through
from .retries import AbsentError, as_store_error, is_absence, may_pass, reason, retry
from .sound_chunks import is_sound

__all__ = ["MemoryWorkspace", "Selection", "Workspace", "ZarrWorkspace"]

_log = logging.getLogger("dbutterfly")

_DAMAGE = (ValueError, TypeError, AttributeError, LookupError, RuntimeError, FileNotFoundError)
"""What Zarr's two codec pipelines raise for a chunk that is not what was written, for an array that is gone, and for
other reasons, which the stored bytes tell apart."""

CALL_AGAIN = "what was finished is kept, and the same call continues the run once the store is well again"

ROWS = "done/"
"""Part of the names of the arrays that have the rows of finished tasks: many small chunks, read at once."""

WIDEST_ROW = 64
"""Most fields of the row of a task. Not tuned."""


class _Damage(Exception):
    """A chunk or an array is not what was written."""


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

        An array whose metadata cannot be read gets new ones, and keeps its chunks: their checksums say whether they are
        of use. One of another kind, which no run can have made here, is replaced. Both are logged.

        Raises
        ------
        StoreError
            If the store cannot be read or written.
        """
        path, fault = f"{self._path}/{name}", None

        def create() -> bool:
            nonlocal fault
            try:
                found = self._open(path, "r")
                if _is_ours(found, shape, chunks, dtype, self._codecs(name)):
                    return False
                fault, keeps_chunks = f"an array of shape {found.shape}, chunks {found.chunks}, {found.dtype}", False
            except FileNotFoundError:
                keeps_chunks = False
            except _DAMAGE as error:
                if may_pass(error):
                    raise
                fault, keeps_chunks = reason(error), False
                if isinstance(self._store, GuardedStore):
                    keeps_chunks = self._store.discard_metadata(path)
            self._put_metadata(name, shape, chunks, dtype, overwrite=fault is not None and not keeps_chunks)
            return not keeps_chunks

        with as_store_error(f"cannot create {self._name(name)}", CALL_AGAIN):
            created = retry(create, describe=f"creating {self._name(name)}", remote=self._remote)
        if fault is not None:
            what = "as if nothing were there" if created else "for the chunks that are there"
            _log.warning("%s was damaged, or not made by this run (%s): made anew %s", self._name(name), fault, what)
        return created

    def _put_metadata(
        self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, *, overwrite: bool
    ) -> None:
        try:
            zarr.create_array(
                self._store,
                name=f"{self._path}/{name}",
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                compressors=self._codecs(name),
                chunk_key_encoding=SIDE_BY_SIDE,
                fill_value=np.array(np.nan, dtype)[()],
                overwrite=overwrite,
                **FORMAT_3,
            )
        except Exception as error:
            if isinstance(error, zarr.errors.ContainsArrayError) or (self._remote and is_absence(error)):
                raise AbsentError(f"{self._name(name)} is there, and was not found") from error
            raise

    def _codecs(self, name: str) -> tuple[Any, ...]:
        return CHECKSUM if ROWS in name else (ArrayChecksum.of(f"{self._path}/{name}"),)

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

    def read_rows(self, name: str, rows: int | None = None) -> NDArray[Any]:
        """Read an array that has one chunk per row; rows that are missing or damaged come back as NaN.

        Parameters
        ----------
        name : str
            Name of the array.
        rows : int, optional
            Number of rows that it must have, where it is not certain that this run has made it.

        Raises
        ------
        CheckpointError
            If there is no such array.
        """
        array, everything = self._open_rows(name, rows), (slice(None),)
        with contextlib.suppress(_Damage):
            return self._read_or_damage(name, everything, of_rows=True)
        found = np.full(array.shape, np.nan)
        for row in range(array.shape[0]):
            try:
                found[row] = self._read_or_damage(name, (slice(row, row + 1),), of_rows=True)
            except _Damage as damage:
                _log.warning("row %d of %s is damaged (%s): its task is done again", row, self._name(name), damage)
        return found

    def _open_rows(self, name: str, rows: int | None) -> zarr.Array[Any]:
        """Open an array of rows; that of a run which is only looked at must have the right number of them."""
        with as_store_error(f"cannot read {self._name(name)}", CALL_AGAIN):
            try:
                array = self._open_again(name, expected=rows is None)
                if rows is not None and (array.ndim != 2 or array.shape[0] != rows or array.shape[1] > WIDEST_ROW):
                    raise ValueError(f"it has shape {array.shape}")
            except (*_DAMAGE, AbsentError) as error:
                if may_pass(error) and not isinstance(error, AbsentError):
                    raise
                what = f"{self._name(name)} is missing or damaged: {error}"
                raise CheckpointError(what, name, (slice(None),)) from error
        return array

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks, the last of which may reach over the end of the array.

        Zarr's own codecs put a chunk in place as a whole, so that nobody meets half of one; the compiled ones do not.
        """

        def write() -> None:
            self._array(name, compiled=False)[selection] = values

        with as_store_error(f"cannot write {self._name(name)}", CALL_AGAIN):
            call = expect_present(write) if self._remote else write
            retry(call, describe=f"writing {self._name(name)}", remote=self._remote)

    def release(self, name: str) -> None:
        """Leave an array where it is: a run that is cut off goes on with it."""

    def _read_or_damage(self, name: str, selection: Selection, *, of_rows: bool = False) -> NDArray[Any]:
        """Read a range, and compare the checksums of its chunks.

        The compiled codecs do so for whole chunks only. A range that takes chunks in part, or reaches over the end of
        the array, is read by those of Zarr. Rows need not be there, all else must be.

        Raises
        ------
        _Damage
            If a chunk, or the array, is not what was written; its cause is the error of the codecs.
        StoreError
            If the store cannot be read.
        """

        def read() -> Any:
            array = self._array(name)
            check_chunk_files(array, selection)
            if not is_whole(array, selection):
                array = self._array(name, compiled=False)
            return (through(array, lambda _: True) if self._remote and not of_rows else array)[selection]

        with as_store_error(f"cannot read {self._name(name)}", CALL_AGAIN, but=(_Damage,)):
            try:
                return np.asarray(retry(read, describe=f"reading {self._name(name)}", remote=self._remote))
            except AbsentError as error:
                raise _Damage("missing") from error
            except _DAMAGE as error:
                if may_pass(error) or self._is_sound(name, selection):
                    raise
                raise _Damage(reason(error)) from error

    def _is_sound(self, name: str, selection: Selection) -> bool:
        """Whether all that a range needs is stored as it was written, so that an error is none of decoding."""
        with contextlib.suppress(*_DAMAGE):
            array = self._array(name, compiled=False)
            return all(is_sound(array, at) for at, _ in chunks_of(array, selection))
        return False

    def _array(self, name: str, *, compiled: bool = True) -> zarr.Array[Any]:
        """Array that this run has made, opened once with each of the codec pipelines."""
        compiled = compiled and ROWS in name  # the other checksums are known to Zarr's own only
        if (name, compiled) not in self._arrays:
            self._arrays[name, compiled] = self._open_again(name, compiled=compiled)
        return self._arrays[name, compiled]

    def _open_again(self, name: str, *, compiled: bool = False, expected: bool = True) -> zarr.Array[Any]:
        """Open an array that this run has made, unless it is only hoped that it is there."""

        def open_() -> zarr.Array[Any]:
            return self._open(f"{self._path}/{name}", "r" if self._store.read_only else "r+", compiled=compiled)

        call = expect_present(open_) if expected and self._remote else open_
        return retry(call, describe=f"opening {self._name(name)}", remote=self._remote)

    def _open(self, path: str, mode: Any, *, compiled: bool = False) -> zarr.Array[Any]:
        with compiled_codecs() if compiled and self.shared else own_codecs():
            return zarr.open_array(self._store, path=path, mode=mode, zarr_format=3)

    def _name(self, name: str) -> str:
        return f"{self._path}/{name} of store {self._store}"

    def _damage_error(self, name: str, selection: Selection) -> CheckpointError:
        """Error that names the first chunk of a range that is damaged or missing."""
        try:
            array = self._array(name, compiled=False)
        except (*_DAMAGE, AbsentError) as error:
            return CheckpointError(f"{self._name(name)} is missing or damaged: {error}", name, selection)
        for at, span in chunks_of(array, selection):
            what = "missing"
            try:
                if not np.isnan(np.asarray(array[span])).any():
                    continue
            except _DAMAGE as error:
                what = f"damaged ({error})"
            key = array.metadata.encode_chunk_key(at)
            return CheckpointError(f"chunk {key} of {self._name(name)} is {what}", name, span)
        return CheckpointError(f"{self._name(name)} was damaged, or is now being changed", name, selection)


def _is_ours(
    found: zarr.Array[Any], shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, codecs: tuple[Any, ...]
) -> bool:
    """Whether an array is as a run makes it, or as an older version did, without telling arrays apart."""
    is_fit = (found.shape, found.chunks, found.dtype) == (shape, chunks, dtype)
    return is_fit and found.compressors in (codecs, CHECKSUM) and bool(np.isnan(found.fill_value))
