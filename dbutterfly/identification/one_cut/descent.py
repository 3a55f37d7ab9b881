"""Groups of one cut improved step by step: rows move to the groups that capture most of them, then columns.

This is k-subspaces with equal groups, on rows and columns by turns. The score of a row in its own group is first taken
without the row (:mod:`dbutterfly.kernels.grouping.groups`), or small groups would never let go of it; what is kept is
the arrangement that captures most. Pairs of rows need no scores: given the columns, the best pairs are a perfect
matching.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array
from ...kernels.grouping.groups import transpose_grid
from ...kernels.grouping.pairs import pair_residuals
from ...structure.chain import Cut
from ..cuts import Index
from .arrangement import Arrangement
from .assignment import best_pairs, equal_groups

__all__ = ["BestArrangement", "descend", "improve_by_turns", "is_gain", "regroup", "shake"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the descent. Not tuned one by one.

    Attributes
    ----------
    rounds : int
        Rounds at most; most descents end before.
    patience : int
        Rounds without a gain after which the descent with scores that leave a row out is given up.
    gain : float
        Least relative gain that counts: about the rounding of single precision, or a descent would not end.
    """

    rounds: int = 30
    patience: int = 3
    gain: float = 1e-7


TUNING = Tuning()

Goal = TypeVar("Goal")
"""What rows, or columns, are arranged for: one cut, or all cuts of a chain."""


def is_gain(captured: Any, before: Any) -> Any:
    """Whether more is captured than before, beyond rounding; for numbers or arrays."""
    return captured > before * (1 + TUNING.gain)


class BestArrangement:
    """The best arrangement so far, by the energy that it captures.

    Attributes
    ----------
    arrangement : Arrangement
        The best one.
    captured : float
        Energy that its blocks capture; negative before it is known.
    """

    def __init__(self, arrangement: Arrangement, captured: float = -1.0) -> None:
        self.arrangement, self.captured = arrangement, captured

    def offer(self, arrangement: Arrangement, captured: float) -> bool:
        """Take an arrangement if it is better."""
        if not is_gain(captured, self.captured):
            return False
        self.arrangement, self.captured = arrangement, captured
        return True


def descend(start: Arrangement, cut: Cut, *, cols_known: bool = False) -> BestArrangement:
    """Improve the groups of both sides, or of the rows alone, until nothing moves."""

    def step(now: Arrangement, cut: Cut, leave_out: bool) -> tuple[Arrangement, float]:
        moved, captured = regroup(now, cut, leave_out=leave_out)
        return moved, float(captured.sum())

    return improve_by_turns(
        start, step, cut, None if cols_known else cut.T, rounds=TUNING.rounds, patience=TUNING.patience
    )


def improve_by_turns(
    start: Arrangement,
    step: Callable[[Arrangement, Goal, bool], tuple[Arrangement, float]],
    of_rows: Goal,
    of_cols: Goal | None,
    *,
    rounds: int,
    patience: int,
) -> BestArrangement:
    """Move rows and columns by turns while that captures more.

    The scores of a row first leave the row itself out of its group; afterwards they do not.

    Parameters
    ----------
    start : Arrangement
        Where to begin.
    step : callable
        Moves the rows of an arrangement towards a goal, with the row left out or not. Returns the new arrangement, and
        the energy that the given one captures.
    of_rows, of_cols : object
        Goals of the rows, and of the rows of the transposed matrices; None where the columns stay.
    rounds, patience : int
        Rounds at most, and rounds without a gain while rows are left out. Afterwards the first one without a gain is
        the last.
    """
    best = BestArrangement(start)
    for leave_out in (True, False):
        now, stale = best.arrangement, 0
        for _ in range(rounds):
            after, captured = step(now, of_rows, leave_out)
            gained = best.offer(now, captured)
            if of_cols is not None:
                turned, captured = step(after.T, of_cols, leave_out)
                gained |= best.offer(after, captured)
                after = turned.T
            stale = 0 if gained else stale + 1
            if after.has_same_order(now) or stale > (patience if leave_out else 0):
                break
            now = after
    return best


def regroup(now: Arrangement, cut: Cut, *, leave_out: bool) -> tuple[Arrangement, NDArray[np.floating]]:
    """Move the rows to the groups that fit them best.

    Returns
    -------
    arrangement : Arrangement
        With the rows moved.
    captured : array of float, shape (S,)
        Energy that each row of the grid captured before.
    """
    if cut.rank == 1 and now.lines == (1, 1) and now.rows.shape[1] == 2 * cut.row_groups:
        costs = host_array(pair_residuals(transpose_grid(now.grid), cut.col_groups))
        present = np.sum(costs[:, np.arange(0, costs.shape[1], 2), np.arange(1, costs.shape[1], 2)], axis=1)
        labels, captured = [best_pairs(cost) for cost in costs], now.row_energies - present
    else:
        fit = now.row_fit(cut, leave_out=leave_out)
        labels = [equal_groups(score, cut.row_groups) for score in host_array(fit.scores)]
        captured = host_array(fit.captured).sum(axis=1)
    return now.with_grouped_rows(np.stack(labels)), captured


def shake(labels: Index, fraction: float, rng: np.random.Generator) -> Index:
    """Shuffle the members of some of the groups of every member of the grid, given the groups (S, m)."""
    groups = int(labels.max()) + 1
    count = max(2, round(fraction * groups))
    shuffled = labels.copy()
    for row, own in zip(shuffled, labels, strict=True):
        loose = np.flatnonzero(np.isin(own, rng.permutation(groups)[:count]))
        row[loose] = own[loose][rng.permutation(loose.size)]
    return shuffled
