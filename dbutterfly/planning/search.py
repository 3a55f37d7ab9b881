"""The search for a plan: root cut, tiles, groups, reading ahead, and whether a copy in another order comes first.

Every choice has a score, its cost relative to reading Z once, and a peak, the bytes that a worker then holds. Of the
choices whose peak fits the budget, the one with the lowest score is taken.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ChainError, InputError, MemoryBudgetError
from ..kernels.backend.stacks import STACKS_IN_DEVICE
from ..kernels.compilation import are_worthwhile, comparable_entries
from ..sources.info import SourceInfo
from ..structure.arguments import read_choice
from ..structure.axes import axes_of_whole
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.padding import has_place, place, spread_gaps
from ..structure.tree import Tree, split_tree
from .budget import Budget
from .footprints import STACK_COPIES
from .plan import Layout, Plan
from .sizes import format_bytes
from .tilings import SearchSpace, Tiling, cost_of_halves, enumerate_tilings, root_position

__all__ = ["check_request", "check_single_read", "make_plan", "notes_of", "read_passes"]


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
        Patterns of the factors; None takes ``Chain.chainable(shape)``, which is ``square_dyadic`` for powers of two. It
        may be longer than the matrix (:mod:`dbutterfly.structure.padding`).
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
    chain = Chain.chainable(source.shape) if chain is None else chain
    check_request(source, chain, tree, passes)
    orderings = Orderings() if orderings is None else orderings
    orderings.validate(source.shape, chain)
    orderings = spread_gaps(orderings, source.shape, chain)
    notes = notes_of(source)
    if len(chain) == 1:
        return _single_factor_plan(source, chain, orderings, budget, notes)
    space = SearchSpace(
        source=source,
        chain=chain,
        placed=place(orderings, source.shape, chain),
        budget=budget,
        layout=layout,
        can_copy=can_copy,
        spare=spare,
    )
    free = isinstance(tree, str) and tree == "balanced"
    best = _find_cheapest(space, _candidate_trees(space, tree, free))
    compiled = _are_compiled(source, best.cut.kept) if layout is None else layout.compiled
    best = replace(best, layout=best.layout._replace(compiled=compiled))
    return _plan_of_tiling(space, best, orderings, passes, notes, tree_is_given=not free)


def _are_compiled(source: SourceInfo, rank: int) -> bool:
    """Whether the kernels of a run of a rank are the compiled ones. Those of sampled and probed matrices are not."""
    if source.sampled or source.probed:
        return False
    return are_worthwhile(np.dtype(source.work_dtype), comparable_entries(math.prod(source.shape), rank))


def read_passes(name: str, value: Any) -> int:
    """Read how often the matrix is read.

    Raises
    ------
    InputError
        If it is neither once nor twice.
    """
    remedy = "use 1, or 2 to read the matrix a second time"
    return int(read_choice(name, value, choices=(1, 2), fault="is not possible", remedy=remedy))


def check_request(source: SourceInfo, chain: Chain, tree: Any, passes: int) -> None:
    """Refuse a chain, a tree or a second read that no plan for the matrix can have, whatever its orderings.

    Raises
    ------
    ChainError
        If the chain does not fit the matrix or the tree the chain.
    InputError
        If the matrix cannot be read twice.
    """
    passes = read_passes("passes", passes)
    _check_chain(chain, source.shape)
    split_tree(len(chain), tree)
    check_single_read(source, passes)


def _plan_of_tiling(
    space: SearchSpace, tiling: Tiling, orderings: Orderings, passes: int, notes: tuple[str, ...], tree_is_given: bool
) -> Plan:
    """Plan that the tiling of a search stands for."""
    cut = tiling.cut
    return Plan(
        source=space.source,
        chain=space.chain,
        tree=cut.tree,
        orderings=orderings,
        passes=passes,
        budget=space.budget,
        split=cut.split,
        rows=cut.rows,
        cols=cut.cols,
        copy=tiling.copy,
        layout=tiling.layout,
        tile_bytes_read=passes * tiling.bytes_read,
        peak_bytes=tiling.peak,
        device_peak_bytes=tiling.device_peak,
        notes=notes,
        tree_is_given=tree_is_given,
        ranks=tuple(range(cut.split.rank, cut.kept + 1)),
    )


def _candidate_trees(space: SearchSpace, tree: Any, free: bool) -> list[Tree]:
    """Trees among which the plan chooses: with every root cut where it is free, else the one that is given."""
    count, layout = len(space.chain), space.layout
    trees = [split_tree(count, tree)]
    if free:
        trees = [split_tree(count, tree, root) for root in range(1, count)]
    if layout is not None:
        trees = [candidate for candidate in trees if root_position(candidate) == layout.root]
    return trees


def _find_cheapest(space: SearchSpace, trees: list[Tree]) -> Tiling:
    """Find the tiling with the lowest score that fits the budget.

    Raises
    ------
    MemoryBudgetError
        If none fits; the message gives the least memory with which one does.
    """
    budget = space.budget
    best: Tiling | None = None
    least, least_twice = None, None
    limit = lambda: math.inf if best is None else best.score  # noqa: E731  # it is asked as the search goes on
    for tree in sorted(trees, key=lambda tree: cost_of_halves(space.chain, tree)):
        if best is not None and best.score <= 1 + cost_of_halves(space.chain, tree):
            break  # reading Z once and moving these halves costs more already
        for tiling in enumerate_tilings(space, tree, limit):
            least = tiling.peak if least is None else min(least, tiling.peak)
            if tiling.bytes_read <= 2 * space.source.nbytes:
                least_twice = tiling.peak if least_twice is None else min(least_twice, tiling.peak)
            if tiling.fits(budget) and (best is None or tiling.score < best.score):
                best = tiling
    if best is not None:
        return best
    if budget.device_memory is not None and (least or 0) <= budget.memory:
        enough = _enough_device_memory(space, trees)
        raise MemoryBudgetError(_budget_message("device_memory", budget.device_memory, enough, space.source))
    message = _budget_message("memory", budget.memory, least or 0, space.source)
    if least_twice is not None and least is not None and least_twice > least:
        message += f"; with {least_twice} ({format_bytes(least_twice)}) the matrix is read at most twice"
    raise MemoryBudgetError(message)


def _enough_device_memory(space: SearchSpace, trees: list[Tree]) -> int:
    """Memory of a GPU with which a tiling that fits the host fits the device too."""
    # With no device memory, stacks of blocks have their least size. With the memory that is computed here, stacks take
    # one part in STACKS_IN_DEVICE of it, STACK_COPIES times: x >= least + x * STACK_COPIES / STACKS_IN_DEVICE.
    smallest = replace(space, budget=replace(space.budget, device_memory=0))
    tilings = itertools.chain.from_iterable(enumerate_tilings(smallest, tree) for tree in trees)
    least = min(tiling.device_peak for tiling in tilings if tiling.peak <= space.budget.memory)
    return math.ceil(least / (1 - STACK_COPIES / STACKS_IN_DEVICE))


def check_single_read(source: SourceInfo, passes: int) -> None:
    """Refuse a second read of a matrix that is sampled or probed."""
    if passes != 1 and (source.sampled or source.probed):
        what = "an operator is probed" if source.probed else "entries are sampled"
        raise InputError(f"passes={passes!r} is not possible where {what}; use 1, or give the whole matrix")


def _check_chain(chain: Chain, shape: tuple[int, int]) -> None:
    """Refuse a chain shorter or much longer than the matrix, or whose product has zeros whatever the factors."""
    if not has_place(shape, chain):
        raise ChainError(
            f"chain has shape {chain.shape[0]} x {chain.shape[1]} but the matrix is {shape[0]} x {shape[1]}; the "
            f"nearest chain that fits is {Chain.chainable(shape)!r}"
        )
    if not chain.is_dense:
        raise ChainError(
            f"{chain!r} does not multiply to a full matrix; a factorization needs a chainable chain that starts with "
            f"a = 1 and ends with d = 1, such as {Chain.chainable(shape)!r}"
        )


def notes_of(source: SourceInfo) -> tuple[str, ...]:
    """Remarks on the matrix that a plan carries."""
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
    if source.in_full:
        notes.append("all entries are evaluated, as samples of them would be no fewer: the certificate is proven")
    if source.probed:
        notes.append(
            "the operator is known by products with random vectors: the certificate is an estimate, unless "
            "these are so many that unit vectors serve as well"
        )
    return tuple(notes)


def _budget_message(name: str, given: int, least: int, source: SourceInfo) -> str:
    """Text of the error for a budget that is too small; ``least`` bytes would do."""
    rows, cols = source.shape
    enough = "the least that works" if name == "memory" else "enough"
    return (
        f"{name}={format_bytes(given)} is too small for a {rows} x {cols} {source.dtype} matrix with this chain, tree "
        f"and chunk grid; {enough} is {name}={least} ({format_bytes(least)}) per worker"
    )


def _single_factor_plan(
    source: SourceInfo, chain: Chain, orderings: Orderings, budget: Budget, notes: tuple[str, ...]
) -> Plan:
    """Plan of a chain of one pattern: the matrix is read in one tile and is the factor."""
    stored = source.nbytes
    peak = stored * 2 + math.prod(source.shape) * np.dtype(source.work_dtype).itemsize
    dense = "a chain of one pattern: its factor is the matrix itself, and nothing is compressed"
    if peak > budget.memory:
        raise MemoryBudgetError(f"{_budget_message('memory', budget.memory, peak, source)}; {dense}")
    notes = (*notes, dense)
    rows, cols = axes_of_whole(chain, place(orderings, source.shape, chain), source.edges)
    return Plan(
        source=source,
        chain=chain,
        tree=split_tree(1),
        orderings=orderings,
        passes=1,
        budget=budget,
        split=None,
        rows=rows,
        cols=cols,
        copy=None,
        layout=Layout(root=0, tile_rows=1, tile_cols=1, left_groups=0, right_groups=0, prefetch=False),
        tile_bytes_read=stored,
        peak_bytes=peak,
        device_peak_bytes=0,
        notes=notes,
    )
