"""A run for a stack under way: its rounds, and where it keeps what it has done.

A round is a plan and the arrays that its tasks fill. The first one takes all matrices. Where certificates do not
confirm the tolerance that was asked for, the next one takes the matrices concerned, with chains of higher rank.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import CheckpointError
from ...planning.stacked_plan import StackedPlan
from ...storage.lease import Lease
from ...storage.memory_workspace import MemoryWorkspace
from ...storage.run_store import RunStore
from ..progress_kept import KeptInStore, NothingKept
from ..request import Request
from ..results.stacked import StackedFactorization
from ..results.stacked_files import arrays_of_result, result_entry
from .arrays import forget_damaged_matrices
from .identity import read_records, recognise_stack
from .job import StackJob
from .manifests import put_orderings_of_round, round_entry

__all__ = ["StackRun", "StoredStackRun"]

AFTER_ROUNDS = -1
"""What is in place of the number of a round when all rounds have ended."""


class StackRun(NothingKept):
    """A run under way, which keeps what it has done in the memory of this process.

    Parameters
    ----------
    request : Request
        What was asked for.
    job : StackJob
        What the tasks of the round share.
    result : StackedFactorization, optional
        What came out, of a run that had ended before.

    Attributes
    ----------
    summaries : dict
        Times and bytes of the stages after the rounds that this sitting has ended.
    """

    def __init__(self, request: Request, job: StackJob, result: StackedFactorization | None = None) -> None:
        self.request, self.job, self.result = request, job, result
        self.round = 0
        self.summaries: dict[str, Any] = {}

    def begin_round(self, plan: StackedPlan) -> None:
        """Go on with another round."""
        self.round += 1
        self.job = replace(self.job, plan=plan, workspace=MemoryWorkspace())

    def begin_stage(self, job: StackJob) -> None:
        """Go on with another stage, of tasks that improve what the rounds have given."""
        self.round, self.job = AFTER_ROUNDS, job

    def next_round(self) -> StackedPlan | None:
        """Plan of the round after this one, where an earlier sitting had made it."""
        return None

    def place_of(self, number: int) -> Any:  # noqa: ARG002
        """Place of the run of a matrix which is factorized by itself; None where nothing is kept."""
        return None

    def put_result(self, result: StackedFactorization) -> None:
        """Keep what came out."""


class StoredStackRun(KeptInStore, StackRun):
    """A run that keeps its progress and its result in a store.

    Parameters
    ----------
    request, job
        As for :class:`StackRun`.
    rounds : list of StackedPlan
        Plans of the rounds that have begun; the job is that of the first.
    store : RunStore
        Where it keeps them.
    lease : Lease
        The right to write there.
    """

    def __init__(
        self, request: Request, job: StackJob, rounds: list[StackedPlan], *, store: RunStore, lease: Lease
    ) -> None:
        super().__init__(request, job)
        self._first, self._rounds, self._store, self._lease = job, rounds, store, lease

    @property
    def stages(self) -> dict[str, Any]:
        """Summaries of the stages of the first round that have ended."""
        return dict(self._store.manifest.stages or {}) if self.round == 0 else {}

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep the summaries of the stages that have ended."""
        if self.round == 0:
            self._store.update(stages=stages)

    def next_round(self) -> StackedPlan | None:
        """Plan of the round after this one, where an earlier sitting had made it."""
        return self._rounds[self.round + 1] if self.round + 1 < len(self._rounds) else None

    def begin_round(self, plan: StackedPlan) -> None:
        """Go on with another round, and keep its plan."""
        number = self.round + 1
        if number == len(self._rounds):
            put_orderings_of_round(self._store, number, plan)
            self._rounds.append(plan)
            self._update_stack(rounds=[round_entry(each) for each in self._rounds])
        super().begin_round(plan)
        self.job = replace(self.job, workspace=self._store.workspace_below(f"round{number}"))

    def begin_stage(self, job: StackJob) -> None:
        """Go on with another stage, of which what is done is kept."""
        super().begin_stage(replace(job, workspace=self._store.workspace_below(job.stage)))

    def place_of(self, number: int) -> Any:
        """Place of the run of a matrix which is factorized by itself."""
        return self._store.place(f"alone/{number}")

    def explain(self, error: CheckpointError) -> CheckpointError:
        """Error to raise for something that is damaged, which the next sitting computes again."""
        return forget_damaged_matrices(self.job, error)

    def put_result(self, result: StackedFactorization) -> None:
        """Store what came out, and drop the intermediate arrays."""
        self._lease.confirm()
        job, store = self._first, self._store
        if job.keeps_digests:  # the storage tells without being read whether the matrices are still what they were
            recognise_stack(job.source, store, lambda: job.plan, lambda: read_records(store, job.plan))
        arrays = arrays_of_result(result)
        if job.plan.together:
            arrays["tasks"] = read_records(store, job.plan)
        assert store.manifest.stack is not None
        stack = {**store.manifest.stack, "result": result_entry(result)}
        store.put_result(arrays, stack=stack, record=result.record)

    def _update_stack(self, **changes: Any) -> None:
        assert self._store.manifest.stack is not None
        self._store.update(stack={**self._store.manifest.stack, **changes})
