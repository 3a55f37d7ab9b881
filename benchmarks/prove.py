"""Proofs: the ratio of error to lower bound from all cuts and its cost, and errors after converged sweeps beside peers.

The error after ``sweeps="converged"`` is compared with lazylinop (both orders, with and without orthonormalisation),
pyfaust (for rank one), and alternating least squares from 20 random starts, of which the best counts. Processor times
are those of one process with one thread; of the proof out of core, times are those that pass, on two threads.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.kernels.factors.sweeps import sweep

from . import harness

STARTS, SWEEPS = 20, 100
"""Random starts of alternating least squares, and most sweeps from each."""

MATRICES = 100
"""Matrices on which errors are compared."""


def main() -> None:
    """Record ratios and errors."""
    harness.record("prove", [*ratios(), out_of_core(), *comparisons()])


def ratios() -> Iterator[dict[str, Any]]:
    """Ratio after a proof, and what it costs beside the factorization."""
    for n in (64, 128, 256, 512):
        for name, known in butterflies(n).items():
            for noise in (1e-6, 1e-2, 0.1):
                matrix = np.asarray(dbf.matrices.noisy(known, noise, seed=1))
                yield {
                    "what": "ratio",
                    "target": name,
                    "n": n,
                    "rank": 1,
                    "noise": noise,
                    **proven(matrix, None, known),
                }
    for n in (256, 1024):
        for rank in (2, 3):
            known = dbf.matrices.helmholtz(n)
            chain = dbf.Chain.chainable((n, n), rank)
            yield {
                "what": "ratio",
                "target": "helmholtz",
                "n": n,
                "rank": rank,
                **proven(np.asarray(known), chain, known),
            }
    known = dbf.matrices.cauchy(256)
    chain = dbf.Chain.chainable((256, 256), 2)
    yield {"what": "ratio", "target": "cauchy", "n": 256, "rank": 2, **proven(np.asarray(known), chain, known)}
    noise_alone = np.random.default_rng(0).standard_normal((128, 128))
    yield {"what": "ratio", "target": "noise alone", "n": 128, "rank": 1, **proven(noise_alone, None, None)}


def out_of_core(n: int = 2048, memory: str = "400 MiB", budget: float = 150.0) -> dict[str, Any]:
    """Ratio after a proof of a stored run that memory does not hold once for every cut, on two threads."""
    known = dbf.matrices.gaussian_butterfly(n, seed=0, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        place, run = f"{folder}/z.zarr", f"{folder}/run.zarr"
        dbf.matrices.write(dbf.matrices.noisy(known, 0.1, seed=1), place, chunks=(256, 256))
        started = time.perf_counter()
        fact = dbf.factorize(place, store=run, passes=2, workers=2)
        plain = time.perf_counter() - started
        proof = dbf.prove(run, place, memory=memory, workers=2, budget=budget)
    record = proof.record["proof"]
    return {
        "what": "ratio",
        "target": "gaussian, out of core",
        "n": n,
        "rank": 1,
        "noise": 0.1,
        "error": proof.certificate.error_bound,
        "ratio_of_one_cut": fact.certificate.ratio,
        "ratio": proof.certificate.ratio,
        "ended": record["ended"],
        "steps": record["steps"],
        "factorize_seconds": plain,
        "proof_seconds": record["seconds"],
        "proof_over_factorize": record["seconds"] / plain,
    }


def butterflies(n: int) -> dict[str, dbf.matrices.KnownMatrix]:
    """Butterflies of rank one."""
    return {
        "orthogonal": dbf.matrices.orthogonal_butterfly(n, seed=0),
        "gaussian": dbf.matrices.gaussian_butterfly(n, seed=0),
        "dft": dbf.matrices.dft(n),
    }


def processor_seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result of a call, and processor time of the better of two."""
    times = []
    for _ in range(2):
        started = time.process_time()
        found = call()
        times.append(time.process_time() - started)
    return found, min(times)


