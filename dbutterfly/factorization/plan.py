"""The plan of the main job, made before it."""

from __future__ import annotations

from typing import Any

from ..execution.arguments import read_arguments
from ..execution.choose import check_backend, choose_engine
from ..execution.clusters import for_cluster
from ..planning.hierarchical_plan import HierarchicalPlan
from ..planning.plan import Plan
from ..planning.stacked_plan import StackedPlan
from ..sources.stacks.base import StackSource
from ..sources.stacks.dispatch import open_matrices
from ..sources.stacks.weighted import weigh_stack
from ..sources.weighted import weigh
from .advice.choose import choose_orderings, read_orderings_or_auto
from .hierarchical.form import HIERARCHICAL, check_form, choose_form
from .hierarchical.planning import plan_hierarchical
from .request import Request
from .resume import scale_as_stored
from .stacked.planning import plan_stack

__all__ = ["plan"]


@read_arguments(orderings=read_orderings_or_auto)
@for_cluster
def plan(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    tol: float | None = None,
    passes: int = 1,
    orderings: Any = None,
    points: Any = None,
    weights: Any = None,
    store: Any = None,
    client: Any = None,
    cluster: Any = None,
    memory: int | str | None = None,
    device_memory: int | str | None = None,
    workers: int | None = None,
    backend: str = "auto",
    decode: bool = True,
    shared: bool | None = None,
    prove: bool = False,
    form: str | None = None,
    eta: float | None = None,
    leaf: int | None = None,
    symmetric: bool = False,
) -> Plan | StackedPlan | HierarchicalPlan:
    """Plan a factorization without reading the matrix (or, with ``tol``, reading some of its blocks).

    Parameters
    ----------
    source, chain, tree, rank, tol, passes, orderings, points, weights
        As for :func:`factorize`.
    store, client, cluster, memory, device_memory, workers, backend, decode, shared, prove, form, eta, leaf, symmetric
        As for :func:`factorize`. No cluster is started, a scheduler that runs is asked for its workers; of ``"cuda"``
        it must be known how many there are. If ``device_memory`` is given, it is that of GPUs which need not be here.
        Of ``store``, only whether there is one matters: it has room for a copy of the matrix in another order, which
        arbitrary orderings of both sides of a chunked matrix call for.

    Returns
    -------
    Plan, StackedPlan or HierarchicalPlan
        ``print(plan)`` shows root cut, tiles, tasks, bytes read and written, amplification, peak memory and time; of a
        stack, what its matrices share and how many a task takes; of the hierarchical form, its regions.
    """
    check_backend(backend, client or cluster)
    request = Request(
        chain=chain,
        tree=tree,
        rank=rank,
        tol=tol,
        passes=passes,
        orderings=orderings,
        points=points,
        weights=weights,
        memory=memory,  # type: ignore[arg-type]  # it was read
        device_memory=device_memory,  # type: ignore[arg-type]
        backend=backend,
        has_store=store is not None,
        prove=prove,
        form=form,
        eta=eta,
        leaf=leaf,
        symmetric=symmetric,
    )
    found, engine = open_matrices(source, decode=decode), choose_engine(client, workers, cluster)
    check_form(request, is_stack=isinstance(found, StackSource))
    if isinstance(found, StackSource):
        return plan_stack(request, weigh_stack(found, weights), engine, shared=shared)
    matrix = scale_as_stored(request, weigh(found, weights), None) if request.looks_first else weigh(found, weights)
    chosen, request, prediction = choose_form(request, matrix, engine)
    if chosen == HIERARCHICAL:
        return plan_hierarchical(request, matrix, engine) if prediction is None else prediction[0]
    return choose_orderings(request, matrix, engine).plan(matrix, engine)
