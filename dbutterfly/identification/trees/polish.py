"""All cuts at once: every row moves to the leaf of the tree where the groups above it capture most, over all cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array
from ...structure.chain import Cut
from ..cuts import transpose_cuts
from ..one_cut.arrangement import Arrangement
from ..one_cut.assignment import equal_groups
from ..one_cut.descent import BestArrangement, improve_by_turns

__all__ = ["captured_energy", "polish"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the polish. Not tuned one by one.

    Attributes
    ----------
    rounds, patience : int
        Rounds at most, and rounds without a gain while scores leave out the row itself.
    large, large_rounds : int
        Number of entries above which there are so many rounds at most, and the first one without a gain is the last.
        The time of the assignment grows with the cube of the side.
    """

    rounds: int = 12
    patience: int = 3
    large: int = 1 << 18
    large_rounds: int = 3


TUNING = Tuning()


def polish(start: Arrangement, cuts: Sequence[Cut], *, cols_known: bool = False) -> BestArrangement:
    """Move rows, and columns, between the leaves of their trees while all cuts together capture more.

    The score of a row at a leaf is the sum, over the cuts, of what the group above the leaf captures of it; the best
    placing of all rows is a linear sum assignment, and the trees stay trees.
    """
    is_large = start.rows.size * start.cols.size > TUNING.large
    rounds, patience = (TUNING.large_rounds, 0) if is_large else (TUNING.rounds, TUNING.patience)
    others = None if cols_known else transpose_cuts(cuts)
    return improve_by_turns(start, _move_rows, cuts, others, rounds=rounds, patience=patience)


def captured_energy(now: Arrangement, cuts: Sequence[Cut]) -> NDArray[np.float64]:
    """Energy that the blocks of each cut capture."""
    return np.array([host_array(now.row_fit(cut).captured).sum() for cut in cuts], np.float64)


def _move_rows(now: Arrangement, cuts: Sequence[Cut], leave_out: bool) -> tuple[Arrangement, float]:
    """Put the rows on the leaves where they fit best; also give the energy that was captured before."""
    leaves = max(cut.row_groups for cut in cuts)
    scores, captured = np.zeros((*now.rows.shape, leaves)), 0.0
    for cut in cuts:
        fit = now.row_fit(cut, leave_out=leave_out)
        captured += float(host_array(fit.captured).sum())
        scores += np.repeat(host_array(fit.scores), leaves // cut.row_groups, axis=2)
    labels = np.stack([equal_groups(score, leaves) for score in scores])
    return now.with_grouped_rows(labels), captured
