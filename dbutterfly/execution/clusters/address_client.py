"""The client of a scheduler that somebody else has started."""

from __future__ import annotations

from typing import Any

from distributed import Client

__all__ = ["AddressClient"]


class AddressClient(Client):  # type: ignore[misc]  # Dask has no types
    """A client that ends with its program also where it never reached its scheduler.

    Dask closes such a client when the program ends, and waits for twice the time of a connection for that.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        except BaseException:
            self.status = "closed"
            raise
