"""When the compiled kernels are compiled: nobody waits for a compiler before a small job.

Four packages hold compiled kernels: for products with factors, the approximation of blocks, the nodes of chains, and
skeletons.
Numba keeps what it has compiled in a cache on disk, for each kind of processor. What is there is loaded at once, in
some tenths of a second. What is not takes Numba 4 to 24 s for a dtype (measured on two busy cores, an AMD EPYC); until
it is there, the plain kernels work. It is begun, in a thread beside them, when they have taken so long in this process
that it is worth it.

Compiled and plain kernels agree up to rounding. Where the last bits matter, or there is much to do,
:func:`compile_now` is called beforehand.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import logging
import os
import threading
from types import ModuleType
from typing import Any

__all__ = [
    "CHARS",
    "ROOMS_OF_RUNS",
    "ROOMS_OF_SKELETONS",
    "are_worthwhile",
    "comparable_entries",
    "compile_now",
    "compiled_kernels",
    "count_run",
    "count_seconds",
    "has_kernels_of_runs",
    "is_compiled",
    "kept_dtypes",
]

CHARS = "fdFD"
"""Dtypes for which there are compiled kernels."""

ROOMS = ("products", "low_rank", "factors", "low_rank.skeletons")
"""Packages of the kernels that have compiled ones, in a package ``jit``."""

SECONDS_BEFORE = 1.0
"""Seconds that plain kernels have taken for a dtype before the compiled ones are made in the background.

Not tuned: a tenth of what compiling takes. Programs that do little do not wait for it at their end.
"""

ROOMS_OF_RUNS = ("low_rank", "factors")
"""Those of them that factorize."""

WORTHWHILE = 1 << 26
"""Entries of a matrix from which a run uses the compiled kernels, where these need not be compiled first.

A process that uses them for the first time imports Numba, which takes .4 s. The plain kernels take as long for 2**26
entries of float32, N = 8192, and the compiled ones half of it (one core of an AMD EPYC). The choice depends on the size
alone, and not on what a process has imported: the last bits of a result do not change from one call to the next.
"""

RANK_COST = 16
"""Times that the plain kernels take longer for an entry where the rank is above one.

Measured on one core of an AMD EPYC, for rank 2 over rank 1: float32, 9 and 12 for N = 2048 and 4096; complex128, 10 and
15, and the compiled kernels take .35 to .45 of the time. Complex64: 155 ns for an entry of N = 256 at rank 2, 25 ns at
rank one, and 6 ns of large matrices of rank one; the compiled kernels take 66 ns at rank 2.
"""

WORTH_WAITING = 1 << 30
"""Entries of a matrix for which the compiled kernels are compiled before the run, if they are not there.

Not tuned: the plain kernels take 2 to 10 s for so many, and compiling takes 4 to 20 s, once for a machine.
"""

ROOMS_OF_SKELETONS = ("low_rank.skeletons",)
"""Those of them that runs by nested skeletons use."""

SKELETONS_WORTHWHILE = 3 << 21
"""Entries that such a run evaluates from which it uses the compiled kernel, where that need not be compiled first.

Importing Numba and loading the kernel take .45 s. The plain kernel takes .1 s for a million entries of complex128, and
the compiled one a tenth of it (one core of an AMD EPYC, skeletons of 17 lines).
"""

SKELETONS_WORTH_WAITING = 1 << 26
"""Entries that such a run evaluates for which it is compiled before the run.

Not tuned: the plain kernel takes 7 s for so many, and compiling takes 5 s.
"""

_log = logging.getLogger("dbutterfly")

_lock = threading.Lock()

_Key = tuple[Any, str]  # a package, and the character of a dtype

_compiled: set[_Key] = set()
"""Kernels that are in this process."""

_seconds: dict[_Key, float] = {}
"""What the plain ones have taken in their place; there is an entry once the cache on disk was looked at."""

_begun: set[_Key] = set()
"""Kernels of which no compilation is to be begun in the background: one was."""

_under_way: set[_Key] = set()
"""Kernels that are being compiled there."""

_may_begin = True
"""False in a process that was forked while kernels were compiled."""


@functools.cache
def compiled_kernels(room: str = "products") -> ModuleType | None:
    """Package of the compiled kernels; None where Numba is switched off, or does not know this version of NumPy."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        jit = importlib.import_module(f".{room}.jit", __package__)
    except ImportError:  # raised by a Numba that does not know this version of NumPy
        return None
    return None if jit.DISABLED else jit


