"""Standard streams of the program that are closed, or cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["UnwrittenResultsError", "discard_results", "flush_results", "open_closed_streams", "show"]


class UnwrittenResultsError(Exception):
    """The results of a command that has ended well cannot be written to stdout."""


def open_closed_streams() -> None:
    """Have something in the place of streams that were closed, as by ``>&-``: what is written there is lost.

    Without it, a file that is opened later would be taken for the stream by whatever writes to it by its number, and
    what is meant for stderr would be printed to stdout.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers, of which the lowest free one is taken
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


def show(text: str, end: str = "\n") -> None:
    """Print results to stdout.

    Raises
    ------
    BrokenPipeError
        If its reader is gone.
    UnwrittenResultsError
        If it cannot be written for another reason.
    """
    with _told():
        print(text, end=end)


def flush_results() -> None:
    """Write to stdout what is left in its buffer; raises as :func:`show` does."""
    with _told():
        sys.stdout.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwrittenResultsError(
            f"the results cannot be written to standard output: {error.strerror}; what the command has stored is there"
        ) from error


def discard_results() -> None:
    """Discard what stdout does not take, which would be written again, and fail, when the program ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
