"""Where two manifests differ, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["differences", "shorten_value"]


def differences(name: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """Entries in which two values of a manifest differ, by their names."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from differences(f"{name}.{key}", here.get(key), there.get(key))
    elif here != there:
        yield name, here, there


def shorten_value(value: Any) -> str:
    """Text of a value for messages."""
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
