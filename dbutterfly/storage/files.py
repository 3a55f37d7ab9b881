"""Files of the local file system: what may be replaced, and how they are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import InputError
from .beside import left_beside, name_beside
from .destinations import Place, check_apart, file_place
from .local_paths import local_path

__all__ = ["FileKind", "check_file", "write_whole"]


class FileKind(NamedTuple):
    """A kind of file that is written.

    Attributes
    ----------
    name : str
        What messages call such a file, with its article.
    is_one : callable
        Whether the first 4096 bytes of a file are those of one.
    is_precious : bool
        Whether one that is there is replaced only if the caller says so.
    """

    name: str
    is_one: Callable[[bytes], bool]
    is_precious: bool = True


def check_file(
    place: str | os.PathLike[str],
    kind: FileKind,
    *,
    argument: str = "place",
    sources: Iterable[Place] = (),
    overwrite: bool = False,
    made_later: str | None = None,
) -> str:
    """Refuse a place where a file must not be written. Nothing is changed.

    Parameters
    ----------
    place : str or path
        Where the file will be.
    kind : FileKind
        What it will be. Only a file of the same kind, or an empty one, is ever replaced.
    argument : str
        What messages call the place.
    sources : iterable of Place
        What is read.
    overwrite : bool
        Whether a file of the same kind may be replaced.
    made_later : str, optional
        Absolute path of a directory that will be there when the file is written.

    Returns
    -------
    str
        Absolute path of the file, behind symbolic links.

    Raises
    ------
    InputError
        If it must not be written there.
    """
    path = os.path.realpath(local_path(place, argument))
    shown = f"{argument} {os.fspath(place)!r}"
    check_apart(file_place(path), sources, argument)
    if not os.path.lexists(path):
        if os.path.dirname(path) != made_later:
            _check_directory(os.path.dirname(path), shown)
        return path
    if os.path.isdir(path):
        raise InputError(f"{shown} cannot be written: it is a directory; name a file in it")
    if not os.path.isfile(path):
        raise InputError(f"{shown} cannot be written: it is no regular file; name another place")
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"{shown} cannot be written: what is there cannot be read: {error}") from error
    if head and not kind.is_one(head):
        raise InputError(f"{shown} holds something that is not {kind.name}, and is left as it is; name another place")
    if head and kind.is_precious and not overwrite:
        raise InputError(f"{shown} already exists; pass overwrite=True to replace it")
    return path


def _check_directory(directory: str, shown: str) -> None:
    try:
        os.listdir(directory)
    except OSError as error:
        raise InputError(f"{shown} cannot be written: {error}; name a file in a directory that is there") from error


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all, under exactly the name given.

    Parameters
    ----------
    path : str or path
        Place of the file. A file that is there is replaced, and stays as it is if writing fails.
    write : callable
        Called with a binary file, to write into. What it returns is ignored, and what it raises is passed on.

    Raises
    ------
    OSError
        If the file cannot be written or put in its place.

    Notes
    -----
    The content goes to a hidden file in the same directory, which is renamed when it is complete. Readers see the old
    file or the new one, even if this process is killed; what it leaves then is deleted by the next call for the same
    file. The file is not flushed to disk, so that the guarantee does not cover a loss of power.
    """
    place = os.path.abspath(os.fspath(path))
    for left in left_beside(place):
        with contextlib.suppress(OSError):
            os.unlink(left)
    unfinished = Path(name_beside(place))
    try:
        with unfinished.open("wb") as file:
            write(file)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # where there is no such directory, and so no file, the first error counts
            unfinished.unlink()
        raise
