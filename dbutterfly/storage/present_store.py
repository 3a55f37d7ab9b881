"""A Zarr store of which it is known that keys exist: one that is not found is an error, not a chunk never written.

Zarr takes an object that the storage does not find for a chunk of fill values. Storage that is busy, or behind a cache,
says now and then that it does not find what is there. :class:`AbsentError` is among the errors that may pass
(:func:`dbutterfly.storage.retries.may_pass`), so that the object is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import zarr
from zarr.abc.store import Store
from zarr.storage import StorePath, WrapperStore

from .retries import AbsentError, is_absence

__all__ = ["PresentStore", "expect_present", "through"]

T = TypeVar("T")


class PresentStore(WrapperStore[Store]):
    """A store that raises where it does not find what exists.

    Parameters
    ----------
    store : Zarr store
        The store that is read.
    exists : callable
        Whether the object under a key exists.

    Attributes
    ----------
    inner : Zarr store
        The store that is read.
    """

    def __init__(self, store: Store, exists: Callable[[str], bool]) -> None:
        super().__init__(store)
        self.inner, self.exists_there = store, exists

    def _with_store(self, store: Store) -> PresentStore:
        return PresentStore(store, self.exists_there)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Content of an object, or None where it need not exist."""
        found = await super().get(key, prototype, byte_range)
        if found is None and self.exists_there(key):
            raise AbsentError(f"{key} exists, and the storage does not find it")
        return found

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Parts of objects."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]


def through(array: zarr.Array[Any], exists: Callable[[str], bool]) -> zarr.Array[Any]:
    """Take an array that is open already through a store of which it is known which keys exist."""
    place = StorePath(PresentStore(array.store, exists), array.path)
    return zarr.Array(zarr.AsyncArray(array.metadata, place, array.config))


def expect_present(call: Callable[[], T]) -> Callable[[], T]:
    """Make a call that opens or lists what exists raise AbsentError, which may pass, where it is not found."""

    def checked() -> T:
        try:
            return call()
        except Exception as error:
            if not is_absence(error):
                raise
            raise AbsentError(f"what exists was not found: {error}") from error

    return checked
