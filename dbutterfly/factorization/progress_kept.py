"""What a run under way keeps of its progress: nothing, or what its store has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..errors import CheckpointError
from ..storage.lease import Lease
from ..storage.run_store import RunStore

__all__ = ["KeptInStore", "NothingKept"]


class NothingKept:
    """Progress of a run in the memory of this process."""

    @property
    def stages(self) -> dict[str, Any]:
        """Summaries of the stages that have ended in earlier sittings."""
        return {}

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep the summaries of the stages that have ended."""

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""

    def explain(self, error: CheckpointError) -> CheckpointError:
        """Error to raise for something that is damaged."""
        return error

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Block in which errors of damaged arrays say what becomes of them, which the run knows."""
        try:
            yield
        except CheckpointError as error:
            explained = self.explain(error)
            if explained is error:
                raise
            raise explained from error


class KeptInStore(NothingKept):
    """Progress of a run that a store keeps.

    Attributes
    ----------
    _store : RunStore
        The store.
    _lease : Lease
        The right to write there.
    """

    _store: RunStore
    _lease: Lease

    @property
    def stages(self) -> dict[str, Any]:
        """Summaries of the stages that have ended, in earlier sittings and in this one."""
        return dict(self._store.manifest.stages or {})

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep the summaries of the stages that have ended."""
        self._store.update(stages=stages)

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""
        self._lease.check()
