"""Limits of a Slurm cluster: its partitions, as ``sinfo`` describes them."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ClusterError, InputError
from .walltimes import parse_walltime

__all__ = ["Nodes", "Request", "check_request", "partitions", "slurm"]

SECONDS_FOR_SLURM = 60.0
"""Seconds within which a command of Slurm answers, if its controller can be reached.

Not tuned: Slurm's own commands wait ten seconds for a message by default, and try again.
"""


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike.

    Attributes
    ----------
    partition : str
        Name of the partition; that of the default partition ends with ``*``.
    seconds : float
        Longest time of a job.
    cores : int
        Cores of a node.
    memory : int
        Bytes of a node.
    gpus : int
        GPUs of a node.
    """

    partition: str
    seconds: float
    cores: int
    memory: int
    gpus: int


@dataclass(frozen=True)
class Request:
    """Request of one job.

    Attributes
    ----------
    partition : str, optional
        None for the default one.
    walltime : str
        Time of the job, as Slurm writes it.
    cores, memory, gpus : int
        Cores, bytes and GPUs of one node.
    """

    partition: str | None
    walltime: str
    cores: int
    memory: int
    gpus: int


def slurm(*command: str, script: str | None = None) -> str:
    """Output of a command of Slurm, which may be given a job script on its standard input.

    Raises
    ------
    InputError
        If the command is not installed here.
    ClusterError
        If the command fails.
    """
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=SECONDS_FOR_SLURM, check=True
        )
    except FileNotFoundError:
        raise InputError(
            f"cluster='slurm' needs the command {command[0]}, which is not here; run it where jobs are submitted"
        ) from None
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"{' '.join(command)} failed: {error.stderr.strip() or error.stdout.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(command)} has not answered for {SECONDS_FOR_SLURM:g} s") from error
    return done.stdout


def partitions() -> list[Nodes]:
    """Partitions of this cluster, one entry for nodes that are alike."""
    return [_nodes(line) for line in slurm("sinfo", "--noheader", "--format=%P|%l|%c|%m|%G").splitlines()]


def _nodes(line: str) -> Nodes:
    """Nodes of one line of ``sinfo``. Of nodes with different numbers (``8+``: at least 8) the least counts."""
    partition, limit, cores, megabytes, gres = line.split("|")
    return Nodes(
        partition,
        parse_walltime(limit) or math.inf,
        int(cores.rstrip("+")),
        int(megabytes.rstrip("+")) << 20,
        sum(int(number) for number in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres)),
    )


def check_request(request: Request, nodes: Sequence[Nodes]) -> None:
    """See whether a job can ever run.

    Raises
    ------
    InputError
        If the job can never run. The message names the option that asks for too much, and what there is.
    """
    names = sorted({node.partition.rstrip("*") for node in nodes})
    if request.partition is None:
        there = [node for node in nodes if node.partition.endswith("*")]
        if not there:
            raise InputError(f"slurm: there is no default partition; set the option partition to one of {names}")
    else:
        there = [node for node in nodes if node.partition.rstrip("*") == request.partition]
        if not there:
            raise InputError(f"slurm.partition={request.partition!r} is not here; there are {names}")
    where = f"partition {there[0].partition.rstrip('*')}"
    longest = max(node.seconds for node in there)
    seconds = parse_walltime(request.walltime)
    assert seconds is not None
    if seconds > longest:
        raise InputError(f"slurm.walltime={request.walltime!r} is longer than the {longest:g} s that {where} allows")
    for wish, most, option, unit in (
        (request.cores, max(node.cores for node in there), "threads times processes", "cores"),
        (request.memory, max(node.memory for node in there), "memory times processes", "bytes"),
        (request.gpus, max(node.gpus for node in there), "gpu times processes", "GPUs"),
    ):
        if wish > most:
            raise InputError(f"slurm: {option} asks for {wish} {unit}; a node of {where} has {most}")
    fits = any(n.cores >= request.cores and n.memory >= request.memory and n.gpus >= request.gpus for n in there)
    if not fits:
        raise InputError(f"slurm: no node of {where} has cores, memory and GPUs for one job at the same time")
