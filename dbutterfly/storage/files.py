"""Files of the local file system, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all, under exactly the name given.

    Parameters
    ----------
    path : str or path
        Place of the file. A file that is there is replaced, and stays as it is if writing fails.
    write : callable
        Called with a binary file, to write into. What it returns is ignored, and what it raises is passed on.

    Raises
    ------
    OSError
        If the file cannot be written or put in its place.

    Notes
    -----
    The content goes to a file ``PATH.PID.unfinished`` in the same directory, which is renamed when it is complete.
    Readers see the old file or the new one, even if this process is killed. The file is not flushed to disk, so that
    the guarantee does not cover a loss of power.
    """
    unfinished = Path(f"{os.fspath(path)}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            write(file)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # where there is no such directory, and so no file, the first error counts
            unfinished.unlink()
        raise
