"""All compiled loops of a dtype."""

from __future__ import annotations

from ...compiler import Loop
from .rank_one import round_loop
from .subspaces import subspace_loop

__all__ = ["loops_of"]


def loops_of(char: str) -> list[Loop]:
    """All that is compiled for one of the dtypes "fdFD"."""
    return [round_loop(char), subspace_loop(char)]
