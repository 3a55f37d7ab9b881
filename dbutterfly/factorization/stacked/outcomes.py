"""What came out for each matrix of a stack: its certificate, or why it has none."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, NonFiniteError
from ..results.certificate import Certificate

__all__ = ["NON_FINITE", "OUT_OF_RANGE", "SOUND", "TOO_LARGE", "Outcome", "error_of", "read_outcomes"]

SOUND, NON_FINITE, TOO_LARGE, OUT_OF_RANGE = range(4)
"""Kinds of outcomes: a certificate, or what is wrong with the entries."""


class Outcome(NamedTuple):
    """One row of the table that the tasks leave, in float64.

    Attributes
    ----------
    kind : float
        :data:`SOUND` and the like.
    row, col : float
        Place of the first entry that is not finite.
    amount : float
        Largest modulus of entries that are too large; root mean square of entries whose squares leave the range.
    error_bound, lower_bound, exact, norm : float
        Of the certificate; 0 where there is none.
    """

    kind: float
    row: float = 0.0
    col: float = 0.0
    amount: float = 0.0
    error_bound: float = 0.0
    lower_bound: float = 0.0
    exact: float = 0.0
    norm: float = 0.0

    @classmethod
    def of(cls, certificate: Certificate) -> Outcome:
        """Row of a certificate."""
        return cls(
            SOUND,
            error_bound=certificate.error_bound,
            lower_bound=certificate.lower_bound,
            exact=float(certificate.exact),
            norm=certificate.norm,
        )

    def certificate(self, guarantee: float | None) -> Certificate | None:
        """Certificate of the matrix, whose guarantee is that of its plan; None where something is wrong with it."""
        if self.kind != SOUND:
            return None
        return Certificate(self.error_bound, self.lower_bound, bool(self.exact), self.norm, guarantee=guarantee)


def error_of(outcome: Outcome, name: str, dtype: str) -> InputError | None:
    """Error that says what is wrong with a matrix; None where nothing is.

    Parameters
    ----------
    outcome : Outcome
        What came out for it.
    name : str
        Its name in messages.
    dtype : str
        In which it was computed.
    """
    if outcome.kind == SOUND:
        return None
    if outcome.kind == NON_FINITE:
        return NonFiniteError.at(name, (int(outcome.row), int(outcome.col)))
    if outcome.kind == TOO_LARGE:
        return InputError(
            f"{name} has entries of modulus {outcome.amount:.3g}, too large to be squared in {dtype}; scale the matrix"
        )
    return InputError(
        f"{name} has entries of root mean square {outcome.amount:.3g}, whose squares leave the range of {dtype}; scale "
        "the matrix, or convert it to double precision"
    )


def read_outcomes(table: NDArray[Any]) -> list[Outcome]:
    """Rows of a table."""
    return [Outcome(*row) for row in np.asarray(table).tolist()]
