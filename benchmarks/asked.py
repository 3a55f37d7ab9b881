"""What was asked, what came out, and what was said of it: tolerances 1e-4 and 1e-6, N = 4096, and each system's word.

The truth is the relative Frobenius error of 2048 columns of the dense matrix. lazylinop's ``ksd`` takes no tolerance:
it is given the chain, with its ranks, that the sampled run has taken, and the matrix in standard order. Figures of
ButterflyPACK (commit 6121a18, own driver on its block interface, errors of 128 rows) are cited: they were measured by
themselves, with its own orders of the same kernels.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf

from . import entries, harness

N = 4096
TOLERANCES = (1e-4, 1e-6)
COLUMNS = 512

TRUE_COLUMNS = 2048
"""Columns of which the truth is formed, at random: half of all."""

Index = NDArray[np.int64]


def interlaced_cauchy(n: int) -> entries.Block:
    """Entries ``1 / (x_i - y_j)`` of points in turn on one segment: near the diagonal, they are no butterfly."""

    def block(rows: Index, cols: Index) -> NDArray[np.float64]:
        found: NDArray[np.float64] = n / (rows[:, None] - cols - 0.5)
        return found

    return block


def one_circle(n: int) -> entries.Block:
    """Waves between points in turn on one unit circle, ten points per wavelength: no butterfly either."""

    def block(rows: Index, cols: Index) -> NDArray[np.complex128]:
        distance = 2 * np.abs(np.sin(np.pi * (rows[:, None] - cols - 0.5) / n))
        found: NDArray[np.complex128] = np.exp(1j * n / 10 * distance) / np.sqrt(distance)
        return found

    return block


KERNELS: dict[str, tuple[Callable[[int], entries.Block], str]] = {
    "helmholtz": (entries.helmholtz, "complex128"),
    "fourier integral": (entries.fourier_integral, "complex128"),
    "plates": (entries.plates, "complex128"),
    "fourier": (entries.fourier, "complex128"),
    "interlaced cauchy": (interlaced_cauchy, "float64"),
    "one circle": (one_circle, "complex128"),
}

BUTTERFLYPACK: dict[tuple[str, float], list[tuple[float, str]]] = {
    ("helmholtz", 1e-4): [(5.2e-5, "")],
    ("helmholtz", 1e-6): [(5.8e-7, "")],
    ("fourier integral", 1e-4): [(6.3e-5, "")],
    ("fourier integral", 1e-6): [(6.6e-7, "")],
    ("plates", 1e-4): [(2.1e-4, "")],
    ("interlaced cauchy", 1e-6): [(3.7e-2, "defaults"), (4.1e-3, "defaults, again"), (1.9e-6, "knn = 10")],
    ("one circle", 1e-6): [(1.9e-3, "defaults"), (3.4e-7, "knn = 10")],
}
"""Errors of its results by kernel and tolerance, with its options; it said nothing of any of them."""


def distance(dense: NDArray[Any], multiply: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """Relative Frobenius distance of a matrix from an operator, in columns at random."""
    missed = whole = 0.0
    for columns in np.split(np.random.default_rng(0).permutation(N)[:TRUE_COLUMNS], TRUE_COLUMNS // COLUMNS):
        some = np.zeros((N, COLUMNS), dense.dtype)
        some[columns, np.arange(COLUMNS)] = 1
        missed += float(np.linalg.norm(dense[:, columns] - multiply(some)) ** 2)
        whole += float(np.linalg.norm(dense[:, columns]) ** 2)
    return math.sqrt(missed / whole)


def ours(name: str, tol: float, dense: NDArray[Any], *, sampled: bool) -> tuple[dict[str, Any], Any]:
    """Row of a run of this package, and its result."""
    function, dtype = KERNELS[name]
    source = dbf.entries(function(N), (N, N), dtype, sampled=sampled)
    system = "dbutterfly, sampled" if sampled else "dbutterfly, in full"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.process_time()
        try:
            found = dbf.factorize(source, tol=tol, orderings=orderings_of(name), workers=1, check_fit=False)
        except dbf.errors.InputError as error:
            return {"system": system, "refused": str(error)}, None
        elapsed = time.process_time() - started
    told = found.certificate
    return {
        "system": system,
        "truth": distance(dense, found.operator.matmat),
        "told": told.error_bound,
        "deviation": told.deviation,
        "proven": told.proven,
        "warned": any(issubclass(each.category, dbf.errors.ToleranceWarning) for each in caught),
        "cpu_seconds": elapsed,
        "megabytes": found.nbytes / 1e6,
        "times_smaller": found.compression,
        "rank": found.chain.rank,
    }, found


def theirs(dense: NDArray[Any], found: Any) -> dict[str, Any]:
    """Row of lazylinop, for the chain of a result."""
    from lazylinop.butterfly import Chain, ksd

    rows, cols = found.orderings.permutations(found.chain)
    standard = dense[np.ix_(np.arange(N) if rows is None else rows, np.arange(N) if cols is None else cols)]
    started = time.process_time()
    operator = ksd(np.ascontiguousarray(standard), Chain([tuple(pattern) for pattern in found.chain]), order="l2r")
    elapsed = time.process_time() - started
    return {"system": "lazylinop, ksd", "truth": distance(standard, operator.__matmul__), "cpu_seconds": elapsed}


def orderings_of(name: str) -> tuple[str | None, str | None]:
    """Orderings in which a kernel is nearest to a butterfly."""
    return (None, "bitreversal") if name == "fourier" else ("bitreversal", None)


def ask(name: str, tol: float) -> Iterator[dict[str, Any]]:
    """Rows of all systems for one kernel and one tolerance."""
    function, _ = KERNELS[name]
    dense = np.ascontiguousarray(function(N)(np.arange(N), np.arange(N)))
    about = {"target": name, "n": N, "tol": tol}
    row, found = ours(name, tol, dense, sampled=True)
    yield about | row
    yield about | ours(name, tol, dense, sampled=False)[0]
    if found is not None:
        yield about | theirs(dense, found)
    for truth, options in BUTTERFLYPACK.get((name, tol), []):
        yield about | {"system": "ButterflyPACK", "options": options, "truth": truth, "cited": True}


def main() -> None:
    """Ask each question in a process of its own."""
    rows = []
    for name in KERNELS:
        for tol in TOLERANCES:
            rows += harness.in_process("benchmarks.asked", name, str(tol))["rows"]
            print(*rows[-4:], sep="\n", file=sys.stderr)
    harness.record("asked", rows)


if __name__ == "__main__":
    print(json.dumps({"rows": list(ask(sys.argv[1], float(sys.argv[2])))}))
