"""A matrix that can be read: shape, dtype, chunk grid, and one tile of a cut at a time. Tasks convert and check it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DButterflyError, NonFiniteError, SourceError
from ..kernels.backend import tile_memory
from ..structure.axes import Axis, Edges, Part, Tile
from ..structure.padding import Paddings
from ..structure.weights import Weights
from .info import SourceInfo, work_dtype
from .padded import find_within, has_gaps, scatter
from .recognisable import Recognisable
from .returned_blocks import check_block
from .tile_grids import unfold
from .tile_parts import count_kept, count_touched, cut_at_chunks, is_kept_whole, place_part

__all__ = ["MatrixSource", "PaddedSource"]


class MatrixSource(Recognisable, ABC):
    """A matrix that can be read tile by tile, and known again.

    Attributes
    ----------
    name : str
        Name of the matrix in error messages.
    shape : (int, int)
        Rows and columns.
    dtype : numpy.dtype
        As stored.
    shared : bool
        Whether a pickled copy can read the matrix in another process.
    edges : pair of arrays of int or None
        Chunk boundaries of both sides; None where any range costs what it holds.
    copies_tiles : bool
        Whether reading a tile copies it.
    reads_in_place : bool
        Whether a range is read straight into the buffer that it is for, so that reading it needs no other memory.
    recopies_tiles : bool
        Whether a tile is copied once more when it was read, to be changed.
    decode_bytes : int
        Most bytes held besides the tile and its parts while a range is read.
    decoding : str
        How entries come from the numbers that are stored; empty where they are these numbers.
    chunk_count : int
        Chunks of the stored array, whether stored or not; 0 where nothing is stored in chunks.
    lists_chunks : bool
        Whether the storage tells which chunks it holds; if not, none counts as missing.
    fill_value : scalar or None
        Entries of a missing chunk.
    sampled : bool
        Whether a factorization may evaluate some of the entries only.
    crossed : bool
        Whether these are columns and rows of each block.
    probed : bool
        Whether the matrix is known by its products with vectors, of which fewer are needed than there are columns.
    needs_cluster : bool
        Whether a range is computed by tasks of a Dask cluster, for which whoever reads it waits.
    steps : str or None
        How the matrix is computed, where that costs more than to read each of its inputs twice.
    weights : Weights or None
        Weights by which its rows and columns are multiplied; None where there are none.
    exponent : int
        Power of two by which the entries are divided when they are read, to bring them into range.
    client : distributed.Client or None
        Client of that cluster; None where there is none, or on a worker until it gives a copy its own.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    shared = True
    edges: tuple[Edges, Edges] = (None, None)
    copies_tiles = True
    recopies_tiles = False
    reads_in_place = False
    decode_bytes = 0
    decoding = ""
    chunk_count = 0
    fill_value: Any = None
    sampled = crossed = probed = False
    needs_cluster = False
    client: Any = None
    steps: str | None = None
    weights: Weights | None = None
    exponent = 0

    @property
    def info(self) -> SourceInfo:
        """Description of the matrix for the plan."""
        work = work_dtype(self.dtype, self.name)
        return SourceInfo(
            shape=self.shape,
            dtype=self.dtype.name,
            work_dtype=work.name,
            edges=self.edges,
            copies_tiles=self.copies_tiles,
            recopies_tiles=self.recopies_tiles,
            decode_bytes=self.decode_bytes,
            decoding=self.decoding,
            chunk_count=self.chunk_count,
            missing_chunks=self.missing_chunks,
            sampled=self.sampled,
            crossed=self.crossed,
            probed=self.probed,
            steps=self.steps,
            weights="" if self.weights is None else str(self.weights),
            exponent=self.exponent,
        )

    def prepare(self, client: Any, workers: int) -> None:
        """Compute once what many ranges need, which so many workers, of a client or of this process, are to read."""

    @property
    def lists_chunks(self) -> bool:
        """Whether the storage tells which chunks it holds."""
        return True

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that the storage did not hold when they were first counted."""
        return 0

    def missing_keys(self, limit: int) -> list[str]:  # noqa: ARG002
        """Names in the storage of the first ``limit`` missing chunks, in row-major order."""
        return []

    def recount(self) -> int:
        """Number of chunks that the storage does not hold now; it differs from ``missing_chunks`` if some were lost."""
        return 0

    # ------------------------------------------------------------ reading

    def non_finite_error(self, index: tuple[int, int]) -> NonFiniteError:
        """Error for an entry that is a NaN or an infinity."""
        return NonFiniteError.at(self.name, index)

    @abstractmethod
    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a contiguous range of rows and columns."""

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read one tile as a grid of blocks.

        Returns
        -------
        array, shape (r1 - r0, c1 - c0, p, v)
            A view of the tile's buffer: row groups and column groups numbered as in storage, members likewise.

        Raises
        ------
        SourceError
            If the storage fails; the message names the range.
        """
        if has_gaps(rows, cols):
            padded = PaddedSource(self, (rows.padding, cols.padding))
            return padded.read(replace(rows, padding=None), replace(cols, padding=None), tile)
        row_parts, col_parts = rows.parts(tile.r0, tile.r1), cols.parts(tile.c0, tile.c1)
        parts = [*row_parts, *col_parts]
        if len(parts) == 2 and all(map(is_kept_whole, parts)) and not self.reads_in_place:
            return unfold(self._read_part(row_parts[0], col_parts[0]), rows, cols, tile)
        shape = ((tile.r1 - tile.r0) * rows.members, (tile.c1 - tile.c0) * cols.members)
        buffer = tile_memory.empty(shape, self.dtype.newbyteorder("="))
        if cols.index is not None:
            self._gather(buffer, row_parts, col_parts)
            return unfold(buffer, rows, cols, tile)
        for row in row_parts:
            for col in col_parts:
                self._fill(buffer, row, col)
        return unfold(buffer, rows, cols, tile)

    def bytes_touched(self, rows: Axis, cols: Axis, tile: Tile) -> int:
        """Bytes that reading a tile costs: those of the chunks that it requests, as :meth:`read` requests them.

        They are the bytes of the entries that these chunks hold inside the matrix, uncompressed, so that all tiles
        together cost what the plan says. A chunk that two requests want counts twice. Where nothing is stored in
        chunks, it is the tile. The bytes that pass the wire differ: of compressed chunks, and of those at far edges.
        """
        height = count_touched(rows, self.edges[0], tile.r0, tile.r1)
        width = count_touched(cols, self.edges[1], tile.c0, tile.c1)
        return height * width * self.dtype.itemsize

    def _gather(self, buffer: NDArray[Any], row_parts: list[Part], col_parts: list[Part]) -> None:
        """Read a tile whose columns are scattered, a strip of rows at a time.

        The columns of a strip are first put side by side as they lie in storage, and then taken in order: reading at
        random places within a row is several times faster than writing there.
        """
        width = buffer.shape[1]
        ends = list(itertools.accumulate(map(count_kept, col_parts), initial=0))
        order = np.empty(width, np.int64)
        for col, (first, last) in zip(col_parts, itertools.pairwise(ends), strict=True):
            order[col.dest] = np.arange(first, last)
        whole = width == self.shape[1]
        for row in row_parts:
            for strip in cut_at_chunks(row, self.edges[0]):
                if whole:  # every column of the matrix, in one request
                    gathered = self._read_part(strip, Part(0, width, slice(None), slice(None)))[strip.keep]
                else:
                    gathered = np.empty((count_kept(strip), width), buffer.dtype)
                    for col, (first, last) in zip(col_parts, itertools.pairwise(ends), strict=True):
                        gathered[:, first:last] = self._read_part(strip, col)[strip.keep][:, col.keep]
                if isinstance(strip.dest, slice):
                    np.take(gathered, order, axis=1, out=buffer[strip.dest], mode="clip")
                else:
                    buffer[strip.dest] = np.take(gathered, order, axis=1)

    def _fill(self, buffer: NDArray[Any], row: Part, col: Part) -> None:
        """Read one part of a tile into the tile's buffer."""
        place_part(buffer, row, col, self._read_part(row, col))

    def read_range(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a contiguous range of rows and columns, checked.

        Raises
        ------
        SourceError
            If the storage fails, or what comes back is masked or not as declared; the message names the range.
        """
        try:
            block = self.read_block(rows, cols)
        except (DButterflyError, MemoryError):
            raise
        except Exception as error:
            raise SourceError(
                f"{self.name}: cannot read rows {rows.start}..{rows.stop - 1}, columns {cols.start}..{cols.stop - 1}: "
                f"{type(error).__name__}: {error}"
            ) from error

        def explain(what: str, why: str) -> SourceError:
            return SourceError(
                f"{self.name}: rows {rows.start}..{rows.stop - 1}, columns {cols.start}..{cols.stop - 1} came back "
                f"with {what}{why}"
            )

        return check_block(block, (rows.stop - rows.start, cols.stop - cols.start), self.dtype, explain)

    def _read_part(self, row: Part, col: Part) -> NDArray[Any]:
        """Read the range of a part of the rows and a part of the columns."""
        return self.read_range(slice(row.start, row.stop), slice(col.start, col.stop))


class PaddedSource(MatrixSource):
    """A matrix on sides with gaps: a longer one, whose ranges have zeros at the gaps.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    paddings : pair of Padding or None
        Gaps of both sides.
    """

    def __init__(self, source: MatrixSource, paddings: Paddings) -> None:
        self._source, self._paddings = source, paddings
        self.name, self.dtype = source.name, source.dtype
        self.shared, self.needs_cluster = source.shared, source.needs_cluster
        sides = list(zip(source.shape, source.edges, paddings, strict=True))
        rows, cols = (size if padding is None else padding.length for size, _, padding in sides)
        self.shape = rows, cols
        row_edges, col_edges = (edges if padding is None else padding.edges(edges) for _, edges, padding in sides)
        self.edges, self.decode_bytes = (row_edges, col_edges), source.decode_bytes

    @property
    def client(self) -> Any:
        """Client of the matrix."""
        return self._source.client

    @client.setter
    def client(self, client: Any) -> None:
        self._source.client = client

    def prepare(self, client: Any, workers: int) -> None:
        """Compute once what many ranges need."""
        self._source.prepare(client, workers)

    def non_finite_error(self, index: tuple[int, int]) -> NonFiniteError:
        """Error for an entry, named as that of the matrix."""
        row, col = (
            at if padding is None else int(padding.rows(np.array([at]))[0])
            for at, padding in zip(index, self._paddings, strict=True)
        )
        return self._source.non_finite_error((row, col))

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read what a range has of the matrix."""
        at_rows, at_cols = map(find_within, self._paddings, (rows, cols))
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        block = np.zeros(shape, self.dtype.newbyteorder("="))
        if at_rows.places.size and at_cols.places.size:
            scatter(block, at_rows.places, at_cols.places, self._source.read_range(at_rows.range, at_cols.range))
        return block
