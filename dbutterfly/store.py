"""The run's store: a Zarr group with manifest, intermediate arrays, finished tasks and factors.

    /                     attributes["dbutterfly"]: manifest (format, matrix, chain, tree, status, certificate, record)
    /factors/0 .. J-1     ks_values, once the run is complete
    /orderings/rows,cols  index arrays, where a side has one
    /work/...             halves A and B, energies and factors by group, of a run under way
    /work/done/STAGE      one flag per finished task, written by the client alone

Tasks write whole chunks that no other task writes, so workers need no lock; the manifest and the flags have one
writer. A :class:`Workspace` is the part of this that tasks see, with a twin in memory for runs that keep no store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from .errors import StoreError, StoreMismatchError

__all__ = [
    "FORMAT",
    "MemoryWorkspace",
    "RunStore",
    "Selection",
    "Workspace",
    "ZarrWorkspace",
    "create_array",
    "occupant",
]

FORMAT = 1
KEY = "dbutterfly"

Selection: TypeAlias = tuple[slice, ...]


class Workspace(Protocol):
    """Named arrays that the tasks of a run read and write by ranges.

    Attributes
    ----------
    shared : bool
        Whether a pickled copy reaches the same arrays from another process.
    """

    shared: bool

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> None:
        """Make a zero array, unless it is there already."""

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range."""

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""


class MemoryWorkspace:
    """Arrays of this process, for runs without a store."""

    shared = False

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> None:  # noqa: ARG002
        """Make a zero array, unless it is there already."""
        self._arrays.setdefault(name, np.zeros(shape, dtype))

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """View of a range."""
        return self._arrays[name][selection]

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Copy values into a range."""
        self._arrays[name][selection] = values


class ZarrWorkspace:
    """Arrays under one group of a Zarr store."""

    def __init__(self, store: Any, path: str) -> None:
        self._store, self._path = store, path
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self.shared = not isinstance(store, zarr.storage.MemoryStore)

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrWorkspace, (self._store, self._path)

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> None:
        """Make a zero array, unless it is there already."""
        path = f"{self._path}/{name}"
        try:
            zarr.open_array(self._store, path=path, mode="r")
        except FileNotFoundError:
            zarr.create_array(
                self._store, name=path, shape=shape, chunks=chunks, dtype=dtype, compressors=None, fill_value=0
            )

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range."""
        return np.asarray(self._array(name)[selection])

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""
        try:
            self._array(name)[selection] = values
        except OSError as error:
            raise StoreError(f"cannot write {self._path}/{name} of store {self._store}: {error}") from error

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self._store, path=f"{self._path}/{name}", mode="r+")
        return self._arrays[name]


