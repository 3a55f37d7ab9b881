"""A real Slurm cluster on this machine: controller, one node and munge, with their own ports, keys and directories.

The node has more processors than the machine, and two GPUs that are none: jobs are started, signalled, requeued and
cancelled as anywhere else, and see the devices that Slurm gives them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.dask_processes import Process, start_process
from tests.support.patience import PATIENCE, wait_until
from tests.support.s3_server import free_ports

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch")
CPUS, MEGABYTES = 16, 96_000

CONFIGURATION = """
ClusterName=dbutterfly
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=3
MinJobAge=3600
MessageTimeout=100
ReturnToService=2
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=2-00:00:00 State=UP
PartitionName=gpu Nodes={host} MaxTime=1-00:00:00 State=UP
"""

GPUS = "Name=gpu File=/dev/zero\nName=gpu File=/dev/full\n"
"""Device files that every machine has."""


def why_not() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmd starts jobs as root only"
    return None


@dataclass(frozen=True)
class SlurmNode:
    """The running cluster.

    Attributes
    ----------
    directory : Path
        Configuration, logs and state.
    """

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the commands of Slurm find it."""
        return {"SLURM_CONF": str(self.directory / "slurm.conf")}

    def run(self, *command: object, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
        """Output of a command."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def jobs(self, name: str) -> list[tuple[int, str]]:
        """Numbers and states of the jobs of a name that are in the queue, the first submitted first."""
        lines = self.run("squeue", "--noheader", f"--name={name}", "--sort=i", "--format=%i %T").split("\n")
        return [(int(number), state) for number, state in map(str.split, filter(None, lines))]

    def state(self, job: int) -> dict[str, str]:
        """What Slurm knows of a job."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job)
        return dict(part.split("=", 1) for part in shown.split() if "=" in part)

    def wait_for_end(self, job: int) -> str:
        """State in which a job ends."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return wait_until(lambda: (found := self.state(job)["JobState"]) in ended and found, f"job {job} ends")


def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition that asks Slurm, which takes a process each time: not too often."""

    def after_a_moment() -> Any:
        time.sleep(0.2)
        return condition()

    return wait_until(after_a_moment, what)


@contextmanager
def slurm_node(directory: Path) -> Iterator[SlurmNode]:
    """Start Slurm, and stop all of it with the block."""
    for name in ("state", "spool"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    key = directory / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    controller, daemon = free_ports(2)
    values = {"host": socket.gethostname().split(".")[0], "user": "root", "cpus": CPUS, "megabytes": MEGABYTES}
    text = CONFIGURATION.format(directory=directory, controller=controller, daemon=daemon, **values)
    (directory / "slurm.conf").write_text(text)
    (directory / "gres.conf").write_text(GPUS)
    (directory / "cgroup.conf").write_text("CgroupAutomount=no\n")
    node = SlurmNode(directory)
    started: list[Process] = []
    try:
        socket_file = directory / "munge.socket"
        started.append(_daemon(node, "munged", "--foreground", "--force", f"--socket={socket_file}",
                               f"--key-file={key}", f"--pid-file={directory}/munged.pid",
                               f"--seed-file={directory}/munge.seed", f"--log-file={directory}/munge.log"))  # fmt: skip
        wait_until(socket_file.exists, "munged listens")
        started += [_daemon(node, "slurmctld", "-D"), _daemon(node, "slurmd", "-D")]
        wait_until(lambda: _is_idle(node), "the node is idle")
        yield node
    finally:
        _stop(node, started)


def _daemon(node: SlurmNode, *command: str) -> Process:
    program = shutil.which(command[0])
    assert program is not None
    return start_process([program, *command[1:]], node.directory / f"{command[0]}.out", environment=node.environment)


def _is_idle(node: SlurmNode) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"],
        env={**os.environ, **node.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return "idle" in done.stdout


def _stop(node: SlurmNode, started: Sequence[Process]) -> None:
    """Cancel all jobs, wait for them to be gone, and kill the daemons."""
    with suppress(AssertionError, subprocess.TimeoutExpired):
        node.run("scancel", "--user=root")
        eventually(lambda: not node.run("squeue", "--noheader"), "all jobs are gone")
    for process in reversed(started):
        process.kill()
