"""Products with an operator, one core: against pyfaust, lazylinop, scipy.fft and dense numpy, on the same operator.

Every size is a process of its own, held to one core and thread. All competitors take turns; a turn is a call that
warms the caches and then a burst of calls, whose mean processor time is one sample, so that what else runs on the
machine counts by its use of the caches only. Ratios are medians of the ratios of samples taken side by side.

lazylinop is ``KsmPermLazyLinOp``, with its own bit reversal, by its default backend ("xp") and by its SciPy backend. Of
pyfaust, the factors are SciPy's CSR matrices with the orderings folded in, as those of its own ``dft``, and the columns
are in the order that it wants. Our plain kernels, which are used until the compiled ones are there, are called beside
these.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.kernels.compilation import compile_now

from . import harness

SIZES = tuple(2**k for k in range(6, 17))
COLUMNS = 64
SAMPLES = 15
SECONDS = 0.02
"""Length of a burst: as many calls as fit, at least one."""


def fourier(n: int) -> dbf.ButterflyOperator:
    """Fourier transform of size n, from the radix-2 factors."""
    factors = []
    for a, _, _, d in dbf.Chain.square_dyadic(n):
        twiddles = np.exp(-1j * np.pi * np.arange(d) / d)
        butterfly = np.array([[np.ones(d), twiddles], [np.ones(d), -twiddles]])
        factors.append(np.ascontiguousarray(np.broadcast_to(butterfly, (a, 2, 2, d))))
    return dbf.ButterflyOperator(factors, (None, "bitreversal"))


def plain_product(operator: dbf.ButterflyOperator) -> Callable[[Any], Any]:
    """Product by the kernels that are used until the compiled ones are there."""
    from dbutterfly.kernels.products import packed

    orders = operator.orderings.permutations(operator.chain)
    ready = packed.pack(operator.ks_values, operator.dtype, *orders)
    return lambda x: packed.multiply(ready, x.reshape(x.shape[0], -1)).reshape(x.shape)


def peers(operator: dbf.ButterflyOperator) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Name and product of the same operator in every other package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyfaust
        from lazylinop.butterfly import KsmPermLazyLinOp
        from scipy import sparse

        faust = pyfaust.Faust([sparse.csr_matrix(factor) for factor in operator.to_scipy()])
        kept: dict[int, Any] = {}  # pyfaust wants columns in Fortran order, and would convert them in every call
        yield "pyfaust", lambda x: faust @ kept.setdefault(id(x), np.asfortranarray(x))
        for backend in ("xp", "scipy"):
            lazy = KsmPermLazyLinOp(list(operator.ks_values), ksm_args={"backend": backend, "params": None})
            yield f"lazylinop {backend}", lambda x, lazy=lazy: lazy @ x


def timed(calls: dict[str, Callable[[], Any]], samples: int = SAMPLES) -> dict[str, list[float]]:
    """Seconds of each call, in turn: every sample is the mean of a burst."""
    counts = {}
    for name, call in calls.items():
        call()
        started = time.process_time()
        call()
        counts[name] = max(1, int(SECONDS / (time.process_time() - started)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(samples):
        for name, call in calls.items():
            call()
            started = time.process_time()
            for _ in range(counts[name]):
                call()
            times[name].append((time.process_time() - started) / counts[name])
    return times


def random(shape: Any, dtype: str, seed: int = 0) -> Any:
    """Independent normal numbers."""
    real, imag = np.random.default_rng(seed).standard_normal((2, *np.atleast_1d(shape)))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def transform(n: int, columns: int) -> dict[str, Any]:
    """Compare products of the Fourier operator, with one vector (``columns`` 0) or several."""
    import scipy.fft

    operator = fourier(n)
    x = random((n, columns) if columns else n, "complex128")
    exact = scipy.fft.fft(x, axis=0)
    products: dict[str, Callable[[Any], Any]] = {"dbutterfly": lambda x: operator @ x, "plain": plain_product(operator)}
    products["adjoint"] = operator.H.dot
    products["scipy.fft"] = lambda x: scipy.fft.fft(x, axis=0)
    products |= dict(peers(operator))
    error = float(np.linalg.norm(products["dbutterfly"](x) - exact) / np.linalg.norm(exact))
    samples = SAMPLES if n * max(columns, 1) < 2**19 else 5
    times = timed({name: lambda product=product: product(x) for name, product in products.items()}, samples)
    ours = times["dbutterfly"]
    defaults = [min(pair) for pair in zip(times["lazylinop xp"], times["pyfaust"], strict=True)]
    row = {"target": "fourier", "dtype": "complex128", "n": n, "columns": columns or 1, "error": error}
    row |= {f"{name}_us": float(np.median(found) * 1e6) for name, found in times.items()}
    row["over_scipy.fft"] = harness.ratios(ours, times["scipy.fft"])
    row["plain_over_compiled"] = harness.ratios(times["plain"], ours)
    row["plain_times_faster_than_both"] = harness.ratios(defaults, times["plain"])
    for name in ("pyfaust", "lazylinop xp", "lazylinop scipy"):
        row[f"times_faster_than_{name}"] = harness.ratios(times[name], ours)
    row["times_faster_than_both"] = harness.ratios(defaults, ours)
    row["samples"] = [times]
    return row


def dense(n: int, columns: int) -> dict[str, Any]:
    """Compare products of a random float32 butterfly with those of its dense matrix."""
    chain = dbf.Chain.square_dyadic(n)
    factors = [random(pattern, "float32", seed) / np.float32(2) for seed, pattern in enumerate(chain)]
    operator = dbf.ButterflyOperator(factors)
    matrix = operator.to_dense()
    x = random((n, columns) if columns else n, "float32", 99)
    exact = matrix @ x
    error = float(np.linalg.norm(operator @ x - exact) / np.linalg.norm(exact))
    plain = plain_product(operator)
    times = timed({"dbutterfly": lambda: operator @ x, "plain": lambda: plain(x), "numpy": lambda: matrix @ x})
    row = {"target": "random butterfly", "dtype": "float32", "n": n, "columns": columns or 1, "error": error}
    row |= {f"{name}_us": float(np.median(found) * 1e6) for name, found in times.items()}
    row["times_faster_than_dense"] = harness.ratios(times["numpy"], times["dbutterfly"])
    row["samples"] = [times]
    return row


def prepare(n: int, _: int) -> dict[str, Any]:
    """Time of the first product of an operator that was just opened, over that of a further one; memory."""
    x = random(n, "complex128")
    first, further = [], []
    with tempfile.TemporaryDirectory() as directory:
        fourier(n).save(f"{directory}/operator.zarr")
        for _ in range(SAMPLES):
            operator = dbf.ButterflyOperator.load(f"{directory}/operator.zarr")
            started = time.process_time()
            operator @ x
            first.append(time.process_time() - started)
            further.append(timed({"again": lambda operator=operator: operator @ x}, samples=1)["again"][0])
    first, further = first[1:], further[1:]  # the first of a process also loads the compiled kernels
    memory = (operator.nbytes + operator.nbytes_prepared) / operator.nbytes
    extra = [one - other for one, other in zip(first, further, strict=True)]
    return {
        "target": "prepare",
        "dtype": "complex128",
        "n": n,
        "first_us": float(np.median(first) * 1e6),
        "further_us": float(np.median(further) * 1e6),
        "preparing_in_products": harness.ratios(extra, further),
        "memory_over_factors": memory,
        "samples": [{"first": first, "further": further}],
    }


CHAINS = {
    "dyadic": dbf.Chain.square_dyadic(256),
    "monarch": dbf.Chain.monarch((240, 252)),
    "mixed radices": dbf.Chain.chainable((210, 360)),
    "rectangular": dbf.Chain.chainable((512, 96)),
    "rank 5": dbf.Chain.chainable((256, 256), rank=5),
    "one pattern": dbf.Chain([(1, 70, 50, 1)]),
    "not chainable": dbf.Chain([(4, 2, 3, 1), (1, 2, 2, 6), (3, 2, 1, 2)]),
}


def accuracy() -> Iterator[dict[str, Any]]:
    """Largest relative errors of products over random chains of every kind, both kernels, one and many columns."""
    for dtype in ("float32", "float64", "complex64", "complex128"):
        worst = {"product": 0.0, "adjoint": 0.0}
        for chain in CHAINS.values():
            factors = [random(pattern, dtype, seed) / np.sqrt(pattern.c) for seed, pattern in enumerate(chain)]
            rng = np.random.default_rng(1)
            orderings = tuple(rng.permutation(side) for side in chain.shape)
            factors = [values.astype(dtype) for values in factors]
            operator = dbf.ButterflyOperator(factors, orderings)
            wide = np.result_type(dtype, np.float64)
            matrix = dbf.ButterflyOperator([values.astype(wide) for values in factors], orderings).to_dense()
            products = [operator.dot] + ([plain_product(operator)] if chain.shape[0] == chain.shape[1] else [])
            for columns in (1, 3, 40):
                x, y = random((chain.shape[1], columns), dtype, 5), random((chain.shape[0], columns), dtype, 6)
                exact = matrix @ x
                for product in products:
                    found = float(np.linalg.norm(product(x) - exact) / np.linalg.norm(exact))
                    worst["product"] = max(worst["product"], found)
                ax, ahy = (operator @ x).astype(wide), (operator.H @ y).astype(wide)
                gap = abs(np.vdot(ax, y) - np.vdot(x, ahy)) / (np.linalg.norm(ax) * np.linalg.norm(y))
                worst["adjoint"] = max(worst["adjoint"], float(gap))
        yield {"target": "accuracy", "dtype": dtype, "chains": len(CHAINS), **worst}


def main() -> None:
    """Run all comparisons and record them."""
    compile_now()
    rows = []
    jobs = [("transform", n, 0) for n in SIZES] + [("transform", n, COLUMNS) for n in SIZES[::2]]
    jobs += [("dense", n, 0) for n in (256, 512, 1024, 2048, 4096, 8192)] + [("dense", 4096, COLUMNS)]
    jobs += [("prepare", n, 0) for n in (1024, 4096, 16384, 65536)]
    for job in jobs:
        rows.append(harness.in_process("benchmarks.apply", *map(str, job)))
        print({key: value for key, value in rows[-1].items() if key != "samples"}, file=sys.stderr)
    rows += accuracy()
    harness.record("apply", rows)


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(
        json.dumps({"transform": transform, "dense": dense, "prepare": prepare}[sys.argv[1]](*map(int, sys.argv[2:])))
    )