class RunStore:
    """A Zarr group that holds one run.

    Parameters
    ----------
    group : zarr.Group
        Opened by :meth:`create` or :meth:`open`.
    manifest : dict
        Its attributes.
    """

    def __init__(self, group: zarr.Group, manifest: dict[str, Any]) -> None:
        self.group = group
        self.manifest = manifest

    @property
    def workspace(self) -> ZarrWorkspace:
        """Intermediate arrays of the run."""
        return ZarrWorkspace(self.group.store, _join(self.group.path, "work"))

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its factors are there."""
        return bool(self.manifest.get("status") == "complete")

    @classmethod
    def create(cls, store: Any, manifest: dict[str, Any]) -> RunStore:
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
        try:
            group = zarr.open_group(store, mode="a", attributes={KEY: manifest})
        except Exception as error:
            raise StoreError(f"store={store!r} cannot be written: {type(error).__name__}: {error}") from error
        return cls(group, manifest)

    @classmethod
    def open(cls, store: Any, mode: Any = "r") -> RunStore | None:
        """Open the run that a place holds; None if the place is empty or holds no run.

        Raises
        ------
        StoreError
            If the run was written by a later version.
        """
        try:
            group = zarr.open_group(store, mode=mode)
        except (FileNotFoundError, zarr.errors.ContainsArrayError, KeyError):
            return None
        except Exception as error:
            raise StoreError(f"store={store!r} cannot be opened: {type(error).__name__}: {error}") from error
        manifest = group.attrs.asdict().get(KEY)
        if not isinstance(manifest, dict) or "format" not in manifest:
            return None
        if manifest["format"] != FORMAT:
            raise StoreError(
                f"store={store!r} has format {manifest['format']}, written by dbutterfly {manifest.get('version')}; "
                f"this version reads format {FORMAT}"
            )
        return cls(group, manifest)

    def check_same(self, manifest: dict[str, Any], keys: Iterable[str]) -> None:
        """Raise StoreMismatchError unless the run is of the same matrix with the same settings."""
        differing = [key for key in keys if self.manifest.get(key) != manifest.get(key)]
        if differing:
            details = "; ".join(
                f"{key} is {_short(self.manifest.get(key))}, not {_short(manifest[key])}" for key in differing
            )
            raise StoreMismatchError(
                f"store={self.group.store_path} holds the run of another matrix or of other settings ({details}); "
                "nothing was changed: choose another store, or give the same arguments as the first time"
            )

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self._put_manifest({**self.manifest, **changes})

    def done(self, stage: str, tasks: int) -> NDArray[np.bool_]:
        """Flags of the finished tasks of a stage."""
        self.workspace.create(f"done/{stage}", (tasks,), (tasks,), np.uint8)
        return self.workspace.read(f"done/{stage}", (slice(None),)).astype(np.bool_)

    def mark(self, stage: str, flags: NDArray[np.bool_]) -> None:
        """Record which tasks of a stage are finished."""
        self.workspace.write(f"done/{stage}", (slice(None),), flags.astype(np.uint8))

    def write_result(self, ks_values: Sequence[NDArray[Any]], orderings: dict[str, NDArray[Any]], **final: Any) -> None:
        """Store factors and index arrays, then declare the run complete and drop what it no longer needs."""
        factors = self.group.require_group("factors")
        for index, values in enumerate(ks_values):
            _put(factors, str(index), values)
        if orderings:
            sides = self.group.require_group("orderings")
            for name, side in orderings.items():
                _put(sides, name, side)
        self.update(status="complete", **final)
        if "work" in self.group:
            del self.group["work"]

    def restart(self, manifest: dict[str, Any]) -> None:
        """Forget the progress of a run that was not completed, or is to be computed anew."""
        self.update(status="running")
        for name in ("work/done", "work", "factors", "orderings"):  # flags first: they vouch for the rest
            if name in self.group:
                del self.group[name]
        self._put_manifest(manifest)

    def _put_manifest(self, manifest: dict[str, Any]) -> None:
        try:
            self.group.attrs[KEY] = manifest
        except OSError as error:
            raise StoreError(f"cannot write the manifest of store {self.group.store_path}: {error}") from error
        self.manifest = manifest

    def factors(self) -> list[NDArray[Any]]:
        """``ks_values`` of a complete run.

        Raises
        ------
        StoreError
            If a factor is missing or cannot be read.
        """
        return [self._read(f"factors/{index}") for index in range(len(self.manifest["chain"]))]

    def side(self, name: str) -> NDArray[Any]:
        """Index array of the ``rows`` or ``cols``."""
        return self._read(f"orderings/{name}")

    def _read(self, name: str) -> NDArray[Any]:
        try:
            node = self.group[name]
            assert isinstance(node, zarr.Array)
            if node.nchunks_initialized < node.nchunks:  # Zarr would read them as zeros
                raise FileNotFoundError("its chunks are not there")
            return np.asarray(node[...])
        except Exception as error:
            raise StoreError(
                f"store={self.group.store_path}: {name} is missing or damaged: {type(error).__name__}: {error}"
            ) from error


def create_array(
    store: Any,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    chunks: tuple[int, ...],
    *,
    overwrite: bool = False,
    compressors: Any = None,
) -> zarr.Array[Any]:
    """Create an empty Zarr array (format 3), where nothing is or an array or group may be replaced.

    Parameters
    ----------
    store : path, URL or Zarr store
        Place of the array.
    shape, chunks : tuple of int
        Shapes of the array and of its chunks.
    dtype : dtype
        Type of the entries.
    overwrite : bool
        Whether to delete an array or group that is there.
    compressors : optional
        As for :func:`zarr.create_array`.

    Raises
    ------
    StoreError
        If something is there that may not be replaced, or the array cannot be created.
    """
    found = occupant(store)
    if found == "other files":
        raise StoreError(
            f"store={store!r} holds files that are not Zarr; they are never deleted, so name another place"
        )
    if found is not None and not overwrite:
        raise StoreError(f"store={store!r} already holds a Zarr {found}; pass overwrite=True to replace it")
    try:
        return zarr.create_array(
            store, shape=shape, dtype=np.dtype(dtype), chunks=chunks, compressors=compressors, overwrite=overwrite
        )
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"no array can be created at store={store!r}: {error}") from error


def read_array(store: Any) -> NDArray[Any]:
    """Read a Zarr array whole.

    Raises
    ------
    StoreError
        If there is none or it cannot be read.
    """
    try:
        return np.asarray(zarr.open_array(store, mode="r")[...])
    except Exception as error:
        raise StoreError(f"store={store!r} holds no readable Zarr array: {type(error).__name__}: {error}") from error


def occupant(store: Any) -> Literal["array", "group", "other files"] | None:
    """What a place holds; None where something new may be created.

    Raises
    ------
    StoreError
        If that cannot be told.
    """
    try:
        node = zarr.open(store, mode="r")
    except FileNotFoundError:  # also the parent of Zarr's own errors of a missing node
        return "other files" if _holds_files(store) else None
    except Exception as error:
        raise StoreError(
            f"store={store!r} cannot be opened: {type(error).__name__}: {error}; name a path, a URL or a Zarr store"
        ) from error
    return "array" if isinstance(node, zarr.Array) else "group"


def _holds_files(store: Any) -> bool:
    if not isinstance(store, (str, os.PathLike)) or "://" in os.fspath(store):
        return False
    path = os.fspath(store)
    return bool(os.listdir(path)) if os.path.isdir(path) else os.path.exists(path)


def _put(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        compressors=None,
        overwrite=True,
        config={"write_empty_chunks": True},
    )
    array[...] = values.copy()  # a store in memory keeps what it is given


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
