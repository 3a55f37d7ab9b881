"""Places of matrices, runs and factors: local paths, URLs of object storage, and Zarr stores.

A URL of object storage becomes a :class:`RemoteStore`; what zarr-python opens by itself is left to it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import fsspec
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, MemoryStore, ObjectStore, StorePath, WrapperStore

from ..errors import InputError, how_to_install
from .local_paths import is_url, local_path, text_of
from .present_store import PresentStore, expect_present
from .remote import RemoteStore
from .retries import reason, retry

__all__ = [
    "as_store",
    "holds_objects",
    "innermost_store",
    "is_remote",
    "is_shared",
    "is_store",
    "is_web",
    "retry_at",
    "run_coroutine",
]


T = TypeVar("T")


class Scheme(NamedTuple):
    """A kind of URL: its usual name, what comes first in it, and the fsspec package that opens it without obstore."""

    name: str
    root: str
    package: str


S3, GS = Scheme("s3", "bucket", "s3fs"), Scheme("gs", "bucket", "gcsfs")
AZ, ABFS = Scheme("az", "container", "adlfs"), Scheme("abfs", "container", "adlfs")
HTTP, HTTPS = Scheme("http", "host", "aiohttp"), Scheme("https", "host", "aiohttp")
SCHEMES = {
    "s3": S3, "s3a": S3, "gs": GS, "gcs": GS, "az": AZ, "azure": AZ, "abfs": ABFS, "abfss": ABFS,
    "http": HTTP, "https": HTTPS,
}  # fmt: skip


def as_store(place: Any, *, read_only: bool = False, argument: str = "place") -> Any:
    """Turn what the user gave into something that every ``zarr.open`` function takes.

    Parameters
    ----------
    place : str, path, or Zarr store
        A URL of object storage (``s3://bucket/path``, ``gs://``, ``az://container/path``, ``https://``) becomes a
        :class:`RemoteStore`; a local path or ``file://`` URL becomes an absolute path
        (:func:`dbutterfly.storage.local_paths.local_path`); other URLs that fsspec knows stay what they are, and so do
        Zarr stores.
    read_only : bool
        Whether the store of a URL refuses writing.
    argument : str
        What error messages call the place.

    Returns
    -------
    RemoteStore, str or object

    Raises
    ------
    InputError
        If a path or URL is malformed, a URL of no known kind, or cannot be used with the settings in the environment.
    """
    if not isinstance(place, (str, os.PathLike)):
        return place
    given = text_of(place, argument)
    if not is_url(given):
        return local_path(given, argument)
    scheme, _, rest = given.partition("://")
    if "::" in scheme:
        return given
    kind = SCHEMES.get(scheme.lower())
    if kind is None:
        return _check_fsspec(given, scheme, argument)
    url = f"{kind.name}://{_check_rest(rest, kind, argument)}"
    if importlib.util.find_spec("obstore") is None:
        if importlib.util.find_spec(kind.package) is not None:
            return given
        raise InputError(f"{argument}={url!r} needs the package obstore; install it with: {how_to_install('s3')}")
    try:
        return RemoteStore(url, read_only=read_only)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{argument}={url!r} cannot be used with the settings in the environment: {reason(error)}; see "
            "AWS_ENDPOINT_URL, AZURE_STORAGE_ACCOUNT_NAME and the like"
        ) from error


def is_remote(store: Any) -> bool:
    """Whether a Zarr store, array, group or place is reached over a network, so that reading is worth trying again."""
    if isinstance(store, (zarr.Array, zarr.Group, StorePath)):
        store = store.store
    if isinstance(store, PresentStore):
        store = store.inner
    if isinstance(store, ObjectStore):
        return type(store.store).__name__ not in ("LocalStore", "MemoryStore")
    if isinstance(store, FsspecStore):
        return not {"file", "local", "memory"} & _protocols(store)
    if isinstance(store, (str, os.PathLike)):
        return os.fspath(store).split("://")[0].split("::")[-1].lower() in SCHEMES and "://" in os.fspath(store)
    return False


def is_store(place: Any) -> bool:
    """Whether a place is given as a store of Zarr, or as a path in one."""
    return isinstance(place, (Store, StorePath))


def innermost_store(store: Any) -> Any:
    """Store of an array or group, or one that was given, without what wraps it."""
    if isinstance(store, (zarr.Array, zarr.Group, StorePath)):
        store = store.store
    while isinstance(store, WrapperStore):
        store = store._store  # which has no public name
    return store


def is_shared(store: Any) -> bool:
    """Whether another process can open a Zarr store, array, group or place: not if it lies in the memory of this one.

    What wraps another store, or another file system, is where that one is.
    """
    store = innermost_store(store)
    if isinstance(store, ObjectStore):
        return type(store.store).__name__ != "MemoryStore"
    if isinstance(store, FsspecStore):
        return not _is_in_memory(store.fs)
    if isinstance(store, (str, os.PathLike)):
        scheme, separator, _ = os.fspath(store).partition("://")
        return not separator or "memory" not in scheme.lower().split("::")
    return not isinstance(store, (MemoryStore, dict))


def _is_in_memory(files: Any) -> bool:
    """Whether a file system of fsspec, or the one that it wraps, lies in the memory of this process."""
    while files is not None:
        protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
        if "memory" in protocols:
            return True
        files = getattr(files, "sync_fs", None) or getattr(files, "fs", None)
    return False


def is_web(store: Any) -> bool:
    """Whether a Zarr store, array or group is reached by plain HTTP, which has no listing."""
    store = getattr(store, "store", store) if isinstance(store, (zarr.Array, zarr.Group, StorePath)) else store
    store = store.inner if isinstance(store, PresentStore) else store
    if isinstance(store, ObjectStore):
        return type(store.store).__name__ == "HTTPStore"
    return isinstance(store, FsspecStore) and bool({"http", "https"} & _protocols(store))


def _protocols(store: FsspecStore) -> set[str]:
    files = getattr(store.fs, "sync_fs", store.fs)
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


def holds_objects(store: Any) -> bool:
    """Whether any object is below the place of a store or URL: what is there must not be deleted for a new array.

    False for ``https://``, and other stores that cannot be listed. The empty objects by which consoles show folders do
    not count.
    """
    if isinstance(store, (str, os.PathLike)):
        files, path = fsspec.url_to_fs(os.fspath(store))
        return retry(lambda: _finds_any(files, path), describe=f"list {store}", remote=is_remote(store))
    if is_web(store):
        return False
    if isinstance(store, FsspecStore):
        files = getattr(store.fs, "sync_fs", store.fs)
        files = type(files)(**{**files.storage_options, "asynchronous": False})  # its own loop, besides that of Zarr
        return retry(lambda: _finds_any(files, store.path), describe=f"list {store}", remote=is_remote(store))
    if isinstance(store, StorePath):
        return _lists_any(store.store, store.path)
    if not isinstance(store, ObjectStore):
        return isinstance(store, Store) and _lists_any(store, "")
    import obstore

    def list_one() -> bool:
        found = (one for batch in obstore.list(store.store, chunk_size=2) for one in batch)
        return any(one["size"] > 0 or "." in one["path"] for one in found)

    return retry(expect_present(list_one), describe=f"list {store}", remote=is_remote(store))


def _lists_any(store: Store, path: str) -> bool:
    """Whether a store that is no file system of fsspec lists anything below a path."""
    if isinstance(store, FsspecStore) or not store.supports_listing:
        return False
    return not run_coroutine(store.is_empty(path))


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from whatever thread: that of a notebook has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _finds_any(files: Any, path: str) -> bool:
    """Whether a file system of fsspec has a file at a path or below it."""
    if {"http", "https"} & {files.protocol if isinstance(files.protocol, str) else files.protocol[0]}:
        return False
    files.invalidate_cache()
    try:
        return bool(files.ls(path, detail=False))
    except FileNotFoundError:
        return False


def _check_rest(rest: str, kind: Scheme, argument: str) -> str:
    """Part of a URL after ``://``, without ending slashes; every name in it means what it says."""
    root, _, path = rest.rstrip("/").partition("/")
    shown = f"{argument}={f'{kind.name}://{rest}'!r}"
    if "@" in root and kind is not ABFS:
        shown = f"{argument}={kind.name + '://...@' + rest.split('@', 1)[1]!r}"  # it may be a password
        raise InputError(f"{shown} has a user name or a key; take them out and set AWS_ACCESS_KEY_ID and the like")
    if not root:
        raise InputError(f"{shown} names no {kind.root}; write {kind.name}://{kind.root}/path")
    if {"", ".", ".."} & set(path.split("/") if path else ()) or "?" in rest or "#" in rest:
        raise InputError(f"{shown} has an empty name, '.', '..', '?' or '#' in its path; write it without")
    return f"{root}/{path}" if path else root


def _check_fsspec(url: str, scheme: str, argument: str) -> str:
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"{argument}={url!r} has an unknown scheme; use a local path or one of {known}") from None
    except ImportError as error:
        raise InputError(f"{argument}={url!r} cannot be opened: {error}") from error
    return url


def retry_at(place: Any, what: str, call: Callable[[], T]) -> T:
    """Call something that reads or writes a place, again where that may help (:func:`.retries.retry`)."""
    return retry(call, describe=f"{what} store {place}", remote=is_remote(place))
