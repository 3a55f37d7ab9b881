"""Entry functions of which a part is evaluated, two threads, 2 GiB: a Fourier matrix of 1 TiB and a Helmholtz kernel.

The error that is stated is compared with that of fresh random rows. A Helmholtz matrix of 4 GiB that is evaluated in
full, for a tolerance, shows how the factors grow.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.execution import resident_memory

from . import harness

MEMORY = "700 MiB"
FRESH_ROWS = 256
CASES = {
    "fourier": {"n": 1 << 18, "rank": 1},
    "helmholtz": {"n": 1 << 16, "rank": 4},
    "helmholtz, tol=1e-6, in full": {"n": 1 << 14, "tol": 1e-6},
}


class Fourier:
    """Entries ``exp(-2 pi i j k / n)``, from a table."""

    def __init__(self, n: int) -> None:
        self.table = np.exp(-2j * np.pi * np.arange(n) / n)

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Evaluate a block."""
        return self.table[rows[:, None] * cols % self.table.size]


def one(name: str) -> dict[str, Any]:
    """Factorize one case in this process."""
    case = dict(CASES[name])
    n = int(case.pop("n"))
    if name == "fourier":
        source, orderings = dbf.entries(Fourier(n), (n, n), "complex128", sampled=True), (None, "bitreversal")
    else:
        known = dbf.matrices.helmholtz(n)
        source, orderings = dbf.entries(known.f, (n, n), "complex128", sampled="rank" in case), ("bitreversal", None)
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        found = dbf.factorize(source, orderings=orderings, store=Path(directory) / "run", memory=MEMORY, **case)
        seconds, peak = time.perf_counter() - started, resident_memory.peak()
    fresh = dbf.verify(found, source, samples=FRESH_ROWS, seed=2**20)
    row = {
        "target": name,
        "n": n,
        "rank": found.chain.rank,
        "matrix_gib": n * n * 16 / 2**30,
        "seconds": seconds,
        "peak_gib": peak / 2**30,
        "stated_error": found.certificate.error_bound,
        "deviation": found.certificate.deviation,
        "error_of_fresh_rows": float(fresh),
        "times_smaller": found.compression,
    }
    if "evaluated" in found.record:
        entries = found.record["evaluated"]["entries"]
        row |= {"evaluated_over_r_n_1.5": entries / (found.chain.rank * n**1.5), **found.record["evaluated"]}
    return row


def main() -> None:
    """Run every case in a process of its own."""
    harness.record("sampled", [harness.in_process("benchmarks.sampled", name) for name in CASES])


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1])))
