"""Whether what is written would lie in, over or around what is read, however either place is spelled or wrapped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import StorePath

from ..errors import InputError
from .manifest import KEY
from .places import as_store
from .trails import Trail, directory_of, identity, trail_of, trail_of_path

__all__ = [
    "Place",
    "check_apart",
    "check_unread_below",
    "file_place",
    "is_array_directory",
    "is_run_directory",
    "place_of",
]


@dataclass(frozen=True)
class Place:
    """Something that is read or written.

    Attributes
    ----------
    name : str
        What messages call it.
    trail : tuple
        Identities of what it lies in, the outermost first and its own last.
    is_whole : bool
        Whether it is an array, a run or a file, in which nothing else may lie; a group may hold other things.
    path : str or None
        Its path, where it is in the local file system.
    """

    name: str
    trail: Trail
    is_whole: bool = True
    path: str | None = None

    def holds(self, other: Place) -> bool:
        """Whether another place is this one, or lies in it."""
        return bool(self.trail) and self.trail[-1] in other.trail

    def is_same(self, other: Place) -> bool:
        """Whether another place is this one."""
        return bool(self.trail) and self.trail[-1:] == other.trail[-1:]


def place_of(store: Any, *, is_whole: bool = True) -> Place | None:
    """Place that a path, URL, Zarr store, array or group names; None where that cannot be told.

    Parameters
    ----------
    store : object
        Anything that a matrix can be read from, or a result be written to.
    is_whole : bool
        As for :class:`Place`.
    """
    try:
        found = store if _is_opened(store) else as_store(store, read_only=True)
    except InputError:  # it is refused where it is used
        return None
    trail, path = trail_of(found), directory_of(found)
    if not trail:
        return None
    name = os.fspath(store) if isinstance(store, (str, os.PathLike)) else path
    shown = str(getattr(store, "store_path", store)) if name is None else repr(name)
    return Place(shown, trail, is_whole and not isinstance(found, zarr.Group), path)


def file_place(path: str | os.PathLike[str]) -> Place:
    """Place of a path of this file system, taken literally."""
    absolute = os.path.abspath(os.fspath(path))
    return Place(repr(os.fspath(path)), trail_of_path(absolute), path=absolute)


def check_apart(destination: Any, sources: Iterable[Place], argument: str = "store") -> None:
    """Refuse a destination that is read, lies in what is read, or holds it.

    Parameters
    ----------
    destination : path, URL, Zarr store or Place
        Where something will be written.
    sources : iterable of Place
        What is read.
    argument : str
        What messages call the destination.

    Raises
    ------
    InputError
        If it is so, or the destination lies in an array of the local file system; the message names both.
    """
    place = destination if isinstance(destination, Place) else place_of(destination)
    if place is None:
        return
    for source in sources:
        if source.is_same(place):
            what = f"is {source.name}, which is read"
        elif source.is_whole and source.holds(place):
            what = f"lies inside {source.name}, which is read"
        elif place.holds(source):
            what = f"holds {source.name}, which is read"
        else:
            continue
        raise InputError(f"{argument}={place.name} {what}; nothing was changed: name a place apart from it")
    around = None if place.path is None else _array_around(place.path)
    if around is not None:
        raise InputError(
            f"{argument}={place.name} lies inside the Zarr array {around!r}; nothing was changed: name a place apart "
            "from it"
        )


def check_unread_below(store: Any, sources: Iterable[Place], argument: str = "store") -> None:
    """Refuse to replace a directory below which, by a bind mount, something lies that is read.

    Raises
    ------
    InputError
        If there is such a thing.
    """
    place = place_of(store)
    wanted = {source.trail[-1]: source.name for source in sources if source.trail}
    if place is None or place.path is None or not wanted:
        return
    for directory, folders, _ in os.walk(place.path):
        for name in folders:
            found = wanted.get(identity(os.path.join(directory, name), follow=False))
            if found is not None:
                raise InputError(
                    f"{argument}={place.name} holds {found}, which is read; nothing was changed: name a place apart "
                    "from it"
                )


def _is_opened(store: Any) -> bool:
    return isinstance(store, (zarr.Array, zarr.Group, StorePath, Store, dict))


def _array_around(path: str) -> str | None:
    """Array of the local file system in which a path lies."""
    current = os.path.realpath(path)
    while (parent := os.path.dirname(current)) != current:
        if is_array_directory(parent):
            return parent
        current = parent
    return None


def is_array_directory(path: str) -> bool:
    """Whether a directory is a Zarr array."""
    return os.path.exists(os.path.join(path, ".zarray")) or _metadata(path).get("node_type") == "array"


def is_run_directory(path: str) -> bool:
    """Whether a directory is what dbutterfly has stored: a run, a factorization or an operator."""
    attributes = _metadata(path).get("attributes")
    return isinstance(attributes, dict) and isinstance(attributes.get(KEY), dict)


def _metadata(path: str) -> dict[str, Any]:
    """Metadata of the Zarr node in a directory; empty where there are none that can be read."""
    try:
        with open(os.path.join(path, "zarr.json"), "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
