"""A real Dask cluster on this machine: scheduler and workers are processes of their own, which tests kill as they like.

Every process is the leader of a group, which is killed as a whole at the end; it dies too when the tests are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
from distributed import Client

from tests.support.patience import PATIENCE, wait_until
from tests.support.s3_server import DIE_WITH_PARENT, free_ports


class InBackground(threading.Thread):
    """A call in another thread, which has begun.

    Parameters
    ----------
    call : callable
        What is called.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._outcome: Any = None
        self.start()

    def run(self) -> None:
        """Call."""
        try:
            self._outcome = self._call()
        except BaseException as error:
            self._outcome = error

    def result(self) -> Any:
        """What the call has returned or raised, when it has ended."""
        self.join(PATIENCE)
        assert not self.is_alive(), f"the call has not ended after {PATIENCE:.0f} s"
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


@dataclass(frozen=True)
class Process:
    """A process that leads a group, with its log.

    Attributes
    ----------
    popen : subprocess.Popen
        The process.
    log : Path
        What it says.
    """

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return self.popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()


def start_process(
    command: Sequence[object], log: Path, *, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> Process:
    """Start a process that is killed when this one ends; its parent must be the main thread."""
    with open(log, "ab") as out:
        popen = subprocess.Popen(
            [sys.executable, "-c", DIE_WITH_PARENT, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=surroundings() | (environment or {}),
            cwd=cwd or log.parent,
            start_new_session=True,
        )
    return Process(popen, log)


def surroundings() -> dict[str, str]:
    """Environment in which the modules of the tests can be imported."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def make_hasty(client: Client) -> Client:
    """Have a client soon give up a scheduler that is gone; to connect, it may have taken its time."""
    client._timeout = 1.0
    return client


@dataclass
class Cluster:
    """A scheduler and workers on loopback, for a ``with`` block.

    Parameters
    ----------
    directory : Path
        Where logs and the workers' files go.
    workers : int
        Workers that are there when the block begins.
    nanny : bool
        Whether a nanny starts a worker again that has died.
    memory : str
        Limit of a worker.
    environment : dict
        Variables that all processes get.
    """

    directory: Path
    workers: int = 2
    nanny: bool = True
    memory: str = "1GiB"
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.here: list[Process] = []
        self.scheduler: Process | None = None
        self._started = 0

    def __enter__(self) -> Self:
        try:
            self.start_scheduler()
            self.add_workers(self.workers)
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill_all()

    @property
    def address(self) -> str:
        """Where the scheduler listens, or will."""
        return f"tcp://127.0.0.1:{self.port}"

    def client(self, workers: int | None = None) -> Client:
        """Connect a client, and wait for workers: by default as many as were started."""
        client = Client(self.address, timeout=PATIENCE, set_as_default=False)
        count = len(self.here) if workers is None else workers
        if count:
            client.wait_for_workers(count, timeout=PATIENCE)
        return client

    # ------------------------------------------------------------ starting

    def start_scheduler(self) -> Process:
        """Start the scheduler, also again after it was killed: the place is the same."""
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", self.port, "--dashboard-address", "127.0.0.1:0"
        )
        wait_until(lambda: self._listens(), what=f"scheduler listens\n{self.scheduler.said()}")
        return self.scheduler

    def add_workers(self, count: int = 1, *, nanny: bool | None = None, memory: str | None = None) -> list[Process]:
        """Start workers, without waiting for them to arrive."""
        added = [self._add_worker(self.nanny if nanny is None else nanny, memory or self.memory) for _ in range(count)]
        self.here += added
        return added

    def _add_worker(self, nanny: bool, memory: str) -> Process:
        return self._start(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", 1, "--memory-limit", memory,
            "--local-directory", self.directory / "scratch", "--death-timeout", PATIENCE,
            "--no-dashboard", *([] if nanny else ["--no-nanny"]),
        )  # fmt: skip

    def _start(self, kind: str, *arguments: object) -> Process:
        self._started += 1
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
        log = self.directory / f"{self._started:02d}-{kind}.log"
        return start_process(command, log, environment=self.environment, cwd=self.directory)

    def _listens(self) -> bool:
        assert self.scheduler is not None
        if not self.scheduler.is_alive:
            raise AssertionError(f"the scheduler does not start\n{self.scheduler.said()}")
        return "Scheduler at:" in self.scheduler.said()

    # ------------------------------------------------------------ ending

    def kill_scheduler(self) -> None:
        """Kill the scheduler, at once."""
        if self.scheduler is not None:
            self.scheduler.kill()

    def kill_worker(self, process: Process) -> None:
        """Kill a worker with its nanny: nobody starts it again."""
        process.kill()
        self.here.remove(process)

    def kill_under_nanny(self, process: Process) -> None:
        """Kill the worker but not its nanny, which starts another."""
        os.kill(self.worker_pid(process), signal.SIGKILL)

    def worker_pid(self, process: Process) -> int:
        """Number of the process that computes, which under a nanny is another."""
        return wait_until(lambda: _worker_pid(process.pid), what="the nanny has a worker")

    def kill_workers(self) -> None:
        """Kill all workers with their nannies."""
        for process in list(self.here):
            self.kill_worker(process)

    def kill_all(self) -> None:
        """Kill everything, at once."""
        self.kill_scheduler()
        self.kill_workers()

    def restore(self, client: Client, workers: int = 2) -> None:
        """Bring the cluster back to so many workers, whatever was done to it."""
        self.forget_ended()
        for process in self.here[workers:]:
            self.kill_worker(process)
        self.add_workers(workers - len(self.here))
        wait_until(lambda: len(client.nthreads()) == workers, what=f"{workers} workers")

    def forget_ended(self) -> None:
        """Forget workers that have ended by themselves, as they do when the scheduler is gone."""
        for process in [process for process in self.here if not process.is_alive]:
            self.kill_worker(process)

    # ------------------------------------------------------------ holding

    def stop_worker(self, process: Process) -> None:
        """Stop a worker, so that it neither computes nor answers."""
        os.kill(self.worker_pid(process), signal.SIGSTOP)

    def continue_worker(self, process: Process) -> None:
        """Let a stopped worker go on."""
        os.kill(self.worker_pid(process), signal.SIGCONT)


def _worker_pid(pid: int) -> int | None:
    """The process itself, or the worker that it looks after."""
    try:
        process = psutil.Process(pid)
        if "--no-nanny" in process.cmdline():
            return pid
        found = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return None
    return found[0].pid if found else None
