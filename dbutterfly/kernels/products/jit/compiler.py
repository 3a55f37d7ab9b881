"""How Numba compiles the loops: options, constants, signatures. With the loops, all that knows of Numba.

Two things make vector instructions of the innermost loops. Offsets are unsigned: for signed ones Numba also compiles
the wrapping of negative indices. And what a loop reads lies a constant number of entries apart where that can be: the
compiler checks places of unknown distance for overlap, pair by pair, and gives up when there are too many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types

__all__ = [
    "COLUMNS",
    "DISABLED",
    "FOUR",
    "LANES",
    "N_COLUMNS",
    "N_LANES",
    "ONE",
    "STAMP",
    "THREE",
    "TWO",
    "ZERO",
    "array_type",
    "called",
    "compile_loop",
    "inlined",
    "number_type",
    "types",
]

DISABLED = bool(numba.config.DISABLE_JIT)
"""Whether Numba's own switch, the environment variable ``NUMBA_DISABLE_JIT``, is on."""

LANES = 64
"""Small matrices in a panel: twice as many are no faster, half as many take a tenth more time."""

COLUMNS = 32
"""Columns that go through all factors together."""

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(k) for k in range(5))
N_LANES, N_COLUMNS = np.uint64(LANES), np.uint64(COLUMNS)

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

inlined = numba.njit(forceinline=True, **_OPTIONS)
"""Decorator of the loops that are compiled as a part of what calls them."""

called = numba.njit(**_OPTIONS)
"""Decorator of the loops that are compiled once, and called: that takes some nanoseconds each time."""

_LOOPS = ("blocks", "chains", "compiler", "dense", "filling", "panels", "stages")
_SOURCES = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in _LOOPS)

STAMP = np.uint64(int.from_bytes(hashlib.blake2b(_SOURCES, digest_size=7).digest(), "big"))
"""Digest of the sources of all loops. Numba's cache on disk knows of changes to the file of the called function, and to
the constants of its closure: functions that are compiled by :func:`compile_loop` have this among them."""


def number_type(char: str) -> Any:
    """Numba's type of the real numbers of one of the dtypes "fdFD"."""
    return types.float64 if char in "dD" else types.float32


def array_type(number: Any, ndim: int = 1, *, readonly: bool = False) -> Any:
    """Numba's type of C-contiguous arrays."""
    return types.Array(number, ndim, "C", readonly=readonly)


def compile_loop(function: Callable[..., Any], returns: Any, arguments: Sequence[Any]) -> Any:
    """Compile a closure that holds :data:`STAMP`, and keep it on disk.

    The signature is explicit: arrays that are read-only need no second version, and no call looks for a version.
    """
    try:
        return numba.njit(returns(*arguments), cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no place to keep it, neither beside the file nor in the user's directory
        return numba.njit(returns(*arguments), **_OPTIONS)(function)
