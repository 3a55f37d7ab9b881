"""A stack whose matrices are all multiplied by the same weights of their rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...structure.axes import Index
from ...structure.weights import Weights
from ..base import MatrixSource
from ..info import work_dtype
from ..stamps import Stamps
from ..weighted import multiply_block, weigh
from ..wrapped import WrappedSource
from .base import StackSource

__all__ = ["weigh_stack"]


def weigh_stack(stack: StackSource, weights: Weights | None) -> StackSource:
    """Give rows and columns of all matrices of a stack the same weights.

    Parameters
    ----------
    stack : StackSource
        The matrices.
    weights : Weights or None
        Their weights; None leaves them as they are.

    Raises
    ------
    InputError
        If the weights are those of another shape, or span more than the dtype holds; the message names the matrix.
    """
    return stack if weights is None else _WeightedStack(stack, weights)


class _WeightedStack(WrappedSource, StackSource):
    """A stack with weights: matrices are multiplied by whoever reads them. Its stamps are those of the stack."""

    unweighted: StackSource

    def __init__(self, stack: StackSource, weights: Weights) -> None:
        self._wrap(stack)
        self.weights, self._scaled = weights, weights.scaled
        self.names, self.left_out, self.per_chunk = stack.names, stack.left_out, stack.per_chunk
        dtypes = [work_dtype(dtype, stack.name_matrix(number)) for number, dtype in enumerate(stack.dtypes)]
        for number, kind in enumerate(zip(stack.shapes, dtypes, strict=True)):
            try:
                weights.validate(*kind)
            except InputError as error:
                raise InputError(f"{stack.name_matrix(number)}: {error}") from None
        StackSource.__init__(self, stack.name, stack.shapes, dtypes)

    def name_matrix(self, number: int) -> str:
        """Name of a matrix in messages."""
        return self.unweighted.name_matrix(number)

    @property
    def kinds(self) -> list[str]:
        """Shape, dtype and way of being looked at of each matrix, as they are stored."""
        return self.unweighted.kinds

    @property
    def nbytes(self) -> int:
        """Bytes of all matrices as stored, uncompressed."""
        return self.unweighted.nbytes

    def bytes_of(self, numbers: Index) -> int:
        """Bytes of the chunks that reading several matrices asks the storage for."""
        return self.unweighted.bytes_of(numbers)

    def stamps_of_matrices(self) -> Stamps | None:
        """Stamps of the matrices, of which a run keeps the weights besides."""
        return self.unweighted.stamps_of_matrices()

    def matrix(self, number: int) -> MatrixSource:
        """Source of one matrix, with its weights."""
        return weigh(self.unweighted.matrix(number), self.weights)

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """Read several matrices of one shape and dtype, and multiply each."""
        given = self.unweighted.read_matrices(numbers)
        dtype = self.dtypes[int(numbers[0])]
        by_row, by_col = self._scaled(dtype)
        return np.stack([multiply_block(matrix, by_row, by_col, dtype) for matrix in given])
