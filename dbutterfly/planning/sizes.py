"""Numbers of bytes as people write and read them."""

from __future__ import annotations

from typing import Any

from dask.utils import parse_bytes

from ..errors import InputError

__all__ = ["count_bytes", "format_bytes", "parse_memory"]


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
    if memory is None:
        return None
    count = count_bytes(memory)
    if count is None:
        raise InputError(f'{name}={memory!r} is not a positive number of bytes; give an integer or a text like "2 GiB"')
    return count


def count_bytes(size: Any) -> int | None:
    """Bytes from a number or a text such as ``"2 GiB"``; None if it is not a positive number of bytes."""
    try:
        count = int(parse_bytes(size))
    except (ValueError, TypeError, OverflowError, AttributeError):
        return None
    return count if count > 0 else None
