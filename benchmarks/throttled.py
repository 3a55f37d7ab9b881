"""A slow storage: what the benchmarks of reading put before a source."""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from dbutterfly.sources.base import MatrixSource
from dbutterfly.structure.axes import Axis, Tile


class Throttled(MatrixSource):
    """A source that gives every reading thread at most a fixed bandwidth."""

    def __init__(self, inner: MatrixSource, bytes_per_second: float) -> None:
        self.inner, self.rate = inner, bytes_per_second
        self.name, self.shape, self.dtype = inner.name, inner.shape, inner.dtype
        self.shared, self.edges, self.decode_bytes = inner.shared, inner.edges, inner.decode_bytes
        self.copies_tiles = True

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        return self.inner.read_block(rows, cols)

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read, then wait until the bandwidth allows the next."""
        started = time.perf_counter()
        grid = self.inner.read(rows, cols, tile)
        time.sleep(max(0.0, grid.nbytes / self.rate - (time.perf_counter() - started)))
        return grid
