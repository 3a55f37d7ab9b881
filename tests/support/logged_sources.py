"""Entry functions that tell, through files, what has been asked of them; they work in any process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Counted:
    """Entries of an array, with a line in a log for every block that is asked for.

    Parameters
    ----------
    array : ndarray
        The matrix.
    log : str
        File to which ``entries first_row first_col`` of every block is appended; its twin ``.samples`` has a line for
        each block that is the sample of a run.
    seconds : float
        Time that a block takes.
    """

    array: NDArray[Any]
    log: str
    seconds: float = 0.0

    def __repr__(self) -> str:
        return "counted"

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        if not is_asked_twice(rows):
            with open(self.log, "a") as log:
                log.write(f"{rows.size * cols.size} {rows[0]} {cols[0]}\n")
            if is_sampled(rows, self.array.shape[0]):
                with open(f"{self.log}.samples", "a") as log:
                    log.write("1\n")
            time.sleep(self.seconds)
        return self.array[np.ix_(rows, cols)]


@dataclass(frozen=True, eq=False)
class Signalling(Counted):
    """Sends a signal to a process, once, when a file is there and enough blocks were asked for."""

    pid: int = 0
    signal: int = signal.SIGINT
    after: int = 0
    once_there: str = "/"

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        block = super().__call__(rows, cols)
        sent = Path(f"{self.log}.sent")
        if os.path.exists(self.once_there) and len(blocks(self.log)) > self.after and _made(sent):
            os.kill(self.pid or os.getpid(), self.signal)
        return block


def _made(file: Path) -> bool:
    """Whether this call made a file: of several threads, one."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Failing(Counted):
    """Raises, when a certain entry, or one of ``more``, is asked for: always, or the first few ``times``."""

    error: BaseException = field(default_factory=lambda: ZeroDivisionError("no such entry"))
    row: int = 0
    col: int = 0
    more: tuple[tuple[int, int], ...] = ()
    times: int | None = None

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        block = super().__call__(rows, cols)
        if any(row in rows and col in cols for row, col in ((self.row, self.col), *self.more)):
            asked = blocks(self.log).count(f"{rows.size * cols.size} {rows[0]} {cols[0]}")
            if not self.is_sample(rows) and (self.times is None or asked <= self.times):
                raise self.error
        return block

    def is_sample(self, rows: NDArray[np.int64]) -> bool:
        """Whether these are the rows of a sample, or those asked for twice, which are no tile."""
        return is_asked_twice(rows) or is_sampled(rows, self.array.shape[0])


@dataclass(frozen=True, eq=False)
class Gated(Counted):
    """Holds whoever asks for a block while a file is there, once enough blocks were asked for."""

    gate: str = "/"
    after: int = 0

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        block = super().__call__(rows, cols)
        if len(blocks(self.log)) > self.after:
            hold_and_say(self.gate)
        return block


def hold_and_say(gate: Any) -> None:
    """Hold this process while a file is there, and say in another file beside it which process is held."""
    if os.path.exists(gate):
        with open(f"{gate}.held", "a") as log:
            log.write(f"{os.getpid()}\n")
    while os.path.exists(gate):
        time.sleep(0.01)


def held(gate: Any) -> set[int]:
    """Processes that are, or were, held."""
    return {int(line) for line in blocks(f"{gate}.held")}


def is_asked_twice(rows: NDArray[np.int64]) -> bool:
    """Whether these are the few rows by which a run sees, before it begins, that the function is reproducible."""
    return rows.size <= 8


def is_sampled(rows: NDArray[np.int64], count: int) -> bool:
    """Whether rows are those by which a run knows its matrix again: one in each of equal parts, at random."""
    in_strata = rows.size <= 32 and np.array_equal(rows * rows.size // count, np.arange(rows.size))
    return bool(in_strata and np.ptp(np.diff(rows)) > 0)


def blocks(log: Any) -> list[str]:
    """Lines of a log."""
    path = Path(log)
    return path.read_text().splitlines() if path.exists() else []
