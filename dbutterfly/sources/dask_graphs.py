"""Graphs of Dask arrays: the results on a cluster that their steps start from, and the client that holds these."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from distributed import Future, get_client

from ..errors import SourceError

__all__ = ["client_of", "find_futures"]


def find_futures(array: Any) -> list[Any]:
    """List the futures in the graph of a Dask array, such as those of ``client.persist``.

    Layers of the graph that are not written out yet stay so. Steps are told by their attributes, since their classes
    are no part of Dask's public interface.
    """
    layers = getattr(array.dask, "layers", {"": array.dask}).values()
    found: dict[int, Any] = {}
    todo = [step for layer in layers for step in _steps(layer)]
    while todo:
        step = todo.pop()
        if isinstance(step, Future):
            found[id(step)] = step
        elif isinstance(step, (tuple, list, set, frozenset)):
            todo.extend(step)
        elif isinstance(step, dict):
            todo.extend(step.values())
        elif hasattr(step, "dependencies"):
            todo += [getattr(step, "args", ()), getattr(step, "kwargs", None) or {}, getattr(step, "value", None)]
    return list(found.values())


def _steps(layer: Any) -> Iterator[Any]:
    """Steps of a layer; of one that repeats a step for every block, that step and what all blocks are given."""
    if hasattr(layer, "indices") and not layer.is_materialized():
        yield layer.task
        yield [given for given, index in layer.indices if index is None]
    else:
        yield from layer.values()


def client_of(futures: Collection[Any], name: str) -> Any:
    """Client that holds futures, in a task of a worker that of the worker; None of no futures.

    Parameters
    ----------
    futures : collection of distributed.Future
        The futures.
    name : str
        Name of the array in error messages.

    Raises
    ------
    SourceError
        If they can no longer be had, or are those of several clients.
    """
    if not futures:
        return None
    client, *others = {id(future.client): future.client for future in futures}.values()
    if others:
        raise SourceError(f"{name} starts from results of several clients; compute all but those of one beforehand")
    if client is None:  # sent to this process
        try:
            return get_client()
        except ValueError:
            raise SourceError(f"{name} starts from results on a cluster, of which this process has no client") from None
    if client.status in ("closed", "closing"):
        raise SourceError(
            f"{name} starts from results that were kept on a cluster, and the client that held them is closed; make "
            "the array anew, and persist it on a client that stays open"
        )
    if client.asynchronous:
        raise SourceError(f"{name} starts from results of an asynchronous client; persist it on a synchronous one")
    if any(future.status == "cancelled" for future in futures):
        raise SourceError(f"{name} starts from results on a cluster that were cancelled; make the array anew")
    return client
