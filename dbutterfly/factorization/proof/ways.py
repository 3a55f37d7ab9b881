"""How a matrix can be proven: in memory, or out of core from the store of its run; and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import InputError, MemoryBudgetError
from ...execution.engine import Engine
from ...planning.budget import Budget
from ...planning.plan import Plan
from ...planning.search import make_plan
from ...planning.sizes import format_bytes
from ...sources.base import MatrixSource
from ...sources.info import SourceInfo
from ...structure.axes import Index, chunk_edges
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.tree import split_tree
from ..stationary import COPIES

__all__ = ["choose_way", "describe_cost", "edges_of_sum"]

MORE_MATRICES = 9
"""Matrices of the size of Z beside the targets: Z, its product, the multiplier, and what a step and conjugate gradients
hold besides."""

TILES_HELD = 4
"""Tiles of a proof in place of one of a factorization, with which plans of its cuts are looked for at first."""

TILES_OF_STEP, TILES_READ_AHEAD = 8, 6
"""Tiles in the dtype of the matrix that a step of the ascent holds, and that are read ahead for the next one: target,
gap, pull, matrix and total, which is two in single precision, and what is made of them.

Measured by tracemalloc with N = 4096, float32, tiles of 16 MiB, and N = 2048, float64, tiles of 8 MiB: 7 tiles, and 11
with the next one read ahead; in other tasks of a proof 5.5, and 10.
"""

PRODUCT_SHARE, PRODUCT_BYTES = 1 / 8, 1 << 26
"""Part of the matrix, and bytes, of which the larger one is the most that the columns and rows of a product at a cut
may take, for the cut to be used out of core.

They are small at the cuts in the middle, and half of the matrix at the first and the last one. Any cuts give a bound:
without the outer ones it is that of a chain whose outer factors are multiplied out, to blocks of some 16 rows. Such a
chain leaves as much of noise, but for some 32 / N of its energy. Not tuned.
"""

ROUNDS = 4
"""Rounds in which the residual is split among the cuts, after the first one (:mod:`.tile_tasks`).

