"""Which chunks of an array its store held when it was listed: one that is not found later is not taken for unwritten.

It is one bit for each chunk, and travels to workers in a few bytes where all chunks are there, or whole runs of them.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Index

__all__ = ["StoredChunks"]


class StoredChunks:
    """The chunks that were there when the store of an array was listed.

    Parameters
    ----------
    path : str
        Path of the array in its store.
    held : array of bool
        Whether each chunk was there, in row-major order.
    *across : int
        Chunks along each axis but the first.
    """

    def __init__(self, path: str, held: NDArray[np.bool_], *across: int) -> None:
        self._path, self._held, self._across = path, held, across

    @classmethod
    def without(cls, path: str, absent: Index, count: int, *across: int) -> StoredChunks:
        """All ``count`` chunks but those with some row-major numbers."""
        held = np.ones(count, np.bool_)
        held[absent] = False
        return cls(path, held, *across)

    def has(self, *at: int) -> bool:
        """Whether the chunk at a position of the grid was there."""
        number = at[0]
        for index, size in zip(at[1:], self._across, strict=True):
            number = number * size + index
        return bool(self._held[number])

    def has_key(self, key: str) -> bool:
        """Whether the chunk under a key of the store was there; False for any other key."""
        below = key.removeprefix(f"{self._path}/") if self._path else key
        found = re.fullmatch(r"(?:c[./])?(\d+(?:[./]\d+)*)", below)
        at = [] if found is None else [int(index) for index in re.split(r"[./]", found[1])]
        return len(at) == 1 + len(self._across) and self.has(*at)

    def to_bytes(self) -> bytes:
        """Pack the bits."""
        return zlib.compress(np.packbits(self._held).tobytes())

    @classmethod
    def from_bytes(cls, path: str, packed: bytes, count: int, *across: int) -> StoredChunks:
        """Inverse of :meth:`to_bytes`."""
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=count)
        return cls(path, bits.astype(np.bool_), *across)
