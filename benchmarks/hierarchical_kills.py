"""``kill -9`` at random moments of runs in the hierarchical form: is the result the same to the bit?

A covariance of scattered points in Zarr is factorized by a process that is killed, and continued by another one; and on
two workers of a Dask cluster, one of which is killed. Moments are spread over the time that an undisturbed run takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

import dbutterfly as dbf

from . import harness

M = dbf.matrices

N = 8192
CHUNKS = (1024, 1024)
ASKED: dict[str, Any] = {"tol": 1e-3, "form": "hierarchical", "memory": "120 MiB"}
PROCESS, WORKER = "process", "worker of a cluster"
SECONDS = 600.0
"""Time after which something has gone wrong."""


def known(n: int) -> Any:
    """The matrix."""
    return M.covariance(n, dimension=2, points="random", length=0.2, dtype=np.float32, seed=1)


def factorize(path: str, store: str, n: int, **engine: Any) -> Any:
    """Factorize the stored matrix, or go on with that."""
    return dbf.factorize(path, store=store, points=known(n).points, **ASKED, **engine)


def is_same(left: Any, right: Any) -> bool:
    """Whether two results are equal to the bit."""
    pairs = list(zip(left.blocks, right.blocks, strict=False))
    values = [zip(one.ks_values, other.ks_values, strict=False) for one, other in pairs]
    return (
        [(block.rows, block.cols, len(block.ks_values)) for block in left.blocks]
        == [(block.rows, block.cols, len(block.ks_values)) for block in right.blocks]
        and all(np.array_equal(x, y) for each in values for x, y in each)
        and left.certificate == right.certificate
    )


def kill_process(path: str, store: str, n: int, moment: float, client: Client) -> Any:  # noqa: ARG001
    """Kill a process that factorizes, when some time has passed since it began with its panels, and go on."""
    command = [sys.executable, "-m", __spec__.name, path, store, str(n)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    time.sleep(moment)
    process.kill()
    process.wait(SECONDS)
    return factorize(path, store, n, workers=2)


def kill_worker(path: str, store: str, n: int, moment: float, client: Client) -> Any:
    """Kill a worker while a cluster factorizes."""
    victim = next(iter(client.run(os.getpid).values()))
    timer = threading.Timer(moment, os.kill, (victim, signal.SIGKILL))
    timer.start()
    try:
        return factorize(path, store, n, client=client)
    finally:
        timer.cancel()
        client.wait_for_workers(2, timeout=SECONDS)


def main(kills: int = 10, n: int = N, seed: int = 0) -> None:
    """Kill so many runs, and record what became of them."""
    chance, rows = np.random.default_rng(seed), []
    victims: dict[str, Callable[..., Any]] = {PROCESS: kill_process, WORKER: kill_worker}
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/z.zarr"
        M.write(known(n), path, chunks=CHUNKS)
        with LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
            factorize(path, f"{place}/first", n, workers=2)  # what is imported with the first call
            started = time.perf_counter()
            expected = factorize(path, f"{place}/whole", n, workers=2)
            whole = time.perf_counter() - started
            for number in range(kills):
                victim = list(victims)[number % len(victims)]
                moment = whole * float(chance.uniform(0.05, 0.95))
                found = victims[victim](path, f"{place}/run{number}", n, moment, client)
                stages = found.record["stages"].values()
                rows.append(
                    {
                        "victim": victim,
                        "n": n,
                        "moment": moment / whole,
                        "equal": is_same(found, expected),
                        "tasks": sum(stage["tasks"] + stage["resumed"] for stage in stages),
                        "resumed": sum(stage["resumed"] for stage in stages),
                        "bands": found.record["plan"]["copy"]["bands"],
                    }
                )
                print(rows[-1], flush=True)
    harness.record("hierarchical_kills", rows)


if __name__ == "__main__":
    print("begins", flush=True)
    factorize(sys.argv[1], sys.argv[2], int(sys.argv[3]), workers=2)
