"""Values as messages show them: short, in one line, and without errors of their own."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["show_value"]


class _Shown(reprlib.Repr):
    """Representation of a value in a message: short, whatever the value is, and without its own errors."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 120

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 512:  # Python writes no integer of more than 4300 digits
            return f"<an integer of {x.bit_length()} bits>"
        return super().repr_int(x, level)

    def repr_ndarray(self, x: Any, level: int) -> str:
        return super().repr_instance(x, level) if x.size <= 8 else f"<array of shape {x.shape}, dtype {x.dtype}>"


_SHOWN = _Shown()


def show_value(value: Any) -> str:
    """Show a value in a message: its representation, shortened where it is long."""
    return " ".join(_SHOWN.repr(value).split())
