"""Advice against runs: twenty matrices whose orderings are known, twenty that no butterfly fits, and a large one.

Of the known ones, the orderings of advice are compared with the true ones, and the predicted error with the bound of
the certificate, for the chain that was advised. Hopeless are matrices of independent numbers, and known ones that were
shuffled or whose order was lost on one side. The large matrix lies in a Zarr array, in the page cache.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf

from . import harness

N, LARGE = 1024, 32768
NOISE = 1e-2


def waves(n: int, seed: int) -> tuple[NDArray[Any], dbf.Points]:
    """Helmholtz kernel between random points in two squares at a distance, in no order, with the points."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((n, 2)), rng.random((n, 2)) + np.array([2.0, 0.0])
    distances = np.linalg.norm(x[:, None] - y, axis=-1)
    return np.exp(0.2j * math.pi * math.sqrt(n) * distances) / distances, dbf.Points(x, y)


def named(pair: dbf.Orderings) -> str:
    """Text of orderings, as advice has it."""
    return ",".join("none" if side is None else str(side) for side in pair.sides.values())


def known_matrices(n: int = N) -> Iterator[tuple[str, Any, dbf.Points | None, set[str]]]:
    """Name, matrix, points, and the orderings that are right, of every known matrix."""
    known, same = dbf.matrices, dict[str, Any]()
    for seed in range(2):
        same[f"orthogonal {seed}"] = known.orthogonal_butterfly(n, seed=seed)
        same[f"gaussian {seed}"] = known.gaussian_butterfly(n, seed=seed)
        same[f"nudft {seed}"] = known.nudft(n, seed=seed)
    same |= {
        "dft": known.dft(n), "helmholtz": known.helmholtz(n), "fourier integral": known.fourier_integral(n),
        "hankel": known.hankel(n), "legendre": known.legendre(n), "dct2": known.dct2(n), "cauchy": known.cauchy(n),
    }  # fmt: skip
    for name, matrix in same.items():
        yield name, matrix, None, {"none,bitreversal" if name == "dct2" else named(matrix.orderings)}
    for name in ("dft", "orthogonal 0", "gaussian 0", "helmholtz"):
        yield f"{name}, noise", known.noisy(same[name], NOISE, seed=1), None, {named(same[name].orderings)}
    prime = kernel_on_segments(1009)
    yield "prime size", prime, None, {"bitreversal,none"}
    for seed in range(2):
        matrix, points = waves(n, seed)
        yield f"points {seed}", matrix, points, {"points,points"}


def kernel_on_segments(n: int) -> NDArray[np.complex128]:
    """Helmholtz kernel between n random points, in order, on each of two parallel segments."""
    x, y = np.sort(np.random.default_rng(0).random((2, n)), axis=1)
    distance = np.sqrt(1 + (x[:, None] - y) ** 2)
    found: NDArray[np.complex128] = np.exp(0.2j * math.pi * n * distance) / np.sqrt(distance)
    return found


def hopeless_matrices(n: int = N) -> Iterator[tuple[str, Any]]:
    """Name and matrix of every one that no butterfly of the usual orderings fits."""
    rng, known = np.random.default_rng(0), dbf.matrices
    for dtype in ("float32", "float64", "complex64", "complex128"):
        numbers = rng.standard_normal((2, n, n))
        yield f"gaussian numbers {dtype}", (numbers[0] + (1j * numbers[1] if "complex" in dtype else 0)).astype(dtype)
    yield "gaussian numbers 1009 x 777", rng.standard_normal((1009, 777))
    yield "signs", rng.choice([-1.0, 1.0], (n, n))
    yield "uniform numbers, centred", rng.random((n, n)) - 0.5
    yield "orthogonal", np.linalg.qr(rng.standard_normal((n, n)))[0]
    targets = {
        "dft": known.dft(n),
        "hadamard": known.hadamard(n),
        "orthogonal butterfly": known.orthogonal_butterfly(n, seed=0),
        "helmholtz": known.helmholtz(n),
        "nudft": known.nudft(n, seed=0),
        "hankel": known.hankel(n),
        "fourier integral": known.fourier_integral(n),
        "dct2": known.dct2(n),
    }
    for name, matrix in targets.items():
        yield f"{name}, shuffled", known.shuffled(matrix, seed=1)
    for name in ("dft", "nudft", "hankel", "dct2"):
        yield f"{name}, rows shuffled", np.asarray(targets[name])[rng.permutation(n)]


def advise_known(name: str, matrix: Any, points: dbf.Points | None, right: set[str]) -> dict[str, Any]:
    """Compare advice on a known matrix with its orderings, and with a run."""
    dense = np.asarray(matrix)
    started = time.process_time()
    advice = dbf.advise(dense, points=points)
    seconds = time.process_time() - started
    assert advice.best is not None
    arguments = {**advice.arguments(), "workers": 1, "check_fit": False}
    bound = dbf.factorize(dense, **arguments).certificate.error_bound
    rounding = 100 * float(np.finfo(dense.dtype).eps)
    return {
        "matrix": name,
        "orderings": advice.best.orderings,
        "right": advice.best.orderings in right,
        "rank": advice.best.rank,
        "times_smaller": advice.best.smaller,
        "predicted": advice.best.error,
        "bound": bound,
        "over_bound": max(advice.best.error, rounding) / max(bound, rounding),
        "seconds": seconds,
    }


def advise_hopeless(name: str, matrix: Any) -> dict[str, Any]:
    """Take advice on a matrix that nothing fits."""
    advice = dbf.advise(np.asarray(matrix))
    assert advice.best is not None
    return {"matrix": name, "named": not advice.fits, "least_error": min(row.error for row in advice.rows)}


def advise_large(directory: str) -> dict[str, Any]:
    """Advice on a large stored matrix: time, bytes, and what it says."""
    matrix = dbf.matrices.noisy(dbf.matrices.orthogonal_butterfly(LARGE, dtype="float32", seed=0), NOISE, seed=1)
    array = dbf.matrices.write(matrix, Path(directory) / "z.zarr")
    started, processor = time.perf_counter(), time.process_time()
    advice = dbf.advise(array)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    assert advice.best is not None
    return {
        "matrix": f"orthogonal, noise, n = {LARGE}, Zarr",
        "orderings": advice.best.orderings,
        "right": advice.best.orderings == named(matrix.orderings),
        "predicted": advice.best.error,
        "noise": NOISE,
        "mebibytes_read": advice.bytes_read / 2**20,
        "seconds": seconds,
        "processor_seconds": processor,
    }


def main() -> None:
    """Record all matrices."""
    rows = [advise_known(*known) for known in known_matrices()]
    rows += [advise_hopeless(*hopeless) for hopeless in hopeless_matrices()]
    with tempfile.TemporaryDirectory() as directory:
        rows.append(advise_large(directory))
    harness.record("advice", rows)
