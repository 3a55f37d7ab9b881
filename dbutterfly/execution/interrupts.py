"""Ctrl-C held back where it would leave a Dask client unusable."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Self

__all__ = ["Interrupts"]


class Interrupts:
    """Holds Ctrl-C back until it is allowed, for a ``with`` block.

    A KeyboardInterrupt inside a call of a Dask client would leave the client unusable. A Ctrl-C that was held back is
    raised when it is allowed, or when the block ends. A second Ctrl-C is not held back. Outside of the main thread, and
    where the program handles SIGINT itself, nothing is done.
    """

    def __enter__(self) -> Self:
        self._allowed = self._pending = False
        in_main = threading.current_thread() is threading.main_thread()
        self._installed = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._pending and error[0] is None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let Ctrl-C through in a block; a Ctrl-C that was held back is raised at once."""
        self._allowed = True
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _handle(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self._allowed or self._pending:
            raise KeyboardInterrupt
        self._pending = True
