"""A hierarchical run under way: its job, and where it keeps what it has done."""

from __future__ import annotations

from ...errors import CheckpointError
from ...storage.lease import Lease
from ...storage.run_store import RunStore
from ..identity import digests_of_run, recognise
from ..progress_kept import KeptInStore, NothingKept
from ..request import Request
from ..results.hierarchical import HierarchicalFactorization
from ..results.hierarchical_files import arrays_of_result, result_entry
from ..workspace_arrays import read_ended
from .arrays import forget_damaged_rows
from .job import HierarchicalJob

__all__ = ["HierarchicalRun", "StoredHierarchicalRun"]


class HierarchicalRun(NothingKept):
    """A run under way, which keeps what it has done in the memory of this process.

    Parameters
    ----------
    request : Request
        What was asked for.
    job : HierarchicalJob
        What its tasks share.
    result : HierarchicalFactorization, optional
        What came out, of a run that had ended before.
    """

    def __init__(self, request: Request, job: HierarchicalJob, result: HierarchicalFactorization | None = None) -> None:
        self.request, self.job, self.result = request, job, result

    def put_result(self, result: HierarchicalFactorization) -> None:
        """Keep what came out."""


class StoredHierarchicalRun(KeptInStore, HierarchicalRun):
    """A run that keeps its progress and its result in a store.

    Parameters
    ----------
    request, job
        As for :class:`HierarchicalRun`.
    store : RunStore
        Where it keeps them.
    lease : Lease
        The right to write there.
    """

    def __init__(self, request: Request, job: HierarchicalJob, *, store: RunStore, lease: Lease) -> None:
        super().__init__(request, job)
        self._store, self._lease = store, lease

    def explain(self, error: CheckpointError) -> CheckpointError:
        """Error to raise for something that is damaged, which the next sitting computes again."""
        return forget_damaged_rows(self.job, error)

    def put_result(self, result: HierarchicalFactorization) -> None:
        """Store what came out, and drop the intermediate arrays."""
        self._lease.confirm()
        job, store = self.job, self._store
        if job.keeps_digests:  # a storage that tells without being read whether the matrix is still what it was
            recognise(job.source, store, lambda: job.plan, lambda: digests_of_run(store, job.plan))
        stage, tasks = next(iter(job.plan.tasks.items()))
        arrays = {**arrays_of_result(result), "tasks": read_ended(store, stage, tasks)}
        assert store.manifest.hierarchical is not None
        entry = {**store.manifest.hierarchical, "result": result_entry(result)}
        store.put_result(arrays, hierarchical=entry, certificate=result.certificate.to_json(), record=result.record)
