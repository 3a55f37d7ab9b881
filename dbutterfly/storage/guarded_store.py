"""A directory as a Zarr store in which whatever is no plain file is an error, and never waited for.

Zarr opens what it finds under a key. Of a pipe nobody may ever write, of a device there may be no end, and a directory
is taken for a missing key. Here the kind of the file is looked at first. What is in the way of a file that is to be
written is put out of the way: deleted below ``work``, which a run makes for itself, and renamed elsewhere.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore, StorePath

__all__ = ["GuardedStore", "ObstacleError", "check_file", "check_metadata", "guard"]

WORK = "work"
"""Directory of the intermediate arrays of runs, of which nothing is worth keeping that cannot be read."""

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Files that Zarr looks for where it opens an array or a group."""

_log = logging.getLogger("dbutterfly")


class ObstacleError(ValueError):
    """Something that is no plain file has the place of one."""


def check_file(path: Path) -> None:
    """Raise ObstacleError if something is at a path, and it is no plain file or cannot be reached."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        raise
    except OSError as error:  # links that lead in a circle, or no name of a file
        if error.errno == errno.ENAMETOOLONG:
            return
        raise ObstacleError(f"{path} leads nowhere: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise ObstacleError(f"{path} is {kind} and no file")


class GuardedStore(LocalStore):
    """Zarr store of a directory, which reads plain files only."""

    async def _open(self, **_: Any) -> None:
        """Open the store without making its directory: writing does so."""
        self._ensure_open_sync()

    async def _ensure_open(self) -> None:
        self._ensure_open_sync()

    def _ensure_open_sync(self) -> None:
        """Take the store for open: newer versions of Zarr would make its directory where it is read."""
        self._is_open = True

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Content of a file, or None."""
        check_file(self.root / key)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key: str, **options: Any) -> Any:
        """Content of a file, or None."""
        check_file(self.root / key)
        return super().get_sync(key, **options)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Parts of files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def set(self, key: str, value: Any) -> None:
        """Write a file, whatever is in the way."""
        try:
            await super().set(key, value)
        except OSError:
            if not self._clear_way(key):
                raise
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Write a file unless there is one."""
        try:
            check_file(self.root / key)
            await super().set_if_not_exists(key, value)
        except (OSError, ObstacleError):
            if not self._clear_way(key):
                raise
            await super().set_if_not_exists(key, value)

    async def delete_dir(self, prefix: str) -> None:
        """Delete a directory, or what has its place."""
        self._check_writable()
        _delete(self.root / prefix)

    def discard_metadata(self, path: str) -> bool:
        """Delete the metadata of an array, whatever they are; whether anything else of the array is there."""
        self._check_writable()
        directory = self.root / path
        _delete(directory / "zarr.json")
        return any(directory.iterdir())

    def _clear_way(self, key: str) -> bool:
        """Put what is in the way of a file out of it; whether there was anything."""
        self._check_writable()
        path = self.root
        if os.path.lexists(path) and not path.is_dir():
            return False  # the place of the store itself is not ours
        *parents, name = Path(key).parts
        for part in parents:
            path = path / part
            if os.path.lexists(path) and not path.is_dir():
                return self._put_aside(path)
        path = path / name
        return os.path.lexists(path) and not path.is_file() and self._put_aside(path)

    def _put_aside(self, path: Path) -> bool:
        if WORK in path.relative_to(self.root).parts:
            _delete(path)
            _log.warning("%s was no part of a run and in the way of one: it was deleted", path)
        else:
            aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
            path.rename(aside)
            _log.warning("%s was no part of a run and in the way of one: it is now %s", path, aside.name)
        return True


def _delete(path: Path) -> None:
    """Delete a directory, a file or a link; not what the link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_metadata(place: Any) -> None:
    """Raise ObstacleError if the metadata at a local place are no plain files; other places are not looked at."""
    guarded, below = guard(place, read_only=True), ""
    if isinstance(guarded, StorePath):
        below, guarded = guarded.path, guarded.store
    if isinstance(guarded, GuardedStore):
        for name in METADATA:
            check_file(guarded.root / below / name)


def guard(place: Any, *, read_only: bool = False) -> Any:
    """Turn a local place into a guarded store; any other place stays what it is.

    Parameters
    ----------
    place : str or Zarr store
        As :func:`dbutterfly.storage.places.as_store` returns it.
    read_only : bool
        Whether a store that is made for a path refuses writing.
    """
    if isinstance(place, (str, os.PathLike)) and "://" not in os.fspath(place):
        return GuardedStore(Path(place), read_only=read_only)
    if type(place) is zarr.storage.LocalStore:
        return GuardedStore(place.root, read_only=read_only or place.read_only)
    if isinstance(place, StorePath):
        return StorePath(guard(place.store, read_only=read_only), place.path)
    return place
