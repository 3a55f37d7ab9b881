"""Calls of functions of one matrix on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from distributed import get_worker
from numpy.typing import NDArray

from ..errors import DButterflyError
from ..sources.base import MatrixSource
from .calls import CallBacklog, Calls, call_function
from .dask_client import ClusterWatch, Connection
from .dask_worker import make_picklable, take_place
from .interrupts import Interrupts

__all__ = ["DaskCalls"]


class DaskCalls(Calls):
    """Calls on the workers of a cluster, each of which holds the matrix once.

    Parameters
    ----------
    name : str
        What error messages call the calls.
    connection : Connection
        The cluster.
    matrix : ndarray or MatrixSource
        First argument of the functions.
    """

    def __init__(self, name: str, connection: Connection, matrix: NDArray[Any] | MatrixSource) -> None:
        super().__init__(name)
        self.connection, self._matrix = connection, matrix
        self._matrix_on_cluster: Any = None

    def begin(
        self, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> _DaskCallsUnderWay:
        """See :meth:`Calls.begin`."""
        return _DaskCallsUnderWay(self, backlog, function, shared)

    def send_matrix(self, watch: ClusterWatch) -> Any:
        """What stands for the matrix on the cluster; it is sent if it is not there."""
        if self._matrix_on_cluster is None:
            self._matrix_on_cluster = _send(watch, self._matrix)
        return self._matrix_on_cluster

    def forget_matrix(self) -> None:
        """Release the matrix on the cluster, as far as it is there: the next call has it sent again."""
        self._matrix_on_cluster = None


class _DaskCallsUnderWay:
    """See :class:`~dbutterfly.execution.calls.CallsUnderWay`.

    The scheduler makes a call again by itself where a worker is lost and another one holds the matrix. Where the
    matrix, or a shared array, was lost with its last holder, the calls that need it are cancelled. Then the matrix and
    all shared arrays are sent again, since the client may not have heard yet which of them were lost.
    """

    def __init__(
        self, calls: DaskCalls, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> None:
        self._calls, self._backlog, self._function, self._shared = calls, backlog, function, shared
        self._shared_on_cluster: list[Any] | None = None
        self._interrupts = Interrupts()
        self._watch = ClusterWatch(calls.connection, backlog, self._interrupts)

    def advance(self) -> None:
        with self._interrupts:  # not from one result to the next: between them, Ctrl-C is the caller's
            self._backlog.admit(self._calls.connection.threads)
            while self._backlog.todo:
                self._submit_next()
            if self._backlog.running and self._watch.account_for_ended():
                self._calls.forget_matrix()
                self._shared_on_cluster = None
            self._watch.look()

    def _submit_next(self) -> None:
        connection = self._calls.connection
        matrix = self._calls.send_matrix(self._watch)
        if self._shared_on_cluster is None:
            self._shared_on_cluster = [_send(self._watch, array) for array in self._shared]
        number, call = self._backlog.todo[0]
        with self._watch.submission():
            future = connection.client.submit(
                _call_on_worker,
                self._function,
                matrix,
                call.argument,
                *self._shared_on_cluster,
                pure=False,
                resources=connection.resources,
            )
        self._backlog.todo.popleft()
        self._backlog.add_running(future, number, call)

    def cancel(self) -> None:
        with self._interrupts:
            self._watch.cancel(self._backlog.running)


def _send(watch: ClusterWatch, value: Any) -> Any:
    """Put an array, or a source, on every worker; what stands for it there."""
    return watch.broadcast(np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value)


def _call_on_worker(function: Callable[..., Any], matrix: Any, *arguments: Any) -> Any:
    """Call a function on a worker."""
    try:
        with take_place(get_worker(), matrix):
            return call_function(function, matrix, *arguments)
    except DButterflyError as error:
        make_picklable(error)
        raise
