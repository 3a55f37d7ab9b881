"""Graphs of Dask arrays: results on a cluster that their steps start from, and steps that blocks of the array share."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from dask.array.utils import meta_from_array
from dask.core import get_dependencies
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from ..errors import SourceError
from ..structure.plain_arrays import is_masked

__all__ = [
    "check_readable",
    "client_of",
    "count_inputs",
    "describe_steps",
    "find_futures",
    "keep_shared",
    "shared_layers",
]


def check_readable(array: Any) -> None:
    """Refuse a Dask array whose blocks cannot be placed, or have no values in places.

    Raises
    ------
    SourceError
        If it has chunks of unknown size, or is masked.
    """
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        raise SourceError("the Dask array has chunks of unknown size; call compute_chunk_sizes() on it first")
    if is_masked(meta_from_array(array)):
        raise SourceError("the Dask array is masked; pass dask.array.ma.filled(source, value)")


def find_futures(array: Any) -> list[Any]:
    """List the futures in the graph of a Dask array, such as those of ``client.persist``.

    Layers of the graph that are not written out yet stay so. Steps are told by their attributes, since their classes
    are no part of Dask's public interface.
    """
    if "distributed" not in sys.modules:
        return []
    from distributed import Future

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
        from distributed import get_client

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


# ---------------------------------------------------------------- steps that blocks share


def shared_layers(array: Any) -> list[str]:
    """Name the layers of a graph whose results several blocks of the array need, such as the means of its rows.

    Blocks are read a few at a time, and each time with all steps that they take. A layer that has fewer steps than the
    array has blocks is shared by them. Named are those that other layers need, so that all before them is done.
    """
    graph, blocks = array.dask, array.npartitions
    small = {
        name
        for name, layer in graph.layers.items()
        if graph.dependencies[name] and len(layer) < blocks and name != array.name
    }
    return [name for name in small if not graph.dependents[name] <= small]


def count_inputs(array: Any) -> tuple[int, int]:
    """Count the inputs, blocks that are made of no others: those that one block in the middle needs, and all."""
    middle = tuple(count // 2 for count in array.numblocks)
    steps = array.dask.cull({(array.name, *middle)}).to_dict()
    needed = sum(isinstance(key, tuple) and not get_dependencies(steps, key) for key in steps)
    return needed, sum(len(layer) for name, layer in array.dask.layers.items() if not array.dask.dependencies[name])


def describe_steps(array: Any) -> str | None:
    """Say how often inputs are computed, where it is more than twice; None else."""
    needed, total = count_inputs(array)
    if needed * array.npartitions <= 2 * total:
        return None
    once = "; steps that blocks share are computed once, if their results fit" if shared_layers(array) else ""
    return f"each of {array.npartitions} blocks from {needed} of {total} inputs, as often as it is read{once}"


def keep_shared(array: Any, limit: int, get: Callable[..., Any]) -> Any:
    """Compute the layers that blocks share, and put their results in their place, as far as these are small.

    Parameters
    ----------
    array : dask.array.Array
        The array.
    limit : int
        Most bytes of all results.
    get : callable
        Computes keys of a graph, as ``dask.get``.

    Returns
    -------
    dask.array.Array
        The same array, entry by entry.
    """
    for name in shared_layers(array):
        keys = list(array.dask.layers[name])
        graph = array.dask.cull(set(keys))
        first = get(graph, keys[:1])[0]  # tells how large the others are
        if getattr(first, "nbytes", limit) * len(keys) > limit:
            continue
        results = [first, *(get(array.dask.cull(set(keys[1:])), keys[1:]) if len(keys) > 1 else ())]
        held = sum(getattr(result, "nbytes", limit) for result in results)
        if held <= limit:
            limit -= held
            array = _replace_layer(array, name, dict(zip(keys, results, strict=True)))
    return array


def _replace_layer(array: Any, name: str, results: dict[Any, Any]) -> Any:
    """The array with results in the place of a layer, and without the layers that only this one needed."""
    graph = array.dask
    layers = {**graph.layers, name: MaterializedLayer(results)}
    dependencies = {**graph.dependencies, name: set()}
    needed, todo = set(), [array.name]
    while todo:
        if (layer := todo.pop()) not in needed:
            needed.add(layer)
            todo.extend(dependencies[layer])
    replaced = copy.copy(array)
    replaced.dask = HighLevelGraph(
        {layer: layers[layer] for layer in needed}, {layer: dependencies[layer] for layer in needed}
    )
    return replaced
