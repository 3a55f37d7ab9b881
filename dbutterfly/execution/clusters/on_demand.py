"""Clusters that start when work is there for them, and close with the call, or the block, that asked for them.

A job is planned, and refused if it must be, from what its cluster is going to be. A result that is there already is
returned. Only then are workers asked for: others may be waiting for the same machines.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from ...errors import InputError
from .choosing import choose
from .kind import Kind
from .threads import Threads

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["OnDemand", "for_cluster", "on_cluster", "opened"]

P = ParamSpec("P")
R = TypeVar("R")


class OnDemand:
    """A cluster for a ``with`` block, started when its client is first asked for.

    Parameters
    ----------
    kind : Kind
        The cluster to start.
    """

    def __init__(self, kind: Kind) -> None:
        kind.check()
        self.kind = kind
        self._client: Client | None = None
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._client = None

    @property
    def is_started(self) -> bool:
        """Whether the cluster was started."""
        return self._client is not None

    def client(self) -> Client:
        """Client of the cluster, with at least one worker.

        Raises
        ------
        InputError
            If the cluster cannot be had with these options.
        ClusterError
            If the cluster does not start.
        """
        with self._lock:
            if self._client is None:
                self._client = self._stack.enter_context(self.kind.started())
            return self._client


@contextlib.contextmanager
def opened(where: Any, **options: Any) -> Iterator[OnDemand | Threads]:
    """Choose a cluster, which is closed with the block; one that is opened already is left open.

    Parameters
    ----------
    where, **options
        See :func:`~dbutterfly.clusters.choose`.

    Yields
    ------
    OnDemand or Threads
        What functions take as ``cluster=``. Its workers are started when the first task is there for them.

    Raises
    ------
    InputError
        If the cluster cannot be had, which is found out before anything is started.
    """
    if not isinstance(where, OnDemand):
        where, options = choose(where, **options), {}
        where.check_process()
    with _open(where, **options) as cluster:
        yield cluster


@contextlib.contextmanager
def _open(where: Any, **options: Any) -> Iterator[OnDemand | Threads]:
    """Open a cluster for a block, whether or not this process may start it."""
    if isinstance(where, OnDemand):
        yield where
        return
    kind = choose(where, **options)
    if isinstance(kind, Threads):
        kind.check()
        yield kind
        return
    with OnDemand(kind) as cluster:
        yield cluster


def on_cluster(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its argument ``cluster`` is opened for the time of the call.

    The arguments ``client`` and ``cluster`` exclude each other; without either, the configured cluster is taken. The
    argument ``workers`` is the number of workers.
    """
    return _open_for_call(function, opened)


def for_cluster(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that computes nothing, such as a plan, as :func:`on_cluster` does other functions.

    A cluster that would have to be started only for this call is refused. A cluster that is opened already may be
    started, since later calls use it.
    """
    return _open_for_call(function, _open_unstarted)


@contextlib.contextmanager
def _open_unstarted(where: Any, **options: Any) -> Iterator[OnDemand | Threads]:
    with _open(where, **options) as cluster:
        if isinstance(cluster, OnDemand) and cluster is not where:
            cluster.kind.check_expected()
        yield cluster


def _open_for_call(function: Callable[P, R], open_cluster: Callable[..., Any]) -> Callable[P, R]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        where, client = kwargs.get("cluster"), kwargs.get("client")
        if client is not None:
            if where is not None:
                raise InputError(f"client={client!r} and cluster={where!r} exclude each other; leave one out")
            return function(*args, **kwargs)
        with open_cluster(where, workers=kwargs.get("workers")) as cluster:
            return function(*args, **{**kwargs, "cluster": cluster})

    return call
