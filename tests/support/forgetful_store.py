"""A Zarr store that does not find some of what it holds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import zarr
from zarr.abc.store import Store


class Forgetful(zarr.storage.WrapperStore[Store]):
    """A store that does not find some of its keys.

    Parameters
    ----------
    store : Zarr store
        Where they are.
    forgotten : collection of str
        The keys.
    """

    def __init__(self, store: Store, forgotten: Collection[str] = ()) -> None:
        super().__init__(store)
        self.forgotten = forgotten

    def _with_store(self, store: Store) -> Forgetful:
        return type(self)(store, self.forgotten)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Content, or None."""
        return None if key in self.forgotten else await super().get(key, prototype, byte_range)
