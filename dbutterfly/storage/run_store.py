"""The run's store: a Zarr group with manifest, intermediate arrays, finished tasks and factors.

    /                         attributes["dbutterfly"]: manifest (format, matrix, chain, status, certificate, record)
    /manifest                 the same again, from which a damaged one is restored
    /factors/0 .. J-1         ks_values, once the run is complete
    /orderings/rows,cols      index arrays, where a side has one
    /weights/rows,cols        weights, where a side has some
    /stamps                   of the pieces of the matrix (:mod:`dbutterfly.sources.stamps`)
    /trace/tasks,residuals    what a report shows (see :mod:`dbutterfly.factorization.results.trace`)
    /lease                    who works on the run (see :mod:`dbutterfly.storage.lease`)
    /batches/B/...            of a stack: factors, certificates and orderings of the matrices that share a chain
    /rounds/R/B/rows,cols     of a stack: index arrays of the batches of a round
    /alone/K                  of a stack: the run of a matrix by itself
    /blocks/...               of the hierarchical form: table, patterns, values, errors and orderings of its blocks
    /work/EPOCH/...           halves A and B, energies and factors by group, of a run under way
    /work/EPOCH/done/STAGE    one row per finished task, written by the task after all else

The manifest is written by the client alone, which holds the lease. An epoch is one beginning of the run: what a task
of a run that was given up may still write goes to a place that nobody reads.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import zarr
from numpy.typing import NDArray
from zarr.storage import StorePath

from ..errors import StoreError, StoreMismatchError
from .arrays import occupant
from .codecs import check_groups_open
from .differences import differences, shorten_value
from .guarded_store import guard
from .lease import Lease
from .manifest import Manifest, Sides, index_arrays
from .places import as_store, is_remote, retry_at
from .present_store import expect_present
from .replacing import settle
from .result_arrays import (
    STAMPS,
    digest_of,
    read_array,
    read_factor,
    read_side,
    read_stamps,
    read_trace,
    read_weights,
    write_array,
)
from .retries import as_store_error, shorten
from .sealed_manifest import create_manifest, find_manifest, write_manifest
from .workspace import Workspace, ZarrWorkspace

__all__ = ["RunStore"]

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
        return self.workspace_below("")

    def workspace_below(self, name: str) -> Workspace:
        """Intermediate arrays of a part of the run."""
        place = f"work/{self.manifest.epoch}/{name}".rstrip("/")
        return ZarrWorkspace(self.group.store, _join(self.group.path, place))

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
        check_groups_open()
        if occupant(store) is not None:
            raise StoreError(
                f"store={store!r} already holds something that is no dbutterfly run; nothing was changed: choose "
                "another place or remove it yourself"
            )
        place, manifest = guard(as_store(store, argument="store")), replace(manifest, epoch=_new_epoch())
        with as_store_error(f"store={store!r} cannot be written"):
            call = partial(create_manifest, place, manifest)
            group = retry_at(place, "create", expect_present(call) if is_remote(place) else call)
        return cls(group, manifest)

    @classmethod
    def open(cls, store: Any, mode: Any = "r") -> RunStore | None:
        """Open the run that a place holds; None if the place is empty or holds no run.

        A manifest that is damaged or lost is restored from its copy, or only replaced by it with mode ``"r"``.

        Raises
        ------
        StoreError
            If the place cannot be read, the manifest and its copy are damaged, or a later version wrote the run.
        """
        check_groups_open()
        place = as_store(store, read_only=mode == "r", argument="store")
        settle(place)
        found = find_manifest(guard(place, read_only=mode == "r"), mode, shorten(repr(store)))
        return None if found is None else cls(*found)

    def check_same(self, manifest: Manifest, keys: Iterable[str]) -> None:
        """Raise StoreMismatchError unless the run is of the same matrix with the same settings."""
        differing = [
            difference
            for key in keys
            for difference in differences(key, getattr(self.manifest, key), getattr(manifest, key))
        ]
        if differing:
            details = "; ".join(
                f"{name} is {shorten_value(here)}, not {shorten_value(there)}" for name, here, there in differing
            )
            raise StoreMismatchError(
                f"store={self.group.store_path} holds the run of another matrix or of other settings ({details}); "
                "nothing was changed: choose another store, or give the same arguments as the first time"
            )

    def check_has(self, *names: str) -> None:
        """Raise StoreError unless the manifest has these entries."""
        lacking = [name for name in names if getattr(self.manifest, name) in (None, [])]
        if lacking:
            raise StoreError(
                f"store={self.group.store_path}: its manifest has no entry {', '.join(map(repr, lacking))}, without "
                "which it is of no use; restore it from a backup, or name another store"
            )

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self._put_manifest(replace(self.manifest, **changes))

    def put_factors(
        self,
        ks_values: Sequence[NDArray[Any]],
        sides: Sides,
        trace: dict[str, NDArray[Any]] | None = None,
        weights: Sides | None = None,
        **final: Any,
    ) -> None:
        """Store what came out, then declare the run complete and drop what it no longer needs."""
        arrays = {f"factors/{index}": values for index, values in enumerate(ks_values)}
        arrays |= {f"trace/{name}": values for name, values in (trace or {}).items()}
        arrays |= {f"weights/{name}": values for name, values in index_arrays(weights or {}).items()}
        arrays |= {f"orderings/{name}": side for name, side in index_arrays(sides).items()}
        self.put_result(arrays, **final)

    def put_result(self, arrays: Mapping[str, NDArray[Any]], **final: Any) -> None:
        """Store the arrays of a result, then declare the run complete and drop what it no longer needs."""
        self.put_arrays(arrays)
        digests = {name: digest_of(values) for name, values in arrays.items()}
        self.update(status="complete", checksums=digests, **final)
        self.clean()

    def put_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays by their names."""
        for name, values in arrays.items():
            self._put(name, values)

    def read_array(self, name: str, shape: tuple[int, ...], *dtypes: str) -> NDArray[Any]:
        """Read an array of a shape, and of one of some dtypes, or raise CheckpointError."""
        return read_array(self.group, self.manifest, name, shape, dtypes)

    def place(self, name: str) -> StorePath:
        """Place of something below this group, such as another run."""
        return StorePath(self.group.store, _join(self.group.path, name))

    def put_stamps(self, stamps: NDArray[Any]) -> None:
        """Store the stamps of the matrix."""
        self._put(STAMPS, stamps)

    def stamps(self) -> NDArray[Any] | None:
        """Stamps of the matrix when the run began; None where there are none, or they are damaged, which is logged."""
        return read_stamps(self.group, self.manifest)

    def put_orderings(self, sides: Sides) -> None:
        """Store the sides that are index arrays."""
        for name, side in index_arrays(sides).items():
            self._put(f"orderings/{name}", side)

    def clean(self) -> None:
        """Drop what a complete run no longer needs."""
        self._delete("work")

    def restart(self, manifest: Manifest) -> None:
        """Forget the progress of a run that was not completed, or is to be computed anew."""
        names = ["work", "factors", "orderings", "trace", "weights", "batches", "rounds", "alone", "blocks"]
        if manifest.identity != self.manifest.identity:
            names.append(STAMPS)
        self._put_manifest(replace(manifest, epoch=_new_epoch()))
        for name in names:
            self._delete(name)

    def _delete(self, name: str) -> None:
        """Delete what nobody reads any more; it only takes room if that fails, as where a task still writes into it."""

        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):  # of stores that mind
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
            retry_at(self.group.store, what, expect_present(call) if is_remote(self.group.store) else call)

    def _put_manifest(self, manifest: Manifest) -> None:
        self._write("write the manifest of", lambda: write_manifest(self.group, manifest))
        self.manifest = manifest

    def _put(self, name: str, values: NDArray[Any]) -> None:
        self._write(f"write {name} of", lambda: write_array(self.group, name, values))

    def factors(self) -> list[NDArray[Any]]:
        """``ks_values`` of a complete run.

        Raises
        ------
        CheckpointError
            If a factor is missing or damaged.
        """
        self.check_has("chain")
        return [read_factor(self.group, self.manifest, index) for index in range(len(self.manifest.chain))]

    def sides(self) -> Sides:
        """Orderings of both sides: index arrays, names, or None.

        Raises
        ------
        CheckpointError
            If an index array is missing or damaged.
        """
        names = self.manifest.orderings
        return {name: self.side(name) if side == "array" else side for name, side in names.items()}

    def side(self, name: str) -> NDArray[Any]:
        """Index array of the ``rows`` or ``cols``."""
        return read_side(self.group, self.manifest, name)

    def weights(self, **sizes: int) -> dict[str, NDArray[Any]]:
        """Weights of so many ``rows`` and ``cols``, where they have some; CheckpointError if they are damaged."""
        return {name: read_weights(self.group, self.manifest, name, sizes[name]) for name in self.manifest.weights}

    def trace(self) -> dict[str, NDArray[Any]]:
        """Arrays of the trace of a complete run; none where it has left none, or they are damaged, which is logged."""
        return read_trace(self.group, self.manifest)


def _new_epoch() -> str:
    return uuid.uuid4().hex[:8]


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
