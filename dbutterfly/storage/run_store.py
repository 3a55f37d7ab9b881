"""The run's store: a Zarr group with manifest, intermediate arrays, finished tasks and factors.

    /                         attributes["dbutterfly"]: manifest (format, matrix, chain, status, certificate, record)
    /factors/0 .. J-1         ks_values, once the run is complete
    /orderings/rows,cols      index arrays, where a side has one
    /identity/stamps          of the pieces of the matrix (:mod:`dbutterfly.sources.stamps`)
    /trace/tasks,residuals    what a report shows (see :mod:`dbutterfly.factorization.results.trace`)
    /lease                    who works on the run (see :mod:`dbutterfly.storage.lease`)
    /work/EPOCH/...           halves A and B, energies and factors by group, of a run under way
    /work/EPOCH/done/STAGE    one row per finished task, written by the task after all else

The manifest is written by the client alone, which holds the lease. An epoch is one beginning of the run: what a task
of a run that was given up may still write goes to a place that nobody reads.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import StoreError, StoreMismatchError
from .arrays import occupant
from .lease import Lease
from .manifest import FORMAT, Manifest, Sides, index_arrays
from .places import as_store, retry_at
from .retries import as_store_error
from .workspace import CHECKSUM, Workspace, ZarrWorkspace

__all__ = ["RunStore"]

KEY = "dbutterfly"
"""Attribute of the group that holds the manifest."""

_log = logging.getLogger("dbutterfly")


class RunStore:
    """A Zarr group that holds one run.

    Parameters
    ----------
    group : zarr.Group
        Opened by :meth:`create` or :meth:`open`.
    manifest : Manifest
        What the group says of itself.
    """

    def __init__(self, group: zarr.Group, manifest: Manifest) -> None:
        self.group = group
        self.manifest = manifest

    @property
    def workspace(self) -> Workspace:
        """Intermediate arrays of the run, of all ranks."""
        return ZarrWorkspace(self.group.store, _join(self.group.path, f"work/{self.manifest.epoch}"))

    def lease(self) -> Lease:
        """Take the right to write into this store, until it is released."""
        return Lease(self.group.store, self.group.path)

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its factors are there."""
        return self.manifest.is_complete

    @classmethod
    def create(cls, store: Any, manifest: Manifest) -> RunStore:
        """Start a run in an empty place.

        Raises
        ------
        StoreError
            If something else is there already, which is left as it is, or the place cannot be written.
        """
        if occupant(store) is not None:
            raise StoreError(
                f"store={store!r} already holds something that is no dbutterfly run; nothing was changed: choose "
                "another place or remove it yourself"
            )
        place, manifest = as_store(store, argument="store"), replace(manifest, epoch=_new_epoch())
        attributes: dict[str, Any] = {KEY: manifest.to_json()}
        with as_store_error(f"store={store!r} cannot be written"):
            group = retry_at(place, "create", lambda: zarr.open_group(place, mode="a", attributes=attributes))
        return cls(group, manifest)

    @classmethod
    def open(cls, store: Any, mode: Any = "r") -> RunStore | None:
        """Open the run that a place holds; None if the place is empty or holds no run.

        Raises
        ------
        StoreError
            If the run was written by a later version.
        """
        place = as_store(store, read_only=mode == "r", argument="store")
        nothing = (FileNotFoundError, zarr.errors.ContainsArrayError, KeyError)
        try:
            with as_store_error(f"store={store!r} cannot be opened", but=nothing):
                group = retry_at(place, "open", lambda: zarr.open_group(place, mode=mode))
        except nothing:
            return None
        values = group.attrs.asdict().get(KEY)
        if not isinstance(values, dict) or "format" not in values:
            return None
        if values["format"] != FORMAT:
            raise StoreError(
                f"store={store!r} has format {values['format']}, written by dbutterfly {values.get('version')}; "
                f"this version reads format {FORMAT}"
            )
        return cls(group, Manifest.from_json(values))

    def check_same(self, manifest: Manifest, keys: Iterable[str]) -> None:
        """Raise StoreMismatchError unless the run is of the same matrix with the same settings."""
        differing = [
            difference
            for key in keys
            for difference in _differences(key, getattr(self.manifest, key), getattr(manifest, key))
        ]
        if differing:
            details = "; ".join(f"{name} is {_short(here)}, not {_short(there)}" for name, here, there in differing)
            raise StoreMismatchError(
                f"store={self.group.store_path} holds the run of another matrix or of other settings ({details}); "
                "nothing was changed: choose another store, or give the same arguments as the first time"
            )

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self._put_manifest(replace(self.manifest, **changes))

    def put_factors(
        self,
        ks_values: Sequence[NDArray[Any]],
        sides: Sides,
        trace: dict[str, NDArray[Any]] | None = None,
        **final: Any,
    ) -> None:
        """Store factors, orderings and trace, then declare the run complete and drop what it no longer needs."""
        for index, values in enumerate(ks_values):
            self._put("factors", str(index), values)
        self.put_orderings(sides)
        for name, values in (trace or {}).items():
            self._put("trace", name, values)
        self.update(status="complete", **final)
        self.clean()

    def put_stamps(self, stamps: NDArray[np.uint64]) -> None:
        """Store the stamps of the matrix."""
        self._put("identity", "stamps", stamps)

    def stamps(self) -> NDArray[np.uint64] | None:
        """Stamps of the matrix when the run began; None where there are none, or none that can be read."""
        if "identity/stamps" not in self.group:
            return None
        try:
            return self._read("identity/stamps")
        except StoreError as error:
            _log.warning("%s; the matrix is known by other signs", error)
            return None

    def put_orderings(self, sides: Sides) -> None:
        """Store the sides that are index arrays."""
        for name, side in index_arrays(sides).items():
            self._put("orderings", name, side)

    def clean(self) -> None:
        """Drop what a complete run no longer needs."""
        self._delete("work")

    def restart(self, manifest: Manifest) -> None:
        """Forget the progress of a run that was not completed, or is to be computed anew."""
        self._put_manifest(replace(manifest, epoch=_new_epoch()))
        for name in ("work", "factors", "orderings", "trace", "identity"):
            self._delete(name)

    def _delete(self, name: str) -> None:
        """Delete what nobody reads any more; it only takes room if that fails, as where a task still writes into it."""

        def delete() -> None:
            if name in self.group:
                del self.group[name]

        try:
            self._write(f"delete {name} of", delete)
        except StoreError as error:
            _log.warning("%s; it is of no use any more, and can be deleted by hand", error)

    def _write(self, what: str, call: Callable[[], None]) -> None:
        """Change the store.

        Raises
        ------
        StoreError
            If that fails, again and again where the store is remote.
        """
        with as_store_error(f"cannot {what} store {self.group.store_path}"):
            retry_at(self.group.store, what, call)

    def _put_manifest(self, manifest: Manifest) -> None:
        def put() -> None:
            self.group.attrs[KEY] = manifest.to_json()

        self._write("write the manifest of", put)
        self.manifest = manifest

    def _put(self, group: str, name: str, values: NDArray[Any]) -> None:
        def put() -> None:
            array = self.group.require_group(group).create_array(
                name,
                shape=values.shape,
                chunks=values.shape,
                dtype=values.dtype,
                compressors=CHECKSUM,
                overwrite=True,
                config={"write_empty_chunks": True},
            )
            array[...] = values.copy()  # a store in memory keeps what it is given

        self._write(f"write {group}/{name} of", put)

    def factors(self) -> list[NDArray[Any]]:
        """``ks_values`` of a complete run.

        Raises
        ------
        StoreError
            If a factor is missing or cannot be read.
        """
        return [self._read(f"factors/{index}") for index in range(len(self.manifest.chain))]

    def sides(self) -> Sides:
        """Orderings of both sides: index arrays, names, or None.

        Raises
        ------
        StoreError
            If an index array is missing or cannot be read.
        """
        names = self.manifest.orderings
        return {name: self.side(name) if side == "array" else side for name, side in names.items()}

    def side(self, name: str) -> NDArray[Any]:
        """Index array of the ``rows`` or ``cols``."""
        return self._read(f"orderings/{name}")

    def trace(self) -> dict[str, NDArray[Any]]:
        """Arrays of the trace of a complete run; none where it has left none."""
        if "trace" not in self.group:
            return {}
        return {name: self._read(f"trace/{name}") for name in ("tasks", "residuals")}

    def _read(self, name: str) -> NDArray[Any]:
        try:
            return retry_at(self.group.store, f"read {name} of", lambda: _whole(self.group[name]))
        except Exception as error:
            raise StoreError(
                f"store={self.group.store_path}: {name} is missing or damaged: {type(error).__name__}: {error}"
            ) from error


def _whole(node: Any) -> NDArray[Any]:
    if node.nchunks_initialized < node.nchunks:  # Zarr would read them as zeros
        raise FileNotFoundError("its chunks are not there")
    return np.asarray(node[...])


def _new_epoch() -> str:
    return uuid.uuid4().hex[:8]


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _differences(name: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """Entries in which two values of a manifest differ, by their names."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from _differences(f"{name}.{key}", here.get(key), there.get(key))
    elif here != there:
        yield name, here, there


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
