"""Options of a cluster: how each is read from YAML, a keyword or a text of the command line."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import yaml
from dask.utils import parse_timedelta

from ...errors import InputError
from ...planning.sizes import count_bytes
from ...structure.arguments import LARGEST, as_integer, read_flag, show_value

__all__ = ["count", "duration", "flag", "mapping", "option", "parse_options", "read_options", "size", "text", "texts"]

Reader: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of an option and what was given for it, and returns its value or raises InputError."""


def option(reads: Reader, *, optional: bool = False) -> Any:
    """Field of a dataclass that is an option.

    Parameters
    ----------
    reads : callable
        Reads the value of the option.
    optional : bool
        Whether None, "none", "null" and an empty text say that there is no value.
    """
    return dataclasses.field(metadata={"reads": reads, "optional": optional})


def read_options(cls: type, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the options of a dataclass.

    Parameters
    ----------
    cls : type
        A dataclass whose fields are made by :func:`option`.
    where : str
        Name of the cluster, which comes before the name of an option in an error.
    given : mapping
        Given values, by names with hyphens or underscores.

    Raises
    ------
    InputError
        If an option is unknown, or has no value that can be used.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(fields)}"
            raise InputError(f"{where}.{key} is no option of {where}{hint}")
        metadata = fields[name].metadata
        absent = value is None or (isinstance(value, str) and value.lower() in ("", "none", "null"))
        if absent and not metadata["optional"]:
            raise InputError(f"{where}.{key}={show_value(value)} leaves out an option that is needed")
        values[name] = None if absent else metadata["reads"](f"{where}.{key}", value)
    return values


def parse_options(pairs: Iterable[str]) -> dict[str, str]:
    """Options from texts such as ``walltime=02:00:00``.

    Raises
    ------
    InputError
        If a text has no ``=``.
    """
    options = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise InputError(f"--cluster-option {pair!r} is not KEY=VALUE, such as walltime=02:00:00")
        options[name] = value
    return options


def count(name: str, value: Any) -> int:
    """Read a positive integer."""
    try:
        number = int(value) if isinstance(value, str) else as_integer(value) or 0
    except ValueError:
        number = 0
    if not 1 <= number <= LARGEST:
        raise InputError(f"{name}={show_value(value)} is not a positive number")
    return number


def size(name: str, value: Any) -> int:
    """Read a number of bytes, from a number or a text such as ``4 GiB``."""
    found = count_bytes(value)
    if found is None:
        raise InputError(f'{name}={show_value(value)} is not a positive number of bytes; write it like "4 GiB"')
    return found


def duration(name: str, value: Any) -> float:
    """Read a number of seconds, from a number or a text such as ``10 minutes``."""
    try:
        seconds = float(parse_timedelta(value))
    except Exception:  # of a text that is no duration, or of an object that does anything when it is converted
        seconds = 0.0
    if not 0 < seconds < math.inf or isinstance(value, bool):
        raise InputError(f'{name}={show_value(value)} is no duration; write it like "10 minutes"')
    return seconds


def flag(name: str, value: Any) -> bool:
    """Read true or false."""
    return read_flag(name, _load(name, value) if isinstance(value, str) else value)


def text(name: str, value: Any) -> str:
    """Read one line of text; a number is refused, since YAML does not keep how it was written."""
    if not isinstance(value, str) or re.search(r"[\r\n]", value):
        raise InputError(f"{name}={show_value(value)} is no line of text; in YAML, put it in quotes")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Read lines of text: a list, in the brackets of YAML where it is given as text, or one line."""
    found = _load(name, value) if isinstance(value, str) and value.startswith("[") else value
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, (list, tuple)):
        raise InputError(f"{name}={show_value(value)} is no list of texts")
    return tuple(text(name, line) for line in found)


def mapping(name: str, value: Any) -> dict[str, str]:
    """Read texts by name: a mapping, or YAML."""
    found = _load(name, value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise InputError(f"{name}={show_value(value)} is no mapping; write it like {{KEY: value}}")
    return {text(name, key): str(entry) for key, entry in found.items()}


def _load(name: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"{name}={show_value(value)} is no YAML: {error}") from None
