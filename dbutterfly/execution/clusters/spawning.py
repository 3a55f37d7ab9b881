"""Processes of this machine that start from the main file of the program: who may start them, and how that goes wrong.

A process that is started runs the main file first. If that file asks for a cluster again, outside of
``if __name__ == "__main__"``, every process would start others; Python ends them with a traceback each. Here they end
without a word, after a note for the process that has started them, which says what is to be done.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

from ...errors import InputError
from ..interrupts import Interrupts

__all__ = ["check_process", "starting_processes"]

NOTE = "DBUTTERFLY_NO_MAIN_GUARD"
"""Variable of the environment with the file that a process makes which the main file would have start others."""

NOISY = ("distributed", "distributed.nanny", "distributed.core", "asyncio", "tornado.application")
"""Loggers to which a failed start is reported, a traceback for each process."""


def check_process(name: str) -> None:
    """Refuse to start processes of a kind of cluster where this process cannot, or end it.

    Raises
    ------
    InputError
        If this process may not have others, or has no main file from which they could start.
    SystemExit
        If this process is itself about to start, and runs the main file.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        if note := os.environ.get(NOTE):
            Path(note).touch()
        raise SystemExit(1)
    if process.daemon:
        raise InputError(
            f"cluster={name!r} starts processes, which this process ({process.name}, as of a worker of Dask) must not; "
            "pass client=distributed.get_client(), or leave it out for threads"
        )
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or file is None:
        return
    if not Path(file).exists():
        raise InputError(
            f"cluster={name!r} starts processes, which run the main file of the program first, and there is no file "
            f'{file!r}; write the program to a file, and what it does under if __name__ == "__main__":'
        )
    if _is_under_way(main) and b"__name__" not in Path(file).read_bytes():
        raise _no_guard(name)


def _is_under_way(main: ModuleType) -> bool:
    """Whether a line of the main file itself, outside of its functions, has led to this call."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False


def _no_guard(name: str) -> InputError:
    return InputError(
        f"cluster={name!r} starts processes, which run the main file of the program first; put what the file does, "
        'this call included, under if __name__ == "__main__":'
    )


@contextlib.contextmanager
def starting_processes(name: str) -> Iterator[None]:
    """Block in which the processes of a kind of cluster start; Ctrl-C waits for its end.

    Raises
    ------
    InputError
        If the main file starts them outside of ``if __name__ == "__main__"``.
    KeyboardInterrupt
        At the end of the block.
    """
    with tempfile.TemporaryDirectory(prefix="dbutterfly-") as directory, Interrupts(), _unsent_interrupts():
        note = Path(directory, "note")
        os.environ[NOTE] = str(note)
        try:
            with _held_log() as log:
                try:
                    yield
                except Exception:
                    if note.exists():
                        log.clear()
                        raise _no_guard(name) from None
                    raise
        finally:
            del os.environ[NOTE]


@contextlib.contextmanager
def _unsent_interrupts() -> Iterator[None]:
    """Block in which processes start that Ctrl-C on the terminal does not reach, but only this one, which ends them."""
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        yield
    else:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _held_log() -> Iterator[list[logging.LogRecord]]:
    """Block whose records of noisy loggers are held, and logged at its end unless they are cleared."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    loggers = [logging.getLogger(noisy) for noisy in NOISY]
    for logger in loggers:
        logger.addFilter(hold)
    try:
        yield held
    finally:
        for logger in loggers:
            logger.removeFilter(hold)
        for record in held:
            logging.getLogger(record.name).handle(record)
