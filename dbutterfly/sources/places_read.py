"""Places that a matrix is read from, as far as they can be seen in the objects that make it up.

Any source is looked through: Zarr arrays, stores, memory maps, open files and HDF5 data sets, in the tasks of Dask
graphs, in xarray objects, in the attributes of operators, and in what entry functions close over or find among the
globals of their module. A text among them counts where it names a file or a Zarr array that exists, as the paths do
that are handed to tasks which open them.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import StorePath

from ..storage.destinations import Place, file_place, is_array_directory, is_run_directory, place_of
from ..storage.local_paths import is_url

__all__ = ["places_read"]

MOST_OBJECTS = 100_000
"""Objects that are looked at, the outer ones first. Not tuned: about a second of work."""

MACHINERY = {"asyncio", "concurrent", "distributed", "logging", "multiprocessing", "threading", "tornado", "weakref"}
"""Packages whose objects hold no matrix."""

PLAIN = (
    bool,
    int,
    float,
    complex,
    bytes,
    bytearray,
    type,
    types.ModuleType,
    np.generic,
    np.dtype,
    types.BuiltinFunctionType,
)
"""Types of objects in which there is nothing to see."""


def places_read(*objects: Any) -> list[Place]:
    """Find the places that objects read from.

    Parameters
    ----------
    *objects : object
        Sources, arrays, operators, or whatever they are made of.

    Returns
    -------
    list of Place
        Each once; empty where everything is in memory.
    """
    found: dict[Any, Place] = {}
    for thing in _walk(objects):
        place = _place(thing)
        if place is not None and place.trail:
            found.setdefault(place.trail[-1], place)
    return list(found.values())


def _walk(objects: Iterable[Any]) -> Iterator[Any]:
    """All that objects are made of, each once, in breadth."""
    seen: set[Any] = set()
    kept: list[Any] = []  # an object that is gone may leave its identity to another one
    level = list(objects)
    while level and len(kept) < MOST_OBJECTS:
        following: list[Any] = []
        for thing in level:
            key = thing if isinstance(thing, str) else id(thing)
            if thing is None or isinstance(thing, PLAIN) or key in seen:
                continue
            seen.add(key)
            kept.append(thing)
            yield thing
            following.extend(part for part in _parts(thing) if part is not None and not isinstance(part, PLAIN))
        level = following


def _parts(thing: Any) -> Iterable[Any]:
    """What an object is made of."""
    if isinstance(thing, (str, zarr.Array, zarr.Group, Store, StorePath, io.IOBase)):
        return ()
    if isinstance(thing, np.ndarray):
        return [thing.base, *(thing.flat if thing.dtype == object and thing.size < MOST_OBJECTS else ())]
    if isinstance(thing, Mapping):
        return _of_mapping(thing)
    if isinstance(thing, (list, tuple, set, frozenset)):
        return [*thing, *_attributes(thing)]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return _of_function(thing)
    if type(thing).__module__.split(".")[0] in MACHINERY:
        return ()
    return _attributes(thing)


def _of_mapping(mapping: Mapping[Any, Any]) -> list[Any]:
    """Keys and values of a dictionary; of a layer of a Dask graph what it is made of, not the tasks that come of it."""
    if isinstance(mapping, (dict, types.MappingProxyType)):
        return [*mapping.keys(), *mapping.values()]
    return list(_attributes(mapping))


def _of_function(function: types.FunctionType) -> list[Any]:
    """What a function closes over, its defaults, and what it names of the globals of its module."""
    parts: list[Any] = [function.__defaults__, function.__kwdefaults__, *vars(function).values()]
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # it is still empty
            continue
    if _is_of_a_library(function):  # it opens nothing but what it is given
        return parts
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        parts += [constant for constant in code.co_consts if isinstance(constant, (str, tuple))]
        parts += [function.__globals__.get(name) for name in code.co_names]
    return parts


def _is_of_a_library(function: types.FunctionType) -> bool:
    """Whether a function belongs to a package that is installed, to this one, or to Python."""
    return _is_installed(function.__module__) or "site-packages" in function.__code__.co_filename


def _is_installed(module: str | None) -> bool:
    """Whether a module is one of Python's or of this package."""
    package = (module or "").split(".")[0]
    return package == __name__.split(".")[0] or package in sys.stdlib_module_names - {"__main__"}


def _attributes(thing: Any) -> Iterator[Any]:
    """Values of the attributes of an object that are stored, not computed."""
    held = getattr(thing, "__dict__", None)
    if isinstance(held, dict):
        yield from held.values()
    kind: Any = type(thing)
    call, slots = _class_parts(kind)
    yield call
    for name in slots:
        yield getattr(thing, name, None)


@functools.cache
def _class_parts(kind: Any) -> tuple[Any, tuple[str, ...]]:
    """What a class of the user's own does when its objects are called, and the names of the slots of a class."""
    slots: list[str] = []
    call = None
    for base in kind.__mro__:
        if call is None and not _is_installed(base.__module__):
            call = vars(base).get("__call__")
        given = vars(base).get("__slots__", ())
        names = (given,) if isinstance(given, str) else given
        slots += [name for name in names if isinstance(vars(base).get(name), types.MemberDescriptorType)]
    return call, tuple(slots)


def _place(thing: Any) -> Place | None:
    """Place of one object, if it is one."""
    if isinstance(thing, (str, os.PathLike)):
        return _place_of_text(os.fspath(thing))
    if isinstance(thing, (zarr.Array, zarr.Group, StorePath, Store)):
        return place_of(thing, is_whole=isinstance(thing, zarr.Array))
    path = None
    if isinstance(thing, np.memmap):
        path = thing.filename
    elif type(thing).__module__.startswith("h5py") and hasattr(thing, "file"):
        path = getattr(thing.file, "filename", None)
    elif isinstance(thing, io.IOBase):
        path = getattr(thing, "name", None)
    if isinstance(path, (str, os.PathLike)) and os.path.exists(path):
        return file_place(path)
    return None


def _place_of_text(text: Any) -> Place | None:
    """Place of a text that names an array, or a file, which exists; of a URL, whether or not it does."""
    if not isinstance(text, str) or not 0 < len(text) < 4096 or not text.isprintable():
        return None
    if "://" in text:
        return place_of(text) if is_url(text) or text.lower().startswith("file:///") else None
    try:
        if os.path.isfile(text) or (os.path.isdir(text) and is_array_directory(text)):
            return file_place(text)
        if is_run_directory(text):  # no matrix is read from there, and a text may name what a caller has in mind
            return None
        if os.path.isfile(os.path.join(text, "zarr.json")) or os.path.isfile(os.path.join(text, ".zgroup")):
            place = file_place(text)
            return Place(place.name, place.trail, is_whole=False)
    except ValueError:  # a text that is no path
        return None
    return None
