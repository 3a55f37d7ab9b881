"""Matrices that are known by their products: SciPy linear operators, those of PyLops, and sparse matrices.

A product with a unit vector gives a column, and a product of the adjoint gives a row. Such a matrix can therefore be
read like any other, at the price of one product for every row or column of a tile. Factorizing it takes fewer products,
with random vectors (:mod:`dbutterfly.factorization.tasks.probed_tiles`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from ..errors import InputError, NonFiniteError, SourceError
from ..structure.axes import Axis, Index, Tile
from .base import MatrixSource
from .info import work_dtype
from .operator_checks import check_operator
from .padded import scatter_crossings
from .probes import CHECK_STREAM, PRODUCT_BYTES, normal_vectors
from .returned_blocks import check_block
from .samples import Place
from .stamps import Stamps, stamp_array, stamp_sparse
from .tile_grids import unfold

__all__ = ["OperatorSource", "is_operator", "operator_source"]


SAMPLED = 4096
"""Entries of a product by which an operator is known again. Not tuned: they fit into a manifest."""

ALIKE = 0.4
"""Power of the rounding unit by which, relative to the norm of a product, an entry may differ in the next one.

Not tuned: 5e-7 in double precision and 2e-3 in single. Operators that solve systems by iteration give the same product
twice on one machine, and are inexact to about as much on another.
"""


class OperatorSource(MatrixSource):
    """A linear operator, asked for its products with vectors and for those of its adjoint.

    Parameters
    ----------
    operator : LinearOperator
        With ``matmat`` and ``rmatmat``; it is asked by one thread at a time.
    name : str
        What error messages call it.

    Attributes
    ----------
    operator : LinearOperator
        The operator.
    batch : int
        Vectors that are multiplied at a time.
    """

    probed = True

    def __init__(self, operator: Any, name: str) -> None:
        self.operator, self.name = operator, name
        self.shape = (int(operator.shape[0]), int(operator.shape[1]))
        self.dtype = work_dtype(np.dtype(operator.dtype), name)
        per_vector = sum(self.shape) * self.dtype.itemsize
        self.batch = max(1, PRODUCT_BYTES // per_vector)
        self.decode_bytes = self.batch * per_vector
        self.tolerance = float(np.finfo(self.dtype).eps) ** ALIKE
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return OperatorSource, (self.operator, self.name)

    def stamps(self) -> Stamps | None:
        """Stamps of the array or sparse matrix behind the operator, where there is one."""
        matrix = self.operator.A if isinstance(self.operator, type(aslinearoperator(np.eye(1)))) else None
        if sparse.issparse(matrix):
            return stamp_sparse(matrix)
        return stamp_array(matrix) if isinstance(matrix, np.ndarray) and matrix.ndim == 2 else None

    def choose_places(self, rng: np.random.Generator) -> tuple[Place, ...]:  # noqa: ARG002
        """None: a product tells of all entries of a row."""
        return ()

    def sample(self, places: Sequence[Place]) -> NDArray[Any]:  # noqa: ARG002
        """Entries of the product with one random vector, spread over the rows."""
        product = self.forward(normal_vectors(0, CHECK_STREAM, 0, (self.shape[1], 1), self.dtype))[:, 0]
        return product[np.unique(np.linspace(0, product.size - 1, SAMPLED).astype(np.int64))]

    def forward(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Products ``Z x`` with the columns (N, m) of an array, in one call of the operator.

        Raises
        ------
        SourceError
            If the operator fails, or returns another shape or a dtype that does not cast to its own.
        """
        return self._product("matmat", self.operator.matmat, vectors, self.shape[0])

    def backward(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Products ``Z^H y`` with the columns (M, m) of an array, in one call of the operator."""
        return self._product("rmatmat", self.operator.rmatmat, vectors, self.shape[1])

    def single(self, vector: NDArray[Any], *, adjoint: bool) -> NDArray[Any]:
        """Product with one vector, or that of the adjoint, by the method for one, before SciPy converts it."""
        method, length = ("rmatvec", self.shape[1]) if adjoint else ("matvec", self.shape[0])
        return self._product(method, getattr(self.operator, f"_{method}"), vector, length)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Multiply by unit vectors: a product for every row or for every column, whichever are fewer."""
        return self.take(*(np.arange(s.start, s.stop, dtype=np.int64) for s in (rows, cols)))

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Multiply by unit vectors, wherever the rows and columns of a tile lie."""
        at = rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)
        return unfold(scatter_crossings(*at, self.dtype, self.take), rows, cols, tile)

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Entries at the crossings of rows and columns."""
        block = np.empty((rows.size, cols.size), self.dtype)
        if cols.size <= rows.size:
            for part in self._batches(cols.size):
                block[:, part] = self.forward(self._units(cols[part], self.shape[1]))[rows]
        else:
            for part in self._batches(rows.size):
                block[part] = self.backward(self._units(rows[part], self.shape[0]))[cols].conj().T
        return block

    def _batches(self, count: int) -> list[slice]:
        return [slice(first, min(first + self.batch, count)) for first in range(0, count, self.batch)]

    def _units(self, positions: Index, length: int) -> NDArray[Any]:
        units = np.zeros((length, positions.size), self.dtype)
        units[positions, np.arange(positions.size)] = 1
        return units

    def _product(self, method: str, multiply: Callable[[Any], Any], vectors: NDArray[Any], length: int) -> NDArray[Any]:
        try:
            with self._lock, np.errstate(all="ignore"):  # non-finite results are looked for
                found = multiply(vectors)
        except MemoryError:
            raise
        except Exception as error:
            raise SourceError(f"{self.name}: {method} failed: {type(error).__name__}: {error}") from error

        def explain(what: str, why: str) -> SourceError:
            given = f"as {what.removeprefix('dtype ')}" if what.startswith("dtype") else f"with {what}"
            why = why.replace(f"dtype={self.dtype}", f"the operator's dtype {self.dtype}")
            return SourceError(f"{self.name}: {method} of {self.dtype} {vectors.shape} vectors came back {given}{why}")

        shape = (length, *vectors.shape[1:])
        any_shape = vectors.ndim == 1 and np.size(found) == length  # SciPy's matvec takes a column, or a row, as well
        product = check_block(found, np.shape(found) if any_shape else shape, self.dtype, explain)
        return np.array(product).reshape(shape)  # a copy: the operator may keep its array, and write to it again


def is_operator(source: Any) -> bool:
    """Whether something is known by its products: a SciPy sparse matrix, or whatever has ``shape`` and ``matvec``."""
    if isinstance(source, LinearOperator) or sparse.issparse(source):
        return True
    return callable(getattr(source, "matvec", None)) and hasattr(source, "shape")


def operator_source(source: Any) -> OperatorSource:
    """Wrap an operator, after a look at five products with it and five with its adjoint.

    Parameters
    ----------
    source : LinearOperator, sparse matrix, or object with shape, matvec and rmatvec
        Anything that :func:`scipy.sparse.linalg.aslinearoperator` takes.

    Raises
    ------
    SourceError
        If a product fails, if it has no adjoint, or if its products are not those of a linear operator and its adjoint.
    InputError
        If its dtype cannot be factorized; NonFiniteError if a sparse matrix holds a NaN or an infinity.
    """
    name = f"operator {type(source).__name__.lstrip('_')}"
    try:
        operator = aslinearoperator(source)
        dtype = np.dtype(operator.dtype)
    except Exception as error:
        raise SourceError(f"{name} is no linear operator: {type(error).__name__}: {error}") from error
    if dtype.kind == "O":
        raise InputError(f"{name} has dtype {dtype}; give it one of float32, float64, complex64, complex128")
    found = OperatorSource(operator, name)
    if sparse.issparse(source):
        _check_finite(source, name)
    check_operator(found)
    return found


def _check_finite(matrix: Any, name: str) -> None:
    """Name a NaN or an infinity among stored entries: a product with it shows its row only."""
    entries = matrix.tocoo()
    bad = np.flatnonzero(~np.isfinite(entries.data))
    if bad.size:
        index = min((int(entries.row[k]), int(entries.col[k])) for k in bad)
        raise NonFiniteError.at(name, index)