Not tuned: for 9 cuts the error of the split falls by a half in each, and the energy that is lost by its square.
"""

LIKE_MATRIX = 10
"""Arrays of the size of the matrix that a proof out of core keeps, but for the targets of the cuts and their totals:
fields and sums of the rounds (5), gaps and pulls of the ascent (4), and one target more than there are cuts."""

CHUNK = 512
"""Rows and columns of the chunks of the sum, where the matrix has none of its own. Not tuned."""


def choose_way(
    chain: Chain, orderings: Orderings, source: MatrixSource, engine: Engine, memory: int | None, *, has_store: bool
) -> list[Plan]:
    """Choose how a matrix is proven.

    Parameters
    ----------
    chain, orderings
        Those of its factors.
    source : MatrixSource
        The matrix.
    engine : Engine
        Where it will be done.
    memory : int or None
        What a worker may hold.
    has_store : bool
        Whether the run is stored, where there is room for a sum.

    Returns
    -------
    list of Plan
        Plan of every cut that is used, out of core; none where memory holds the matrix once for every cut.

    Raises
    ------
    MemoryBudgetError
        If it does not, and there is no store; or if it holds no tile.
    InputError
        If it does not, and tiles of a cut share chunks.
    """
    needed, budget = _bytes_needed(chain, np.dtype(source.info.work_dtype)), engine.budget(memory)
    workers = budget.workers if engine.in_this_process else 1
    if needed <= budget.memory * workers:
        return []
    if has_store:
        return _plan_cuts(chain, orderings, source, engine, memory)
    raise MemoryBudgetError(
        f"a proof in memory needs {format_bytes(needed)} for {len(chain) - 1} cuts of this matrix, of "
        f"{format_bytes(budget.memory * workers)}; prove a stored run, which is done out of core, or give "
        f"memory={-(-needed // workers)}"
    )


def _bytes_needed(chain: Chain, dtype: np.dtype[Any]) -> int:
    matrices = max(COPIES, len(chain) - 1 + MORE_MATRICES)
    return matrices * math.prod(chain.shape) * np.result_type(dtype, np.float64).itemsize


def describe_cost(chain: Chain, source: MatrixSource, plans: Sequence[Plan]) -> str:
    """Line of a plan that says what a proof will take."""
    cuts = len(chain) - 1
    used = f"all cuts together ({cuts})" if len(plans) in (0, cuts) else f"{len(plans)} of {cuts} cuts together"
    if not plans:
        needed = format_bytes(_bytes_needed(chain, np.dtype(source.info.work_dtype)))
        return f"proof: {used}, {needed} in memory; the matrix is read once more"
    count, rounds, one = len(plans), ROUNDS + 1, plans[0].source_bytes
    reads, times = 2 * count + ROUNDS - 1, rounds * count
    # Of the arrays of an ascent, only totals are in double precision whatever the dtype of the matrix.
    dtype = np.dtype(source.info.work_dtype)
    total = np.result_type(dtype, np.float64).itemsize // dtype.itemsize
    read, written = 3 * count + (count - 1) * total, count * (1 + total) + 2
    stored = (LIKE_MATRIX + count + 2 * total) * math.prod(chain.shape) * dtype.itemsize
    return (
        f"proof: {used}, out of core; the matrix is read {reads} times ({format_bytes(reads * one)}), and arrays of "
        f"its size are read {2 * times} and written {times} times; then each step of the ascent, if there is one, "
        f"reads it once, and {count} times more for every fourth, reads such arrays {read} times and writes {written}; "
        f"up to {format_bytes(stored)} of them are kept in the store"
    )


def _plan_cuts(
    chain: Chain, orderings: Orderings, source: MatrixSource, engine: Engine, memory: int | None
) -> list[Plan]:
    """Plan the tiles of every cut that is used, of which no two share a chunk.

    Raises
    ------
    InputError
        If the matrix cannot be proven out of core.
    MemoryBudgetError
        If memory holds no tile.
    """
    why = _obstacle(chain, source)
    if why is not None:
        raise InputError(f"a proof of {source.name} out of core is not possible: {why}; give more memory")
    info = replace(source.info, edges=edges_of_sum(source), copies_tiles=True)
    plans = []
    for position in _positions(chain, np.dtype(info.work_dtype).itemsize):
        plan = _plan_cut(info, chain, orderings, engine.budget(memory), position)
        if plan.amplification > 1:
            raise InputError(
                f"a proof of {source.name} out of core is not possible: tiles of the cut after factor {position} share "
                "chunks; give more memory, or write the matrix in chunks whose sides are powers of two"
            )
        plans.append(plan)
    return plans


def _plan_cut(info: SourceInfo, chain: Chain, orderings: Orderings, budget: Budget, position: int) -> Plan:
    """Plan the tiles of a cut, as large as a step of the ascent may hold them.

    Raises
    ------
    MemoryBudgetError
        If memory holds none.
    """
    tree, held = split_tree(len(chain), "balanced", position), TILES_HELD
    while True:
        try:
            plan = make_plan(
                info, chain, tree=tree, orderings=orderings, budget=replace(budget, memory=budget.memory // held)
            )
        except MemoryBudgetError as error:
            raise MemoryBudgetError(
                f"a proof out of core holds {held} times as much as a factorization does at the cut after factor "
                f"{position}: {error}"
            ) from error
        if _bytes_of_step(plan) <= budget.memory:
            return plan
        held *= 2


def _bytes_of_step(plan: Plan) -> int:
    """Bytes that a worker holds in a step of the ascent."""
    assert plan.split is not None
    p, _, _, v, _ = plan.split
    tile = plan.layout.tile_rows * p * plan.layout.tile_cols * v * np.dtype(plan.source.work_dtype).itemsize
    return tile * (TILES_OF_STEP + (TILES_READ_AHEAD if plan.layout.prefetch else 0))


def _positions(chain: Chain, itemsize: int) -> list[int]:
    """Cuts that are used: those at which columns and rows of the product are small, or the one where they are least."""
    sizes = {}
    for position in range(1, len(chain)):
        (p, u, q, v, rank), *_ = chain.cut(position)
        sizes[position] = u * q * rank * (p + v) * itemsize
    most = max(PRODUCT_SHARE * math.prod(chain.shape) * itemsize, PRODUCT_BYTES, min(sizes.values()))
    return [position for position, size in sizes.items() if size <= most]


def _obstacle(chain: Chain, source: MatrixSource) -> str | None:
    """What speaks against tiles; None if nothing does."""
    if source.sampled or source.probed:
        return "not all of its entries are looked at"
    if source.shape != chain.shape:
        return "the chain is longer than the matrix"
    for edges in source.edges:
        sizes = set() if edges is None else set(np.diff(edges)[:-1].tolist())
        if len(sizes) > 1:
            return "its chunks differ in size"
    return None


def edges_of_sum(source: MatrixSource) -> tuple[Index, Index]:
    """Chunk boundaries of the sum: those of the matrix, if it has some."""
    rows, cols = (
        chunk_edges(size, min(size, CHUNK)) if edges is None else edges
        for size, edges in zip(source.shape, source.edges, strict=True)
    )
    return rows, cols
