"""When the compiled kernels are compiled: nobody waits for a compiler before a small product.

Numba keeps what it has compiled in a cache on disk, for each kind of processor. What is there is loaded at once, in
some tenths of a second. What is not takes Numba 4 to 24 s for a dtype (measured on two busy cores, an AMD EPYC); until
it is there, the plain kernels multiply. It is begun, in a thread beside them, when they have taken so long in this
process that it is worth it.

Compiled and plain kernels agree up to rounding. Where the last bits matter, or the products are many,
:func:`compile_now` is called beforehand.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["CHARS", "compile_now", "compiled_kernels", "counting_seconds", "is_compiled", "kept_dtypes"]

CHARS = "fdFD"
"""Dtypes for which there are compiled kernels."""

SECONDS_BEFORE = 1.0
"""Seconds that plain products of a dtype have taken before its kernels are compiled in the background.

Not tuned: a tenth of what compiling takes. Programs that multiply a few small vectors do not wait for it at their end.
"""

_log = logging.getLogger("dbutterfly")

_lock = threading.Lock()

_compiled: set[str] = set()
"""Dtypes whose kernels are in this process."""

_seconds: dict[str, float] = {}
"""What plain products have taken meanwhile, by dtype; there is an entry once the cache on disk was looked at."""

_begun: set[str] = set()
"""Dtypes of which no compilation is to be begun in the background: one was."""

_under_way: set[str] = set()
"""Dtypes that are being compiled there."""


@functools.cache
def compiled_kernels() -> ModuleType | None:
    """Package of the compiled kernels; None where Numba is switched off, or does not know this version of NumPy."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        jit = importlib.import_module(".jit", __package__)
    except ImportError:  # raised by a Numba that does not know this version of NumPy
        return None
    return None if jit.DISABLED else jit


def is_compiled(jit: Any, dtype: Any) -> bool:
    """Whether the compiled kernels of a dtype can be used now; what the cache on disk holds is loaded for that."""
    char = dtype.char
    if char in _compiled:
        return True
    with _lock:
        if char in _begun:
            return char in _compiled
        if char not in _seconds and _is_kept(jit, char):
            _compile(jit, char)
            return True
        if _seconds.setdefault(char, 0.0) > SECONDS_BEFORE:
            _begun.add(char)
            threading.Thread(target=_compile_beside, args=(jit, char), name="dbutterfly-compile").start()
    return False


@contextlib.contextmanager
def counting_seconds(dtype: Any) -> Iterator[None]:
    """Block of a product that the compiled kernels of a dtype would have made, were they compiled."""
    started = time.perf_counter()
    yield
    _seconds[dtype.char] = _seconds.get(dtype.char, 0.0) + time.perf_counter() - started


def compile_now(dtypes: str = CHARS) -> None:
    """Have the kernels of dtypes compiled, or loaded, when this returns; nothing is done where there are none.

    Parameters
    ----------
    dtypes : str
        Their characters.
    """
    jit = compiled_kernels()
    for char in dtypes:
        if jit is not None and char in CHARS and char not in _compiled:
            _compile(jit, char)


def kept_dtypes(jit: Any) -> str:
    """Characters of the dtypes whose kernels the cache on disk holds."""
    return "".join(char for char in CHARS if _is_kept(jit, char))


def _is_kept(jit: Any, char: str) -> bool:
    return all(loop.is_kept() for loop in jit.loops_of(char))


def _compile(jit: Any, char: str) -> None:
    for loop in jit.loops_of(char):
        loop.compiled  # noqa: B018  # compiles it
    _compiled.add(char)


def _compile_beside(jit: Any, char: str) -> None:
    """Compile in a thread of its own, loop by loop, until the program ends."""
    _under_way.add(char)
    try:
        for loop in jit.loops_of(char):
            if not threading.main_thread().is_alive():
                return
            loop.compiled  # noqa: B018
        _compiled.add(char)
    except Exception as error:
        _log.warning("the kernels cannot be compiled (%s: %s): products stay slower", type(error).__name__, error)
    finally:
        _under_way.discard(char)


def _leave_to_parent() -> None:
    """Compile nothing in the background of a process that was forked meanwhile: Numba's lock stays held in it."""
    global _lock
    _lock = threading.Lock()
    if _under_way:
        _begun.update(CHARS)
        _seconds.update(dict.fromkeys(CHARS, 0.0))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
