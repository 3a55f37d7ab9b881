"""Which kernels multiply by a chain: the compiled ones where they are installed and suit it, else the plain ones."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ...structure.chain import Pattern
from . import packed

__all__ = ["kernels_for"]

LARGEST_FILL = 1.2
"""Values of panels, over those without the zeros that fill them up, to which they suit a chain."""

SMALL = 1 << 13
"""Values of panels up to which it does not matter."""


def kernels_for(patterns: Sequence[Pattern], dtype: Any) -> Any:
    """Module with the functions ``pack`` and ``multiply`` that suit a chain of NumPy arrays.

    Parameters
    ----------
    patterns : sequence of Pattern
        Of the factors.
    dtype : dtype
        Of the factors.

    Notes
    -----
    The compiled kernels need Numba, which ``pip install "dbutterfly[jit]"`` brings. Numba's own switch
    ``NUMBA_DISABLE_JIT=1`` chooses the plain ones.
    """
    jit = compiled_kernels()
    if jit is None or dtype.char not in "fdFD":
        return packed
    filled, size = jit.count_values(patterns)
    return jit if filled <= max(LARGEST_FILL * size, SMALL) else packed


@functools.cache
def compiled_kernels() -> ModuleType | None:
    """The compiled kernels; None where Numba is not installed, does not work, or is switched off."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        jit = importlib.import_module(".jit", __package__)
    except ImportError:  # a Numba that does not know this version of NumPy says so by this
        return None
    return None if jit.DISABLED else jit
