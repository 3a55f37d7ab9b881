"""The search for a plan: root cut, tiles, groups, reading ahead, and whether a copy in another order comes first.

Every choice is scored by what it costs relative to reading Z once, and by the peak of a worker; the cheapest one that
fits the budget is taken.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ChainError, InputError, MemoryBudgetError
from ..kernels.backend.stacks import STACKS_IN_DEVICE
from ..sources.info import SourceInfo
from ..structure.axes import axes_of_whole
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.tree import split_tree
from .budget import Budget
from .footprints import STACK_COPIES
from .plan import Layout, Plan
from .sizes import format_bytes
from .tilings import cost_of_halves, enumerate_tilings, root_position

__all__ = ["make_plan"]


def make_plan(
    source: SourceInfo,
    chain: Chain | None,
    *,
    tree: Any = "balanced",
    orderings: Orderings | None = None,
    passes: int = 1,
    budget: Budget,
    layout: Layout | None = None,
    can_copy: bool = False,
    spare: int = 0,
) -> Plan:
    """Choose root cut, tiles and groups.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain or None
        Patterns of the factors; None takes ``Chain.chainable(shape)``, which is ``square_dyadic`` for powers of two.
    tree : str or nested pairs
        See :func:`dbutterfly.structure.tree.split_tree`. ``"balanced"`` leaves the root cut to the plan: the one
        nearest to the middle unless the chunk grid or the budget makes another cheaper.
    orderings : Orderings, optional
        Orderings of both sides, by default the standard order.
    passes : {1, 2}
        Times that Z is read.
    budget : Budget
        Memory of a worker and number of workers.
    layout : Layout, optional
        Choices of an earlier plan of the same job, to be taken over.
    can_copy : bool
        Whether there is a place for a copy of the matrix in another order.
    spare : int
        Ranks above that of the root cut for which the tiles are split too.

    Raises
    ------
    ChainError
        If the chain does not fit the matrix, or its product is not a full matrix of low-rank blocks.
    InputError
        If ``passes`` or an ordering cannot be used.
    MemoryBudgetError
        If no choice fits the budget; the message gives the least memory that does.
    """
    if passes not in (1, 2):
        raise InputError(f"passes={passes!r} is not possible; use 1, or 2 to read the matrix a second time")
    chain = Chain.chainable(source.shape) if chain is None else chain
    _check_chain(chain, source.shape)
    orderings = Orderings() if orderings is None else orderings
    orderings.validate(source.shape)
    if passes != 1 and (source.sampled or source.probed):
        what = "an operator is probed" if source.probed else "entries are sampled"
        raise InputError(f"passes={passes!r} is not possible where {what}; use 1, or give the whole matrix")
    notes = _notes(source)
    if len(chain) == 1:
        return _single_factor_plan(source, chain, orderings, budget, notes)
    trees = [split_tree(len(chain), tree)]
    free = isinstance(tree, str) and tree == "balanced"
    if free:
        trees = [split_tree(len(chain), tree, root) for root in range(1, len(chain))]
    if layout is not None:
        trees = [candidate for candidate in trees if root_position(candidate) == layout.root]
    best, least = None, None
    for candidate in sorted(trees, key=lambda tree: cost_of_halves(chain, tree)):
        if best is not None and best.score <= 1 + cost_of_halves(chain, candidate):
            break  # reading Z once and moving these halves costs more already
        for choice in enumerate_tilings(source, chain, candidate, orderings, budget, layout, can_copy, spare):
            least = choice.peak if least is None else min(least, choice.peak)
            if choice.fits(budget) and (best is None or choice.score < best.score):
                best = choice
    if best is None and budget.device_memory is not None and (least or 0) <= budget.memory:
        every = itertools.chain.from_iterable(
            enumerate_tilings(
                source, chain, candidate, orderings, replace(budget, device_memory=0), layout, can_copy, spare
            )
            for candidate in trees
        )
        # Of memory for the least stacks; those of the memory that is named here take a part of it more.
        least = min(choice.device_peak for choice in every if choice.peak <= budget.memory)
        least = math.ceil(least / (1 - STACK_COPIES / STACKS_IN_DEVICE))
        raise MemoryBudgetError(_too_small("device_memory", budget.device_memory, least, source))
    if best is None:
        raise MemoryBudgetError(_too_small("memory", budget.memory, least or 0, source))
    cut = best.cut
    return Plan(
        source, chain, cut.tree, orderings, passes, budget, cut.split, cut.rows, cut.cols, best.copy, best.layout,
        passes * best.bytes_read, best.peak, best.device_peak, notes, not free,
        tuple(range(cut.split.rank, cut.kept + 1)),
    )  # fmt: skip


def _check_chain(chain: Chain, shape: tuple[int, int]) -> None:
    if chain.shape != tuple(shape):
        raise ChainError(
            f"chain has shape {chain.shape[0]} x {chain.shape[1]} but the matrix is {shape[0]} x {shape[1]}; "
            f"the nearest chain that fits is {Chain.chainable(shape)!r}"
        )
    if not chain.is_dense:
        raise ChainError(
            f"{chain!r} does not multiply to a full matrix; a factorization needs a chainable chain that starts with "
            f"a = 1 and ends with d = 1, such as {Chain.chainable(shape)!r}"
        )


def _notes(source: SourceInfo) -> tuple[str, ...]:
    notes = []
    if source.dtype != source.work_dtype:
        notes.append(f"entries are stored as {source.dtype} and taken as {source.work_dtype}")
    if source.missing_chunks:
        notes.append(
            f"{source.missing_chunks} of {source.chunk_count} chunks are not in the store: their entries are taken as "
            "the fill value"
        )
    if source.sampled:
        notes.append("some entries of each block are evaluated: the certificate is an estimate")
    if source.probed:
        notes.append(
            "the operator is known by products with random vectors: the certificate is an estimate, unless "
            "these are so many that unit vectors serve as well"
        )
    return tuple(notes)


def _too_small(name: str, given: int, least: int, source: SourceInfo) -> str:
    rows, cols = source.shape
    enough = "the least that works" if name == "memory" else "enough"
    return (
        f"{name}={format_bytes(given)} is too small for a {rows} x {cols} {source.dtype} matrix with this chain, tree "
        f"and chunk grid; {enough} is {name}={least} ({format_bytes(least)}) per worker"
    )


def _single_factor_plan(
    source: SourceInfo, chain: Chain, orderings: Orderings, budget: Budget, notes: tuple[str, ...]
) -> Plan:
    stored = source.nbytes
    peak = stored * 2 + math.prod(source.shape) * np.dtype(source.work_dtype).itemsize
    if peak > budget.memory:
        raise MemoryBudgetError(_too_small("memory", budget.memory, peak, source))
    notes = (*notes, "a chain of one pattern: its factor is the matrix itself")
    rows, cols = axes_of_whole(chain, orderings, source.edges)
    layout = Layout(0, 1, 1, 0, 0, prefetch=False)
    return Plan(
        source, chain, split_tree(1), orderings, 1, budget, None, rows, cols, None, layout, stored, peak, 0, notes
    )  # fmt: skip
