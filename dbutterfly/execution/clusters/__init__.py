"""Clusters to run on: threads, processes of this machine, a scheduler that runs, jobs, Kubernetes, GPUs.

``choose("slurm", workers=16)`` gives a kind of cluster with all its options, from ``dbutterfly.yaml`` and Dask's
configuration. Its method ``text()`` shows what will be started. Functions that compute take the kind, or its name, as
``cluster=``. ``opened`` keeps a cluster for several calls.
"""

from .address import Address
from .choosing import choose
from .cuda import Cuda
from .kind import Kind
from .kubernetes import Kubernetes
from .local import Local
from .on_demand import OnDemand, for_cluster, on_cluster, opened
from .queues import Lsf, Pbs, Sge
from .slurm import Slurm
from .threads import Threads

__all__ = [
    "Address",
    "Cuda",
    "Kind",
    "Kubernetes",
    "Local",
    "Lsf",
    "OnDemand",
    "Pbs",
    "Sge",
    "Slurm",
    "Threads",
    "choose",
    "for_cluster",
    "on_cluster",
    "opened",
]
