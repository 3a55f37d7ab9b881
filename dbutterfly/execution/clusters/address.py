"""A Dask scheduler that somebody else has started, and will end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import ClusterError, InputError
from .kind import GPU_OF_TASK, Kind
from .options import flag, option, text
from .tls import TEMPORARY, security_of

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Address"]


@dataclass(frozen=True, kw_only=True)
class Address(Kind):
    """A running scheduler.

    Attributes
    ----------
    address : str
        Address of the scheduler, such as ``tcp://10.0.0.1:8786``.
    gpu : bool
        Whether tasks go only to workers with the resource GPU.
    """

    name: ClassVar[str] = "address"
    address: str = option(text)
    gpu: bool = option(flag)

    @property
    def resources(self) -> dict[str, float]:
        """See :attr:`Kind.resources`."""
        return dict(GPU_OF_TASK) if self.gpu else {}

    def text(self) -> str:
        """The address, in one line."""
        return f"the Dask scheduler at {self.address}\n"

    def check(self) -> None:
        """Refuse credentials that the scheduler cannot know, or does not ask for.

        Raises
        ------
        InputError
            If such credentials are given.
        """
        if self.tls == TEMPORARY:
            raise InputError(
                f"tls={self.tls!r} makes credentials that the scheduler at {self.address} does not have; give its "
                "files CA,CERT,KEY"
            )
        if self.tls is not None and not self.address.startswith("tls://"):
            raise InputError(f"tls={self.tls!r} goes with an address tls://HOST:PORT, not {self.address!r}")

    @contextlib.contextmanager
    def started(self) -> Iterator[Client]:
        """See :meth:`Kind.started`; the scheduler keeps running when the block ends."""
        from .address_client import AddressClient

        options: dict[str, Any] = {} if self.tls is None else {"security": security_of(self.tls)}
        try:
            client = AddressClient(self.address, set_as_default=False, **options)
        except (OSError, ValueError, TypeError) as error:  # TypeError: tls:// without credentials
            raise InputError(f"no Dask scheduler can be reached at {self.address!r}: {error}") from error
        with client:
            try:
                client.wait_for_workers(1, timeout=self.wait)
            except TimeoutError:
                raise ClusterError(
                    f"the scheduler at {self.address} has had no worker for {self.wait:g} s (option wait); start some "
                    f"with: dask worker {self.address}"
                ) from None
            yield client
