"""Advice on how to factorize a matrix, from a few of its blocks, before any run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...errors import InputError, MemoryBudgetError
from ...execution.arguments import read_arguments
from ...execution.choose import choose_engine
from ...kernels.backend.blas import single_threaded_blas
from ...planning.budget import Budget
from ...planning.fit import FitSampler
from ...planning.fitting_chains import find_fitting_chains, leaves_noise, rounding_of
from ...planning.other_forms import find_other_forms
from ...planning.search import make_plan
from ...planning.sizes import format_bytes
from ...sources.base import MatrixSource
from ...sources.dispatch import as_source
from ...sources.magnitude import bring_into_range
from ...sources.weighted import weigh
from ...sources.windows import open_window
from ...structure.points import Points
from ..results.verdict import USELESS
from .pairs import OrderingPair, list_pairs
from .result import Advice, AdviceRow

__all__ = ["READ", "advise", "advise_on"]

LOOKED_AT = 64
"""Entries that are looked at for the scale of the matrix, within what may be read."""

READ = 64 << 20
"""Bytes of a matrix that advice reads, unless more are allowed. Not tuned: some tenths of a second from a disk."""

GOOD = 1e-3
"""Error below which a row is not better for being lower, where no tolerance was asked for. Not tuned."""

WEIGHT = 2
"""Power of the number of values by which the error must fall for a higher rank, where no tolerance was asked for. Not
tuned: of noise, the error falls by less than any power, of a butterfly kernel by far more."""

BANDWIDTH = 1e9
"""Bytes per second that the storage is taken to give."""


@read_arguments()
def advise(
    source: Any,
    *,
    points: Any = None,
    weights: Any = None,
    tol: float | None = None,
    read: int | str = READ,
    seed: int = 0,
    workers: int | None = None,
    decode: bool = True,
) -> Advice:
    """Advise how to factorize a matrix, from some of its blocks.

    For each pair of orderings (standard or bit-reversed rows, standard or bit-reversed columns, or points where they
    are given) and each rank, the error of the smallest chain is predicted, in seconds and before any run. Beside it
    stands what else would hold the matrix: low rank, sparse storage, or constant diagonals.

    Parameters
    ----------
    source : array_like, memmap, zarr.Array, dask.array.Array, Entries, LinearOperator, sparse matrix, str or path
        Matrix Z of shape (M, N), as for :func:`dbutterfly.factorize`.
    points : Points or pair (rows, cols), optional
        Coordinates of the points to which rows and columns belong, as for :func:`dbutterfly.factorize`.
    weights : pair (rows, cols), optional
        Weights of rows and columns, as for :func:`dbutterfly.factorize`: errors are those of the weighted matrix.
    tol : float, optional
        Relative Frobenius error to reach with few values; by default, a compromise is taken.
    read : int or str
        Bytes of the matrix that may be read, such as ``"256 MiB"``. Of a matrix in chunks, whole ones are read; of an
        operator, columns count that are multiplied out.
    seed : int
        Seed of the choice of blocks: the same advice is given each time.
    workers : int, optional
        Threads for which the times of runs are predicted, by default as many as there are cores.
    decode : bool
        As for :func:`dbutterfly.factorize`.

    Returns
    -------
    Advice
        ``print(advice)`` shows the table, ``advice.best`` is the row to take, and
        ``factorize(source, **advice.arguments())`` does what it says.

    Raises
    ------
    InputError
        If an argument cannot be used, or a chunk has more bytes than may be read; NaN or infinite entries that are met
        raise its subclass NonFiniteError.

    Notes
    -----
    Errors are predicted from the singular values of sampled blocks of up to five cuts of each chain
    (:mod:`dbutterfly.planning.fit`). They are no bounds: the certificate of the run has the last word. For a tolerance,
    ``factorize`` searches further and may find a smaller chain.

    Examples
    --------
    >>> import dbutterfly as dbf
    >>> advice = dbf.advise(dbf.matrices.dft(256))
    >>> advice.best.orderings, advice.best.rank, advice.best.smaller
    ('none,bitreversal', 1, 16.0)
    >>> dbf.factorize(dbf.matrices.dft(256), **advice.arguments()).certificate.error_bound < 1e-14
    True
    """
    budget = choose_engine(None, workers).budget(None)
    matrix = weigh(as_source(source, decode=decode), weights)
    if points is not None:
        points.validate(matrix.shape)
    if read >= LOOKED_AT * matrix.dtype.itemsize:  # type: ignore[operator]
        matrix = bring_into_range(matrix, is_read=True)
    found = advise_on(matrix, points, tol, budget, read=read, seed=seed)  # type: ignore[arg-type]
    return replace(found, weights=weights)


def advise_on(
    source: MatrixSource,
    points: Points | None,
    tol: float | None,
    budget: Budget,
    *,
    read: int = READ,
    seed: int = 0,
) -> Advice:
    """Advise on a matrix that is open; see :func:`advise`."""
    started = time.perf_counter()
    if points is not None:
        points.validate(source.shape)
    window = open_window(source, read, np.random.default_rng(seed))
    if window is None:
        least = int(np.prod([int(np.max(np.diff(edges))) for edges in source.edges if edges is not None]))
        raise InputError(
            f"read={format_bytes(read)} is less than a chunk of {source.name}; allow "
            f"{least * source.dtype.itemsize} bytes at least"
        )
    sampler, pairs = FitSampler(window, seed), list_pairs(points)
    merit = partial(_merit, tol=tol, entries=math.prod(source.shape), rounding=rounding_of(sampler))
    with single_threaded_blas():
        others = find_other_forms(window, GOOD if tol is None else tol, seed)
        rows = list(_take_turns([_rows(sampler, pair, budget) for pair in pairs]))
    if not sampler.blocks and not window.has_room(1 << 20, 64):
        raise InputError(f"read={format_bytes(read)} is too little to judge {source.name}; allow {format_bytes(READ)}")
    best = min(rows, key=merit, default=None)
    return Advice(
        name=source.name,
        shape=source.shape,
        dtype=source.info.work_dtype,
        rows=tuple(_best_pair_first(rows, merit)),
        best=best,
        fits=best is not None and is_worth_it(best, math.prod(source.shape)),
        others=tuple(others),
        tol=tol,
        bytes_read=window.bytes_read,
        bytes_allowed=read,
        blocks=sampler.blocks,
        seconds=time.perf_counter() - started,
        pairs=tuple(pairs),
    )


def _take_turns(ways: list[Iterator[AdviceRow]]) -> Iterator[AdviceRow]:
    """Rows of all pairs, rank by rank: where no more may be read, the higher ranks of all of them are missing."""
    while ways:
        found = [(way, next(way, None)) for way in ways]
        yield from (row for _, row in found if row is not None)
        ways = [way for way, row in found if row is not None]


def _rows(sampler: FitSampler, pair: OrderingPair, budget: Budget) -> Iterator[AdviceRow]:
    """Rows of a pair of orderings, by ascending rank."""
    source = sampler.window.source
    itemsize = np.dtype(source.info.work_dtype).itemsize
    for chain, error in find_fitting_chains(sampler, pair.orderings):
        try:
            ordered = pair.orderings.for_chain(chain)
            plan = make_plan(source.info, chain, orderings=ordered, budget=budget, can_copy=True)
            seconds = plan.seconds(BANDWIDTH)
        except MemoryBudgetError:
            seconds = math.nan
        smaller = math.prod(source.shape) / chain.nnz
        yield AdviceRow(
            pair.rows, pair.cols, chain.rank, error, chain.nnz, smaller, chain.nnz * itemsize, seconds, chain
        )


def _merit(row: AdviceRow, tol: float | None, entries: int, rounding: float) -> tuple[bool, float, float]:
    """What is least for the best row: useless ones come last, and of two alike, the first pair is taken."""
    error = max(row.error, rounding)
    if tol is None:
        return not is_worth_it(row, entries), max(error, GOOD) * row.values**WEIGHT, error
    return error > tol, row.values if error <= tol else error, error


def _best_pair_first(rows: list[AdviceRow], merit: Callable[[AdviceRow], Any]) -> list[AdviceRow]:
    """Rows pair by pair, in the order of the best row of each."""
    of_pair = {row.orderings: [each for each in rows if each.orderings == row.orderings] for row in rows}
    ordered = sorted(of_pair.values(), key=lambda own: min(map(merit, own)))
    return [row for own in ordered for row in own]


def is_worth_it(row: AdviceRow, entries: int) -> bool:
    """Whether a row tells more of a matrix than it leaves out, and more than of noise."""
    return row.error <= USELESS and not leaves_noise(row.error, row.values, entries)
