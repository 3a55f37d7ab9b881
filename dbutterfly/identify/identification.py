"""The job: a matrix in unknown order gives orderings in which it is butterfly, and a verdict."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chain import Chain
from ..clusters import Threads, on_cluster
from ..engine import Engine, choose_engine, parse_memory
from ..errors import InputError, MemoryBudgetError, NonFiniteError
from ..kernels.backend import BACKENDS, resolve_backend
from ..kernels.blocks import low_rank_grid
from ..orderings import Orderings
from ..plan import STACK_BYTES
from ..sources import MatrixSource, as_source
from .alternating import alternating_run, balanced_means, best_partitions, fuse, runs_of
from .attempts import Outcome, Problem
from .calls import calls_on
from .cuts import Cut, Index, cuts_of, from_standard, to_standard, transposed
from .portfolio import METHODS, search_trees
from .result import IdentifiedOrderings, Trees
from .verdict import judged

__all__ = ["IDENTIFY", "identify", "is_unknown"]

IDENTIFY = "identify"
"""In place of an ordering: that it is to be found."""

DOUBLE_ENTRIES = 1 << 18
"""Entries up to which a search computes in double precision."""
EXACT_IN_DOUBLE, EXACT_IN_SINGLE = 1e-12, 3e-6
"""Parts of the energy below which a residual counts as none while searching."""
EXACT_ENTRIES = 1 << 20
"""Entries up to which residuals are computed anew, without cancellation."""
FLAT = 2.0
"""Fourth moment of the entries below which they count as of equal modulus."""
CLEAR = 0.02
"""Part of the energy up to which what one cut leaves needs no comparison with other searches."""
COPIES = 4
"""Matrices, as computed, that an attempt holds at its peak: the matrix, arranged, moved, and products with it."""


@on_cluster
def identify(
    source: Any,
    chain: Any = None,
    *,
    method: str = "portfolio",
    levels: Sequence[int] | None = None,
    orderings: Any = (IDENTIFY, IDENTIFY),
    rank: int = 1,
    client: Any = None,
    cluster: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    budget: float | None = None,
    backend: str = "auto",
) -> IdentifiedOrderings:
    """Find orderings of rows and columns in which a matrix is butterfly.

    Parameters
    ----------
    source : as for :func:`dbutterfly.factorize`
        Matrix Z of shape (M, N); it is read once. Entry functions are evaluated in full.
    chain : Chain, list of patterns, or lazylinop chain, optional
        Chain of which ``Z[rows][:, cols]`` should be a product; by default ``Chain.chainable((M, N), rank)``.
    method : {"portfolio", "middle", "pairing", "bisection", "alternating"}
        How to look: "middle" clusters rows and columns by turns at the middle cut and goes on inside its blocks;
        "pairing" builds trees from proportional pairs of columns, or rows; "bisection" cuts affinity graphs, for
        kernels of points that were shuffled; "portfolio" takes all of these, as far as they are needed, and repairs
        what they find. "alternating" is the method of the paper, every cut by itself.
    levels : sequence of int, optional
        Cuts that count, each the number of factors to its left; by default all. One level of a dyadic chain is an
        ordering for a Monarch product.
    orderings : pair (rows, cols)
        Each side ``"identify"``, or what is known of it: None, ``"bitreversal"`` or an index array.
    rank : int
        Rank of the default chain.
    client : distributed.Client, optional
        Dask cluster whose workers make the attempts; by default threads of this process.
    cluster, workers
        As for :func:`dbutterfly.factorize`.
    memory : int or str, optional
        Bytes that a worker may hold, such as ``"2 GiB"``; each attempt holds about four copies of the matrix.
    seed : int
        Of all random choices: the same seed gives the same orderings, whatever the number of workers.
    budget : float, optional
        Seconds after which no attempt is begun. By default the search ends when the matter is settled, or when thirty
        attempts have not found better.
    backend : {"auto", "numpy", "cupy"}
        Array library of the workers.

    Returns
    -------
    IdentifiedOrderings
        Orderings for :func:`dbutterfly.factorize`, the residual of each cut beside the noise floor, and whether they
        count as found. A matrix without such an order has ``found=False``; it is no error.

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
    _check(method, seed, budget, backend, client or cluster)
    wrapped = as_source(source)
    chain = Chain.chainable(wrapped.shape, rank) if chain is None else _given(chain, rank)
    if chain.shape != wrapped.shape:
        raise InputError(f"chain={chain!r} has shape {chain.shape}, but the matrix {wrapped.shape}")
    known = _known_sides(orderings, chain)
    wanted = range(1, len(chain)) if levels is None else sorted(set(levels))
    every = dict(zip(wanted, cuts_of(chain, levels), strict=True))
    # Blocks that may have full rank ask for nothing.
    asked = {level: cut for level, cut in every.items() if cut.degrees_of_freedom(chain.shape) < math.prod(chain.shape)}
    cuts = tuple(asked.values())
    engine = choose_engine(client, workers, cluster)
    _check_memory(wrapped, engine, memory)
    matrix = _read(wrapped)
    if not cuts or all(side is not None for side in known):
        rows, cols = (_or_identity(side, size) for side, size in zip(known, chain.shape, strict=True))
        lost, attempts = None, 0
    elif method == "alternating":
        rows, cols, lost, attempts = _alternated(matrix, known, cuts, engine, seed)
    else:
        problem = Problem(cuts, chain if levels is None else None, backend=backend)
        best, attempts = _searched(matrix, known, problem, engine, method, seed, budget)
        if levels is not None and float(best.lost.max()) > CLEAR * _energy(matrix):
            # Some cuts, such as the middle one of a Fourier matrix, are easier to find by way of the others.
            whole = Problem(cuts_of(chain), chain, backend=backend)
            other, more = _searched(matrix, known, whole, engine, method, seed, budget)
            attempts += more
            counts = np.isin(np.arange(1, len(chain)), list(asked))
            if other.lost[counts].sum() < best.lost.sum():
                best = other._replace(lost=other.lost[counts])
        rows, cols, lost = best.rows, best.cols, best.lost
    energy = _energy(matrix)
    if lost is None or matrix.size <= EXACT_ENTRIES:
        lost = _exact_losses(matrix, rows, cols, cuts)
    rounding = 2e-3 if matrix.size > EXACT_ENTRIES else 64 * float(np.finfo(matrix.dtype).eps)
    verdict = judged(lost, energy, cuts, chain.shape, rounding)
    return IdentifiedOrderings(
        to_standard(rows, chain),
        cols,
        found=verdict.found,
        confidence=verdict.confidence,
        levels=tuple(asked),
        residuals=verdict.residuals,
        floors=verdict.floors,
        trees=Trees.of(rows, cols, cuts),
        method=method,
        attempts=attempts,
        seconds=time.perf_counter() - started,
    )


