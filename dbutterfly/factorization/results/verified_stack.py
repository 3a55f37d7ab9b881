"""What was measured of a stack: the error of each matrix, as a table with the worst first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .certificate import Certificate
from .estimates import VerifiedError
from .matrix_names import number_of_matrix
from .stacked_text import format_verified, summarize_verified

__all__ = ["VerifiedStack"]


@dataclass(frozen=True, eq=False)
class VerifiedStack:
    """Errors of the factorizations of a stack, measured against its matrices.

    ``print`` shows a table, the largest error first; ``len`` is the number of matrices.

    Attributes
    ----------
    errors : tuple of VerifiedError or None
        Error of each matrix, None where it has no factors.
    certificates : tuple of Certificate or None
        Certificate of each matrix.
    failed : dict of str
        Matrices that have no factors, and why.
    names : tuple of str or None
        Names of the matrices, where they have any.
    """

    errors: tuple[VerifiedError | None, ...]
    certificates: tuple[Certificate | None, ...]
    failed: Mapping[int, str] = field(default_factory=dict)
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.errors)

    def __iter__(self) -> Iterator[VerifiedError | None]:
        return iter(self.errors)

    def __getitem__(self, number: int | str) -> VerifiedError | None:
        """Error of one matrix, by its number or name."""
        return self.errors[number_of_matrix(number, len(self), self.names)]

    @property
    def worst(self) -> int:
        """Number of the matrix with the largest error; an error that is no number is larger than all."""
        return max(self._measured, key=lambda each: (math.isnan(each[1]), each[1]))[0]

    @property
    def _measured(self) -> list[tuple[int, VerifiedError]]:
        return [(number, error) for number, error in enumerate(self.errors) if error is not None]

    def above(self, tol: float) -> list[int]:
        """Numbers of the matrices whose error is above a tolerance."""
        return [number for number, error in self._measured if not error <= tol]

    def table(self) -> list[dict[str, Any]]:
        """Return what was measured of each matrix, as plain values: a row for each, in the order of the stack."""
        return [self._row(number) for number in range(len(self))]

    def _row(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = {"matrix": number, "name": None if self.names is None else self.names[number]}
        error, certificate = self.errors[number], self.certificates[number]
        if error is None or certificate is None:
            return row | {"failed": self.failed[number]}
        return row | error.to_json() | {"error_bound": certificate.error_bound}

    def __str__(self) -> str:
        return format_verified(self)

    def __repr__(self) -> str:
        return f"<VerifiedStack of {summarize_verified(self)}>"