def proven(matrix: NDArray[Any], chain: dbf.Chain | None, known: Any) -> dict[str, Any]:
    """Ratios before and after a proof, and processor times."""
    job: dict[str, Any] = {"chain": chain, "workers": 1, "orderings": None if known is None else known.orderings}
    _, plain = processor_seconds(lambda: dbf.factorize(matrix, **job))
    fact, swept = processor_seconds(lambda: dbf.factorize(matrix, sweeps="converged", **job))
    proof, seconds = processor_seconds(lambda: fact.prove(matrix, workers=1))
    return {
        "error": proof.certificate.error_bound,
        "ratio_of_one_cut": fact.certificate.ratio,
        "ratio": proof.certificate.ratio,
        "ended": proof.record["proof"]["ended"],
        "steps": proof.record["proof"]["steps"],
        "factorize_seconds": plain,
        "sweeps_seconds": swept - plain,
        "proof_seconds": seconds,
        "proof_over_factorize": seconds / plain,
    }


def comparisons() -> Iterator[dict[str, Any]]:
    """Error after converged sweeps, and those of others."""
    for number in range(MATRICES):
        name, matrix, chain = drawn(number)
        ours = dbf.factorize(matrix, chain, sweeps="converged", workers=1)
        error = float(np.linalg.norm(matrix - ours.operator @ np.eye(len(matrix))) / np.linalg.norm(matrix))
        others = {**peer_errors(matrix, chain), "random_starts": error_of_random_starts(matrix, chain)}
        yield {
            "what": "error",
            "number": number,
            "target": name,
            "rank": chain.rank,
            "sweeps": len(ours.record["sweeps"]) - 1,
            "error": error,
            **others,
            "over_best_other": error / min(others.values()),
        }


def drawn(number: int) -> tuple[str, NDArray[Any], dbf.Chain]:
    """Matrix of 16 x 16, or 32 x 32: butterflies with noise of four sizes, noise alone, and a kernel with noise."""
    n, rank = ((16, 1), (32, 1), (16, 2), (16, 3))[number % 4]
    kind, noise = number // 4 % 5, (0.01, 0.1, 0.3, 1.0)[number // 20 % 4]
    chain = dbf.Chain.chainable((n, n), rank)
    if kind == 0:
        return "noise alone", np.random.default_rng(number).standard_normal((n, n)), chain
    known = [
        dbf.matrices.gaussian_butterfly(chain, seed=number),
        dbf.matrices.orthogonal_butterfly(n, seed=number),
        dbf.matrices.hadamard(n),
        dbf.matrices.cauchy(n),
    ][kind - 1]
    rows, cols = known.orderings.permutations(known.chain)
    matrix = np.asarray(dbf.matrices.noisy(known, noise, seed=number))
    matrix = matrix if rows is None else matrix[rows]
    return f"{known!r}, noise {noise}", matrix if cols is None else matrix[:, cols], chain


def peer_errors(matrix: NDArray[Any], chain: dbf.Chain) -> dict[str, float]:
    """Least errors of lazylinop and, for the chain that it knows, of pyfaust."""
    norm = np.linalg.norm(matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lazylinop.butterfly import Chain, ksd
        from pyfaust.fact import butterfly

        theirs = Chain([tuple(pattern) for pattern in chain])
        found = [
            ksd(matrix, theirs, order=order, ortho=ortho).toarray()
            for order in ("l2r", "balanced")
            for ortho in (True, False)
        ]
        errors = {"lazylinop": min(float(np.linalg.norm(matrix - each) / norm) for each in found)}
        if chain == dbf.Chain.square_dyadic(len(matrix)):
            made = [butterfly(np.asfortranarray(matrix), type=each).toarray() for each in ("right", "left", "bbtree")]
            errors["pyfaust"] = min(float(np.linalg.norm(matrix - each) / norm) for each in made)
    return errors


def error_of_random_starts(matrix: NDArray[Any], chain: dbf.Chain) -> float:
    """Least error that alternating least squares comes to from random factors."""
    norm, tree, best = np.linalg.norm(matrix), dbf.factorize(matrix, chain).tree, np.inf
    for seed in range(STARTS):
        rng = np.random.default_rng(seed)
        factors = [rng.standard_normal((1, *pattern)) for pattern in chain]
        error = np.inf
        for _ in range(SWEEPS):
            swept = sweep(matrix[None], factors, chain, tree)
            before, error, factors = error, float(np.linalg.norm(matrix - swept.product[0]) / norm), swept.factors
            if error > (1 - 1e-9) * before:
                break
        best = min(best, error)
    return best


if __name__ == "__main__":
    main()
