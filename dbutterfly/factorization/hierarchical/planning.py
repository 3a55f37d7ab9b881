"""The plan of a hierarchical run, from what is asked of it and a look at some blocks of the matrix."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ...execution.engine import Engine
from ...planning.band_search import keep_bands
from ...planning.budget import Budget
from ...planning.hierarchical_plan import HierarchicalPlan
from ...planning.hierarchical_search import Blocks, make_hierarchical_plan
from ...planning.nested import ESTIMATE_LINES
from ...planning.regions import RegionSizes
from ...sources.base import MatrixSource
from ...sources.info import SourceInfo
from ...storage.manifest import Manifest
from ...structure.arguments import show_value
from ...structure.block_tree import ClusterTree, cluster_trees
from ..request import Request
from .butterflies import HIGH_RANK
from .fitted import ETA, LEAF
from .promise import Promise, look_at_blocks
from .symmetry import find_symmetry

__all__ = ["check_hierarchical", "is_unfit", "plan_hierarchical", "predict_form"]

ROOM = 4
"""Ranks that panels have room for over those that samples of blocks foretell.

Measured on the matrix of :data:`dbutterfly.planning.bands.LEAST_ROWS`: samples foretell 5, and the bands, which have
more columns and leave less out, have 12, of up to 17."""

WORTH_BANDS = 8
"""Entries over the values promised from which on a copy keeps bands. Not tuned: what is near is copied as it is."""


def plan_hierarchical(
    request: Request, source: MatrixSource, engine: Engine, earlier: Manifest | None = None
) -> HierarchicalPlan:
    """Plan the job; with an earlier run of it, by the choices that were made then.

    Parameters
    ----------
    request : Request
        What is asked for.
    source : MatrixSource
        The matrix, of which some blocks are read for a tolerance.
    engine : Engine
        Where the tasks will run.
    earlier : Manifest, optional
        Manifest of a run that goes on.

    Raises
    ------
    InputError
        If an argument does not fit the matrix, or the others.
    MemoryBudgetError
        If no region fits the memory.
    """
    return predict_form(request, source, engine, earlier)[0]


def predict_form(
    request: Request,
    source: MatrixSource,
    engine: Engine,
    earlier: Manifest | None = None,
    *,
    copies_all: bool = False,
) -> tuple[HierarchicalPlan, Promise | None]:
    """Plan the job, with what a look at some blocks promises; None where nothing was looked at.

    Other parameters, and errors, are those of :func:`plan_hierarchical`.

    Parameters
    ----------
    copies_all : bool
        Whether a copy is one of all entries, since panels had no room for what they were to keep of far parts.
    """
    check_hierarchical(request, source)
    budget = engine.budget(request.memory, request.backend, request.device_memory)
    if earlier is not None:
        return _plan_again(request, source, budget, earlier), None
    blocks = Blocks(
        eta=ETA if request.eta is None else request.eta,
        leaf=LEAF if request.leaf is None else request.leaf,
        symmetry=find_symmetry(source, request.points) if request.symmetric else "none",
        tol=request.tol,
        rank=request.rank if request.tol is None else None,
        level=0.0,
    )
    trees, info = _trees(request, source, blocks), source.info
    plan = make_hierarchical_plan(info, trees, blocks, budget, can_copy=request.has_store)
    if request.tol is None:
        return plan, None
    look = look_at_blocks(plan, source)
    promise = look.promise(request.tol, is_sampled=info.sampled)
    compared = ESTIMATE_LINES * sum(source.shape)
    if info.sampled and look.entries + compared + promise.evaluated >= math.prod(source.shape) / look.copies:
        plan = make_hierarchical_plan(evaluated_in_full(info), trees, blocks, budget)
        promise = look.promise(request.tol, is_sampled=False)
    is_worthwhile = promise.rank < HIGH_RANK and promise.values <= math.prod(source.shape) / WORTH_BANDS
    if plan.copy is not None and is_worthwhile and not copies_all:
        plan = keep_bands(plan, rank=math.ceil(ROOM * promise.rank)) or plan
    smaller = math.prod(source.shape) / max(promise.values, 1.0)
    note = f"{look.blocks} sampled blocks promise {promise.values:.3g} values, {smaller:.3g} times smaller"
    return replace(plan, level=promise.level, looked_at=look.entries, notes=(*plan.notes, note)), promise


def evaluated_in_full(info: SourceInfo) -> SourceInfo:
    """Description of an entry function of which samples would be no fewer entries than there are."""
    return replace(info, sampled=False, in_full=True)


def _trees(request: Request, source: MatrixSource, blocks: Blocks) -> tuple[ClusterTree, ClusterTree]:
    """Clusters of both sides; of a symmetric matrix, the same."""
    rows, cols = (_as_stored(tree) for tree in cluster_trees(source.shape, blocks.leaf, request.points))
    return (rows, rows) if blocks.symmetry != "none" else (rows, cols)


def _as_stored(tree: ClusterTree) -> ClusterTree:
    """Clusters without an order, where points lie in that of the clusters already: ranges of them are read as such."""
    is_stored = tree.order is not None and np.array_equal(tree.order, np.arange(tree.size))
    return replace(tree, order=None) if is_stored else tree


def _plan_again(request: Request, source: MatrixSource, budget: Budget, earlier: Manifest) -> HierarchicalPlan:
    """Plan of a run that goes on; less memory may be free now than when it began."""
    assert earlier.hierarchical is not None
    assert earlier.plan is not None
    layout = earlier.hierarchical["layout"]
    if request.memory is None:
        budget = replace(budget, memory=max(budget.memory, int(earlier.plan["peak_bytes"])))
    blocks = Blocks(
        eta=math.inf if layout["eta"] is None else layout["eta"],
        leaf=layout["leaf"],
        symmetry=layout["symmetry"],
        tol=request.tol,
        rank=request.rank if request.tol is None else None,
        level=layout["level"],
    )
    plan = make_hierarchical_plan(
        evaluated_in_full(source.info) if layout["in_full"] else source.info,
        _trees(request, source, blocks),
        blocks,
        budget,
        sizes=RegionSizes(*layout["sizes"]),
        panel_bytes=0 if layout["strip_level"] is not None else layout["panel_bytes"],
    )
    if layout["strip_level"] is not None:
        kept = keep_bands(plan, panel_bytes=layout["panel_bytes"], strip_level=layout["strip_level"])
        assert kept is not None  # it was planned by the same numbers before
        plan = kept
    return replace(plan, prefetch=layout["prefetch"], looked_at=layout["looked_at"], notes=tuple(earlier.plan["notes"]))


def check_hierarchical(request: Request, source: MatrixSource) -> None:
    """Refuse what the hierarchical form has no place for.

    Raises
    ------
    InputError
        If there is some; the message names the argument and the remedy.
    """
    with_form = 'form="hierarchical"'
    if source.probed:
        raise InputError(f"{with_form} needs entries, and {source.name} gives products; pass its entries instead")
    if request.tol is not None and request.rank != 1:
        raise InputError(f"tol={request.tol!r} finds the ranks; leave rank out")
    for name, (is_given, remedy) in _unfit(request).items():
        if is_given:
            raise InputError(f"{name}={show_value(getattr(request, name))} is not for {with_form}: {remedy}")


def is_unfit(request: Request) -> bool:
    """Whether an argument was given that is for butterflies alone, or a rank beside a tolerance."""
    return request.rank != 1 or any(is_given for is_given, _ in _unfit(request).values())


def _unfit(request: Request) -> dict[str, tuple[bool, str]]:
    """Arguments that are for butterflies alone: whether each was given, and what to do instead."""
    return {
        "chain": (request.chain is not None, "blocks find their own; leave it out"),
        "tree": (request.tree != "balanced", "it cuts a chain; leave it out"),
        "passes": (request.passes != 1, "each entry is read once, and the errors are exact; leave it out"),
        "sweeps": (bool(request.sweeps), "leave it out, or take a smaller tol"),
        "prove": (request.prove, "the bounds of the blocks add up to one of the whole; leave it out"),
        "weights": (request.weights is not None, "multiply the matrix by them, and divide its products"),
        "confirm": (request.confirm is not None, "leave it out, and compare by dbutterfly.verify"),
        "orderings": (request.orderings is not None, "clusters come from points, or are those of the order as stored"),
    }
