"""Targets of an ascent, kept in the store of a run so that another sitting can go on with them.

What is read back need not be trusted: whatever targets and shares are, the bound is evaluated from them anew.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.task import done_name
from ...storage.workspace import Workspace
from ...structure.chain import Cut
from .ascent import Targets
from .shares import are_shares

__all__ = ["KeepNothing", "Keeper", "StoredTargets"]

SECONDS_BETWEEN_SAVES = 60.0
"""Time after which targets are kept again. Not tuned: a sitting that is killed loses no more."""

CHUNK_BYTES = 1 << 24
"""Bytes of a chunk of the targets. Not tuned."""

LARGEST = 1e100
"""Largest entry of targets that are gone on with: those of the matrix are at most one, and squares stay in range."""

TARGETS, SHARES, MULTIPLIER, STEPS = "targets", "shares", "multiplier", done_name("steps")
EVERYTHING = (slice(None),)

_log = logging.getLogger("dbutterfly")


class Keeper(Protocol):
    """Keeps the targets of an ascent for another sitting."""

    def load(self, matrix: NDArray[Any], cuts: list[Cut]) -> tuple[Targets, int] | None:
        """Targets of an earlier sitting, and the steps that led to them, if there are any."""

    def save(self, targets: Targets, steps: int) -> None:
        """Keep targets."""

    def save_now_and_then(self, targets: Targets, steps: int) -> None:
        """Keep targets, if it is some time since the last ones were."""


class KeepNothing:
    """Keeps no targets, where there is no store."""

    def load(self, _matrix: NDArray[Any], _cuts: list[Cut]) -> None:
        """No targets."""

    def save(self, _targets: Targets, _steps: int) -> None:
        """Keep nothing."""

    def save_now_and_then(self, _targets: Targets, _steps: int) -> None:
        """Keep nothing."""


class StoredTargets:
    """Keeps targets in a workspace.

    Parameters
    ----------
    workspace : Workspace
        Where; nothing else is kept there.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._saved = time.monotonic()

    def load(self, matrix: NDArray[Any], cuts: list[Cut]) -> tuple[Targets, int] | None:
        """Targets of an earlier sitting and their steps; None where there are none, or they are damaged.

        A sitting that was killed while it kept them has left those of some cuts from a later step. They are moved to
        have the right mean as any others, but shares that do not add up are replaced by equal ones.
        """
        self._create(matrix, cuts)
        steps = self._workspace.read_rows(STEPS, 1)[0, 0]
        if not np.isfinite(steps):
            return None
        read = self._workspace.read
        try:
            # One by one: a part of an array that holds all of them would keep all of them.
            kept = [np.array(read(TARGETS, (slice(number, number + 1),))[0]) for number in range(len(cuts))]
            multiplier, rows = np.array(read(MULTIPLIER, EVERYTHING)), read(SHARES, EVERYTHING)
        except CheckpointError as error:
            _log.warning("the proof begins anew: %s", error)
            return None
        if not all(np.max(np.abs(each), initial=0.0) <= LARGEST for each in (*kept, multiplier)):  # false for NaN
            return None
        shares = [np.array(row[: cut.u * cut.q]).reshape(cut.u, cut.q) for row, cut in zip(rows, cuts, strict=True)]
        return Targets(matrix, cuts, kept, multiplier, shares if are_shares(shares, cuts) else None), int(steps)

    def save(self, targets: Targets, steps: int) -> None:
        """Keep targets; the number of steps, which vouches for them, is written last."""
        for number, (target, share) in enumerate(zip(targets.targets, targets.shares, strict=True)):
            place = (slice(number, number + 1),)
            self._workspace.write(TARGETS, place, target[None])
            row = np.resize(share, (1, _most_blocks(targets.cuts)))  # beyond its end, it is repeated
            self._workspace.write(SHARES, place, row)
        self._workspace.write(MULTIPLIER, EVERYTHING, targets.multiplier)
        self._workspace.write(STEPS, EVERYTHING, np.array([[float(steps)]]))
        self._saved = time.monotonic()

    def save_now_and_then(self, targets: Targets, steps: int) -> None:
        """Keep targets, if it is some time since the last ones were."""
        if time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
            self.save(targets, steps)

    def _create(self, matrix: NDArray[Any], cuts: list[Cut]) -> None:
        rows, cols = matrix.shape
        height, blocks = max(1, min(rows, CHUNK_BYTES // (cols * matrix.itemsize))), _most_blocks(cuts)
        self._workspace.create(TARGETS, (len(cuts), rows, cols), (1, height, cols), matrix.dtype)
        self._workspace.create(SHARES, (len(cuts), blocks), (1, blocks), np.float64)
        self._workspace.create(MULTIPLIER, (rows, cols), (height, cols), matrix.dtype)
        self._workspace.create(STEPS, (1, 1), (1, 1), np.float64)


def _most_blocks(cuts: list[Cut]) -> int:
    return max(cut.u * cut.q for cut in cuts)
