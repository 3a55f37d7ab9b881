"""The small JSON object by which a lease is held, in any Zarr store."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import zarr
from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype

from .guarded_store import ObstacleError
from .places import is_remote, run_coroutine
from .present_store import expect_present
from .retries import retry

__all__ = ["NOBODY", "SETTLE_SECONDS", "LeaseObject", "object_of"]

SETTLE_SECONDS = 1.0
"""Time after which a run that has written its lease over another one looks whether it is still there. It must be longer
than the writing of another one takes. Not tuned."""

KEY = "lease"
"""Name of the object, below the group of the run."""

LOOKS = 3
"""Times that a remote store is asked for a lease before there is none. Not tuned."""

NOBODY = {"token": "", "beat": 0, "pid": 0, "started": None, "host": "nowhere", "host_id": None}
"""Lease that cannot be read, which nobody holds."""

HOSTS, TEXTS = ("host", "host_id"), (str, type(None))
"""Entries of a lease that are texts, and what they may be."""

T = TypeVar("T")


class LeaseObject(Protocol):
    """A small JSON object in a store."""

    def create(self, value: dict[str, Any]) -> bool:
        """Write it unless it is there; False if it was."""

    def read(self) -> dict[str, Any] | None:
        """Value, or None."""

    def write(self, value: dict[str, Any]) -> None:
        """Write it, whatever is there."""

    def delete(self) -> None:
        """Remove it."""


class _Key:
    """An object of its own in a store that has put-if-absent."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._key = store, f"{path}/{KEY}".lstrip("/")
        self._prototype = default_buffer_prototype()

    def create(self, value: dict[str, Any]) -> bool:
        self._do(lambda: self._store.set_if_not_exists(self._key, self._bytes(value)))
        return self.read() == value

    def read(self) -> dict[str, Any] | None:
        try:
            for _ in range(LOOKS if is_remote(self._store) else 1):
                found = self._do(lambda: self._store.get(self._key, self._prototype))
                if found is not None:
                    return _parse(found.to_bytes())
        except ObstacleError:
            return NOBODY
        return None

    def write(self, value: dict[str, Any]) -> None:
        self._do(lambda: self._store.set(self._key, self._bytes(value)))

    def delete(self) -> None:
        self._do(lambda: self._store.delete(self._key))

    def _do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        def do() -> T:
            return run_coroutine(make())

        is_far = is_remote(self._store)  # of such a store, a place that is not found is asked for again
        call = expect_present(do) if is_far else do
        return retry(call, describe=f"lease of store {self._store}", remote=is_far)

    def _bytes(self, value: dict[str, Any]) -> Any:
        return self._prototype.buffer.from_bytes(json.dumps(_seal(value)).encode())


class _Attributes:
    """The attributes of a group, for stores that only Zarr can reach: there put-if-absent is to look and then put."""

    def __init__(self, store: Any, path: str) -> None:
        self._store, self._path = store, f"{path}/{KEY}".lstrip("/")

    def create(self, value: dict[str, Any]) -> bool:
        if self.read() is not None:
            return False
        self.write(value)
        time.sleep(SETTLE_SECONDS)
        return self.read() == value

    def read(self) -> dict[str, Any] | None:
        try:
            found = zarr.open_group(self._store, path=self._path, mode="r").attrs.asdict()
        except FileNotFoundError:
            return None
        except ValueError:
            return NOBODY
        return _checked(found) if "token" in found else None

    def write(self, value: dict[str, Any]) -> None:
        value = _seal(value) if value else value
        try:
            zarr.open_group(self._store, path=self._path, mode="a", attributes=value).attrs.put(value)
        except zarr.errors.ContainsGroupError:  # another run has made it at the same moment
            zarr.open_group(self._store, path=self._path, mode="r+").attrs.put(value)
        except ValueError:  # what is there cannot be read, and so it counts as nothing
            zarr.create_group(self._store, path=self._path, attributes=value)

    def delete(self) -> None:
        self.write({})


def object_of(store: Any, path: str) -> LeaseObject:
    """Choose how the lease of a run is kept: as an object of its own, or in the attributes of a group."""
    if isinstance(store, Store) and not isinstance(store, zarr.storage.FsspecStore):
        return _Key(store, path)
    return _Attributes(store, path)  # the connections of fsspec belong to the event loop of Zarr


def _seal(value: dict[str, Any]) -> dict[str, Any]:
    """Add a digest to a lease, by which a damaged one is told."""
    return {**value, "digest": _digest(value)}


def _digest(value: dict[str, Any]) -> str:
    plain = {name: item for name, item in value.items() if name != "digest"}
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()


def _parse(content: bytes) -> dict[str, Any]:
    """Value of a lease; one that cannot be read is nobody's."""
    try:
        return _checked(json.loads(content))
    except (ValueError, RecursionError):
        return NOBODY


def _checked(value: Any) -> dict[str, Any]:
    """Value of a lease, if it is one: of the right types, and as it was written where it has a digest."""
    if not isinstance(value, dict) or ("digest" in value and value["digest"] != _digest(value)):
        return NOBODY
    whole = {**NOBODY, **{name: item for name, item in value.items() if name != "digest"}}
    is_lease = isinstance(whole["token"], str) and all(type(whole[name]) is int for name in ("beat", "pid"))
    has_times = isinstance(whole["started"], (int, float, type(None)))
    return whole if is_lease and has_times and all(isinstance(whole[name], TEXTS) for name in HOSTS) else NOBODY