def is_compiled(jit: Any, dtype: Any) -> bool:
    """Whether the compiled kernels of a dtype can be used now; what the cache on disk holds is loaded for that."""
    key = jit, dtype.char
    if key in _compiled:
        return True
    with _lock:
        if key in _begun:
            return key in _compiled
        if key not in _seconds and _is_kept(*key):
            _compile(*key)
            return True
        if _seconds.setdefault(key, 0.0) > SECONDS_BEFORE and _may_begin:
            _begun.add(key)
            threading.Thread(target=_compile_beside, args=key, name="dbutterfly-compile").start()
    return False


def count_seconds(jit: Any, dtype: Any, seconds: float) -> None:
    """Count what the plain kernels have taken for what the compiled ones of a dtype would have done."""
    key = jit, dtype.char
    _seconds[key] = _seconds.get(key, 0.0) + seconds


def count_run(dtype: Any, entries: int, seconds: float, rooms: tuple[str, ...] = ROOMS_OF_RUNS) -> None:
    """Count what the plain kernels have taken for a run in this process, if the compiled ones are worthwhile for it."""
    if entries >= _limits(rooms)[0] and dtype.char in CHARS:
        for room in rooms:
            count_seconds(compiled_kernels(room), dtype, seconds)


def comparable_entries(entries: int, rank: int) -> int:
    """Entries of rank one that take the plain kernels about as long as so many of a rank."""
    return entries * (1 if rank == 1 else RANK_COST)


def _limits(rooms: tuple[str, ...]) -> tuple[int, int]:
    """Entries from which on compiled kernels are worthwhile, and worth waiting for."""
    if rooms == ROOMS_OF_SKELETONS:
        return SKELETONS_WORTHWHILE, SKELETONS_WORTH_WAITING
    return WORTHWHILE, WORTH_WAITING


def compile_now(dtypes: str = CHARS, rooms: tuple[str, ...] = ROOMS) -> None:
    """Have the kernels of dtypes compiled, or loaded, when this returns; nothing is done where there are none.

    Parameters
    ----------
    dtypes : str
        Their characters.
    rooms : tuple of str
        Their packages.
    """
    packages = [jit for room in rooms if (jit := compiled_kernels(room)) is not None]
    for key in itertools.product(packages, dtypes):
        if key[1] in CHARS and key not in _compiled:
            _compile(*key)


def kept_dtypes() -> str:
    """Characters of the dtypes whose kernels the cache on disk holds, all of them."""
    packages = [compiled_kernels(room) for room in ROOMS]
    return "".join(char for char in CHARS if all(jit is not None and _is_kept(jit, char) for jit in packages))


def are_worthwhile(dtype: Any, entries: int, rooms: tuple[str, ...] = ROOMS_OF_RUNS) -> bool:
    """Whether a run uses the compiled kernels; those of a large matrix are compiled when they are first called.

    It depends on the size of the matrix, and on whether they are compiled by now.

    Parameters
    ----------
    dtype : dtype
        In which is computed.
    entries : int
        Number of entries of the matrix, or of all matrices of a stack, as :func:`comparable_entries` counts them; those
        that are evaluated for skeletons.
    rooms : tuple of str
        Packages of the kernels that the run uses.
    """
    least, waiting = _limits(rooms)
    if entries < least or dtype.char not in CHARS or not has_kernels_of_runs(rooms):
        return False
    if entries >= waiting:
        return True
    # Asked of all: a compilation is begun for each.
    found = [is_compiled(compiled_kernels(room), dtype) for room in rooms]
    return all(found)


def has_kernels_of_runs(rooms: tuple[str, ...] = ROOMS_OF_RUNS) -> bool:
    """Whether this process can compile, or load, what runs use: without, it does their work by the plain kernels."""
    return all(compiled_kernels(room) is not None for room in rooms)


def _is_kept(jit: Any, char: str) -> bool:
    return all(loop.is_kept() for loop in jit.loops_of(char))


def _compile(jit: Any, char: str) -> None:
    for loop in jit.loops_of(char):
        loop.compiled  # noqa: B018  # compiles it
    _compiled.add((jit, char))


def _compile_beside(jit: Any, char: str) -> None:
    """Compile in a thread of its own, loop by loop, until the program ends."""
    _under_way.add((jit, char))
    try:
        for loop in jit.loops_of(char):
            if not threading.main_thread().is_alive():
                return
            loop.compiled  # noqa: B018
        _compiled.add((jit, char))
    except Exception as error:
        _log.warning("the kernels cannot be compiled (%s: %s): they stay slower", type(error).__name__, error)
    finally:
        _under_way.discard((jit, char))


def _leave_to_parent() -> None:
    """Compile nothing in the background of a process that was forked meanwhile: Numba's lock stays held in it."""
    global _lock, _may_begin
    _lock = threading.Lock()
    _may_begin = _may_begin and not _under_way


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