def is_unknown(orderings: Any) -> bool:
    """Whether orderings are to be found, of one side or both."""
    sides = (orderings,) if isinstance(orderings, str) or not isinstance(orderings, Sequence) else orderings
    return any(isinstance(side, str) and side == IDENTIFY for side in sides)


def _check(method: str, seed: Any, budget: Any, backend: str, elsewhere: Any) -> None:
    if method not in METHODS:
        raise InputError(f"method={method!r} is unknown; use one of {', '.join(map(repr, METHODS))}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed={seed!r} is no seed; use an integer from 0 on")
    if budget is not None and not (isinstance(budget, (int, float)) and budget > 0):
        raise InputError(f"budget={budget!r} is no time; use a positive number of seconds, or None")
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; use one of {BACKENDS}")
    if elsewhere is None or isinstance(elsewhere, Threads):
        resolve_backend(backend)


def _given(chain: Any, rank: int) -> Chain:
    if rank != 1:
        raise InputError(f"rank={rank} goes with the default chain; the chain given has its own rank")
    return Chain.from_any(chain)


def _known_sides(orderings: Any, chain: Chain) -> tuple[Index | None, Index | None]:
    """Known orders in tree order, None where a side is to be found."""
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
    given.validate(chain.shape)
    rows, cols = (_or_identity(side, size) for side, size in zip(given.permutations(chain), chain.shape, strict=True))
    return None if wanted[0] else from_standard(rows, chain), None if wanted[1] else cols


def _or_identity(side: Index | None, size: int) -> Index:
    return np.arange(size) if side is None else side


def _check_memory(source: MatrixSource, engine: Engine, memory: int | str | None) -> None:
    """Refuse a matrix that a worker cannot hold, before anything is read."""
    given = engine.budget(parse_memory(memory)).memory
    entries = source.shape[0] * source.shape[1]
    size = np.dtype(source.info.work_dtype).itemsize
    needed = entries * COPIES * (size if entries <= DOUBLE_ENTRIES else min(size, 8))
    if needed > given:
        raise MemoryBudgetError(
            f"{source.name}: an attempt at the orderings of a matrix of {source.shape[0]} x {source.shape[1]} holds "
            f"{needed} bytes, and a worker may hold {given}; give memory={needed} or more"
        )


