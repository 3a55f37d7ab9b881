"""The arguments of the functions that compute: one table that says how each is read, before anything is opened.

An argument means the same wherever it is taken, so that its name is enough to find its reader. Other arguments, such as
matrices and places, are read by the rooms that open them.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..errors import InputError
from ..kernels.backend import BACKENDS
from ..planning.search import read_passes
from ..planning.sizes import read_memory
from ..structure.arguments import (
    Reader,
    optional,
    read_choice,
    read_count,
    read_flag,
    read_number,
    read_seed,
    read_tolerance,
    show_value,
)
from ..structure.chain_names import read_chain_or_name
from ..structure.points import read_points
from ..structure.tree import read_tree
from ..structure.weights import read_weights

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CONVERGED", "READERS", "read_arguments", "read_client", "read_named", "read_workers"]

CONVERGED = "converged"
"""Sweeps without a number: until the error has no gradient left."""

P = ParamSpec("P")
R = TypeVar("R")


def read_client(name: str, value: Any) -> Client:
    """Read a client of a Dask cluster.

    Raises
    ------
    InputError
        If it is none.
    """
    if not _is_client(value):
        raise InputError(
            f"{name}={show_value(value)} is a {type(value).__name__}; pass a distributed.Client, or None for threads"
        )
    return value


def _is_client(value: Any) -> bool:
    if "distributed" not in sys.modules:  # nobody can have made one
        return False
    from distributed import Client

    return isinstance(value, Client)


def read_workers(name: str, value: Any, *, remedy: str = "the default is the number of cores") -> int:
    """Read a number of threads, or of the workers of a cluster.

    Raises
    ------
    InputError
        If it is no positive integer.
    """
    return read_count(name, value, fault="is not a positive number of threads", remedy=remedy)


def read_sweeps(name: str, value: Any) -> int | str:
    """Read a number of sweeps, or that they go on until they have converged.

    Raises
    ------
    InputError
        If it is neither.
    """
    remedy = f"use 0 for none, or {CONVERGED!r} for as many as it takes"
    return (
        CONVERGED if isinstance(value, str) and value == CONVERGED else read_count(name, value, least=0, remedy=remedy)
    )


READERS: dict[str, Reader] = {
    "backend": partial(read_choice, choices=BACKENDS, remedy=f"use one of {BACKENDS}"),
    "budget": optional(
        partial(
            read_number,
            least=math.ulp(0.0),
            fault="is no time",
            remedy="use a positive number of seconds, or None",
        )
    ),
    "chain": optional(read_chain_or_name),
    "check_fit": optional(read_flag),
    "client": optional(read_client),
    "confirm": optional(
        partial(read_choice, choices=("full",), remedy="use 'full' to look at all of the matrix, or leave it out")
    ),
    "decode": read_flag,
    "device_memory": optional(read_memory),
    "eta": optional(
        partial(
            read_number,
            least=math.ulp(0.0),
            fault="is no ratio of a diameter to a distance",
            remedy="use a positive number, such as 2; larger ones take more clusters to be far apart",
        )
    ),
    "form": optional(
        partial(
            read_choice,
            choices=("butterfly", "hierarchical", "auto"),
            remedy="use 'butterfly', 'hierarchical', or 'auto' for the one with fewer values",
        )
    ),
    "leaf": optional(partial(read_count, remedy="give the most rows of a cluster that is not divided, such as 64")),
    "memory": optional(read_memory),
    "missing": partial(
        read_choice,
        choices=("fill", "error"),
        remedy="use 'fill' (take missing chunks for their fill value) or 'error'",
    ),
    "overwrite": read_flag,
    "passes": read_passes,
    "points": read_points,
    "progress": read_flag,
    "prove": read_flag,
    "ratio": partial(
        read_number,
        least=1.0,
        fault="is no ratio of an error to a bound below it",
        remedy="use a number from 1 on, such as 1.001",
    ),
    "read": read_memory,
    "rank": partial(read_count, remedy="the smallest rank is 1"),
    "resume": read_flag,
    "samples": optional(partial(read_count, remedy="give a number of rows, or leave it out to compare all of them")),
    "seed": read_seed,
    "shared": optional(read_flag),
    "sweeps": read_sweeps,
    "symmetric": read_flag,
    "tol": optional(read_tolerance),
    "tree": read_tree,
    "weights": read_weights,
    "workers": optional(read_workers),
}
"""How an argument is read, by its name."""


def read_named(**given: Any) -> dict[str, Any]:
    """Read some arguments by their names, such as those of a command, before it opens anything.

    Raises
    ------
    InputError
        If one cannot be used.
    """
    return {name: READERS[name](name, value) for name, value in given.items()}


def read_arguments(**own: Reader) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that its arguments are read before it is called.

    Parameters
    ----------
    **own
        Readers of arguments that no other function takes, or takes otherwise, in place of those of :data:`READERS`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, readers = inspect.signature(function), {**READERS, **own}

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            for name, value in given.arguments.items():
                if name in readers:
                    given.arguments[name] = readers[name](name, value)
            return function(*given.args, **given.kwargs)

        return call

    return decorate
