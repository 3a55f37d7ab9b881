"""The command ``compile``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
import typer

from ...errors import InputError
from ...kernels.compilation import CHARS, compile_now, compiled_kernels, kept_dtypes
from ..diagnosis import why_not_compiled
from ..options import AsJson
from ..printing import print_json, print_lines

__all__ = ["compile"]

DTYPES = {np.dtype(char).name: char for char in CHARS}


def compile(
    dtype: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(DTYPES)}; may be given several times; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels beforehand.

    They are kept in Numba's cache for every later process on a machine with this kind of processor. Without this, a
    process works with slower kernels until it has compiled them itself. Compiling takes ten to thirty seconds for a
    dtype.
    """
    names = dtype or list(DTYPES)
    for name in names:
        if name not in DTYPES:
            raise InputError(f"--dtype {name!r} has no compiled kernels; choose among {', '.join(DTYPES)}")
    jit = compiled_kernels()
    if jit is None:
        raise InputError(f"nothing can be compiled: {why_not_compiled()}")
    kept, seconds = kept_dtypes(), dict[str, float]()
    for name in names:
        started = time.perf_counter()
        compile_now(DTYPES[name])
        seconds[name] = time.perf_counter() - started
    try:
        cache: str | None = jit.cache_directory()
    except RuntimeError:
        cache = None
    found: dict[str, Any] = {
        "cache": cache,
        "dtypes": {name: {"was_kept": DTYPES[name] in kept, "seconds": seconds[name]} for name in names},
    }
    if as_json:
        print_json(found)
        return
    for name in names:
        print_lines([(name, f"{'loaded' if DTYPES[name] in kept else 'compiled'} in {seconds[name]:.1f} s")])
    print_lines([("kept in", cache or "nothing: Numba finds no directory that it may write; set NUMBA_CACHE_DIR")])
