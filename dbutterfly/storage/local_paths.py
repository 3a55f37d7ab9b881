"""What a text names in the local file system: paths, ``file://`` URLs, and texts that were meant as something else."""

from __future__ import annotations

import os
import re
import unicodedata
from urllib.parse import unquote

from ..errors import InputError

__all__ = ["is_url", "local_path", "text_of"]

SCHEMES_OF_FILES = ("file", "local")
"""Schemes of URLs that name a place of this machine."""

ONE_SLASH = re.compile(r"(s3|s3a|gs|gcs|az|azure|abfs|abfss|https?|file|local|memory):(?!//)", re.IGNORECASE)
"""Beginning of a URL that lacks slashes, which would become a directory of that name."""

DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""Beginning of an absolute path of Windows: of a drive, or of another host."""


def text_of(place: str | os.PathLike[str], argument: str) -> str:
    """Text of a place, unless it is empty or holds a character that nobody means.

    Parameters
    ----------
    place : str or path
        What the user gave.
    argument : str
        What error messages call it.

    Raises
    ------
    InputError
        If it is no text and no path, is empty, or holds a line break or another control character.
    """
    if not isinstance(place, (str, bytes, os.PathLike)):
        raise InputError(f"{argument} is of type {type(place).__name__}, which names no place; name a path or a URL")
    given = os.fsdecode(os.fspath(place))
    if not given:
        raise InputError(f"{argument}='' names no place; name a path or a URL")
    bad = next((letter for letter in given if unicodedata.category(letter) in ("Cc", "Zl", "Zp")), None)
    if bad is not None:
        raise InputError(f"{argument}={given!r} holds the control character {bad!r}; write the place without it")
    return given


def is_url(text: str) -> bool:
    """Whether a text is a URL of something else than a file of this machine."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() not in SCHEMES_OF_FILES


def local_path(place: str | os.PathLike[str], argument: str = "place") -> str:
    """Absolute path of what a path or a ``file://`` URL names.

    Parameters
    ----------
    place : str or path
        A path, in which a leading ``~`` is the home directory of the user; or a URL, whose percent signs are decoded.
    argument : str
        What error messages call it.

    Returns
    -------
    str
        It need not exist.

    Raises
    ------
    InputError
        If it names nothing in this file system: a URL of something else, or with one slash; an absolute path of
        Windows, elsewhere; a home directory that is not known; another host; control characters.
    """
    given = text_of(place, argument)
    if is_url(given):
        raise InputError(f"{argument}={given!r} is a URL; name a file or directory of this machine")
    scheme, separator, rest = given.partition("://")
    if separator:
        return os.path.abspath(_path_of_url(given, rest, argument) if scheme.lower() == "file" else rest)
    if ONE_SLASH.match(given):
        scheme, _, rest = given.partition(":")
        slashes = "///" if scheme.lower() in SCHEMES_OF_FILES else "//"
        raise InputError(
            f"{argument}={given!r} is neither a URL nor a usual path; write {scheme}:{slashes}{rest.lstrip('/')}, or "
            f"./{given} for a directory of this name"
        )
    if os.name != "nt" and DRIVE.match(given):
        raise InputError(
            f"{argument}={given!r} is a path of Windows, which this system has not; name a path such as /data/run"
        )
    if given.startswith("~"):
        home = os.path.expanduser(given)
        if home.startswith("~"):
            raise InputError(f"{argument}={given!r} names a user that is not known; write ./{given} for that name")
        given = home
    return os.path.abspath(given)


def _path_of_url(url: str, rest: str, argument: str) -> str:
    """Path of a ``file://`` URL, as RFC 8089 has it: of this host, with percent signs decoded."""
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost", "127.0.0.1", "[::1]"):
        raise InputError(
            f"{argument}={url!r} names the host {host!r}; a file URL has three slashes and an absolute path, such as "
            "file:///data/run"
        )
    if not path:
        raise InputError(f"{argument}={url!r} names no path; write file:///data/run")
    decoded = unquote(path, errors="surrogateescape")
    drive = os.name == "nt" and DRIVE.match(decoded)
    return text_of(decoded if drive else slash + decoded, argument)
