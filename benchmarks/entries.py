"""Entry functions to a tolerance, on one core: processor time, error, evaluations, and how honest the estimate is.

Kernels and tolerances are those for which figures of ButterflyPACK 4.1 are known (own driver on its block interface,
gfortran 12, one core of another machine, processor seconds). They are cited beside, not measured here. Hostile
functions, of which skeletons find a part only, show whether the truth lies within three stated deviations.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.execution import resident_memory
from dbutterfly.factorization.results.line_estimates import error_of_lines, lines_of
from dbutterfly.planning.nested_chains import nested_chain
from dbutterfly.sources.dispatch import as_source

from . import harness

SIZES = (4096, 16384, 65536)
FRESH_ROWS = 128

CITED: dict[str, dict[str, Any]] = {
    "helmholtz 4096 1e-06": {"seconds": 0.19, "share": 0.099, "megabytes": 5.0, "error": 5.8e-7},
    "helmholtz 16384 1e-06": {"seconds": 1.02, "share": 0.028, "megabytes": 23.9, "error": 5.9e-7},
    "helmholtz 65536 1e-06": {"seconds": 5.4, "share": 0.0079, "megabytes": 112, "error": 6.7e-7},
    "helmholtz 262144 1e-06": {"seconds": 22.6, "share": 0.0022, "megabytes": 512, "error": 6.9e-7},
    "helmholtz 4096 0.0001": {"seconds": 0.19, "share": 0.088, "megabytes": 3.9, "error": 5.2e-5},
    "fourier integral 4096 1e-06": {"seconds": 1.3, "share": 0.50, "megabytes": 48.9, "error": 6.6e-7},
    "fourier integral 16384 1e-06": {"seconds": 6.8, "share": 0.17, "megabytes": 246, "error": 7.0e-7},
    "plates 4096 0.0001": {"seconds": 0.98, "share": 0.31, "megabytes": 24.5, "error": 2.1e-4},
    "fourier integral 4096 0.0001": {"seconds": 0.95, "share": 0.38, "megabytes": 37.9, "error": 6.3e-5},
}
"""What ButterflyPACK takes, by kernel, size and tolerance: processor seconds, part of the entries, factors, error."""

HOSTILE = 200
SIDE_OF_HOSTILE = 512

Block = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]


def helmholtz(n: int) -> Block:
    """Waves between two unit segments at distance 1, ten points per wavelength."""

    def block(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.complex128]:
        distance = (rows[:, None] - cols) / n
        distance *= distance
        distance += 1
        np.sqrt(distance, out=distance)
        amplitude = 1 / np.sqrt(distance)
        distance *= 2 * np.pi * n / 10
        found = np.empty(distance.shape, np.complex128)
        np.multiply(np.cos(distance), amplitude, out=found.real)
        np.multiply(np.sin(distance), amplitude, out=found.imag)
        return found

    return block


def fourier_integral(n: int) -> Block:
    """Entries ``exp(2 pi i (x k + c(x) |k|))`` with ``c(x) = (2 + sin 2 pi x) / 8``, for -n/2 <= k < n/2."""

    def block(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.complex128]:
        x, k = rows / n, (cols - n // 2).astype(np.float64)
        phase = x[:, None] * k + (2 + np.sin(2 * np.pi * x))[:, None] / 8 * np.abs(k)
        phase -= np.rint(phase)
        phase *= 2 * np.pi
        found = np.empty(phase.shape, np.complex128)
        np.cos(phase, out=found.real)
        np.sin(phase, out=found.imag)
        return found

    return block


def plates(n: int) -> Block:
    """Waves between two parallel unit squares at distance 1, four points per wavelength, in Morton order."""
    side = math.isqrt(n)
    wavenumber = 2 * np.pi * side / 4

    def block(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.complex128]:
        (x, y), (u, v) = (unravel(at) for at in (rows, cols))
        squared = ((x[:, None] - u) / side) ** 2
        squared += ((y[:, None] - v) / side) ** 2
        squared += 1
        distance = np.sqrt(squared)
        found = np.empty(distance.shape, np.complex128)
        amplitude = 1 / distance
        distance *= wavenumber
        np.multiply(np.cos(distance), amplitude, out=found.real)
        np.multiply(np.sin(distance), amplitude, out=found.imag)
        return found

    return block


def unravel(at: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in a square grid of points in Morton order: the bits of a number are those of both in turn."""
    x, y = np.zeros(at.shape, np.int64), np.zeros(at.shape, np.int64)
    for bit in range(16):
        x |= (at >> 2 * bit + 1 & 1) << bit
        y |= (at >> 2 * bit & 1) << bit
    return x.astype(np.float64), y.astype(np.float64)


def fourier(n: int) -> Block:
    """Discrete Fourier transform, which is exact with rank one once its columns are bit-reversed."""

    def block(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.complex128]:
        phase = (rows[:, None] * cols % n) * (-2 * np.pi / n)
        found = np.empty(phase.shape, np.complex128)
        np.cos(phase, out=found.real)
        np.sin(phase, out=found.imag)
        return found

    return block


KERNELS = {"helmholtz": helmholtz, "fourier integral": fourier_integral, "plates": plates, "fourier": fourier}


