"""Zarr arrays whose chunks are counted once: which of them the storage did not hold then."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..structure.axes import Index
from .chunk_files import absent_chunks

__all__ = ["CountedChunks"]


class CountedChunks:
    """What a source tells of the chunks of its Zarr array.

    Attributes
    ----------
    array : zarr.Array
        The array.
    """

    array: Any

    @cached_property
    def _absent(self) -> Index | None:
        """Row-major numbers of the chunks that the store did not hold when it was first listed."""
        return absent_chunks(self.array)

    @property
    def lists_chunks(self) -> bool:
        """Whether the store can be listed."""
        return self._absent is not None

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that the store did not hold when it was first listed, which is now if it was not."""
        return 0 if self._absent is None else int(self._absent.size)

    def recount(self) -> int:
        """Number of chunks that the store does not hold now."""
        absent = absent_chunks(self.array)
        return 0 if absent is None else int(absent.size)