def _read(source: MatrixSource) -> NDArray[Any]:
    """The whole matrix, in the dtype in which it is computed."""
    shape = source.shape
    matrix = np.asarray(source.read_block(slice(0, shape[0]), slice(0, shape[1])))
    matrix = matrix.astype(source.info.work_dtype, copy=False)
    if not np.isfinite(matrix).all():
        row, col = np.argwhere(~np.isfinite(matrix))[0].tolist()
        raise NonFiniteError.at(source.name, (row, col))
    return matrix


def _searched(
    matrix: NDArray[Any],
    known: tuple[Index | None, Index | None],
    problem: Problem,
    engine: Engine,
    method: str,
    seed: int,
    budget: float | None,
) -> tuple[Outcome, int]:
    """Search; a matrix whose rows are known is transposed first, so that what is known are always the columns."""
    rows, cols = known
    if rows is not None:
        turned = dataclasses.replace(problem, cuts=transposed(problem.cuts), chain=None)
        found, attempts = _searched(matrix.T, (None, rows), turned, engine, method, seed, budget)
        return found._replace(rows=found.cols, cols=found.rows, lost=found.lost[::-1]), attempts
    order = np.arange(matrix.shape[1]) if cols is None else cols
    working = _scaled(matrix[:, order])
    energy = _energy(working)
    single = np.finfo(working.dtype).eps > EXACT_IN_DOUBLE
    with calls_on(engine, working) as calls:
        found, attempts = search_trees(
            calls,
            dataclasses.replace(problem, cols_known=cols is not None),
            working.shape,
            energy,
            method=method,
            seed=seed,
            budget=budget,
            exact=EXACT_IN_SINGLE if single else EXACT_IN_DOUBLE,
            flat=_flatness(working) < FLAT,
        )
    scale = _energy(matrix) / energy if energy > 0 else 1.0
    return found._replace(cols=order[found.cols], lost=found.lost * scale), attempts


def _alternated(
    matrix: NDArray[Any], known: tuple[Index | None, Index | None], cuts: tuple[Cut, ...], engine: Engine, seed: int
) -> tuple[Index, Index, NDArray[np.float64] | None, int]:
    """Orders from the partitions of the cuts, each found by itself; the given ones where these are no trees."""
    if any(side is not None for side in known):
        raise InputError('method="alternating" finds both sides; use another method where one is known')
    balanced_means()  # refuses, before long work, where the package is missing
    runs = runs_of(cuts, seed)
    with calls_on(engine, _scaled(matrix)) as calls:
        partitions = best_partitions(runs, calls.in_order(alternating_run, runs))
    fused = fuse(partitions, cuts)
    rows, cols = (_or_identity(side, size) for side, size in zip((fused.rows, fused.cols), matrix.shape, strict=True))
    return rows, cols, None, len(runs)


def _scaled(matrix: NDArray[Any]) -> NDArray[Any]:
    """Copy with a largest part of one, in double precision where it is small and in single where it is large."""
    is_complex = matrix.dtype.kind == "c"
    largest = max(float(np.abs(part).max()) for part in ((matrix.real, matrix.imag) if is_complex else (matrix,)))
    double = matrix.size <= DOUBLE_ENTRIES
    dtype: Any = (np.complex64, np.float32, np.complex128, np.float64)[2 * double + (not is_complex)]
    return np.ascontiguousarray(matrix / matrix.dtype.type(largest or 1.0), dtype=dtype)


def _flatness(matrix: NDArray[Any]) -> float:
    """``E |z|^4 / (E |z|^2)^2``: 1 for entries of equal modulus, 2 or 3 for Gaussian ones, more for heavy tails."""
    squares = np.abs(matrix) ** 2
    mean = float(squares.mean(dtype=np.float64))
    return float((squares * squares).mean(dtype=np.float64)) / (mean * mean) if mean > 0 else 1.0


def _energy(matrix: NDArray[Any]) -> float:
    return float(np.linalg.norm(matrix.astype(np.complex128 if matrix.dtype.kind == "c" else np.float64)) ** 2)


def _exact_losses(matrix: NDArray[Any], rows: Index, cols: Index, cuts: Sequence[Cut]) -> NDArray[np.float64]:
    """Energies that the blocks of the cuts leave, formed without cancellation."""
    arranged = matrix[np.ix_(rows, cols)]
    lost = []
    for u, q, rank in cuts:
        m, n = arranged.shape
        blocks = arranged.reshape(u, m // u, q, n // q).transpose(0, 2, 1, 3)
        rank = min(rank, m // u, n // q)
        lost.append(float(low_rank_grid(blocks, (rank,), dtype=matrix.dtype, stack_bytes=STACK_BYTES).discarded.sum()))
    return np.array(lost)
