"""The chain that a tolerance finds, beside the smallest one of an exhaustive search.

Ten kernels of 256 x 256, two tolerances. The search goes through all chains whose digits are powers of two, that is all
leaves and radices, and low rank, with every cut at the least rank that its blocks allow for the tolerance (less is
impossible, whatever the factors) and up to :data:`MORE` above: those with fewer values than the chain that was found,
fewest first, each factorized, until one reaches the tolerance.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf

from . import harness

N = 256
TOLERANCES = (1e-2, 1e-4)
MORE = 2
"""Ranks above the least one of each cut that are tried."""

Cut: TypeAlias = tuple[int, int]
"""Rows of a row group and number of column groups."""


def kernels() -> Iterator[tuple[str, NDArray[Any], dbf.Orderings]]:
    """Name, entries and orderings of the kernels."""
    known = dbf.matrices
    found = {
        "helmholtz, segments": known.helmholtz(N),
        "helmholtz, circles": known.helmholtz(N, geometry="circles"),
        "helmholtz, squares": known.helmholtz(N, geometry="squares", points="random", seed=0),
        "nudft": known.nudft(N, seed=0),
        "fourier integral": known.fourier_integral(N),
        "hankel": known.hankel(N),
        "legendre": known.legendre(N),
        "cauchy, interlaced": known.cauchy(N, points="interlaced"),
        "dct2": known.dct2(N),
    }
    for name, matrix in found.items():
        yield name, np.asarray(matrix), matrix.orderings
    wave = found["helmholtz, segments"]
    yield "helmholtz, segments, real part", np.asarray(wave).real.copy(), wave.orderings


def tails(matrix: NDArray[Any], orderings: dbf.Orderings, cut: Cut) -> NDArray[np.float64]:
    """Relative error that the blocks of a cut leave at best, by rank from 0 on."""
    chain = dbf.Chain.monarch(matrix.shape, *cut)
    rows, cols = orderings.permutations(dbf.Chain.square_dyadic(N))
    ordered = matrix if rows is None else matrix[rows]
    ordered = ordered if cols is None else ordered[:, cols]
    p, u, q, v, _ = chain.cut(1)[0]
    blocks = ordered.reshape(p, u, q, v).transpose(1, 2, 0, 3)
    squares = (np.linalg.svd(blocks, compute_uv=False) ** 2).sum(axis=(0, 1))
    left = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    errors: NDArray[np.float64] = np.sqrt(left / left[0])
    return errors


def digits(count: int) -> list[tuple[int, ...]]:
    """All ways to make so many digits, powers of two, of a side."""
    levels = N.bit_length() - 1
    splits = itertools.combinations(range(1, levels), count - 1)
    return [tuple(2 ** (b - a) for a, b in itertools.pairwise((0, *split, levels))) for split in splits]


def candidates(least: dict[Cut, int], below: int) -> list[tuple[int, dbf.Chain]]:
    """All chains of fewer values than ``below``, by their number of values."""
    found = []
    for count in range(2, N.bit_length()):
        for m, n in itertools.product(digits(count), repeat=2):
            cuts = list(zip(itertools.accumulate(m, int.__mul__), itertools.accumulate(n, int.__mul__), strict=True))
            lowest = [least[cut] for cut in cuts[:-1]]
            if dbf.Chain.of_digits(m, n, lowest).nnz >= below:
                continue
            for more in itertools.product(range(MORE + 1), repeat=len(lowest)):
                chain = dbf.Chain.of_digits(m, n, [rank + up for rank, up in zip(lowest, more, strict=True)])
                if chain.nnz < below:
                    found.append((chain.nnz, chain))
    for rank in range(least[N, 1], least[N, 1] + MORE + 1):
        chain = dbf.Chain.of_digits((N, 1), (1, N), [rank])
        if chain.nnz < below:
            found.append((chain.nnz, chain))
    return sorted(found, key=lambda pair: (pair[0], pair[1].patterns))


def compare(name: str, matrix: NDArray[Any], orderings: dbf.Orderings, tol: float) -> dict[str, Any]:
    """Search for the smallest chain for one kernel and tolerance."""
    started = time.process_time()
    ours = dbf.factorize(matrix, tol=tol, orderings=orderings, workers=1)
    seconds = time.process_time() - started
    powers = [2**level for level in range(1, N.bit_length() - 1)]
    cuts = [*itertools.product(powers, powers), (N, 1)]
    errors = {cut: tails(matrix, orderings, cut) for cut in cuts}
    least = {cut: max(1, int(np.argmax(of_cut <= tol))) for cut, of_cut in errors.items()}
    tried = candidates(least, ours.chain.nnz)
    best, count = ours.chain, len(tried)
    for number, (_, chain) in enumerate(tried):
        found = dbf.factorize(matrix, chain, orderings=orderings, workers=1)
        if found.certificate.error_bound <= tol:
            best, count = chain, number + 1
            break
    return {
        "kernel": name,
        "tol": tol,
        "values": ours.chain.nnz,
        "ranks": list(ours.chain.ranks or ()),
        "bound": ours.certificate.error_bound,
        "smallest": best.nnz,
        "smallest_chain": [list(pattern) for pattern in best],
        "ratio": ours.chain.nnz / best.nnz,
        "tried": count,
        "seconds": seconds,
    }


def main() -> None:
    """Record all kernels."""
    rows = [compare(*kernel, tol) for kernel in kernels() for tol in TOLERANCES]
    harness.record("smallest_chain", rows)
