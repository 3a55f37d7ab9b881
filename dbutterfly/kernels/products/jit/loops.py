"""All compiled loops of a dtype."""

from __future__ import annotations

from ...compiler import Loop
from .chains import chain_product
from .filling import layer_filler

__all__ = ["loops_of"]


def loops_of(char: str) -> list[Loop]:
    """All that is compiled for one of the dtypes "fdFD"."""
    return [layer_filler(char), chain_product(char, False), chain_product(char, True)]
