"""What a search for trees has found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .attempts import Outcome
from .verdict import Solution

__all__ = ["Found"]


class Found(NamedTuple):
    """What a search has found.

    Attributes
    ----------
    outcome : Outcome
        The best that was found.
    attempts : int
        How many were made.
    witnesses : int
        Independent starts that led to its trees.
    rivals : int
        Other trees that were about as good.
    """

    outcome: Outcome
    attempts: int
    witnesses: int
    rivals: int

    def as_solution(self, energy: float, free: NDArray[np.float64]) -> Solution:
        """Solution for a matrix of some energy, whose cuts leave these parts of the degrees of freedom."""
        best = self.outcome
        return Solution(
            best.rows, best.cols, best.lost / (energy or 1.0), free, self.attempts, 1.0, self.witnesses, self.rivals
        )
