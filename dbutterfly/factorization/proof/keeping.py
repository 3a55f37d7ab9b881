"""Targets of an ascent, kept in the store of a run so that another sitting can go on with them.

What is read back need not be trusted: whatever targets are, the bound is evaluated from them anew.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.task import done_name
from ...storage.workspace import Workspace
from .ascent import Targets

__all__ = ["KeepNothing", "StoredTargets"]

SECONDS_BETWEEN_SAVES = 60.0
"""Time after which targets are kept again. Not tuned: a sitting that is killed loses no more."""

CHUNK_BYTES = 1 << 24
"""Bytes of a chunk of the targets. Not tuned."""

TARGETS, MULTIPLIER, STEPS = "targets", "multiplier", done_name("steps")
EVERYTHING = (slice(None),)

_log = logging.getLogger("dbutterfly")


class KeepNothing:
    """Keeps no targets, where there is no store."""

    def load(self, _matrix: NDArray[Any], _count: int) -> None:
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

    def load(self, matrix: NDArray[Any], count: int) -> tuple[Targets, int] | None:
        """Targets of an earlier sitting and their steps; None where there are none, or they are damaged."""
        self._create(matrix, count)
        steps = self._workspace.read_rows(STEPS, 1)[0, 0]
        if not np.isfinite(steps):
            return None
        try:
            kept, multiplier = (np.array(self._workspace.read(name, EVERYTHING)) for name in (TARGETS, MULTIPLIER))
        except CheckpointError as error:
            _log.warning("the proof begins anew: %s", error)
            return None
        if not (np.isfinite(kept).all() and np.isfinite(multiplier).all()):
            return None
        return Targets(matrix, list(kept), multiplier), int(steps)

    def save(self, targets: Targets, steps: int) -> None:
        """Keep targets; the number of steps, which vouches for them, is written last."""
        for number, target in enumerate(targets.targets):
            self._workspace.write(TARGETS, (slice(number, number + 1),), target[None])
        self._workspace.write(MULTIPLIER, EVERYTHING, targets.multiplier)
        self._workspace.write(STEPS, EVERYTHING, np.array([[float(steps)]]))
        self._saved = time.monotonic()

    def save_now_and_then(self, targets: Targets, steps: int) -> None:
        """Keep targets, if it is some time since the last ones were."""
        if time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
            self.save(targets, steps)

    def _create(self, matrix: NDArray[Any], count: int) -> None:
        rows, cols = matrix.shape
        height = max(1, min(rows, CHUNK_BYTES // (cols * matrix.itemsize)))
        self._workspace.create(TARGETS, (count, rows, cols), (1, height, cols), matrix.dtype)
        self._workspace.create(MULTIPLIER, (rows, cols), (height, cols), matrix.dtype)
        self._workspace.create(STEPS, (1, 1), (1, 1), np.float64)
