"""Numbers of bytes as people write and read them."""

from __future__ import annotations

import re
from typing import Any

from dask.utils import parse_bytes

from ..errors import InputError
from ..structure.arguments import LARGEST, read_number, show_value

__all__ = ["count_bytes", "format_bytes", "parse_memory", "read_memory"]


def format_bytes(count: float) -> str:
    """Bytes in binary units, such as ``1.50 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"


def parse_memory(memory: int | float | str | None, name: str = "memory") -> int | None:
    """Bytes from a number or a text such as ``"2 GiB"``; the name is that of the argument.

    Raises
    ------
    InputError
        If it is not a positive number of bytes.
    """
    return None if memory is None else read_memory(name, memory)


def read_memory(name: str, value: Any) -> int:
    """Read a number of bytes, as a number or a text such as ``"2 GiB"``.

    Raises
    ------
    InputError
        If it is not a positive number of bytes.
    """
    count = count_bytes(value)
    if count is None:
        raise InputError(
            f'{name}={show_value(value)} is not a positive number of bytes; give an integer or a text like "2 GiB"'
        )
    return count


def count_bytes(size: Any) -> int | None:
    """Bytes from a number or a text such as ``"2 GiB"``; None if it is not a positive number of bytes.

    A unit alone is none. What no machine has counts as the largest integer, so that it can be computed with.
    """
    try:
        if isinstance(size, str):
            count = int(parse_bytes(size)) if re.search(r"\d", size) else 0
        else:
            count = size if type(size) is int else int(read_number("size", size))
    except (ValueError, TypeError, OverflowError):  # an InputError is a ValueError
        return None
    return min(count, LARGEST) if count > 0 else None
