"""The result of a run for a stack: a factorization with its certificate for each matrix, and one operator for all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...errors import InputError
from ...operator.stacked import StackedOperator
from ...structure.weights import Weights
from .certificate import Certificate
from .factorization import Factorization
from .factorized_batch import FactorizedBatch
from .matrix_names import number_of_matrix
from .stacked_text import format_table, summarize_stack

__all__ = ["StackedFactorization"]


@dataclass(frozen=True, eq=False)
class StackedFactorization:
    """Butterfly factors of the matrices of a stack, with the proof of how good each is.

    ``fact[k]`` is the :class:`Factorization` of matrix k, ``len(fact)`` their number, and ``print(fact)`` a table.

    Attributes
    ----------
    shapes : tuple of (int, int)
        Rows and columns of each matrix.
    batches : tuple of FactorizedBatch
        Factors and certificates, by chain and orderings.
    failed : dict of str
        Matrices that have no factors, and what is wrong with each.
    record : dict
        What the run did.
    names : tuple of str or None
        Names of the matrices, where they have any.
    alone : dict of Factorization
        Matrices that were runs by themselves, because they are large, and are in no batch.
    weights : Weights or None
        Weights of rows and columns by which the errors of all matrices count.
    """

    shapes: tuple[tuple[int, int], ...]
    batches: tuple[FactorizedBatch, ...]
    failed: Mapping[int, str] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    alone: Mapping[int, Factorization] = field(default_factory=dict)
    weights: Weights | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def __iter__(self) -> Iterator[Factorization]:
        """The factorizations, in the order of the stack, of the matrices that have one."""
        return (self[number] for number in range(len(self)) if number not in self.failed)

    @cached_property
    def _places(self) -> dict[int, tuple[FactorizedBatch, int]]:
        """Batch of each matrix, and its place there."""
        return {
            number: (batch, place) for batch in self._all_batches for place, number in enumerate(batch.numbers.tolist())
        }

    @cached_property
    def _all_batches(self) -> tuple[FactorizedBatch, ...]:
        """The batches, and one for each matrix that is in none."""
        return *self.batches, *(FactorizedBatch.of_one(number, found) for number, found in self.alone.items())

    def __getitem__(self, number: int | str) -> Factorization:
        """Factorization of one matrix, whose factors are views of those of the stack.

        Parameters
        ----------
        number : int or str
            Its number, from the end where it is negative; or its name.

        Raises
        ------
        NoSuchMatrixError
            If there is no such matrix.
        InputError
            If something is wrong with its entries, so that it has no factors.
        """
        at = number_of_matrix(number, len(self), self.names)
        if at in self.failed:
            raise InputError(f"fact[{number!r}] has no factors: {self.failed[at]}")
        if at in self.alone:
            return self.alone[at]
        batch, place = self._places[at]
        return batch.factorization(place, self._name(at), self.weights)

    def _name(self, number: int) -> str:
        return f"matrix {number}" if self.names is None else f"matrix {number} ({self.names[number]})"

    @property
    def certificates(self) -> tuple[Certificate | None, ...]:
        """Certificate of each matrix, None where something is wrong with it."""
        found = (self._places.get(number) for number in range(len(self)))
        return tuple(None if place is None else place[0].certificates[place[1]] for place in found)

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(values.nbytes for batch in self._all_batches for values in batch.ks_values)

    @property
    def compression(self) -> float:
        """Bytes of the dense matrices that have factors over those of the factors."""
        dense: int = sum(
            rows * cols * batch.ks_values[0].dtype.itemsize
            for batch in self._all_batches
            for rows, cols in (self.shapes[number] for number in batch.numbers.tolist())
        )
        return dense / self.nbytes

    @cached_property
    def operator(self) -> StackedOperator:
        """Operator that multiplies each matrix by its part of the operand.

        Raises
        ------
        InputError
            If the matrices have different shapes: then each has an operator of its own, ``fact[k].operator``.
        """
        unlike = [number for number, shape in enumerate(self.shapes) if shape != self.shapes[0]]
        if unlike:
            raise InputError(
                f"matrix {unlike[0]} has shape {self.shapes[unlike[0]]} and matrix 0 {self.shapes[0]}: there is no one "
                "operand for both; use fact[k].operator"
            )
        batches = [batch.operator() for batch in self._all_batches]
        return StackedOperator(batches, (len(self), *self.shapes[0]), sorted(self.failed))

    __array_ufunc__ = None
    """NumPy leaves ``x @ fact`` to the factorization, which refuses it."""

    def __matmul__(self, x: Any) -> Any:
        """Multiply by the operator, as ``fact.operator @ x`` does."""
        return self.operator @ x

    def save(self, store: Any, *, overwrite: bool = False) -> None:
        """Write the factorizations, to be read by :func:`dbutterfly.open`.

        Parameters
        ----------
        store : str, path, or Zarr store
            Where; anything that ``zarr.open_group`` takes.
        overwrite : bool
            Whether to replace a stored result or run that is there. It stays until the new one is complete. Nothing
            else is replaced, and nothing in object storage.

        Raises
        ------
        StoreError
            If something is there that may not be replaced, or the place cannot be written.
        """
        from .stacked_files import save_stack

        save_stack(replace(self, batches=self._all_batches, alone={}), store, overwrite=overwrite)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page that shows a verdict, the certificates of all matrices, the worst of them, stages and plan.

        Parameters
        ----------
        path : str or path
            Place of the HTML file. It needs nothing else, neither files nor network. Another report that is there is
            replaced, and nothing else. ``fact[k].report`` writes the page of one matrix.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        from .report.page import write_page
        from .report.stack_page import stack_page

        write_page(path, stack_page(self))

    def table(self) -> list[dict[str, Any]]:
        """Return what is known of each matrix, as plain values: a row for each, in the order of the stack."""
        return [self._row(number) for number in range(len(self))]

    def _row(self, number: int) -> dict[str, Any]:
        rows, cols = self.shapes[number]
        row: dict[str, Any] = {"matrix": number, "name": None if self.names is None else self.names[number]}
        row |= {"shape": [rows, cols]}
        if number in self.failed:
            return row | {"failed": self.failed[number]}
        batch, place = self._places[number]
        found, values = batch.certificates[place], batch.chain.nnz
        return row | {
            "error_bound": found.error_bound,
            "lower_bound": found.lower_bound,
            "ratio": found.ratio,
            "norm": found.norm,
            "proven": found.proven,
            "factors": len(batch.chain),
            "values": values,
            "compression": rows * cols / values,
        }

    def __str__(self) -> str:
        return format_table(self)

    def __repr__(self) -> str:
        return f"<StackedFactorization of {summarize_stack(self)}>"
