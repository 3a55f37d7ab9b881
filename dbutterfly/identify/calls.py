"""Independent calls on a matrix, on threads or on the workers of a Dask cluster, answered in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..engine import DaskEngine, Engine, single_threaded_blas

__all__ = ["Calls", "calls_on"]

Result = TypeVar("Result")


class Calls:
    """Calls of functions of one matrix.

    Parameters
    ----------
    submit : callable
        Submits a function of the matrix and one more argument, and returns a future.
    workers : int
        How many run at a time: no more are submitted, as what has begun cannot be cancelled.
    """

    def __init__(self, submit: Callable[[Callable[[Any, Any], Any], Any], Any], workers: int) -> None:
        self._submit = submit
        self.workers = workers

    def in_order(
        self, function: Callable[[Any, Any], Result], arguments: Sequence[Any]
    ) -> Generator[Result, None, None]:
        """Results of ``function(matrix, argument)``, first argument first; the rest is cancelled when closed."""
        todo, running = deque(arguments), deque[Any]()
        try:
            while todo or running:
                while todo and len(running) < self.workers:
                    running.append(self._submit(function, todo.popleft()))
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


@contextlib.contextmanager
def calls_on(engine: Engine, matrix: NDArray[Any]) -> Iterator[Calls]:
    """Make calls on an engine, where the matrix is held once by each worker."""
    engine = engine.ready()
    if isinstance(engine, DaskEngine):
        client, resources = engine.client, engine.resources
        held = client.scatter(np.ascontiguousarray(matrix), broadcast=True, hash=False)

        def submit(function: Callable[[Any, Any], Any], argument: Any) -> Any:
            return client.submit(_called, function, held, argument, pure=False, resources=resources)

        try:
            yield Calls(submit, engine.workers)
        finally:
            held.release()
        return
    with ThreadPoolExecutor(engine.workers, thread_name_prefix="dbutterfly") as pool:
        yield Calls(lambda function, argument: pool.submit(_called, function, matrix, argument), engine.workers)


def _called(function: Callable[[Any, Any], Result], matrix: Any, argument: Any) -> Result:
    """Call with BLAS held to one thread: parallelism is over calls."""
    with single_threaded_blas():
        return function(matrix, argument)
