"""The job: a matrix in unknown order gives orderings in which it is butterfly, and a verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..execution.arguments import read_arguments
from ..execution.choose import check_backend, choose_engine
from ..execution.clusters import on_cluster
from ..execution.progress import ProgressBar
from ..planning.search import check_request
from ..sources.base import PaddedSource
from ..sources.dispatch import as_source
from ..sources.magnitude import bring_into_range
from ..sources.weighted import weigh
from ..structure.arguments import optional, read_choice, read_counts
from ..structure.chain import Chain, Cut
from ..structure.chain_names import chain_for
from ..structure.orderings import Orderings
from ..structure.padding import Paddings, place
from .confidence import features_of, rate_confidence
from .cuts import Index, cuts_of, from_standard, to_standard
from .portfolio import METHODS
from .residuals import Counts
from .result import IdentifiedOrderings, Trees
from .search import Known, MatrixSearch
from .unknown_sides import IDENTIFY, read_orderings
from .verdict import Solution, count_parameters, judge

__all__ = ["identify"]

CLEAR = 0.02
"""Part of the energy up to which the residual of a cut needs no comparison with a search for all cuts. Not tuned."""


@read_arguments(
    method=partial(read_choice, choices=tuple(METHODS)),
    levels=optional(read_counts),
    orderings=read_orderings,
)
@on_cluster
def identify(
    source: Any,
    chain: Any = None,
    *,
    method: str = "portfolio",
    levels: Sequence[int] | None = None,
    orderings: Any = (IDENTIFY, IDENTIFY),
    weights: Any = None,
    rank: int = 1,
    client: Any = None,
    cluster: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    budget: float | None = None,
    backend: str = "auto",
    decode: bool = True,
    progress: bool = False,
) -> IdentifiedOrderings:
    """Find orderings of rows and columns in which a matrix is butterfly.

    Parameters
    ----------
    source : as for :func:`dbutterfly.factorize`
        Matrix Z of shape (M, N). A small one, or one of higher rank that fits into memory, is read once; others are
        read panel by panel, in about twenty passes. Entry functions are evaluated in full in each.
    chain : Chain, list of patterns, lazylinop chain, or name, optional
        As for :func:`dbutterfly.factorize`: chain of which ``Z[rows][:, cols]`` should be a product; by default
        ``Chain.chainable((M, N), rank, balanced=rank > 1)``.
    method : {"portfolio", "middle", "pairing", "bisection", "alternating"}
        How to look: "middle" clusters rows and columns by turns at the middle cut and goes on inside its blocks;
        "pairing" builds trees from proportional pairs of columns, or rows; "bisection" cuts affinity graphs, for
        kernels of points that were shuffled; "portfolio" takes all of these, as far as they are needed, and repairs
        what they find. "alternating" is the method of the paper, every cut by itself. Where there are few trees, as of
        8 x 8 matrices, all methods but "bisection" and "alternating" compare all of them.
    levels : sequence of int, optional
        Cuts that count, each the number of factors to its left; by default all. One level of a dyadic chain is an
        ordering for a Monarch product.
    orderings : pair (rows, cols)
        Each side ``"identify"``, or what is known of it: None, ``"bitreversal"`` or an index array.
    weights : pair (rows, cols), optional
        As for :func:`dbutterfly.factorize`: positive numbers by which errors count. A matrix is butterfly in the same
        orderings with and without them. Where it is so but for noise, residuals, and what the search prefers, are those
        of ``D1 Z D2``; inverse noise levels keep noisy rows and columns from hiding the order of the others.
    rank : int
        Rank of the default chain.
    client : distributed.Client, optional
        Dask cluster whose workers make the attempts, or read the panels; by default threads of this process.
    cluster, workers
        As for :func:`dbutterfly.factorize`.
    memory : int or str, optional
        Bytes that a worker, and this process, may hold, such as ``"2 GiB"``. Attempts in memory hold about ten copies
        of the matrix each in single precision, bisection about thirty; the methods "portfolio", "middle" and "pairing"
        read a matrix panel by panel where that is too much, or where it is large and its blocks are of rank one, and
        hold O(N^1.5) numbers then.
    seed : int
        Of all random choices: the same seed gives the same orderings, whatever the number of workers.
    budget : float, optional
        Seconds after which no attempt is begun. By default the search ends when the matter is settled, or when thirty
        attempts have not found better.
    backend : {"auto", "numpy", "cupy"}
        Array library of the workers.
    decode : bool
        As for :func:`dbutterfly.factorize`.
    progress : bool
        Whether to show on stderr how many attempts, or panels, have ended. How many there will be is not known.

    Returns
    -------
    IdentifiedOrderings
        Orderings for :func:`dbutterfly.factorize`, the residual of each cut beside the noise floor, and whether they
        count as found, by tests with a level of one in a hundred. A matrix without such an order has ``found=False``;
        it is no error.

    Raises
    ------
    InputError
        If an argument cannot be used; ChainError for a chain that does not fit, NonFiniteError for NaN and infinities,
        SourceError for a matrix that cannot be read.
    MemoryBudgetError
        If ``memory`` is too small for the matrix.

    References
    ----------
    Zheng, Puy, Riccietti, Pérez and Gribonval, "Factorisation butterfly par identification algorithmique de blocs de
    rang un", GRETSI 2023, for the problem and the method "alternating".

    Examples
    --------
    >>> import numpy as np
    >>> import dbutterfly as dbf
    >>> z = dbf.matrices.noisy(dbf.matrices.shuffled(dbf.matrices.dft(64), seed=1), 0.1, seed=2)
    >>> found = dbf.identify(z)
    >>> found.found
    True
    >>> dbf.factorize(z, orderings=found).certificate.error_bound < 0.1
    True
    """
    started = time.perf_counter()
    check_backend(backend, client or cluster)
    if chain is not None and rank != 1:
        raise InputError(f"rank={rank} goes with the default chain; the chain given has its own rank")
    wrapped = weigh(as_source(source, decode=decode), weights)
    chain = chain_for(chain, wrapped.shape, rank)
    check_request(wrapped.info, chain, "balanced", 1)
    known, paddings = _known_sides(orderings, wrapped.shape, chain)
    wanted = range(1, len(chain)) if levels is None else sorted(set(levels))
    every = dict(zip(wanted, cuts_of(chain, levels), strict=True))
    # Blocks that may have full rank ask for nothing.
    asked = {level: cut for level, cut in every.items() if cut.degrees_of_freedom(chain.shape) < math.prod(chain.shape)}
    cuts = tuple(asked.values())
    wrapped = bring_into_range(wrapped, is_read=True)
    wrapped.check_reproducible()
    engine = choose_engine(client, workers, cluster)
    padded = wrapped if paddings == (None, None) else PaddedSource(wrapped, paddings)
    with ProgressBar(progress) as bar:
        bar.start("search", None, 0)
        search = MatrixSearch(padded, engine, method, memory, seed, budget, backend, bar)  # type: ignore[arg-type]  # read
        solution = _solve(search, known, asked, chain, all_count=levels is None)
        parameters = count_parameters(chain)
        left = search.measure(solution, cuts, _counts(paddings, chain.shape), parameters)
    verdict = judge(left, parameters)
    rows, cols = (
        order if padding is None else padding.rows(order)
        for order, padding in zip((solution.rows, solution.cols), paddings, strict=True)
    )
    return IdentifiedOrderings(
        to_standard(rows, chain),
        cols,
        found=verdict.found,
        confidence=rate_confidence(features_of(verdict, solution)),
        levels=tuple(asked),
        residuals=verdict.residuals,
        floors=verdict.floors,
        trees=Trees.of(rows, cols, cuts),
        method=method,
        attempts=solution.attempts,
        seconds=time.perf_counter() - started,
    )


def _solve(search: MatrixSearch, known: Known, asked: Mapping[int, Cut], chain: Chain, *, all_count: bool) -> Solution:
    """Find orders for the cuts that count, by themselves, or by way of all others where that leaves less."""
    solution = search.solve(known, tuple(asked.values()), chain if all_count else None)
    if all_count or solution.lost.max(initial=0) <= CLEAR or search.method == "alternating":
        return solution
    # Some cuts, such as the middle one of a Fourier matrix, are easier to find by way of the others.
    other = search.solve(known, cuts_of(chain), chain)
    attempts = solution.attempts + other.attempts
    counts = np.isin(np.arange(1, len(chain)), list(asked))
    if other.lost[counts].sum() < solution.lost.sum():
        return other._replace(lost=other.lost[counts], free=other.free[counts], attempts=attempts)
    return solution._replace(attempts=attempts)


def _known_sides(
    orderings: Any, shape: tuple[int, int], chain: Chain
) -> tuple[tuple[Index | None, Index | None], Paddings]:
    """Known orders in tree order, None where a side is to be found, and the gaps of both sides."""
    if isinstance(orderings, Orderings):
        orderings = (orderings.rows, orderings.cols)
    if isinstance(orderings, str) and orderings == IDENTIFY:
        orderings = (IDENTIFY, IDENTIFY)
    if not isinstance(orderings, Sequence) or isinstance(orderings, str) or len(orderings) != 2:
        raise InputError(
            f'orderings={orderings!r} is no pair (rows, cols); a side is "identify" or what is known of it'
        )
    wanted = [isinstance(side, str) and side == IDENTIFY for side in orderings]
    given = Orderings.from_any([None if want else side for want, side in zip(wanted, orderings, strict=True)])
    given.validate(shape, chain)
    placed = place(given, shape, chain)
    rows, cols = (
        _order_or_identity(side, size)
        for side, size in zip(placed.orderings.permutations(chain), chain.shape, strict=True)
    )
    row_padding, col_padding = (
        replace(padding, is_spread=False) if want and padding is not None else padding
        for want, padding in zip(wanted, placed.paddings, strict=True)
    )
    return (
        (None if wanted[0] else from_standard(rows, chain), None if wanted[1] else cols),
        (row_padding, col_padding),
    )


def _counts(paddings: Paddings, shape: tuple[int, int]) -> Counts:
    """For every position of both sides, whether it is no gap."""
    rows, cols = (
        np.ones(size, bool) if padding is None else padding.rows(np.arange(size)) >= 0
        for padding, size in zip(paddings, shape, strict=True)
    )
    return rows, cols


def _order_or_identity(side: Index | None, size: int) -> Index:
    return np.arange(size) if side is None else side
