"""Options, constants and signatures with which Numba compiles the loops. Only this module imports Numba.

Two things make vector instructions of the innermost loops. Offsets are unsigned: for signed ones Numba also compiles
the wrapping of negative indices. And what a loop reads lies a constant number of entries apart where that can be: the
compiler checks places of unknown distance for overlap, pair by pair, and gives up when there are too many.

The inlined loops take up to 17 arguments, arrays and offsets, one by one: an argument of an inlined loop costs nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cpu

__all__ = [
    "DISABLED",
    "FOUR",
    "ONE",
    "THREE",
    "TWO",
    "ZERO",
    "Loop",
    "array_type",
    "cache_directory",
    "called",
    "compile_loop",
    "entry_type",
    "inline",
    "number_type",
    "spliced",
    "stamp_of",
    "subroutine",
    "types",
]

DISABLED = bool(numba.config.DISABLE_JIT)
"""Whether Numba's own switch, the environment variable ``NUMBA_DISABLE_JIT``, is on."""

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(k) for k in range(5))

_faults: list[Exception] = []
"""The first fault of Numba's cache in this process, of which the log tells once."""

_log = logging.getLogger("dbutterfly")

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

inline = numba.njit(forceinline=True, **_OPTIONS)
"""Decorator of loops that are compiled as a part of each caller."""

subroutine = numba.njit(**_OPTIONS)
"""Decorator of loops that are compiled once; a call of them takes some nanoseconds."""

_SUMS: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "nsz", "reassoc"}}

spliced = numba.njit(inline="always", **_SUMS)
"""Decorator of loops whose text becomes a part of each caller before that is compiled: they are never compiled alone.

What is compiled on its own is optimized, and made machine code, for itself, and optimized once more in each caller. A
call costs nothing at run time either way. The caller's options count, also for sums along a row.
"""

called = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_SUMS)
"""Decorator of loops that are compiled once and called from others; sums along a row may be added up in vectors.

Which terms are added first depends on the length of the row and on the processor, on nothing else.
"""


def stamp_of(directory: Path, names: Iterable[str]) -> np.uint64:
    """Digest of the sources of loops, and of this module.

    Numba's cache on disk notices a change to the file of the called function and to the constants of its closure, but
    not to the files of the functions inlined into it. Functions compiled by :func:`compile_loop` hold this constant, so
    that a change to any of the files makes them stale.
    """
    sources = [directory / f"{name}.py" for name in names] + [Path(__file__)]
    digest = hashlib.blake2b(b"".join(source.read_bytes() for source in sources), digest_size=7).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def number_type(char: str) -> Any:
    """Numba's type of the real numbers of one of the dtypes "fdFD"."""
    return types.float64 if char in "dD" else types.float32


def entry_type(char: str) -> Any:
    """Numba's type of the entries of one of the dtypes "fdFD"."""
    return {"f": types.float32, "d": types.float64, "F": types.complex64, "D": types.complex128}[char]


def array_type(number: Any, ndim: int = 1, *, readonly: bool = False) -> Any:
    """Numba's type of C-contiguous arrays."""
    return types.Array(number, ndim, "C", readonly=readonly)


def cache_directory() -> str:
    """Directory in which Numba keeps the compiled loops: nothing is compiled to find it.

    Raises
    ------
    RuntimeError
        If Numba finds no place that it may write.
    """
    loop = numba.njit(**_OPTIONS)(_nothing)
    loop.enable_caching()
    return str(loop.stats.cache_path)


def _nothing() -> None:
    """A function of this file, whose compiled form would be kept beside that of the loops."""


class Loop:
    """A closure that holds :data:`STAMP`, compiled for one signature when it is first called for.

    Parameters
    ----------
    function : callable
        The closure.
    returns, arguments
        Numba's types of what it returns, and of its arguments.
    """

    def __init__(self, function: Callable[..., Any], returns: Any, arguments: Sequence[Any]) -> None:
        self._source, self._lock, self._compiled = (function, returns, arguments), threading.Lock(), None

    @property
    def compiled(self) -> Any:
        """The compiled loop; threads that ask for it meanwhile wait for the one that compiles it."""
        if self._compiled is None:
            with self._lock:
                if self._compiled is None:
                    self._compiled = compile_loop(*self._source)
        return self._compiled

    def is_kept(self) -> bool:
        """Whether it can be had without compiling: Numba's cache on disk holds it, for this kind of processor."""
        function, returns, arguments = self._source
        loop = numba.njit(**_OPTIONS)(function)
        try:
            loop.enable_caching()
            return loop._cache.load_overload(returns(*arguments), loop.targetctx) is not None
        except Exception:  # whatever a damaged file makes of its reader, or where Numba may write nowhere
            return False


def _as_kept(loop: Any, function: Callable[..., Any], signature: Any) -> Any:
    """The loop as another process loads it from Numba's cache, where this one has compiled it.

    In what was compiled here, calls of :data:`called` loops lead to their own compiled forms; in what is kept, to
    copies that were optimized together with the caller, whose sums have other last bits. Loaded among the compiled
    forms it would call them, so that it gets a context of its own.
    """
    if not loop.stats.cache_misses:
        return loop
    again = numba.njit(**_OPTIONS)(function)
    again.targetctx = cpu.CPUContext(again.typingctx, "cpu")
    again.enable_caching()
    again.compile(signature)
    return again if again.stats.cache_hits else loop


def compile_loop(function: Callable[..., Any], returns: Any, arguments: Sequence[Any]) -> Any:
    """Compile a closure that holds :data:`STAMP`, and keep it on disk.

    The signature is explicit: arrays that are read-only need no second version, and no call searches for a version.
    Where Numba's cache on disk cannot be used, as it is damaged or full, the loop is compiled for this process alone.
    """
    signature, loop, fault = returns(*arguments), numba.njit(**_OPTIONS)(function), None
    try:
        loop.enable_caching()
        loop.compile(signature)
        loop = _as_kept(loop, function, signature)
    except Exception as error:  # whatever the content of a damaged file makes of its reader
        fault = error
        if not loop.signatures:  # there are some if only writing failed
            loop = numba.njit(**_OPTIONS)(function)
            loop.compile(signature)
    if fault is not None and not _faults:
        _faults.append(fault)
        _log.warning(
            "Numba's cache %s cannot be used (%s: %s): the compiled kernels are compiled in every process anew, which "
            "takes seconds; empty it, make room, or name another directory by NUMBA_CACHE_DIR",
            numba.config.CACHE_DIR or Path(__file__).with_name("__pycache__"),
            type(fault).__name__,
            fault,
        )
    loop.disable_compile()
    return loop
