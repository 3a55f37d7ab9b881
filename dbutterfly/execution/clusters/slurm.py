"""Jobs of a Slurm cluster: what they ask for, and what Slurm says of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import ClusterError, InputError
from .jobs import JOB_NAME, Jobs
from .options import option, text
from .slurm_limits import Request, check_request, partitions, slurm

__all__ = ["Slurm"]


@dataclass(frozen=True, kw_only=True)
class Slurm(Jobs):
    """Workers in jobs of Slurm.

    Attributes
    ----------
    partition : str, optional
        Partition of the jobs; None for the default one.
    """

    name: ClassVar[str] = "slurm"
    class_name: ClassVar[str] = "SLURMCluster"
    extra: ClassVar[str | None] = "slurm"
    submits: ClassVar[str] = "sbatch"

    partition: str | None = option(text, optional=True)

    def check_jobs(self) -> None:
        """See whether Slurm can ever run such jobs.

        Raises
        ------
        InputError
            If it cannot.
        """
        gpus = self.processes if self.gpu else 0
        memory = self.processes * self.memory
        check_request(Request(self.partition, self.walltime, self.cores, memory, gpus), partitions())
        try:
            slurm("sbatch", "--test-only", script=self.text())  # limits of users and accounts, directives
        except ClusterError as error:
            raise InputError(f"Slurm would refuse jobs with these options: {error}") from error

    def request(self) -> dict[str, Any]:
        """See :meth:`Jobs.request`."""
        gres = [f"--gres=gpu:{self.processes}"] if self.gpu else []
        return {
            "queue": self.partition,
            "account": self.account,
            "walltime": self.walltime,
            "job_extra_directives": [f"--output={self.logs}/{JOB_NAME}-%j.log", *gres, *self.directives],
        }

    def complaint(self) -> str:
        """States of the jobs, reasons why some wait, and where logs are."""
        try:
            queue = slurm("squeue", "--me", "--noheader", f"--name={JOB_NAME}", "--format=%i %T (%r)").split("\n")
        except (ClusterError, InputError):
            queue = []
        jobs = "; ".join(line for line in queue if line) or "none"
        return f"; jobs: {jobs}{super().complaint()}"
