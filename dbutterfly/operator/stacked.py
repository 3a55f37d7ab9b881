"""Products with all matrices of a stack, each a product of Kronecker-sparse factors.

The factors of K matrices of one chain, laid one behind the other along their first axis, are the factors of the block
diagonal matrix of all K: I_K (x) pattern (a, b, c, d) is pattern (K a, b, c, d). So one operator, with one layout for
products, multiplies all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, NoSuchMatrixError
from ..structure.arguments import as_integer, show_value
from ..structure.axes import Index
from ..structure.chain import Chain
from ..structure.orderings import GAP, Orderings
from ..structure.plain_arrays import as_plain_array
from . import interop
from .butterfly import ButterflyOperator

__all__ = ["OperatorBatch", "StackedOperator", "block_orderings"]


class OperatorBatch(NamedTuple):
    """Matrices of a stack that share a chain and orderings.

    Attributes
    ----------
    numbers : array of int, shape (n,)
        Which matrices of the stack.
    operator : ButterflyOperator
        Block diagonal matrix of all of them.
    """

    numbers: Index
    operator: ButterflyOperator


def block_orderings(orderings: Orderings, chain: Chain, count: int) -> Orderings:
    """Orderings of the block diagonal matrix of ``count`` matrices with the same orderings."""
    sides: list[Index | None] = []
    for side, size in zip(orderings.permutations(chain), orderings.shape(chain), strict=True):
        if side is None:
            sides.append(None)
            continue
        shift = np.arange(count, dtype=np.int64)[:, None] * size
        sides.append(np.where(side[None, :] == GAP, GAP, side[None, :] + shift).reshape(-1))
    return Orderings(*sides)


class StackedOperator:
    """The matrices of a stack, each applied factor by factor to a part of its own of the operand.

    :attr:`StackedFactorization.operator` makes one.

    Parameters
    ----------
    batches : sequence of OperatorBatch
        The matrices; each is in one batch.
    shape : (int, int, int)
        Number of matrices K, and their rows M and columns N.
    failed : sequence of int
        Matrices that are not known, whose products are NaN.
    dtype : dtype, optional
        Dtype to say, and to give to products, in place of the common one of the factors.

    Attributes
    ----------
    shape : (int, int, int)
        As given.
    dtype : dtype
        Common dtype of the factors.

    Examples
    --------
    >>> import numpy as np
    >>> import dbutterfly as dbf
    >>> stack = np.stack([k * np.asarray(dbf.matrices.dft(64)) for k in (1, 2)])
    >>> operator = dbf.factorize(stack, orderings=(None, "bitreversal")).operator
    >>> operator
    <StackedOperator of 2 matrices of 64 x 64 with dtype=complex128, nnz=1536>
    >>> x = np.ones((2, 64))
    >>> np.allclose(operator @ x, np.matvec(stack, x)) if hasattr(np, "matvec") else True
    True
    """

    __array_ufunc__ = None
    """NumPy leaves ``x @ operator`` to this class, which refuses it."""

    def __init__(
        self,
        batches: Sequence[OperatorBatch],
        shape: tuple[int, int, int],
        failed: Sequence[int] = (),
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self._batches, self.shape, self._failed = tuple(batches), shape, tuple(failed)
        self.dtype: np.dtype[Any] = dtype or np.result_type(*(batch.operator.dtype for batch in batches))

    @property
    def nnz(self) -> int:
        """Number of values that all factors of all matrices store together."""
        return sum(batch.operator.nnz for batch in self._batches)

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all factors."""
        return sum(batch.operator.nbytes for batch in self._batches)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[ButterflyOperator]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> ButterflyOperator:
        """Operator of one matrix, which shares its factors."""
        at = as_index(number, len(self))
        if at in self._failed:
            raise InputError(f"matrix {at} is not known: something is wrong with its entries (fact.failed says what)")
        batch = next(batch for batch in self._batches if at in batch.numbers)
        return _part_of(batch, np.flatnonzero(batch.numbers == at))

    def _part(self, first: int, last: int) -> Self:
        """Operator of the matrices of a range, with copies of their factors."""
        parts = []
        for batch in self._batches:
            places = np.flatnonzero((batch.numbers >= first) & (batch.numbers < last))
            if places.size:
                parts.append(OperatorBatch(batch.numbers[places] - first, _part_of(batch, places)))
        failed = [number - first for number in self._failed if first <= number < last]
        return type(self)(parts, (last - first, *self.shape[1:]), failed, self.dtype)

    # ---- products

    def __matmul__(self, x: ArrayLike) -> NDArray[Any]:
        """Multiply each matrix by its part of ``x``.

        Parameters
        ----------
        x : array_like, shape (K, N) or (K, N, columns)
            A vector, or columns, for each matrix.

        Returns
        -------
        ndarray of dtype ``result_type(dtype, x)``, shape (K, M) or (K, M, columns)
            The products; NaN of matrices that are not known.

        Raises
        ------
        InputError
            If ``x`` has another shape.
        """
        return self._call("x", x, 2, lambda operator, part: operator @ part)

    def solve(self, b: ArrayLike) -> NDArray[Any]:
        """Solve ``Z_k x_k = b_k`` for every matrix, factor by factor.

        Parameters
        ----------
        b : array_like, shape (K, M) or (K, M, columns)
            Right-hand sides.

        Returns
        -------
        ndarray, shape (K, N) or (K, N, columns)
            Solutions; NaN of matrices that are not known.

        Raises
        ------
        InputError
            If ``b`` has another shape.
        SingularFactorError
            As :meth:`ButterflyOperator.solve`.
        """
        return self._call("b", b, 1, lambda operator, part: operator.solve(part))

    def _call(self, name: str, given: ArrayLike, side: int, call: Any) -> NDArray[Any]:
        """Call something for the block diagonal matrix of each batch."""
        values = as_plain_array(given, name)
        count, size, other = self.shape[0], self.shape[side], self.shape[3 - side]
        if values.ndim not in (2, 3) or values.shape[:2] != (count, size):
            raise InputError(
                f"{name} has shape {values.shape}; give one of shape ({count}, {size}), or ({count}, {size}, columns): "
                f"a vector, or columns, for each of the {count} matrices"
            )
        result = np.empty((count, other, *values.shape[2:]), np.result_type(self.dtype, values.dtype))
        for batch in self._batches:
            part = values[batch.numbers].reshape(batch.numbers.size * size, *values.shape[2:])
            result[batch.numbers] = call(batch.operator, part).reshape(batch.numbers.size, *result.shape[1:])
        result[list(self._failed)] = np.nan
        return result

    # ---- transposes

    @property
    def T(self) -> Self:
        """Operator of the transposed matrices; it shares the factors, and their layout for products."""
        return self._of([(numbers, operator.T) for numbers, operator in self._batches], is_transposed=True)

    @property
    def H(self) -> Self:
        """Operator of the conjugate transposes; it shares the factors, and their layout for products."""
        return self._of([(numbers, operator.H) for numbers, operator in self._batches], is_transposed=True)

    def conj(self) -> Self:
        """Operator of the conjugate matrices; it shares the factors, and their layout for products."""
        return self._of([(numbers, operator.conj()) for numbers, operator in self._batches], is_transposed=False)

    def _of(self, batches: list[tuple[Index, ButterflyOperator]], *, is_transposed: bool) -> Self:
        count, rows, cols = self.shape
        shape = (count, cols, rows) if is_transposed else self.shape
        return type(self)([OperatorBatch(*batch) for batch in batches], shape, self._failed, self.dtype)

    # ---- conversions

    def to_dense(self) -> NDArray[Any]:
        """Multiply the factors of every matrix out.

        Returns
        -------
        ndarray of this operator's dtype, shape (K, M, N)
            The matrices; NaN where they are not known.
        """
        dense = np.full(self.shape, np.nan, self.dtype)
        for number in sorted(set(range(len(self))) - set(self._failed)):
            dense[number] = self[number].to_dense()
        return dense

    def to_pylops(self, columns: int = 1) -> Any:
        """Wrap as a ``pylops.LinearOperator``, which takes the place of ``pylops.signalprocessing.Fredholm1``.

        Parameters
        ----------
        columns : int
            Columns that each matrix is multiplied by: ``nz`` of Fredholm1.

        Returns
        -------
        pylops.LinearOperator
            Of shape (K*M*columns, K*N*columns). Its model has dimensions (K, N, columns) and its data (K, M, columns),
            as those of Fredholm1.

        Raises
        ------
        InputError
            If PyLops is not installed, or ``columns`` is no positive integer.
        """
        return interop.pylops_of_stack(self, columns)

    def __repr__(self) -> str:
        count, rows, cols = self.shape
        unknown = f", {len(self._failed)} of them not known" if self._failed else ""
        return (
            f"<{type(self).__name__} of {count} matrices of {rows} x {cols} with dtype={self.dtype}, nnz={self.nnz}"
            f"{unknown}>"
        )


