"""Store factors that were computed elsewhere: whole, in the form of a complete run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import StoreError
from .arrays import occupant
from .destinations import Place, check_apart
from .manifest import HIERARCHICAL, OPERATOR, STACK, Manifest, Sides
from .replacing import new_place
from .run_store import RunStore

__all__ = ["save_arrays", "save_factors"]


def save_factors(
    store: Any,
    manifest: Manifest,
    ks_values: Sequence[NDArray[Any]],
    sides: Sides,
    *,
    sources: Iterable[Place] = (),
    overwrite: bool = False,
    **final: Any,
) -> None:
    """Store factors, orderings and what is known of them; what was at the place stays until all is there.

    Parameters
    ----------
    store : path, URL or Zarr store
        Where.
    manifest, ks_values, sides
        As for :meth:`RunStore.create` and :meth:`RunStore.put_factors`.
    sources : iterable of Place
        What the factors are read from, which is neither replaced nor written into.
    overwrite : bool
        Whether to replace a run, a factorization or an operator that is there; nothing else is ever replaced.
    **final
        As for :meth:`RunStore.put_factors`.

    Raises
    ------
    InputError
        If the place is one of the sources, or lies in or around one.
    StoreError
        If something is there that may not be replaced, or the place cannot be written. StoreBusyError if a run that is
        there is at work.
    """
    with _new_run(store, manifest, sources, overwrite) as run:
        run.put_factors(ks_values, sides, **final)


def save_arrays(
    store: Any,
    manifest: Manifest,
    arrays: Mapping[str, NDArray[Any]],
    *,
    sources: Iterable[Place] = (),
    overwrite: bool = False,
    **final: Any,
) -> None:
    """Store the arrays of a result, as :func:`save_factors` does factors."""
    with _new_run(store, manifest, sources, overwrite) as run:
        run.put_result(arrays, **final)


@contextlib.contextmanager
def _new_run(store: Any, manifest: Manifest, sources: Iterable[Place], overwrite: bool) -> Iterator[RunStore]:
    """A run at a place, where what was there stays until the block ends."""
    check_apart(store, sources)
    is_occupied = occupant(store) is not None
    if is_occupied:
        _check_replaceable(store, overwrite)
    with new_place(store, is_occupied=is_occupied) as place:
        yield RunStore.create(place, manifest)


def _check_replaceable(store: Any, overwrite: bool) -> None:
    found = RunStore.open(store)
    if found is None or not overwrite:
        remedy = "remove it yourself" if found is None else "pass overwrite=True to replace it"
        raise StoreError(
            f"store={store!r} already holds {_describe(found)}; nothing was changed: choose another place or {remedy}"
        )
    if not found.is_complete:
        held = RunStore.open(store, mode="r+")
        assert held is not None
        held.lease().release()  # refused while a run is at work


def _describe(found: RunStore | None) -> str:
    if found is None:
        return "something that is no dbutterfly run"
    if found.manifest.kind == OPERATOR:
        return "a dbutterfly operator"
    if found.manifest.kind == STACK:
        return "a dbutterfly stack" if found.is_complete else "a dbutterfly run for a stack that has not ended"
    if found.manifest.kind == HIERARCHICAL and not found.is_complete:
        return "a dbutterfly run for the hierarchical form that has not ended"
    return "a dbutterfly factorization" if found.is_complete else "a dbutterfly run that has not ended"
