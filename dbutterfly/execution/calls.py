"""Independent calls on a matrix, on threads or on the workers of a Dask cluster, answered in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..kernels.backend.blas import single_threaded_blas
from ..sources.base import MatrixSource
from .dask_engine import DaskEngine
from .engine import Engine

__all__ = ["Calls", "calls_on"]

Result = TypeVar("Result")


class Calls:
    """Calls of functions of one matrix.

    Parameters
    ----------
    submit : callable
        Submits a function of the matrix, one more argument, and what is shared, and returns a future.
    workers : int
        How many run at a time: no more are submitted, as what has begun cannot be cancelled.
    share : callable
        Brings an array to where the calls run, and gives what stands for it there.
    """

    def __init__(
        self, submit: Callable[..., Any], workers: int, share: Callable[[NDArray[Any]], Any] = lambda array: array
    ) -> None:
        self._submit, self._share = submit, share
        self.workers = workers

    def in_order(
        self, function: Callable[..., Result], arguments: Sequence[Any], *shared: NDArray[Any]
    ) -> Generator[Result, None, None]:
        """Results of ``function(matrix, argument, *shared)``, first argument first; closing cancels the rest.

        Arrays that all calls share are sent once.
        """
        there = [self._share(array) for array in shared]
        todo, running = deque(arguments), deque[Any]()
        try:
            while todo or running:
                while todo and len(running) < self.workers:
                    running.append(self._submit(function, todo.popleft(), *there))
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


@contextlib.contextmanager
def calls_on(engine: Engine, matrix: NDArray[Any] | MatrixSource) -> Iterator[Calls]:
    """Make calls on an engine, where the matrix, or what reads it, is held once by each worker."""
    engine = engine.ready()
    if isinstance(engine, DaskEngine):
        client, resources = engine.client, engine.resources

        def share(array: Any) -> Any:
            if isinstance(array, np.ndarray):
                array = np.ascontiguousarray(array)
            return client.scatter(array, broadcast=True, hash=False)

        held = share(matrix)

        def submit(function: Callable[..., Any], argument: Any, *shared: Any) -> Any:
            return client.submit(_call, function, held, argument, *shared, pure=False, resources=resources)

        try:
            yield Calls(submit, engine.workers, share)
        finally:
            held.release()
        return
    with ThreadPoolExecutor(engine.workers, thread_name_prefix="dbutterfly") as pool:
        yield Calls(lambda function, *others: pool.submit(_call, function, matrix, *others), engine.workers)


def _call(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call with BLAS held to one thread: parallelism is over calls."""
    with single_threaded_blas():
        return function(*arguments)
