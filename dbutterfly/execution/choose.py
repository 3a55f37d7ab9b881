"""The choice of the engine that serves a call."""

from __future__ import annotations

from typing import Any

from ..kernels.backend import resolve_backend
from .arguments import read_client
from .clusters import OnDemand, Threads
from .engine import Engine
from .thread_engine import ThreadEngine

__all__ = ["check_backend", "choose_engine"]


def choose_engine(client: Any, workers: int | None = None, cluster: OnDemand | Threads | None = None) -> Engine:
    """Choose the engine of a client or of an opened cluster, or threads where neither is given.

    Raises
    ------
    InputError
        If ``client`` is no client.
    """
    if client is None and not isinstance(cluster, OnDemand):
        return ThreadEngine(workers if cluster is None else cluster.workers)
    from .dask_engine import ClusterEngine, DaskEngine  # threads do without Dask's scheduler

    if isinstance(cluster, OnDemand):
        return ClusterEngine(cluster)
    return DaskEngine(read_client("client", client))


def check_backend(backend: str, elsewhere: Any) -> None:
    """Refuse an array library that this process does not have; what a worker of a cluster lacks shows itself there.

    Parameters
    ----------
    backend : str
        Name of the library.
    elsewhere : Client, cluster or None
        Where tasks run; None for threads of this process.

    Raises
    ------
    InputError
        If this process runs the tasks and does not have it.
    """
    if elsewhere is None or isinstance(elsewhere, Threads):
        resolve_backend(backend)
