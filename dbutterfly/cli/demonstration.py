"""The demonstration: a noisy Fourier matrix on disk, its factorization, and the time that a product saves."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DButterflyError
from ..factorization.factorize import factorize
from ..factorization.plan import plan
from ..factorization.results.estimates import VerifiedError
from ..factorization.results.factorization import Factorization
from ..factorization.verify import verify
from ..matrices import dft, noisy, write
from ..planning.sizes import format_bytes
from ..sources.base import MatrixSource
from ..sources.dispatch import as_source
from ..structure.orderings import BITREVERSAL

__all__ = ["Step", "demonstrate"]

REPEATS = 5
"""Products of which the median time is shown. Not tuned: few enough to be quick, enough to pass over one slow call."""


class Step(NamedTuple):
    """Results of one step of the demonstration, as text and as values for JSON."""

    text: str
    values: dict[str, Any]


def demonstrate(n: int, noise: float, directory: Path, *, progress: bool = False) -> Iterator[Step]:
    """Run the demonstration, step by step.

    Parameters
    ----------
    n : int
        Size of the discrete Fourier transform.
    noise : float
        Relative size of the noise in the Frobenius norm.
    directory : Path
        Place for ``z.zarr`` and ``run.zarr``.
    progress : bool
        Whether to show progress on stderr.

    Yields
    ------
    Step
        Five in all: matrix, plan, factorization, verified error, and the times of the two products.

    Raises
    ------
    StoreError
        If the directory already holds one of the two.
    """
    matrix = noisy(dft(n), noise, seed=0)
    array = write(matrix, directory / "z.zarr", progress=progress)
    size = format_bytes(math.prod(matrix.shape) * matrix.dtype.itemsize)
    yield Step(
        f"Fourier matrix of size {n}, {matrix.dtype.name}, with noise of relative size {noise:g}: {size} in Zarr "
        f"chunks of {array.chunks[0]} x {array.chunks[1]}\n",
        {"n": n, "noise": noise, "chunks": list(array.chunks)},
    )
    source, orderings = as_source(array), (None, BITREVERSAL)
    planned = plan(source, orderings=orderings)
    yield Step(f"{planned}\n", {"plan": planned.to_json()})
    started = time.perf_counter()
    found = factorize(
        source, orderings=orderings, memory=planned.budget.memory, store=directory / "run.zarr", progress=progress
    )
    assert isinstance(found, Factorization)
    yield _factorization_step(found, time.perf_counter() - started)
    verified = verify(found, source, progress=progress)
    assert isinstance(verified, VerifiedError)
    yield Step(f"verified      error {verified}", {"verified_error": float(verified)})
    yield _race_products(found, source)


def _factorization_step(found: Factorization, seconds: float) -> Step:
    certificate = {**found.certificate.to_json(), "ratio": found.certificate.ratio}
    return Step(
        f"factorized    in {seconds:.2f} s: {len(found.chain)} factors, {format_bytes(found.nbytes)}, "
        f"{found.compression:.1f} times smaller than the matrix\n"
        f"certificate   {found.certificate}",
        {"factorize_seconds": seconds, "compression": found.compression, "certificate": certificate},
    )


def _race_products(found: Factorization, source: MatrixSource) -> Step:
    """Multiply one vector by the factors and by the matrix, and compare times and products.

    The products differ by at most ``error_bound ||Z||_F ||x||``, as a spectral norm is at most the Frobenius norm.
    """
    everything = slice(None)
    dense, rng = source.read_block(everything, everything), np.random.default_rng(1)
    real, imaginary = rng.standard_normal((2, source.shape[1]))
    x = real + 1j * imaginary
    fast, fast_product = _time_product(lambda: found.operator @ x)
    slow, slow_product = _time_product(lambda: dense @ x)
    difference = float(np.linalg.norm(fast_product - slow_product))
    allowed = found.certificate.error_bound * found.certificate.norm * float(np.linalg.norm(x))
    if not difference <= allowed:
        raise DButterflyError(f"op @ x and Z @ x differ by {difference:.4g}; the certificate allows {allowed:.4g}")
    relative = difference / float(np.linalg.norm(slow_product))
    return Step(
        f"op @ x        {fast * 1e3:.3g} ms; Z @ x takes {slow * 1e3:.3g} ms, {slow / fast:.1f} times as long\n"
        f"products      differ by {relative:.4g} of their norm, as the certificate allows",
        {"operator_seconds": fast, "dense_seconds": slow, "product_difference": relative},
    )


def _time_product(product: Callable[[], NDArray[Any]]) -> tuple[float, NDArray[Any]]:
    """Median seconds of a product, and the product."""
    result, seconds = product(), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = product()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result
