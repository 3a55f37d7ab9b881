"""A run under way: its job, and where it keeps what it has done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import CheckpointError, StoreError
from ..execution.engine import Engine
from ..planning.plan import Plan
from ..sources.base import MatrixSource
from ..sources.weighted import rescale
from ..storage.lease import Lease
from ..storage.run_store import RunStore
from .arrays import forget_damaged
from .identity import Identity, digests_of_run, recognise
from .job import FactorizationJob
from .manifests import build_manifest
from .progress_kept import KeptInStore, NothingKept
from .ranks import memory_workspace, with_rank
from .request import Request
from .results.factorization import Factorization
from .workspace_arrays import open_workspace

__all__ = ["Run", "StoredRun"]


class Run(NothingKept):
    """A run under way, which keeps what it has done in the memory of this process.

    Parameters
    ----------
    request : Request
        What was asked for.
    job : FactorizationJob
        What its tasks share.
    result : Factorization, optional
        What came out, of a run that had ended before.

    Attributes
    ----------
    request, result
        As given.
    job : FactorizationJob
        What its tasks share now: the rank may be raised.
    """

    def __init__(self, request: Request, job: FactorizationJob, result: Factorization | None = None) -> None:
        self.request, self.job, self.result = request, job, result

    def raise_rank(self, rank: int) -> None:
        """Go on with a rank for which the tiles are split already."""
        self.job = with_rank(self.job, rank)

    def restart(self, plan: Plan) -> None:
        """Begin again with another plan, in another workspace."""
        self.job = replace(self.job, plan=plan, workspace=memory_workspace(plan, self.request.tol))

    def rescale(self, exponent: int, engine: Engine) -> None:
        """Begin again with the matrix divided by a power of two."""
        source = rescale(self.job.source, exponent)
        request = self.request if self.request.tol is None else self.request.with_chain(self.job.plan.chain)
        self._begin(source, request.plan(source, engine))

    def _begin(self, source: MatrixSource, plan: Plan) -> None:
        """Begin with the matrix as it is read now, of which the sample is taken anew with which tiles are compared."""
        sample = None if self.job.sample is None else source.draw_sample()
        self.job = replace(self.job, source=source, sample=sample)
        self.restart(plan)

    def note_out_of_reach(self, error: float) -> None:
        """Keep that the run has stopped since no product has an error below this, which is above the tolerance."""

    def put_result(self, result: Factorization) -> None:
        """Keep what came out."""


class StoredRun(KeptInStore, Run):
    """A run that keeps its progress and its result in a store, so that another sitting can continue it.

    Parameters
    ----------
    request, job
        See :class:`Run`.
    store : RunStore
        Where it keeps them.
    lease : Lease
        The right to write there.
    """

    def __init__(
        self,
        request: Request,
        job: FactorizationJob,
        *,
        store: RunStore,
        lease: Lease,
    ) -> None:
        super().__init__(request, job)
        self._store, self._lease = store, lease
        if store.manifest.rank is not None:  # an earlier sitting had raised it
            if store.manifest.rank not in job.plan.ranks:
                raise StoreError(
                    f"store={store.group.store_path}: entry 'rank' of its manifest is {store.manifest.rank}, for which "
                    f"the run has split no tiles (ranks {job.plan.ranks}); begin anew with resume=False"
                )
            self.job = with_rank(job, store.manifest.rank)

    def raise_rank(self, rank: int) -> None:
        """Go on with a rank for which the tiles are split already."""
        super().raise_rank(rank)
        self._store.update(rank=rank)

    def restart(self, plan: Plan) -> None:
        """Begin again with another plan; what the store has of the old one is forgotten."""
        self._forget(plan, self._store.manifest.identity)

    def _forget(self, plan: Plan, identity: dict[str, Any] | None) -> None:
        """Forget what the store has, of which a plan and what the matrix is known by take the place at once."""
        manifest = build_manifest(self.job.source, plan, tol=self.request.tol, sweeps=self.request.sweeps)
        self._store.restart(replace(manifest, identity=identity))
        self.job = replace(self.job, plan=plan, workspace=open_workspace(self._store))

    def _begin(self, source: MatrixSource, plan: Plan) -> None:
        """Begin with the matrix as it is read now, by which it will be known again."""
        identity = Identity.of(source)
        self.job = replace(self.job, source=source)
        self._forget(plan, identity.to_json())
        self.job = identity.keep(self._store).watch(self.job)

    def note_out_of_reach(self, error: float) -> None:
        """Keep it, so that a larger tolerance goes on from what has been done."""
        self._store.update(out_of_reach=error)

    def explain(self, error: CheckpointError) -> CheckpointError:
        """Error to raise for something that is damaged, which the next sitting computes again."""
        return forget_damaged(self.job, error)

    def put_result(self, result: Factorization) -> None:
        """Store what came out, and drop the intermediate arrays."""
        self._lease.confirm()
        job = self.job
        if job.keeps_digests:  # a storage that tells without being read whether the matrix is still what it was
            recognise(job.source, self._store, lambda: job.plan, lambda: digests_of_run(self._store, job.plan))
        self._store.put_factors(
            result.ks_values,
            job.plan.orderings.sides,
            None if result.trace is None else result.trace.to_arrays(),
            None if result.weights is None else result.weights.sides,
            chain=[list(pattern) for pattern in result.chain],
            certificate=result.certificate.to_json(),
            record=result.record,
        )
