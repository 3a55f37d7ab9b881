"""Arrays of an ``.npz`` file, whose sizes are known and bounded before anything is read."""

from __future__ import annotations

import math
import os
import stat
import zipfile
from typing import Any

import numpy as np
import psutil
from numpy.lib import format as npy
from numpy.typing import NDArray

__all__ = ["UnreadableError", "read_arrays"]

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What :func:`numpy.savez` and :func:`numpy.savez_compressed` write."""

MOST_MEMBERS = 10_000
"""Most arrays of a file. Not tuned."""

MOST_HEADER = 10_000
"""Most bytes of the header of an array. Not tuned: that of a plain array has 128."""


class UnreadableError(Exception):
    """A file is not of this kind, damaged, or larger than memory; the message says why."""


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file, none of which may hold Python objects.

    Raises
    ------
    UnreadableError
        If that is not possible.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableError("it is no file")
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            _check_sizes(members, os.path.getsize(path))
            return {each.filename.removesuffix(".npy"): _read(file, each) for each in members}
    except UnreadableError:
        raise
    except Exception as error:  # the modules that unpack members have errors of many kinds
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _check_sizes(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse members of a foreign kind, and more bytes than the file or the memory can hold."""
    if len(members) > MOST_MEMBERS:
        raise UnreadableError(f"it has {len(members)} members")
    for each in members:
        if each.compress_type not in COMPRESSIONS:
            raise UnreadableError(f"{each.filename} has the compression {each.compress_type}, which NumPy does not use")
        if not each.filename.endswith(".npy"):
            raise UnreadableError(f"{each.filename} is no array")
    stored = sum(each.file_size for each in members if each.compress_type == zipfile.ZIP_STORED)
    free = psutil.virtual_memory().available
    if stored > size:
        raise UnreadableError(f"its arrays are said to have {stored} bytes, and it has {size}")
    if (total := sum(each.file_size for each in members)) > free:
        raise UnreadableError(f"its arrays have {total} bytes, of which memory has {free} free")


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read an array that has exactly as many bytes as its header says."""
    with file.open(member) as content:
        version = npy.read_magic(content)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise UnreadableError(f"{member.filename} has version {version}")
        shape, fortran, dtype = readers[version](content, max_header_size=MOST_HEADER)
        if dtype.hasobject:
            raise UnreadableError(f"{member.filename} holds Python objects")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - content.tell():
            raise UnreadableError(f"{member.filename} is said to have shape {shape} and has not so many bytes")
        values = np.frombuffer(bytearray(content.read()), dtype)
    return values.reshape(shape, order="F" if fortran else "C")
