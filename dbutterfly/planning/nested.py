"""Plans of runs by nested skeletons (:mod:`.nested_steps`): what they evaluate, hold and write, in integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ..errors import MemoryBudgetError
from ..kernels.compilation import ROOMS_OF_SKELETONS, are_worthwhile
from ..sources.info import SourceInfo
from ..sources.sample_sizes import Sizes
from ..structure.axes import axes_of_cut
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.padding import place, spread_gaps
from ..structure.tree import split_tree
from .budget import Budget
from .nested_steps import CALL_ENTRIES, NUMBERS, NestedSteps
from .plan import Layout, Plan
from .search import check_request, notes_of
from .sizes import format_bytes
from .tilings import root_position

__all__ = ["ESTIMATE_LINES", "Nested", "evaluates_less", "is_worth_nesting", "limit_capacities", "make_nested_plan"]

TASK_ENTRIES = 1 << 18
"""Entries evaluated by a task where the memory allows. Not tuned: some hundredths of a second."""

ESTIMATE_LINES = 32
"""Rows, and as many columns, from which the error of a sampled matrix is estimated.

Not tuned: 13 % of what is evaluated at N = 65536.
"""

COPIES = 6
"""Arrays of the size of the entries that are treated together, twice those of a call, which a task holds at its peak.

An upper bound, not tuned: ``tests/factorization/tasks/test_skeletons.py`` holds real tasks below it.
"""

SMALL = 1 << 18
"""Entries up to which a matrix is evaluated in full, and its error proven. Not tuned: that takes some hundredths of a
second."""

WORTH = 2
"""Factor by which skeletons must take fewer entries than crosses where ranks are given.

Measured on a Helmholtz kernel, N = 4096, one core: of as many entries, crosses take a fourth of the processor time at
rank 1, and as much at ranks 3 and 5.
"""

COMPARABLE = 17
"""Lines of the skeletons with which the compiled kernels were measured (:mod:`dbutterfly.kernels.compilation`)."""

SPARE = 0.5
"""Part of the rank by which skeletons are larger where ranks are given.

