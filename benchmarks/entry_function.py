"""A matrix that is stored nowhere: N = 131072 float32 (64 GiB) from an entry function, two workers of 2 GiB each.

The entries are those of a Hadamard matrix with a tenth of noise that a hash of the position gives.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import dbutterfly as dbf

from . import harness

ROWS = 128


def hadamard(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
    """Signs by the parity of common bits, and noise of relative size 0.1 by a multiplicative hash."""
    block = np.empty((rows.size, cols.size), np.float32)
    right = cols.astype(np.uint32)
    salt = right * np.uint32(2654435761)
    for first in range(0, rows.size, ROWS):
        left = rows[first : first + ROWS, None].astype(np.uint32)
        sign = np.bitwise_count(left & right) & np.uint8(1)
        noise = (left * np.uint32(2246822519) ^ salt) * np.uint32(3266489917)
        part = block[first : first + ROWS]
        np.multiply(noise, np.float32(0.2 * 3**0.5 / 2**32), out=part)
        part += np.float32(1 - 0.1 * 3**0.5)
        part -= 2 * sign
    return block


def main(n: int = 131072) -> None:
    """Factorize once, and look at what the workers held."""
    source = dbf.entries(hadamard, (n, n), "float32")
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        before = client.run(os.getpid)
        planned = dbf.plan(source, client=client)
        started = time.perf_counter()
        found = dbf.factorize(source, client=client, store=Path(directory) / "run")
        seconds = time.perf_counter() - started
        restarts = sum(client.run(os.getpid).get(address) != pid for address, pid in before.items())
    stages: dict[str, Any] = found.record["stages"]
    row = {
        "n": n,
        "gib": planned.source_bytes / 2**30,
        "seconds": seconds,
        "gib_per_s": planned.source_bytes / 2**30 / seconds,
        "tiles": planned.tasks["tiles"],
        "predicted_peak_mib": planned.peak_bytes / 2**20,
        "peak_beyond_idle_mib": max(stage["peak_beyond_idle"] for stage in stages.values()) / 2**20,
        "peak_mib": max(stage["peak_bytes"] for stage in stages.values()) / 2**20,
        "restarts": restarts,
        "error_bound": found.certificate.error_bound,
        "lower_bound": found.certificate.lower_bound,
    }
    harness.record("entry_function", [row])
