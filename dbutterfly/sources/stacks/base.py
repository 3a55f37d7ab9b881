"""The interface of several matrices that are factorized in one run.

Towards the engines, and for being known again, a stack is one source: the matrices lie one upon the other, rows below
rows, as far as they are wide. Row r of the stack is row ``r - offsets[k]`` of its matrix k. Ranges of it lie within
one matrix.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ...errors import SourceError
from ...structure.axes import Index
from ..base import MatrixSource
from ..info import work_dtype
from ..samples import PLACES, Place, spread_indices
from ..stamps import Stamps

__all__ = ["ListedStack", "PartOfStack", "StackSource", "check_not_empty"]


class StackSource(MatrixSource):
    """Several matrices.

    Parameters
    ----------
    name : str
        Name of the stack in messages.
    shapes : sequence of (int, int)
        Shape of each matrix.
    dtypes : sequence of dtype
        Dtype of each matrix, as stored.

    Attributes
    ----------
    shapes, dtypes
        As given.
    offsets : array of int, shape (K + 1,)
        First row of each matrix in the stack, and the number of all rows.
    per_chunk : int
        Matrices that the storage holds in one chunk, and that are read together.
    left_out : tuple of str
        What there is besides the matrices, by name.
    names : tuple of str or None
        Names of the matrices, where they have any.
    """

    per_chunk = 1
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def __init__(self, name: str, shapes: Sequence[tuple[int, int]], dtypes: Sequence[np.dtype[Any]]) -> None:
        self.name, self.shapes, self.dtypes = name, tuple(shapes), tuple(dtypes)
        for number, dtype in enumerate(self.dtypes):
            work_dtype(dtype, self.name_matrix(number))
        self.offsets: Index = np.concatenate([[0], np.cumsum([rows for rows, _ in shapes])]).astype(np.int64)
        self.shape = int(self.offsets[-1]), max(cols for _, cols in shapes)
        self.dtype = np.result_type(*self.dtypes)

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """Bytes of all matrices as stored, uncompressed."""
        sizes = zip(self.shapes, self.dtypes, strict=True)
        return sum(rows * cols * dtype.itemsize for (rows, cols), dtype in sizes)

    @property
    def kinds(self) -> list[str]:
        """Shape, dtype and way of being looked at of each matrix, as a text: those of one kind can share a chain."""
        kinds = zip(self.shapes, self.dtypes, self._ways(), strict=True)
        return [f"{rows} x {cols} {dtype.name}{way}" for (rows, cols), dtype, way in kinds]

    def _ways(self) -> list[str]:
        return [""] * len(self)

    def name_matrix(self, number: int) -> str:
        """Name of a matrix in messages."""
        return f"matrix {number} of {self.name}"

    @abstractmethod
    def matrix(self, number: int) -> MatrixSource:
        """Source of one matrix."""

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """Read several matrices of one shape and dtype.

        Returns
        -------
        array, shape (n, M, N)
            A view where they are in memory; not to be changed.
        """
        first = int(numbers[0])
        found = np.empty((numbers.size, *self.shapes[first]), self.dtypes[first].newbyteorder("="))
        for place, number in zip(found, numbers.tolist(), strict=True):
            rows, cols = self.shapes[number]
            place[...] = self.matrix(number).read_range(slice(0, rows), slice(0, cols))
        return found

    def bytes_of(self, numbers: Index) -> int:
        """Bytes of the chunks that reading several matrices asks the storage for."""
        return sum(self.shapes[k][0] * self.shapes[k][1] * self.dtypes[k].itemsize for k in numbers.tolist())

    # ------------------------------------------------------------ as one source

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range that lies within one matrix."""
        number = int(np.searchsorted(self.offsets, rows.start, side="right")) - 1
        offset = int(self.offsets[number])
        return self.matrix(number).read_range(slice(rows.start - offset, rows.stop - offset), cols)

    def choose_places(self, rng: np.random.Generator) -> tuple[Place, ...]:
        """Choose places at random, of matrices at random."""
        chosen = spread_indices(0, len(self), min(PLACES, len(self)), rng)
        return tuple(self._place_in(int(number), rng) for number in chosen)

    def _place_in(self, number: int, rng: np.random.Generator) -> Place:
        rows, cols = self.matrix(number).choose_places(rng)[0]
        return Place(rows + self.offsets[number], cols)

    def stamps_of_matrices(self) -> Stamps | None:
        """Stamps of which each is of one matrix, shape (K, 1); None where the storage tells nothing of some."""
        return None

    def stamps(self) -> Stamps | None:
        """Stamps of the matrices."""
        return self.stamps_of_matrices()

    def _make_stamps(self, kind: str, values: NDArray[np.uint64]) -> Stamps:
        return Stamps(kind, values.reshape(-1, 1), (self.offsets, np.array([0, self.shape[1]])))


