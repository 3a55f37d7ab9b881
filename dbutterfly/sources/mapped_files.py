"""The files behind memory maps: whether another process can map the same one, and whether it is still whole.

Other processes map a file again by its name, and see what it holds. That is the array only if what is written to it
goes to the file, and if the name still leads to the file that was mapped; where that cannot be told, the array is sent
instead. A file that is cut is found before a tile is read. A process that reads a map while its file is cut dies of the
signal SIGBUS: nothing can prevent that.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

__all__ = ["MappedFile", "find_map", "find_memmap", "map_again", "mapped_file"]


MAPS = Path("/proc/self/maps")
"""What is mapped where in this process, on Linux."""


class MappedFile(NamedTuple):
    """A file as it was when an array that maps it was looked at.

    Attributes
    ----------
    path : str
        Its absolute path.
    size : int
        Its bytes.
    changed : int
        Time of its last change, in nanoseconds.
    """

    path: str
    size: int
    changed: int


class Map(NamedTuple):
    """The memory map that an array lies in.

    Attributes
    ----------
    memory : mmap.mmap
        The map.
    name : str
        Its file in error messages.
    end : int
        Bytes that the file must have.
    """

    memory: mmap.mmap
    name: str
    end: int

    def check(self) -> None:
        """Raise unless the file has all bytes that are mapped.

        Raises
        ------
        SourceError
            If it was cut; the message names it.
        """
        try:
            size = self.memory.size()
        except (OSError, ValueError):  # of memory without a file, or whose file is not kept open
            return
        if size < self.end:
            raise SourceError(
                f"{self.name} has {size} bytes, but {self.end} are mapped: it was cut after it was opened, as programs "
                "do that write a file anew; open it again when it is whole"
            )


def find_map(array: NDArray[Any]) -> Map | None:
    """Find the memory map that an array, or the array that it is a view of, lies in."""
    start, name, owner = 0, "the mapped file", None
    for owner in _owners(array):
        if isinstance(owner, np.memmap):
            filename: Any = owner.filename
            start = owner.offset - owner.offset % mmap.ALLOCATIONGRANULARITY
            name = "the file of the memmap" if filename is None else f"memmap {filename}"
    return Map(owner, name, start + len(owner)) if isinstance(owner, mmap.mmap) else None


def find_memmap(array: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """Find the array that maps a named file of which an array is a view; None where there is none."""
    for owner in _owners(array):
        base: Any = getattr(owner, "base", None)
        if isinstance(owner, np.memmap) and isinstance(base, mmap.mmap) and owner.filename is not None:
            return owner
    return None


def _owners(array: Any) -> Iterator[Any]:
    """An array, what it is a view of, and so on to what owns the memory."""
    while isinstance(array, (np.ndarray, memoryview)):
        yield array
        array = array.obj if isinstance(array, memoryview) else array.base
    yield array


def mapped_file(array: NDArray[Any]) -> MappedFile | None:
    """The file that an array maps as other processes can map it; None for all other arrays.

    None, too, for views, of which NumPy does not keep the offset, for maps whose changes stay in memory, and where the
    name leads to no file or to another one.
    """
    base: Any = array.base
    if not isinstance(array, np.memmap) or not isinstance(base, mmap.mmap) or not array.flags.forc:
        return None
    mode, filename = vars(array)["mode"], vars(array)["filename"]
    if mode not in ("r", "r+", "w+") or filename is None or not _is_mapped_by_name(array, base):
        return None
    if mode != "r":
        array.flush()  # so that other machines see it, and the file does not change later
    path = os.path.abspath(filename)
    found = os.stat(path)
    return MappedFile(path, found.st_size, found.st_mtime_ns)


def map_again(file: MappedFile, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    """Map a file in another process.

    Raises
    ------
    SourceError
        If it is not there, or is not what it was.
    """
    try:
        found = os.stat(file.path)
        array = np.memmap(file.path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"memmap {file.path} cannot be mapped by a worker: {type(error).__name__}: {error}; every worker must "
            "reach it by the same path, or pass a copy, as in np.array(source)"
        ) from error
    if (found.st_size, found.st_mtime_ns) != (file.size, file.changed):
        raise SourceError(f"memmap {file.path} was changed or replaced while it was read; open it again")
    return array


def _is_mapped_by_name(array: Any, memory: mmap.mmap) -> bool:
    """Whether the file of this name is the one that was mapped."""
    try:
        with open(array.filename, "rb") as file:
            if os.fstat(file.fileno()).st_size != memory.size():
                return False
            again = np.memmap(file, np.uint8, "r", shape=(1,))
    except (OSError, ValueError):
        return False
    return _mapped_inode(array) == _mapped_inode(again)


def _mapped_inode(array: np.memmap[Any, Any]) -> str | None:
    """Device and number of the file that lies at the address of an array; None where the system does not tell.

    Linux lists what is mapped where: addresses, rights, offset, device, number, name. The number may not be that of
    ``os.stat``, in layered file systems.
    """
    try:
        lines = MAPS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    address = array.__array_interface__["data"][0]
    for line in lines:
        ends, _, _, device, number = line.split(maxsplit=5)[:5]
        first, last = (int(end, 16) for end in ends.split("-"))
        if first <= address < last:
            return f"{device} {number}"
    return None
