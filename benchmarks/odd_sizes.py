"""Prime numbers of points, whose chains are longer than the matrix, against the next power of two.

The Helmholtz kernel between random points, in order, on two parallel segments, with ten points per wavelength, for a
tolerance of 1e-6, in memory, on one core. Every sample is a process, the two sizes in turn; processor times of the
sampling for the tolerance are in them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf

from . import harness

SIZES = ((1009, 1024), (4093, 4096), (16381, 16384))
TOL = 1e-6
LARGE = 8192
"""Size from which on there is one sample of one run: a matrix of 16384 has 4 GiB."""


def kernel(n: int) -> NDArray[np.complex128]:
    """Helmholtz kernel between n random points on each of two segments, both in order."""
    x, y = np.sort(np.random.default_rng(0).random((2, n)), axis=1)
    distance = np.sqrt(1 + (x[:, None] - y) ** 2)
    found: NDArray[np.complex128] = np.exp(0.2j * np.pi * n * distance)
    found /= np.sqrt(distance)
    return found


def one(n: int) -> dict[str, Any]:
    """Factorize one matrix in this process; the shortest time counts."""
    matrix = kernel(n)
    seconds, found = [], None
    for _ in range(3 if n < LARGE else 1):
        started = time.process_time()
        found = dbf.factorize(matrix, tol=TOL, orderings=("bitreversal", None), workers=1)
        seconds.append(time.process_time() - started)
    assert found is not None
    return {
        "n": n,
        "padded": found.chain.shape[0],
        "rank": found.chain.rank,
        "seconds": min(seconds),
        "times_smaller": found.compression,
        "bound": found.certificate.error_bound,
    }


def compare(prime: int, power: int) -> dict[str, Any]:
    """Compare two sizes."""
    pairs = [
        [harness.in_process("benchmarks.odd_sizes", str(n)) for n in (prime, power)]
        for _ in range(3 if power < LARGE else 1)
    ]
    ours, theirs = zip(*pairs, strict=True)
    faster = harness.ratios([sample["seconds"] for sample in ours], [sample["seconds"] for sample in theirs])
    return {
        "n": prime,
        "next": power,
        "padded": ours[0]["padded"],
        "rank": ours[0]["rank"],
        "bound": ours[0]["bound"],
        "times_smaller": ours[0]["times_smaller"],
        "next_times_smaller": theirs[0]["times_smaller"],
        "compression_over_next": ours[0]["times_smaller"] / theirs[0]["times_smaller"],
        "seconds": float(np.median([sample["seconds"] for sample in ours])),
        "time_per_entry_over_next": (power / prime) ** 2 * faster,
        "samples": pairs,
    }


def main() -> None:
    """Record all sizes."""
    harness.record("odd_sizes", [compare(*sizes) for sizes in SIZES])


if __name__ == "__main__":
    print(json.dumps(one(int(sys.argv[1]))))
