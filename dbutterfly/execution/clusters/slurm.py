"""Jobs of a Slurm cluster, each with some workers; scheduler and client run where the call is made.

A call may be made on a login node or in a job of its own (see ``deploy/slurm``). Dask's adaptive scaling keeps up the
number of workers: jobs that end, are cancelled or lose their node are submitted again. A worker leaves some time before
its job's limit, so that it is not killed in the middle of a task.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import ClusterError, InputError
from .launched import Managed
from .options import count, duration, option, text, texts
from .slurm_limits import Request, check_request, parse_walltime, partitions, slurm, walltime

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["Slurm"]

JOB_NAME = "dbutterfly-worker"
"""Name of the jobs of workers."""

SECONDS_ALONE = 60
"""Seconds after which a worker without a scheduler ends, so that no job outlives its run by more.

Not tuned: Dask's default for jobs, and enough for a scheduler that is busy for a moment.
"""


@dataclass(frozen=True, kw_only=True)
class Slurm(Managed):
    """Workers in jobs, by ``dask_jobqueue.SLURMCluster``.

    Attributes
    ----------
    processes : int
        Workers in a job.
    partition, account, walltime : str
        Partition, account and longest time of a job.
    margin : float
        Seconds before the end of a job at which its workers leave.
    directives, prologue : tuple of str
        Further ``#SBATCH`` lines, and shell commands before the worker.
    python, interface, host, directory, scratch, dashboard : str
        See ``dbutterfly.yaml``.
    """

    name: ClassVar[str] = "slurm"
    module: ClassVar[str] = "dask_jobqueue"
    class_name: ClassVar[str] = "SLURMCluster"
    extra: ClassVar[str | None] = "slurm"

    processes: int = option(count)
    partition: str | None = option(text, optional=True)
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

    @property
    def lifetime(self) -> int:
        """Seconds after which a worker leaves."""
        seconds = parse_walltime(self.walltime)
        assert seconds is not None
        return int(min(seconds, 10 * 365 * 86400) - self.margin)

    def check(self) -> None:
        """See that the package can be imported, that options fit each other, and that Slurm can ever run such jobs.

        Raises
        ------
        InputError
            If not.
        """
        super().check()
        if self.workers % self.processes:
            raise InputError(
                f"slurm.workers={self.workers} is no multiple of processes={self.processes}, the workers in one job"
            )
        if self.lifetime < self.margin:
            raise InputError(
                f"slurm.walltime={self.walltime!r} leaves no time to work before margin={self.margin:g} s; a job needs "
                "at least twice that"
            )
        if self.host is not None and self.interface is not None:
            raise InputError(f"slurm.host={self.host!r} and interface={self.interface!r} exclude each other")
        for name, value in (("directory", self.directory), ("scratch", self.scratch), ("python", self.python)):
            if value is not None and len(value.split()) != 1:
                raise InputError(f"slurm.{name}={value!r} has a space in it, which job scripts do not stand")
        cores, memory = self.processes * self.threads, self.processes * self.memory
        gpus = self.processes if self.gpu else 0
        check_request(Request(self.partition, self.walltime, cores, memory, gpus), partitions())
        try:
            slurm("sbatch", "--test-only", script=self.text())  # limits of users and accounts, directives
        except ClusterError as error:
            raise InputError(f"Slurm would refuse jobs with these options: {error}") from error

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        directory = os.path.abspath(self.directory)
        where = {"host": self.host} if self.host else {"interface": self.interface} if self.interface else {}
        return {
            **self._job(),
            "interface": self.interface,
            "scheduler_options": {**where, "dashboard_address": self.dashboard},
            "security": security,
            "shared_temp_directory": directory,
            "silence_logs": "error",
        }

    def _job(self) -> dict[str, Any]:
        """Keywords that describe a job, whatever its scheduler."""
        directory = os.path.abspath(self.directory)
        gres = [f"--gres=gpu:{self.processes}"] if self.gpu else []
        resources = ["--resources", "GPU=1"] if self.gpu else []
        variables = [f"export {name}={value}" for name, value in self.variables.items()]
        return {
            "job_name": JOB_NAME,
            "queue": self.partition,
            "account": self.account,
            "walltime": self.walltime,
            "cores": self.processes * self.threads,
            "processes": self.processes,
            "memory": f"{self.processes * self.memory} B",
            "job_extra_directives": [f"--output={directory}/{JOB_NAME}-%j.log", *gres, *self.directives],
            "job_script_prologue": [*variables, *self.prologue],
            "worker_extra_args": [
                *resources,
                *("--lifetime", f"{self.lifetime}s", "--lifetime-stagger", f"{self.margin / 4:g}s"),
                *("--dashboard-address", "127.0.0.1:0"),
            ],
            "python": self.python,
            "local_directory": self.scratch,
            "death_timeout": SECONDS_ALONE,
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
        """States of the jobs, reasons why some wait, and where logs are."""
        try:
            queue = slurm("squeue", "--me", "--noheader", f"--name={JOB_NAME}", "--format=%i %T (%r)").split("\n")
        except (ClusterError, InputError):
            queue = []
        jobs = "; ".join(line for line in queue if line) or "none"
        return f"; jobs: {jobs}; logs are in {os.path.abspath(self.directory)}"