class PartOfStack(MatrixSource):
    """One matrix of a stack, read by the stack.

    Parameters
    ----------
    stack : StackSource
        The stack, whose :meth:`read_part` reads ranges of it.
    number : int
        Which matrix.
    """

    def __init__(self, stack: Any, number: int) -> None:
        self._stack, self._number = stack, number
        self.name, self.shape, self.dtype = stack.name_matrix(number), stack.shapes[number], stack.dtypes[number]
        self.shared, self.edges = stack.shared, stack.edges_of_matrix
        self.decode_bytes = stack.decode_bytes
        self.is_computed, self.tolerance = stack.is_computed, stack.tolerance
        self.needs_cluster, self.spare_bytes = stack.needs_cluster, stack.spare_bytes

    @property
    def client(self) -> Any:
        """Client of the stack."""
        return self._stack.client

    @client.setter
    def client(self, client: Any) -> None:
        self._stack.client = client

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        found: NDArray[Any] = self._stack.read_part(self._number, rows, cols)
        return found

    def stamps(self) -> Stamps | None:
        """Stamp of this matrix among those of the stack."""
        found = self._stack.stamps_of_matrices()
        if found is None:
            return None
        rows, cols = self.shape
        value = found.values[self._number : self._number + 1]
        return Stamps(found.kind, value, (np.array([0, rows]), np.array([0, cols])))


class ListedStack(StackSource):
    """Matrices of any sources, of any shapes.

    Parameters
    ----------
    matrices : sequence of MatrixSource
        The matrices.
    name : str
        Name of the stack in messages.
    names : sequence of str, optional
        Names of the matrices.
    left_out : sequence of str
        What there is besides them.
    """

    def __init__(
        self,
        matrices: Sequence[MatrixSource],
        name: str = "list",
        names: Sequence[str] | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self._matrices, self.left_out = tuple(matrices), tuple(left_out)
        self.names = None if names is None else tuple(names)
        super().__init__(name, [source.shape for source in matrices], [source.dtype for source in matrices])
        self.shared = all(source.shared for source in matrices)
        self.needs_cluster = any(source.needs_cluster for source in matrices)
        self.is_computed = any(source.is_computed for source in matrices)
        self.tolerance = max(source.tolerance for source in matrices)
        self.decode_bytes = max(source.decode_bytes for source in matrices)
        clients = [source.client for source in matrices if source.client is not None]
        self.client = clients[0] if clients else None

    def name_matrix(self, number: int) -> str:
        """Name of a matrix in messages."""
        named = "" if self.names is None else f" ({self.names[number]})"
        return f"matrix {number} of {self.name}{named}"

    def matrix(self, number: int) -> MatrixSource:
        """Source of one matrix."""
        return self._matrices[number]

    def _ways(self) -> list[str]:
        return [" (an operator)" if s.probed else " (sampled)" if s.sampled else "" for s in self._matrices]

    def prepare(self, client: Any, workers: int) -> None:
        """Compute once what many ranges need."""
        for source in self._matrices:
            source.prepare(client, workers)

    @property
    def chunk_count(self) -> int:  # type: ignore[override]
        """Chunks of all matrices."""
        return sum(source.chunk_count for source in self._matrices)

    @property
    def lists_chunks(self) -> bool:
        """Whether every storage tells which chunks it holds."""
        return all(source.lists_chunks for source in self._matrices)

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that are missing, of all matrices."""
        return sum(source.missing_chunks for source in self._matrices)

    def missing_keys(self, limit: int) -> list[str]:
        """Names of the first missing chunks, each with its matrix."""
        found = (f"{key} of {source.name}" for source in self._matrices for key in source.missing_keys(limit))
        return [key for key, _ in zip(found, range(limit), strict=False)]

    def recount(self) -> int:
        """Number of chunks that are missing now."""
        return sum(source.recount() for source in self._matrices)

    def stamps_of_matrices(self) -> Stamps | None:
        """Hash of the stamps of each matrix."""
        found = [source.stamps() for source in self._matrices]
        if any(stamps is None or stamps.tells_nothing for stamps in found):
            return None
        stamps = [each for each in found if each is not None]
        kind = "content" if all(each.is_of_content for each in stamps) else stamps[0].kind_of_storage
        return self._make_stamps(f"{kind} of matrices", np.array([_fold(each) for each in stamps], np.uint64))


def _fold(stamps: Stamps) -> int:
    """One stamp for all pieces of a matrix."""
    found = xxhash.xxh3_64(stamps.kind.encode())
    found.update(np.ascontiguousarray(stamps.values).view(np.uint8).data)
    return int(found.intdigest())


def check_not_empty(shape: tuple[int, ...], name: str) -> None:
    """Refuse a stack without a matrix, or one whose matrices have no entry.

    Raises
    ------
    SourceError
        If it is so.
    """
    if 0 in shape:
        raise SourceError(f"{name} is empty, shape {tuple(shape)}; a stack has one matrix at least, with entries")