def one(name: str, n: int, tol: float) -> dict[str, Any]:
    """Factorize one case on one thread of this process."""
    warm = dbf.entries(helmholtz(1024), (1024, 1024), "complex128", sampled=True)
    dbf.factorize(warm, tol=1e-3, orderings=("bitreversal", None), workers=1)  # imports and first calls
    f = KERNELS[name](n)
    source = dbf.entries(f, (n, n), "complex128", sampled=True)
    started = time.process_time()
    orderings = (None, "bitreversal") if name == "fourier" else ("bitreversal", None)
    found = dbf.factorize(source, tol=tol, orderings=orderings, workers=1)
    seconds, peak = time.process_time() - started, resident_memory.peak()
    fresh = dbf.verify(found, source, samples=FRESH_ROWS, seed=2**20)
    entries, rank = found.record["evaluated"]["entries"], found.chain.rank
    cited = {f"butterflypack_{key}": value for key, value in CITED.get(f"{name} {n} {tol:g}", {}).items()}
    return {
        "target": name,
        "n": n,
        "tol": tol,
        "cpu_seconds": seconds,
        "rank": rank,
        "entries": entries,
        "share": entries / n**2,
        "entries_over_r2_n_log_n": entries / (rank**2 * n * math.log2(n)),
        "megabytes": found.nbytes / 1e6,
        "stated_error": found.certificate.error_bound,
        "deviation": found.certificate.deviation,
        "error_of_fresh_rows": float(fresh),
        "peak_gib": peak / 2**30,
        **cited,
    }


def hostile(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Waves, and something that skeletons miss, in part or all of it."""
    n, size = SIDE_OF_HOSTILE, 10 ** rng.uniform(-4, 0)
    x = np.linspace(0, 1, n)
    distance = np.hypot(1, x[:, None] - x)
    matrix = np.cos(rng.uniform(50, 400) * distance) / np.sqrt(distance)
    if kind == "spikes":
        rows, cols = rng.integers(0, n, (2, int(rng.integers(100, 2000))))
        matrix[rows, cols] += 100 * size
    elif kind == "bad block":
        height = 2 ** int(rng.integers(4, 10))
        width = min(n, 16 * n // height)
        i, j = rng.integers(0, n // height) * height, rng.integers(0, n // width) * width
        matrix[i : i + height, j : j + width] += size * rng.standard_normal((height, width))
    elif kind == "discontinuity":
        matrix += size * np.sign(x[:, None] - rng.uniform(-2, 2) * x - rng.random())
    elif kind == "heavy tails":
        matrix += size / 100 * rng.standard_cauchy((n, n))
    elif kind == "zero almost everywhere":
        u, v = rng.random(2)
        bump = np.exp(-((x[:, None] - u) ** 2 + (x - v) ** 2) / 2 / rng.uniform(0.003, 0.1) ** 2)
        matrix = bump * np.cos(900 * x[:, None] * x)
    elif kind == "Nyquist":
        matrix += size * np.cos(np.pi * rng.random() * np.arange(n)[:, None] * np.arange(n))
    elif kind == "rows of unlike size":
        rows = np.exp(rng.uniform(0.5, 3) * rng.standard_normal(n))
        matrix += size / 10 * rng.standard_normal((n, n)) * rows[:, None]
    return matrix


KINDS = (
    "spikes",
    "bad block",
    "discontinuity",
    "heavy tails",
    "zero almost everywhere",
    "Nyquist",
    "rows of unlike size",
    "smooth",
)


def judge_estimates(count: int = HOSTILE) -> Iterator[dict[str, Any]]:
    """For each kind: functions, those of which the estimate cannot tell, those with the truth outside 3 deviations."""
    chain = nested_chain((SIDE_OF_HOSTILE, SIDE_OF_HOSTILE), 16, rank=6)
    for number, kind in enumerate(KINDS):
        outside, silent, worst = 0, 0, 1.0
        for seed in range(count // len(KINDS)):
            matrix = hostile(kind, np.random.default_rng([number, seed]))

            def block(rows: NDArray[np.int64], cols: NDArray[np.int64], matrix: Any = matrix) -> NDArray[Any]:
                return matrix[np.ix_(rows, cols)]

            source = dbf.entries(block, matrix.shape, "float64", sampled=True)
            found = dbf.factorize(source, chain, orderings=("bitreversal", None), workers=1, check_fit=False)
            stated = error_of_lines(lines_of(found), as_source(source), 0x5EED)
            truth = np.linalg.norm(matrix - found.operator.to_dense()) / np.linalg.norm(matrix)
            if math.isinf(stated.deviation):
                silent += 1
            else:
                outside += abs(stated - truth) > 3 * stated.deviation
                worst = max(worst, stated / truth, truth / stated)
        yield {
            "target": kind,
            "functions": count // len(KINDS),
            "cannot_tell": silent,
            "outside_of_three_deviations": int(outside),
            "largest_ratio_told": float(worst),
        }


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Run every case in a process of its own, and then the hostile functions in this one."""
    cases = [("helmholtz", n, 1e-6) for n in sizes]
    cases += [("helmholtz", 4096, 1e-4), ("fourier integral", 4096, 1e-6), ("fourier integral", 4096, 1e-4)]
    cases += [("fourier integral", 16384, 1e-6), ("plates", 4096, 1e-4), ("fourier", max(sizes), 1e-6)]
    rows = [harness.in_process("benchmarks.entries", *map(str, case)) for case in cases]
    harness.record("entries", rows)
    harness.record("estimates", list(judge_estimates()))


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
