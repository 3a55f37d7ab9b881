"""Ranks above one, against lazylinop's ``ksd``: errors on the same chains, and time on the Helmholtz kernel.

The peer runs with orthonormalisation, the variant with error guarantees (arXiv 2411.04506), in both of its orders; the
better error and the shorter time count. Its matrix is brought to the standard order before its clock starts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.matrices.known import draw_entropy
from dbutterfly.matrices.points import Geometry, PointSets, Spread, coordinates

from . import harness

ORDERS = ("l2r", "balanced")


def targets() -> Iterator[tuple[str, Any, Any]]:
    """Name, entries and orderings of every target of the table of errors."""
    matrices = dbf.matrices
    yield "gaussian 256", np.random.default_rng(0).standard_normal((256, 256)), None
    x, y = np.sort(np.random.default_rng(5).random((2, 256)), axis=1)
    yield "cauchy 256, random points", 1 / (x[:, None] - y), ("bitreversal", None)
    noisy = matrices.noisy(matrices.gaussian_butterfly(512, seed=1), 0.1, seed=2)
    for name, known in (
        ("cauchy 256, separated points", matrices.cauchy(256)),
        ("cauchy 256, interlaced points", matrices.cauchy(256, points="interlaced")),
        ("hankel 512", matrices.hankel(512)),
        ("gaussian butterfly 512 + noise 0.1", noisy),
        ("helmholtz 1024", matrices.helmholtz(1024)),
    ):
        interlaced = name.endswith("interlaced points")
        yield name, np.asarray(known), ("bitreversal", None) if interlaced else known.orderings


def peer(matrix: Any, chain: dbf.Chain, order: str) -> Any:
    """Factorize a matrix in standard order by lazylinop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lazylinop.butterfly import Chain, ksd

        return ksd(matrix, Chain([tuple(pattern) for pattern in chain]), order=order)


def standard(matrix: Any, chain: dbf.Chain, orderings: Any) -> Any:
    """Copy a matrix into the standard order of a chain."""
    rows, cols = dbf.Orderings.from_any(orderings).permutations(chain)
    matrix = matrix if rows is None else matrix[rows]
    return np.ascontiguousarray(matrix if cols is None else matrix[:, cols])


def error_of(matrix: Any, product: Any) -> float:
    """Relative error in the Frobenius norm."""
    return float(np.linalg.norm(matrix - product) / np.linalg.norm(matrix))


def errors(name: str, matrix: Any, orderings: Any, rank: int) -> dict[str, Any]:
    """Compare the errors on one target at one rank."""
    chain = dbf.Chain.chainable(matrix.shape, rank=rank)
    ordered = standard(matrix, chain, orderings)
    theirs = {order: error_of(ordered, peer(ordered, chain, order).toarray()) for order in ORDERS}
    row: dict[str, Any] = {"target": name, "rank": rank}
    row |= {f"lazylinop_{order}": error for order, error in theirs.items()}
    for passes in (1, 2):
        found = dbf.factorize(matrix, chain, orderings=orderings, passes=passes, workers=1)
        error = error_of(matrix, found.operator @ np.eye(matrix.shape[1], dtype=matrix.dtype))
        row[f"error_{passes}_read"] = error
        row[f"over_lazylinop_{passes}_read"] = error / min(theirs.values())
        row[f"bound_{passes}_read"] = found.certificate.error_bound
        row[f"lower_{passes}_read"] = found.certificate.lower_bound
    return row


def one(package: str, path: str, rank: int, repeats: int) -> dict[str, Any]:
    """Factorize the Helmholtz matrix of a file in this process; the shortest time counts."""
    matrix = np.load(path)
    chain = dbf.Chain.chainable(matrix.shape, rank=rank)
    orderings = ("bitreversal", None)
    seconds, found = [], None
    ordered = matrix if package == "dbutterfly" else standard(matrix, chain, orderings)
    for _ in range(repeats):
        started = time.process_time()
        if package == "dbutterfly":
            found = dbf.factorize(ordered, chain, orderings=orderings, workers=1)
        else:
            found = peer(ordered, chain, package)
        seconds.append(time.process_time() - started)
    operator: Any = found.operator if package == "dbutterfly" else found
    error = error_of(ordered, operator @ np.eye(matrix.shape[1], dtype=matrix.dtype))
    result = {"seconds": min(seconds), "error": error}
    if package == "dbutterfly":
        result["bound"] = found.certificate.error_bound
    return result


def speed(n: int, rank: int, directory: str, repeats: int = 3, samples: int = 3) -> dict[str, Any]:
    """Compare processor times on one core, every sample a process, taken in turn."""
    path = Path(directory) / "z.npy"
    np.save(path, np.asarray(dbf.matrices.helmholtz(n)))
    taken: dict[str, list[dict[str, Any]]] = {"dbutterfly": [], **{order: [] for order in ORDERS}}
    for _ in range(samples):
        for package, found in taken.items():
            found.append(harness.in_process("benchmarks.ranks", package, str(path), str(rank), str(repeats)))
    ours = [sample["seconds"] for sample in taken["dbutterfly"]]
    theirs = [min(pair) for pair in zip(*([s["seconds"] for s in taken[order]] for order in ORDERS), strict=True)]
    chain = dbf.Chain.chainable((n, n), rank=rank)
    return {
        "target": f"helmholtz {n}",
        "rank": rank,
        "seconds": float(np.median(ours)),
        "lazylinop_seconds": float(np.median(theirs)),
        "times_faster": harness.ratios(theirs, ours),
        "error": taken["dbutterfly"][0]["error"],
        "lazylinop_error": min(taken[order][0]["error"] for order in ORDERS),
        "bound": taken["dbutterfly"][0]["bound"],
        "times_smaller": n * n / chain.nnz,
        "samples": [taken],
    }


def points(n: int, rank: int = 5, seed: int = 0) -> dict[str, Any]:
    """Compare the order found from shuffled points in two squares with that of ``dbf.matrices``."""
    known = dbf.matrices.helmholtz(n, geometry="squares", points="random", seed=seed)
    places = [side.T for side in coordinates(PointSets(n, Geometry.SQUARES, Spread.RANDOM, draw_entropy(seed)))]
    rows, cols = np.random.default_rng(1).permuted(np.tile(np.arange(n), (2, 1)), axis=1)
    matrix = np.asarray(known)
    found = dbf.factorize(matrix[np.ix_(rows, cols)], rank=rank, points=(places[0][rows], places[1][cols]))
    own = dbf.factorize(matrix, found.chain, orderings=known.orderings)
    return {
        "target": f"helmholtz {n}, random points in squares, shuffled",
        "rank": rank,
        "bound": found.certificate.error_bound,
        "over_own_order": found.certificate.error_bound / own.certificate.error_bound,
        "times_smaller": found.compression,
    }


def main() -> None:
    """Record errors, then times."""
    rows = [points(n) for n in (1024, 4096)]
    rows += [errors(name, matrix, orderings, rank) for name, matrix, orderings in targets() for rank in (1, 2, 4)]
    with tempfile.TemporaryDirectory() as directory:
        rows += [speed(n, 6, directory) for n in (1024, 4096)]
    harness.record("ranks", rows)


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
