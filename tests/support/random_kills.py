"""Kills at random moments: of the client, of workers, of the scheduler, of all. Every run is continued to its end."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dbutterfly as dbf
from tests.support.comparisons import assert_same
from tests.support.dask_processes import Cluster, Process
from tests.support.disturbed_runs import Trial, finished, read_in_vain
from tests.support.patience import PATIENCE
from tests.support.run_processes import attempt

VICTIMS = ("client", "worker", "all workers", "scheduler", "everything", "client on threads")
TILES = 64
SECONDS = 0.02
"""Time that a tile takes at least."""

CALLS = 5
"""Calls within which a run must end."""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes
    ----------
    victim : str
        Who is killed.
    kind : str
        How the matrix is given; see :func:`attempt.attempt`.
    tiles : int
        Tiles that must be finished.
    pause : float
        Seconds that go by then.
    number : int
        Which worker it is.
    with_nanny : bool
        Whether the nanny of a worker dies with it.
    """

    victim: str
    kind: str
    tiles: int
    pause: float
    number: int
    with_nanny: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    kill : Kill
        What was done to it.
    finished : int
        Tiles that were finished when it was done.
    calls : int
        Calls until the result was there.
    equal : bool
        Whether it is that of an undisturbed run, to the bit.
    in_vain : int
        Tiles read although they had been finished; counted where the matrix is given by its entries.
    seconds : float
        Time from the first call to the result.
    said : str
        Why calls failed that nobody had killed.
    """

    kill: Kill
    finished: int
    calls: int
    equal: bool
    in_vain: int
    seconds: float
    said: str


def random_kills(seed: int) -> Iterator[Kill]:
    """Kills without end: every victim as often as the others, a quarter of the kills before the first tile."""
    chance = random.Random(seed)
    while True:
        for victim in chance.sample(VICTIMS, len(VICTIMS)):
            early = chance.random() < 0.25
            yield Kill(
                victim,
                chance.choice(("zarr", "watched")),
                0 if early else chance.randint(1, TILES),
                chance.uniform(0, 3.0 if early else 0.3),
                chance.randrange(2),
                chance.random() < 0.5,
            )


class Killer:
    """A matrix and a cluster, for a ``with`` block, on which runs are started and killed.

    Parameters
    ----------
    directory : Path
        Place for everything.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trial = Trial(directory)
        self._cluster = Cluster(directory / "cluster")
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        self._trial.expected  # noqa: B018
        self._stack.enter_context(self._cluster)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def outcome(self, kill: Kill) -> Outcome | None:
        """Start a run, kill, continue it to its end; None if it had ended before."""
        self._count += 1
        run = self._directory / f"run{self._count}"
        old = list(self._cluster.here)
        started = time.monotonic()
        process = self._call(kill, run)
        try:
            while process.is_alive and len(finished(run)) < kill.tiles:
                time.sleep(0.005)
            time.sleep(kill.pause)
            before = len(finished(run))
            if not process.is_alive:
                return None
            self._kill(kill, process)
            process, calls, said = self._continued(kill, run, process)
        finally:
            process.kill()
            self._tidy(old)
        equal = self._is_equal(run)
        found = Outcome(kill, before, calls, equal, len(read_in_vain(run)), time.monotonic() - started, said)
        if found.equal and not found.in_vain:
            shutil.rmtree(run)
        return found

    def _call(self, kill: Kill, run: Path) -> Process:
        address = None if kill.victim == "client on threads" else self._cluster.address
        return attempt(self._trial, run, address, kind=kill.kind, tiles=TILES, seconds=SECONDS)

    def _kill(self, kill: Kill, process: Process) -> None:
        cluster = self._cluster
        if kill.victim in ("client", "client on threads", "everything"):
            process.kill()
        if kill.victim in ("scheduler", "everything"):
            cluster.kill_scheduler()
        if kill.victim in ("all workers", "everything"):
            cluster.kill_workers()
        if kill.victim == "worker":
            victim = cluster.here[kill.number]
            (cluster.kill_worker if kill.with_nanny else cluster.kill_under_nanny)(victim)
        if kill.victim in ("scheduler", "everything"):
            cluster.start_scheduler()
            cluster.add_workers(2)  # others than those of the old scheduler, which end by themselves
        else:
            cluster.add_workers(2 - len(cluster.here))

    def _continued(self, kill: Kill, run: Path, process: Process) -> tuple[Process, int, str]:
        said = ""
        for calls in range(1, CALLS + 1):
            if process.popen.wait(PATIENCE) == 0:
                return process, calls, said
            if process.popen.returncode > 0:
                said += process.said()[-2000:]
            process = self._call(kill, run)
        raise AssertionError(f"{kill}: the run in {run} has not ended within {CALLS} calls\n{said}")

    def _tidy(self, old: list[Process]) -> None:
        """End the workers of a scheduler that was killed."""
        if len(self._cluster.here) > 2:
            for process in old:
                if process in self._cluster.here:
                    self._cluster.kill_worker(process)

    def _is_equal(self, run: Path) -> bool:
        try:
            assert_same(dbf.open(run), self._trial.expected)
        except AssertionError:
            return False
        return True
