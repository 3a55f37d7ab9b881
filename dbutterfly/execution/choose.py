"""The choice of the engine that serves a call."""

from __future__ import annotations

from typing import Any

from distributed import Client

from ..errors import InputError
from .clusters import OnDemand, Threads
from .dask_engine import ClusterEngine, DaskEngine
from .engine import Engine
from .thread_engine import ThreadEngine

__all__ = ["choose_engine"]


def choose_engine(client: Any, workers: int | None = None, cluster: OnDemand | Threads | None = None) -> Engine:
    """Choose the engine of a client or of an opened cluster, or threads where neither is given.

    Raises
    ------
    InputError
        If ``client`` is no client.
    """
    if isinstance(cluster, OnDemand):
        return ClusterEngine(cluster)
    if client is None:
        return ThreadEngine(workers if cluster is None else cluster.workers)
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is a {type(client).__name__}; pass a distributed.Client, or None for threads"
        )
    return DaskEngine(client)