Measured on the same kernel: at ranks 1, 3 and 5, the error is that of crosses to four digits.
"""


class Nested(NamedTuple):
    """How skeletons are nested in a run.

    Attributes
    ----------
    floor : float
        Root mean square that a step may leave of an entry, relative to that of the entries; 0 for skeletons of fixed
        size.
    energy : float
        Mean square of the entries, as it seems from a sample; of no account where ``floor`` is 0.
    capacities : tuple of int
        Largest size of a skeleton at each cut.
    task_entries : int
        Entries that a task evaluates.
    evaluated : int
        Entries that runs before this one have evaluated.
    """

    floor: float
    energy: float
    capacities: tuple[int, ...]
    task_entries: int = TASK_ENTRIES
    evaluated: int = 0

    @classmethod
    def of_chain(cls, chain: Chain, *, spare: bool) -> Self:
        """Skeletons for the ranks of a chain; with spare lines, of which the best are kept.

        An interpolation of rank r leaves some times what the best approximation leaves.
        """
        assert chain.ranks is not None
        ranks = [rank + math.ceil(rank * SPARE) if spare else rank for rank in chain.ranks]
        return cls(0.0, 0.0, limit_capacities(chain, ranks))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self._asdict(), "capacities": list(self.capacities)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(**{**values, "capacities": tuple(values["capacities"])})


def limit_capacities(chain: Chain, ranks: Sequence[int]) -> tuple[int, ...]:
    """Sizes of skeletons, no larger than the sides of their blocks."""
    cuts = [chain.cut(at)[0] for at in range(1, len(chain))]
    return tuple(max(1, min(rank, cut.p, cut.v)) for rank, cut in zip(ranks, cuts, strict=True))


def evaluates_less(shape: tuple[int, int], steps: NestedSteps, evaluated: int = 0) -> bool:
    """Whether skeletons, with the lines of the estimate, take fewer entries than a matrix that is not small has.

    Those that were evaluated before count with them.
    """
    return math.prod(shape) > SMALL and evaluated + steps.entries + ESTIMATE_LINES * sum(shape) < math.prod(shape)


def is_worth_nesting(shape: tuple[int, int], chain: Chain, nested: Nested, tree: Any, beside_crosses: bool) -> bool:
    """Whether nested skeletons take fewer entries than the matrix has, and far fewer than crosses do.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    chain : Chain
        The chain.
    nested : Nested
        How skeletons are nested.
    tree : str or nested pairs
        Where the chain is cut.
    beside_crosses : bool
        Whether crosses are another choice, since the ranks are given.
    """
    root = root_position(split_tree(len(chain), tree))
    steps = NestedSteps(chain, root, nested.capacities)
    cut = chain.cut(root)[0]
    crossed = cut.u * cut.q * Sizes(cut.p, cut.v, cut.rank).entries
    return evaluates_less(shape, steps) and not (beside_crosses and crossed < WORTH * steps.entries)


def make_nested_plan(
    source: SourceInfo,
    chain: Chain,
    nested: Nested,
    *,
    tree: Any = "balanced",
    orderings: Orderings,
    passes: int = 1,
    budget: Budget,
    compiled: bool | None = None,
) -> Plan:
    """Plan a run by nested skeletons.

    Parameters
    ----------
    source, chain, tree, orderings, passes, budget
        As for :func:`dbutterfly.planning.search.make_plan`. The two sides meet at the root cut of the tree.
    nested : Nested
        How skeletons are nested.
    compiled : bool, optional
        Whether workers use the compiled kernel, as a run that is continued does; by default, where it is worthwhile.

    Raises
    ------
    ChainError, InputError, MemoryBudgetError
        As from that function.
    """
    check_request(source, chain, tree, passes)
    orderings.validate(source.shape, chain)
    orderings = spread_gaps(orderings, source.shape, chain)
    nodes = split_tree(len(chain), tree)
    root, item = root_position(nodes), np.dtype(source.work_dtype).itemsize
    split = chain.cut(root)[0]
    rows, cols = axes_of_cut(chain, root, place(orderings, source.shape, chain), source.edges)
    steps = NestedSteps(chain, root, nested.capacities)
    nested = _fit_tasks(nested, steps, source, budget, item)
    if compiled is None:
        compiled = are_worthwhile(np.dtype(source.work_dtype), _comparable_entries(steps), ROOMS_OF_SKELETONS)
    return Plan(
        source=source,
        chain=chain,
        tree=nodes,
        orderings=orderings,
        passes=1,
        budget=budget,
        split=split,
        rows=rows,
        cols=cols,
        copy=None,
        layout=Layout(
            root=root,
            tile_rows=split.u,
            tile_cols=split.q,
            left_groups=1,
            right_groups=1,
            prefetch=False,
            compiled=compiled,
        ),
        tile_bytes_read=steps.entries * np.dtype(source.dtype).itemsize,
        peak_bytes=_peak(steps, nested.task_entries, source, item),
        device_peak_bytes=0,
        notes=notes_of(source),
        tree_is_given=not (isinstance(tree, str) and tree == "balanced"),
        ranks=(split.rank,),
        nested=nested,
    )


def _comparable_entries(steps: NestedSteps) -> int:
    """Entries whose elimination takes as long with :data:`COMPARABLE` lines in a skeleton; the time grows with them."""
    return max(steps.entries, sum(step.entries * step.keep for step in steps.steps) // COMPARABLE)


def _fit_tasks(nested: Nested, steps: NestedSteps, source: SourceInfo, budget: Budget, item: int) -> Nested:
    """Take smaller tasks where the memory asks for it.

    Raises
    ------
    MemoryBudgetError
        If the smallest are too large.
    """
    entries = nested.task_entries
    while entries > 1 and _peak(steps, entries, source, item) > budget.memory:
        entries //= 2
    needed = _peak(steps, entries, source, item)
    if needed > budget.memory:
        rows, cols = source.shape
        raise MemoryBudgetError(
            f"memory={format_bytes(budget.memory)} is too small for nested skeletons of a {rows} x {cols} "
            f"{source.dtype} matrix with this chain; the least that works is memory={needed} ({format_bytes(needed)}) "
            "per worker"
        )
    return nested._replace(task_entries=entries)


def _peak(steps: NestedSteps, entries: int, source: SourceInfo, item: int) -> int:
    """Bytes that a task holds: what it evaluates, what it writes, and where the lines of the matrix are."""
    largest = 0
    for step in steps.steps:
        owners, fellows = step.tiles(entries)[0]
        blocks = (owners.stop - owners.start) * step.digits * (fellows.stop - fellows.start)
        written = blocks * (step.candidates * step.keep * item + (step.keep + step.candidates + NUMBERS) * 8)
        call = max(CALL_ENTRIES, step.block_entries) * item
        largest = max(largest, 2 * written + 2 * COPIES * call)
    return largest + 4 * 8 * sum(source.shape)
