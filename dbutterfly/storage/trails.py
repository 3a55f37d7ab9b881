"""Trails: what a place is known by, however it is spelled or wrapped.

The trail of a place has the identities of everything that it lies in, from the outside to itself. Files and directories
that exist are known by device and inode, so that symbolic and hard links, bind mounts and the like lead to the same;
objects by bucket and key; stores in memory by the dictionary that holds them. Two places are the same, or one lies in
the other, where the end of one trail is in the other trail. The address of a server is not part of it: the same bucket
and key on two servers count as one place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, StorePath, WrapperStore, ZipStore

__all__ = ["Trail", "directory_of", "identity", "trail_of", "trail_of_path"]

Trail: TypeAlias = tuple[Hashable, ...]

BUCKETS = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az",
}  # fmt: skip
"""Kind of object storage of the schemes of URLs, and of the protocols of fsspec."""

WEB_HOSTS = {
    "s3": re.compile(r"(^|\.)s3[.-]([\w-]+\.)*amazonaws\.com$"),
    "gs": re.compile(r"(^|\.)storage\.googleapis\.com$"),
    "az": re.compile(r"^[\w-]+\.(blob|dfs)\.core\.windows\.net$"),
}
"""Names of the web servers of object storage; what comes before them is the name of a bucket."""


def directory_of(store: Any) -> str | None:
    """Path of a store that is a directory of this file system, however it is wrapped; None of all others."""
    if isinstance(store, (zarr.Array, zarr.Group, StorePath)):
        root = directory_of(store.store)
        return None if root is None else os.path.join(root, *_names(store.path))
    if isinstance(store, (str, os.PathLike)):
        return None if "://" in os.fspath(store) else os.path.abspath(os.fspath(store))
    if isinstance(store, WrapperStore):
        return directory_of(store._store)
    if isinstance(store, LocalStore):
        return os.path.abspath(store.root)
    if isinstance(store, FsspecStore):
        protocol, path = _fsspec_path(store.fs, store.path)
        return path if protocol in ("file", "local") else None
    if isinstance(store, ObjectStore) and type(store.store).__name__ == "LocalStore":
        return os.path.abspath(str(store.store.prefix or os.sep))
    return None


def trail_of(store: Any) -> Trail:
    """Trail of anything that Zarr opens, as :func:`.places.as_store` makes it; empty where it is not known."""
    if isinstance(store, (zarr.Array, zarr.Group, StorePath)):
        return _extend(store.store, _names(store.path))
    return _extend(store, [])


def _extend(store: Any, names: list[str]) -> Trail:
    """Trail of names within a store."""
    path = directory_of(store)
    if path is None and isinstance(store, ZipStore):
        path = os.path.abspath(store.path)
    if path is not None:
        return trail_of_path(os.path.join(path, *names))
    if isinstance(store, WrapperStore):
        return _extend(store._store, names)
    if isinstance(store, (MemoryStore, dict)):
        held = store if isinstance(store, dict) else store._store_dict
        return _steps(("memory", id(held)), names)
    if isinstance(store, ObjectStore):
        return _extend_object_store(store, names)
    if isinstance(store, FsspecStore):
        return _trail_of_url(*_fsspec_path(store.fs, store.path), names)
    if isinstance(store, str) and "://" in store:
        scheme, rest = store.split("::")[-1].split("://", 1)
        return _trail_of_url(scheme, rest, names)
    if isinstance(store, Store):
        return _steps(("store", id(store)), names)
    return ()


def _extend_object_store(store: ObjectStore[Any], names: list[str]) -> Trail:
    """Trail within a store of obstore."""
    inner = store.store
    kind = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}.get(type(inner).__name__)
    if kind is not None:
        config = dict(inner.config)
        root = config.get("bucket") or config.get("container_name") or config.get("bucket_name") or ""
        return _steps((kind, str(root)), [*_names(str(inner.prefix or "")), *names])
    if type(inner).__name__ == "HTTPStore":
        scheme, rest = inner.url.split("://", 1)
        return _trail_of_url(scheme, rest, names)
    return _steps(("objects", id(inner)), names)


def _trail_of_url(scheme: str, rest: str, names: list[str]) -> Trail:
    """Trail of what follows ``SCHEME://``; that of the bucket, where a web server shows one."""
    scheme = scheme.lower()
    parts = [*_names(rest), *names]
    if scheme in ("file", "local"):
        return trail_of_path(os.sep + os.path.join(*parts))
    if scheme in ("http", "https"):
        return _trail_of_web(f"{scheme}://{rest}", names)
    if not parts:
        return _steps((scheme, ""), [])
    if scheme in BUCKETS:
        return _steps((BUCKETS[scheme], parts[0].split("@")[0]), parts[1:])
    return _steps((scheme, ""), parts)


def _trail_of_web(url: str, names: list[str]) -> Trail:
    """Trail of a URL of the web: a bucket is named by its host or first in its path."""
    given = urlsplit(url)
    host, parts = given.hostname or "", [*_names(given.path), *names]
    if parts and any(f"{url}/".startswith(end) for end in _endpoints()):
        return _steps(("s3", parts[0]), parts[1:])
    for kind, pattern in WEB_HOSTS.items():
        found = pattern.search(host)
        if found is not None and (found.start() or parts):
            root = [host[: found.start()]] if found.start() else []
            root.extend(parts)
            return _steps((kind, root[0]), root[1:])
    return _steps(("http", given.netloc.lower()), parts)


def _endpoints() -> Iterator[str]:
    """Servers of object storage that the environment names."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        given = os.environ.get(name)
        if given:
            yield given.rstrip("/") + "/"


def _fsspec_path(files: Any, path: str) -> tuple[str, str]:
    """Protocol and path of what a file system of fsspec shows, without those that lie around another one."""
    while True:
        inner = getattr(files, "sync_fs", None) or getattr(files, "fs", None)
        if inner is None or inner is files:
            break
        if type(files).__name__ == "DirFileSystem":
            path = f"{files.path}/{path}"
        files = inner
    protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return protocol, os.path.abspath(path) if protocol in ("file", "local") else path


def trail_of_path(path: str) -> Trail:
    """Trail of a path of this file system: device and inode of what exists, then names."""
    trail: list[Hashable] = []
    missing: list[str] = []
    current = os.path.realpath(path)
    while True:
        found = identity(current)
        if found is not None:
            trail.append(found)
        else:
            missing.append(os.path.basename(current))
        parent = os.path.dirname(current)
        if parent == current:
            break
        current = parent
    trail.reverse()
    last = trail[-1] if trail else ("file", "")
    names = missing[::-1]
    return (*trail, *((last, tuple(names[: count + 1])) for count in range(len(names))))


def identity(path: str, *, follow: bool = True) -> tuple[str, int, int] | None:
    """Device and inode of what is at a path, or of the symbolic link that is there; None where nothing is."""
    try:
        found = os.stat(path, follow_symlinks=follow)
    except (OSError, ValueError):
        return None
    return "file", found.st_dev, found.st_ino


def _steps(root: Hashable, names: list[str]) -> Trail:
    return tuple((root, tuple(names[:count])) for count in range(len(names) + 1))


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
