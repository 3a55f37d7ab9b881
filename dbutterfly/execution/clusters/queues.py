"""Jobs of PBS, Grid Engine (SGE) and LSF: what they ask for.

The code is that of Slurm's jobs. The scripts are compared with what these managers document; there is none of them on
which jobs were run.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import InputError
from .jobs import JOB_NAME, Jobs
from .options import option, text
from .walltimes import clock

__all__ = ["Lsf", "Pbs", "Sge"]


@dataclass(frozen=True, kw_only=True)
class Queue(Jobs):
    """Workers in jobs of a manager that has queues.

    Attributes
    ----------
    queue : str, optional
        Queue of the jobs; None for the default one.
    resource : str, optional
        What a job asks for, in the words of the manager: of PBS and Grid Engine in place of what follows from threads,
        memory and gpu, of LSF besides.
    """

    queue: str | None = option(text, optional=True)
    resource: str | None = option(text, optional=True)

    def check(self) -> None:
        """See :meth:`Jobs.check`; a job must have a longest time."""
        if math.isinf(self.seconds):
            raise InputError(f"{self.name}.walltime={self.walltime!r} is no time; use HOURS:MINUTES:SECONDS")
        super().check()

    @property
    @abstractmethod
    def asks(self) -> str:
        """Command that shows the jobs of this user."""

    @property
    def megabytes(self) -> int:
        """Memory of a job, in units of 2^20 bytes."""
        return math.ceil(self.processes * self.memory / 2**20)

    @property
    def time(self) -> str:
        """Longest time of a job, as most managers write it."""
        return "{:02d}:{:02d}:{:02d}".format(*clock(self.seconds))

    def complaint(self) -> str:
        """Command that shows the jobs, and where logs are."""
        return f"; see {self.asks}{super().complaint()}"


@dataclass(frozen=True, kw_only=True)
class Pbs(Queue):
    """Workers in jobs of PBS Professional or OpenPBS; of Torque, with ``resource="nodes=1:ppn=8,mem=32gb"``."""

    name: ClassVar[str] = "pbs"
    class_name: ClassVar[str] = "PBSCluster"
    submits: ClassVar[str] = "qsub"

    @property
    def asks(self) -> str:
        """See :attr:`Queue.asks`."""
        return "qstat -u $USER"

    def request(self) -> dict[str, Any]:
        """See :meth:`Jobs.request`."""
        gpus = f":ngpus={self.processes}" if self.gpu else ""
        return {
            "queue": self.queue,
            "account": self.account,
            "walltime": self.time,
            "resource_spec": self.resource or f"select=1:ncpus={self.cores}{gpus}:mem={self.megabytes}mb",
            "job_extra_directives": ["-j oe", f"-o {self.logs}/", *self.directives],
        }


@dataclass(frozen=True, kw_only=True)
class Sge(Queue):
    """Workers in jobs of Grid Engine (SGE, Univa, Altair).

    Attributes
    ----------
    environment : str
        Parallel environment in which a job gets several cores of one host.
    """

    name: ClassVar[str] = "sge"
    class_name: ClassVar[str] = "SGECluster"
    submits: ClassVar[str] = "qsub"

    environment: str = option(text)

    @property
    def asks(self) -> str:
        """See :attr:`Queue.asks`."""
        return "qstat"

    def check_jobs(self) -> None:
        """See :meth:`Jobs.check_jobs`; what GPUs are called differs from one Grid Engine to the next."""
        if self.gpu and self.resource is None:
            raise InputError(
                "sge.gpu=True: each Grid Engine decides what a GPU is called, and whether cores count it; say it, "
                "and the memory, by the option resource, such as mem_free=4G,gpu=1"
            )
        super().check_jobs()

    def request(self) -> dict[str, Any]:
        """See :meth:`Jobs.request`. Memory is asked for by core, as Grid Engine counts it."""
        cores = [f"-pe {self.environment} {self.cores}"] if self.cores > 1 else []
        return {
            "queue": self.queue,
            "project": self.account,
            "walltime": self.time,
            "resource_spec": self.resource or f"mem_free={math.ceil(self.megabytes / self.cores)}M",
            "job_extra_directives": [*cores, f"-o {self.logs}/", *self.directives],
        }


@dataclass(frozen=True, kw_only=True)
class Lsf(Queue):
    """Workers in jobs of IBM Spectrum LSF.

    Attributes
    ----------
    units : str, optional
        Unit of memory of the cluster (``LSF_UNIT_FOR_LIMITS``), such as ``"mb"``; by default as its configuration says.
    """

    name: ClassVar[str] = "lsf"
    class_name: ClassVar[str] = "LSFCluster"
    submits: ClassVar[str] = "bsub"

    units: str | None = option(text, optional=True)

    @property
    def asks(self) -> str:
        """See :attr:`Queue.asks`."""
        return f"bjobs -J {JOB_NAME}"

    def request(self) -> dict[str, Any]:
        """See :meth:`Jobs.request`. LSF counts time in minutes, and finds the cores of a job on one host."""
        gpus = [f'-gpu "num={self.processes}"'] if self.gpu else []
        asked = [f'-R "{self.resource}"'] if self.resource else []
        hours, minutes, _ = clock(60 * math.ceil(self.seconds / 60))
        return {
            "queue": self.queue,
            "project": self.account,
            "walltime": f"{hours}:{minutes:02d}",
            "lsf_units": self.units,
            "job_extra_directives": [f"-o {self.logs}/{JOB_NAME}-%J.log", *gpus, *asked, *self.directives],
        }
