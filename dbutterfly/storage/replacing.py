"""Places where something new is put whole: what was there stays until the new is complete.

In a local directory, the new is written beside its place, in the same parent, and takes the place by one rename; where
something was there, the two change places, which Linux does in one step on most file systems. Where it does not, the
old is renamed away first; a process that dies between the two renames leaves both, and the next call at this place
puts the new one there. What dead processes have left beside a place is deleted by the next call. A loss of power is not
covered, as nothing is flushed to disk.

In a store in memory, the new is written elsewhere and copied at the end. Object storage has no rename: what it holds
is not replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from typing import Any

from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, StorePath

from ..errors import StoreError
from .beside import UNFINISHED, left_beside, name_beside
from .places import as_store, run_coroutine
from .retries import as_store_error, reason
from .trails import directory_of

__all__ = ["new_place", "settle"]

COMPLETE, REPLACED = "complete", "replaced"
"""Ends of the names of directories beside a place, while it holds nothing: of what waits to take it, and of what was
there."""

RENAME_EXCHANGE = 2
"""Flag of Linux's renameat2 by which two names change places."""

AT_FDCWD = -100
"""Directory of Linux's renameat2 for paths that are absolute."""


@contextlib.contextmanager
def new_place(store: Any, *, is_occupied: bool, argument: str = "store") -> Iterator[Any]:
    """Give a place to write something new to, which takes the place of a store when the block ends.

    Parameters
    ----------
    store : path, URL or Zarr store
        Where it will be.
    is_occupied : bool
        Whether something is there, which is replaced.
    argument : str
        What messages call the store.

    Yields
    ------
    path or Zarr store
        An empty place. If the block fails, what was written there is deleted.

    Raises
    ------
    StoreError
        If what is there cannot be replaced as a whole, or the new cannot take its place; the old is as it was then.
    """
    place = as_store(store, argument=argument)
    _check_writable(place, argument)
    path = _directory(place)
    if path is not None:
        path = os.path.realpath(path)
        _tidy(path)
        if is_occupied or _can_be_renamed_to(path):
            with _beside(path, argument, is_occupied) as beside:
                yield beside
        else:
            yield place
    elif not is_occupied:
        yield place
    elif isinstance(place.store if isinstance(place, StorePath) else place, (MemoryStore, dict)):
        staged = MemoryStore()
        yield staged
        _copy_into(staged, place)
    else:
        raise StoreError(
            f"{argument}={store!r} holds something that cannot be replaced as a whole, since such a store has no "
            "rename: a crash would leave neither the old nor the new; nothing was changed: delete it first, or name "
            "another place"
        )


def settle(place: Any) -> None:
    """Put in place what a process that was killed in the middle of a replacement has left beside it.

    Nothing is done where something is at the place, which costs one look at the file system.
    """
    path = _directory(place)
    if path is not None and not os.path.lexists(path):
        _tidy(os.path.realpath(path), only_restore=True)


def _check_writable(place: Any, argument: str) -> None:
    store = place.store if isinstance(place, StorePath) else place
    if isinstance(store, Store) and store.read_only:
        raise StoreError(f"{argument}={place} is read-only; open it for writing, or name another place")


def _directory(place: Any) -> str | None:
    """Directory that a place is, where it can be written to as such: not through a store that does more."""
    root = place.store if isinstance(place, StorePath) else place
    if isinstance(root, (str, os.PathLike, LocalStore, FsspecStore, ObjectStore)):
        return directory_of(place)
    return None


# ------------------------------------------------------------ local directories


@contextlib.contextmanager
def _beside(path: str, argument: str, replace: bool) -> Iterator[str]:
    """Directory beside a path, which takes its place when the block ends, and is deleted if it fails."""
    with as_store_error(f"no array can be created at {argument}={path!r}"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = name_beside(path)
    try:
        yield beside
        with as_store_error(f"{argument}={path!r} cannot be written", "what is there is as it was"):
            _take_place(beside, path) if replace else os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # what was not finished, or what has been replaced


def _can_be_renamed_to(path: str) -> bool:
    """Whether a directory can be renamed to a path where nothing is, or an empty directory."""
    if not os.path.exists(path):
        return True
    is_bound = os.path.ismount(path) or not os.access(os.path.dirname(path), os.W_OK)
    return os.name == "posix" and not is_bound and not os.listdir(path)


def _take_place(beside: str, path: str) -> None:
    """Rename a complete directory to the place of another one, which is beside it afterwards, or gone."""
    with contextlib.suppress(OSError):
        shutil.copymode(path, beside)
    if _exchange(beside, path):
        return
    complete, replaced = (f"{beside.removesuffix(UNFINISHED)}{end}" for end in (COMPLETE, REPLACED))
    os.rename(beside, complete)
    try:
        os.rename(path, replaced)
        try:
            os.rename(complete, path)
        except OSError:
            os.rename(replaced, path)
            raise
    except OSError:
        os.rename(complete, beside)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _exchange(first: str, second: str) -> bool:
    """Let two names of one file system change places in one step; False where that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    rename = getattr(libc, "renameat2", None)
    if rename is None:
        return False
    return bool(rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0)


def _tidy(path: str, *, only_restore: bool = False) -> None:
    """Finish what dead processes have left beside a place: put the new one there if nothing is, delete the rest."""
    left = left_beside(path)
    for end in (COMPLETE, REPLACED):
        for name in left:
            if name.endswith(end) and not os.path.lexists(path):
                with contextlib.suppress(OSError):
                    os.rename(name, path)
    if only_restore:
        return
    for name in left:
        shutil.rmtree(name, ignore_errors=True)


# ------------------------------------------------------------ stores in memory


def _copy_into(staged: MemoryStore, place: Any) -> None:
    """Replace what a store in memory holds at a place by what another one holds."""
    store, path = (place.store, place.path) if isinstance(place, StorePath) else (place, "")
    target = MemoryStore(store) if isinstance(store, dict) else store

    async def copy() -> None:
        prototype = default_buffer_prototype()
        found = {key: await staged.get(key, prototype) async for key in staged.list()}
        await target.delete_dir(path)
        for key, value in found.items():
            if value is not None:
                await target.set(f"{path}/{key}" if path else key, value)

    try:
        run_coroutine(copy())
    except Exception as error:
        raise StoreError(f"store={place} cannot be replaced: {reason(error)}") from error
