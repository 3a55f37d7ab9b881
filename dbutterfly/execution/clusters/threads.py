"""Threads of this process: nothing is started."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from ...errors import InputError
from .kind import Kind
from .options import count, option

__all__ = ["Threads"]


@dataclass(frozen=True, kw_only=True)
class Threads(Kind):
    """Threads of this process.

    Attributes
    ----------
    workers : int, optional
        Number of threads; by default the number of cores.
    """

    name: ClassVar[str] = "threads"
    workers: int | None = option(count, optional=True)

    def text(self) -> str:
        """The number of threads, in one line."""
        return f"{self.workers or 'as many'} threads of this process{'' if self.workers else ' as it has cores'}\n"

    def check(self) -> None:
        """Refuse credentials, since nothing is sent.

        Raises
        ------
        InputError
            If credentials are given.
        """
        if self.tls is not None:
            raise InputError(f"tls={self.tls!r} has nothing to protect: cluster='threads' sends nothing; leave it out")

    def started(self) -> contextlib.AbstractContextManager[NoReturn]:
        """Refuse: threads have no client."""
        raise InputError("cluster='threads' has no Dask client; the engine of threads needs none")