def as_index(number: Any, count: int) -> int:
    """Number of a matrix of a stack; negative ones count from its end.

    Raises
    ------
    InputError
        If it is no integer; NoSuchMatrixError, an IndexError too, if there is no such matrix.
    """
    at = as_integer(number)
    if at is None:
        raise InputError(f"number={show_value(number)} is no integer; matrices are numbered from 0 to {count - 1}")
    if not -count <= at < count:
        raise NoSuchMatrixError(f"number={at} is beyond the {count} matrices, which are numbered from 0 to {count - 1}")
    return at % count


def _part_of(batch: OperatorBatch, places: Index) -> ButterflyOperator:
    """Operator of some blocks of a block diagonal matrix; of one, it shares the values."""
    count, operator = batch.numbers.size, batch.operator
    chosen: Any = int(places[0]) if places.size == 1 else places
    blocks = (values.reshape(count, -1, *values.shape[1:])[chosen] for values in operator.ks_values)
    factors = [values.reshape(-1, *values.shape[-3:]) for values in blocks]
    rows, cols = (
        None if side is None else _part_of_side(np.asarray(side), int(count), places)
        for side in operator.orderings.permutations(operator.chain)
    )
    return ButterflyOperator(factors, (rows, cols))


def _part_of_side(side: Index, count: int, places: Index) -> Index:
    """Ordering of some blocks."""
    part = side.reshape(count, -1)[places]
    known = int((part[0] != GAP).sum())
    shift = (np.arange(places.size) - places)[:, None] * known
    return np.where(part == GAP, GAP, part + shift).reshape(-1)
