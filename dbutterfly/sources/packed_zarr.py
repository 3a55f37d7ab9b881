"""A Zarr array whose attributes say that its entries are other numbers than the stored ones, decoded as it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..structure.axes import Axis, Part, Tile
from .base import MatrixSource
from .packing import Packing
from .stamps import Stamps
from .tile_parts import place_part, restrict_part
from .zarr_array import ZarrSource

__all__ = ["PackedSource"]


class PackedSource(MatrixSource):
    """A packed Zarr array: what a tile reads is decoded piece by piece, by whoever reads it.

    Parameters
    ----------
    stored : ZarrSource
        The array as it is stored.
    packing : Packing
        How its numbers become entries.
    """

    reads_in_place = True

    def __init__(self, stored: ZarrSource, packing: Packing) -> None:
        self.stored, self.packing = stored, packing
        self.name, self.shape, self.dtype = stored.name, stored.shape, packing.dtype
        self.shared, self.edges, self.chunk_count = stored.shared, stored.edges, stored.chunk_count
        self.fill_value = stored.fill_value
        piece_bytes = stored.requests.piece_bytes(packing.bytes_per_entry)
        self.decode_bytes = stored.decode_bytes + min(piece_bytes, math.prod(self.shape) * packing.bytes_per_entry)
        self.decoding = str(packing)

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedSource, (self.stored, self.packing)

    def stamps(self) -> Stamps | None:
        """Stamps of the chunks, which go with the way in which they are decoded."""
        found = self.stored.stamps()
        return found and replace(found, kind=f"{found.kind} {self.decoding}")

    @property
    def lists_chunks(self) -> bool:
        """Whether the store can be listed."""
        return self.stored.lists_chunks

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that the store did not hold when it was first listed."""
        return self.stored.missing_chunks

    def missing_keys(self, limit: int) -> list[str]:
        """Keys of the first ``limit`` missing chunks, in row-major order."""
        return self.stored.missing_keys(limit)

    def recount(self) -> int:
        """Number of chunks that the store does not hold now."""
        return self.stored.recount()

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read and decode a range of rows and columns."""
        rows, cols = (slice(*side.indices(size)[:2]) for side, size in zip((rows, cols), self.shape, strict=True))
        block = np.empty((rows.stop - rows.start, cols.stop - cols.start), self.dtype)
        for r, c, piece in self._pieces(rows, cols):
            block[r.start - rows.start : r.stop - rows.start, c.start - cols.start : c.stop - cols.start] = piece
        return block

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read and decode one tile as a grid of blocks; see :meth:`MatrixSource.read`."""
        grid = super().read(rows, cols, tile)
        self.stored.check_still_there()
        return grid

    def non_finite_error(self, index: tuple[int, int]) -> NonFiniteError:
        """Error for an entry; it says so where the entry is missing."""
        row, col = index
        number = self.stored.read_range(slice(row, row + 1), slice(col, col + 1))
        missing = self.packing.is_missing(number.view(self.packing.view))
        if missing is None or not missing.all():
            return super().non_finite_error(index)
        return NonFiniteError(
            f"{self.name} has no entry at index {index}: {number[0, 0]} is stored there, which its _FillValue or "
            "missing_value says to be missing; fill such entries first, or pass decode=False to take the numbers that "
            "are stored",
            index,
        )

    def _fill(self, buffer: NDArray[Any], row: Part, col: Part) -> None:
        """Read one part of a tile into the tile's buffer, decoded piece by piece."""
        for r, c, piece in self._pieces(slice(row.start, row.stop), slice(col.start, col.stop)):
            place_part(buffer, restrict_part(row, r), restrict_part(col, c), piece)

    def _pieces(self, rows: slice, cols: slice) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
        """Read and decode a range piece by piece."""
        for r, c in self.stored.requests.cut_small(rows, cols, self.packing.bytes_per_entry):
            yield r, c, self.packing.decode(self.stored.read_block(r, c))
