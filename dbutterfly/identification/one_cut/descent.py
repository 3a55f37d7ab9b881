"""Groups of one cut improved step by step: rows move to the groups that capture most of them, then columns.

This is k-subspaces with equal groups, on rows and columns by turns. The score of a row in its own group is first taken
without the row (:mod:`dbutterfly.kernels.grouping.groups`), or small groups would never let go of it; what is kept is
the arrangement that captures most. Pairs of rows need no scores: given the columns, the best pairs are a perfect
matching.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array
from ...kernels.grouping.groups import transpose_grid
from ...kernels.grouping.pairs import pair_residuals
from ...structure.chain import Cut
from ..cuts import Index
from .arrangement import Arrangement
from .assignment import best_pairs, equal_groups

__all__ = ["GAIN", "Found", "by_turns", "descend", "regroup", "shake"]

ROUNDS = 30
STALE = 3
"""Rounds without a gain after which the descent with scores that leave a row out is given up."""

GAIN = 1e-7
"""Least relative gain that counts."""


Goal = TypeVar("Goal")


class Found:
    """The best arrangement so far, by the energy that it captures."""

    def __init__(self, arrangement: Arrangement, captured: float = -1.0) -> None:
        self.arrangement, self.captured = arrangement, captured

    def offer(self, arrangement: Arrangement, captured: float) -> bool:
        """Take an arrangement if it is better."""
        if captured <= self.captured * (1 + GAIN):
            return False
        self.arrangement, self.captured = arrangement, captured
        return True


def descend(start: Arrangement, cut: Cut, *, cols_known: bool = False) -> Found:
    """Improve the groups of both sides, or of the rows alone, until nothing moves."""

    def step(now: Arrangement, cut: Cut, leave_out: bool) -> tuple[Arrangement, float]:
        moved, captured = regroup(now, cut, leave_out=leave_out)
        return moved, float(captured.sum())

    return by_turns(start, step, cut, None if cols_known else cut.T, rounds=ROUNDS, patience=STALE)


def by_turns(
    start: Arrangement,
    step: Callable[[Arrangement, Goal, bool], tuple[Arrangement, float]],
    of_rows: Goal,
    of_cols: Goal | None,
    *,
    rounds: int,
    patience: int,
) -> Found:
    """Move rows and columns by turns while that captures more: first with scores that leave a row out, then with all.

    Parameters
    ----------
    start : Arrangement
        Where to begin.
    step : callable
        Moves the rows of an arrangement towards a goal, with the row left out or not; also gives what was captured
        before.
    of_rows, of_cols : object
        Goals of the rows, and of the rows of the transposed matrices; None where the columns stay.
    rounds, patience : int
        Rounds at most, and without a gain while rows are left out; afterwards the first one without a gain is the last.
    """
    found = Found(start)
    for leave_out in (True, False):
        now, stale = found.arrangement, 0
        for _ in range(rounds):
            after, captured = step(now, of_rows, leave_out)
            gained = found.offer(now, captured)
            if of_cols is not None:
                turned, captured = step(after.T, of_cols, leave_out)
                gained |= found.offer(after, captured)
                after = turned.T
            stale = 0 if gained else stale + 1
            if after.same_as(now) or stale > (patience if leave_out else 0):
                break
            now = after
    return found


def regroup(now: Arrangement, cut: Cut, *, leave_out: bool) -> tuple[Arrangement, NDArray[np.floating]]:
    """Move the rows to the groups that fit them best; also the energy (S,) that was captured before."""
    if cut.rank == 1 and now.lines == (1, 1) and now.rows.shape[1] == 2 * cut.row_groups:
        costs = host_array(pair_residuals(transpose_grid(now.grid), cut.col_groups))
        present = np.sum(costs[:, np.arange(0, costs.shape[1], 2), np.arange(1, costs.shape[1], 2)], axis=1)
        labels, captured = [best_pairs(cost) for cost in costs], now.row_energies - present
    else:
        fit = now.row_fit(cut, leave_out=leave_out)
        labels = [equal_groups(score, cut.row_groups) for score in host_array(fit.scores)]
        captured = host_array(fit.captured).sum(axis=1)
    return now.grouped_rows(np.stack(labels)), captured


def shake(labels: Index, fraction: float, rng: np.random.Generator) -> Index:
    """Shuffle the members of some of the groups of every member of the grid, given the groups (S, m)."""
    groups = int(labels.max()) + 1
    count = max(2, round(fraction * groups))
    shuffled = labels.copy()
    for row, own in zip(shuffled, labels, strict=True):
        loose = np.flatnonzero(np.isin(own, rng.permutation(groups)[:count]))
        row[loose] = own[loose][rng.permutation(loose.size)]
    return shuffled
