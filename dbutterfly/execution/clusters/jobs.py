"""Jobs of a resource manager, each with some workers; scheduler and client run where the call is made.

A call may be made on a login node or in a job of its own (see ``deploy/slurm``). Dask's adaptive scaling keeps up the
number of workers: jobs that end, are cancelled or lose their node are submitted again. A worker leaves some time before
its job's limit, so that it is not killed in the middle of a task. Kinds differ in what their jobs ask for, and in what
is known beforehand.
"""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError
from .launched import Managed
from .options import count, duration, option, text, texts
from .walltimes import parse_walltime, walltime

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["JOB_NAME", "Jobs"]

JOB_NAME = "dbutterfly-worker"
"""Name of the jobs of workers."""

SECONDS_ALONE = 60
"""Seconds after which a worker without a scheduler ends, so that no job outlives its run by more.

Not tuned: Dask's default for jobs, and enough for a scheduler that is busy for a moment.
"""


@dataclass(frozen=True, kw_only=True)
class Jobs(Managed):
    """Workers in jobs, by a class of ``dask_jobqueue``.

    Attributes
    ----------
    submits : str
        Command that submits a job.
    processes : int
        Workers in a job.
    account, walltime : str
        Account and longest time of a job.
    margin : float
        Seconds before the end of a job at which its workers leave.
    directives, prologue : tuple of str
        Further lines of directives, and shell commands before the worker.
    python, interface, host, directory, scratch, dashboard : str
        See ``dbutterfly.yaml``.
    """

    module: ClassVar[str] = "dask_jobqueue"
    extra: ClassVar[str | None] = "jobqueue"
    submits: ClassVar[str]

    processes: int = option(count)
    account: str | None = option(text, optional=True)
    walltime: str = option(walltime)
    margin: float = option(duration)
    directives: tuple[str, ...] = option(texts)
    prologue: tuple[str, ...] = option(texts)
    python: str | None = option(text, optional=True)
    interface: str | None = option(text, optional=True)
    host: str | None = option(text, optional=True)
    directory: str = option(text)
    scratch: str | None = option(text, optional=True)
    dashboard: str = option(text)

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """Keywords of the class that say what a job asks for, and where its log goes."""

    @property
    def seconds(self) -> float:
        """Longest time of a job, which may be infinite."""
        seconds = parse_walltime(self.walltime)
        assert seconds is not None
        return seconds

    @property
    def lifetime(self) -> int:
        """Seconds after which a worker leaves."""
        return int(min(self.seconds, 10 * 365 * 86400) - self.margin)

    @property
    def cores(self) -> int:
        """Cores of a job."""
        return self.processes * self.threads

    @property
    def logs(self) -> str:
        """Directory of the logs."""
        return os.path.abspath(self.directory)

    def check(self) -> None:
        """See that the package can be imported, that options fit each other, and that jobs can be submitted here.

        Raises
        ------
        InputError
            If not.
        """
        super().check()
        name = self.name
        if self.workers % self.processes:
            raise InputError(
                f"{name}.workers={self.workers} is no multiple of processes={self.processes}, the workers in one job"
            )
        if self.lifetime < self.margin:
            raise InputError(
                f"{name}.walltime={self.walltime!r} leaves no time to work before margin={self.margin:g} s; a job "
                "needs at least twice that"
            )
        if self.host is not None and self.interface is not None:
            raise InputError(f"{name}.host={self.host!r} and interface={self.interface!r} exclude each other")
        for key, value in (("directory", self.directory), ("scratch", self.scratch), ("python", self.python)):
            if value is not None and len(value.split()) != 1:
                raise InputError(f"{name}.{key}={value!r} has a space in it, which job scripts do not stand")
        self.check_jobs()

    def check_jobs(self) -> None:
        """See that jobs can be submitted here; by default, that the command for it is there.

        Raises
        ------
        InputError
            If they cannot.
        """
        if shutil.which(self.submits) is None:
            raise InputError(
                f"cluster={self.name!r} needs the command {self.submits}, which is not here; run it where jobs are "
                "submitted"
            )

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        where = {"host": self.host} if self.host else {"interface": self.interface} if self.interface else {}
        return {
            **self._job(),
            "interface": self.interface,
            "scheduler_options": {**where, "dashboard_address": self.dashboard},
            "security": security,
            "shared_temp_directory": self.logs,
            "silence_logs": "error",
        }

    def _job(self) -> dict[str, Any]:
        """Keywords that describe a job, whatever its scheduler."""
        resources = ["--resources", "GPU=1"] if self.gpu else []
        variables = [f"export {name}={value}" for name, value in self.variables.items()]
        return {
            "job_name": JOB_NAME,
            "cores": self.cores,
            "processes": self.processes,
            "memory": f"{self.processes * self.memory} B",
            "job_script_prologue": [*variables, *self.prologue],
            "worker_extra_args": [
                *resources,
                *("--lifetime", f"{self.lifetime}s", "--lifetime-stagger", f"{self.margin / 4:g}s"),
                *("--dashboard-address", "127.0.0.1:0"),
            ],
            "python": self.python,
            "local_directory": self.scratch,
            "death_timeout": SECONDS_ALONE,
            **self.request(),
        }

    def text(self) -> str:
        """Script of a job."""
        job = self.cluster_class().job_cls(scheduler="SCHEDULER", name="WORKER", **self._job())
        script: str = job.job_script()
        return script

    def prepare(self) -> None:
        """Make the directory for logs and credentials."""
        os.makedirs(self.directory, exist_ok=True)

    def scale(self, cluster: Any) -> None:
        """Have Dask keep up the number of workers."""
        jobs = [max(1, -(-number // self.processes)) for number in (self.fewest, self.workers)]
        cluster.adapt(minimum_jobs=jobs[0], maximum_jobs=jobs[1])

    def complaint(self) -> str:
        """Place of the logs."""
        return f"; logs are in {self.logs}"
