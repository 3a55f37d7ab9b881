"""What a caller asks of a factorization, turned into a plan."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, MemoryBudgetError, ToleranceError
from ..execution.engine import Engine
from ..execution.progress import late_bar
from ..identification.result import IdentifiedOrderings
from ..identification.unknown_sides import is_unknown
from ..planning.budget import Budget
from ..planning.nested import Nested, is_worth_nesting, make_nested_plan
from ..planning.nested_search import search_nested_chain
from ..planning.plan import Plan
from ..planning.search import check_request, check_single_read, make_plan
from ..planning.tolerance import LARGEST_RANK, chain_for_tolerance
from ..sources.base import MatrixSource
from ..storage.manifest import Manifest
from ..structure.chain import Chain
from ..structure.chain_names import chain_for
from ..structure.orderings import AUTO, Orderings
from ..structure.point_orderings import PointOrderings, check_unordered
from ..structure.points import Points
from ..structure.weights import Weights
from .job import FactorizationJob
from .manifests import layout_of, nested_of
from .proof.ways import choose_way, describe_cost
from .sweeps import check_entries_known

__all__ = ["Request"]

PARTS_OF_MEMORY = (1, 1 / 8, 1 / 64)
"""Parts of the memory for whose sake blocks are kept small where a tolerance chooses the chain: the next one is tried
where no plan fits, since chunks may ask for tiles of many blocks. Not tuned."""

SPARE = 2
"""Ranks above that of the chain for which tiles are split where a tolerance may call for them. Not tuned: each
makes the arrays A and B larger by a column of every block, and may spare another read of the matrix."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller asks for, its arguments being read; see :func:`dbutterfly.factorize` for what is not said here.

    Attributes
    ----------
    points : Points or None
        Points to which rows and columns belong, in place of orderings.
    weights : Weights or None
        Weights of rows and columns, which the matrix that is read has been given.
    prove : bool
        Whether a proof follows, whose cost the plan has as a note.
    has_store : bool
        Whether there is a store, which has room for a copy of the matrix in another order.
    found_chain : Chain or None
        Chain to which the tolerance has led, which need not be looked for again.
    progress : bool
        Whether to show how far the sampling for a tolerance has come.
    confirm : {"full"} or None
        How an estimated error is confirmed.
    form : {"butterfly", "hierarchical", "auto"} or None
        Form of the result.
    eta, leaf, symmetric
        Of the hierarchical form.
    in_full : bool
        Whether all entries of a sampled matrix are evaluated.
    """

    chain: Chain | str | None = None
    tree: Any = "balanced"
    rank: int = 1
    tol: float | None = None
    passes: int = 1
    orderings: Any = None
    points: Points | None = None
    weights: Weights | None = None
    memory: int | None = None
    device_memory: int | None = None
    backend: str = "auto"
    missing: str = "fill"
    sweeps: int | str = 0
    prove: bool = False
    has_store: bool = False
    found_chain: Chain | None = None
    progress: bool = False
    confirm: str | None = None
    form: str | None = None
    eta: float | None = None
    leaf: int | None = None
    symmetric: bool = False
    in_full: bool = False

    def __post_init__(self) -> None:
        check_unordered(self.points, self.orderings)

    @property
    def looks_first(self) -> bool:
        """Whether blocks of the matrix are looked at before it is planned, for a tolerance or for orderings."""
        is_auto = isinstance(self.orderings, str) and self.orderings == AUTO
        return self.tol is not None or is_auto or is_unknown(self.orderings)

    @property
    def identified(self) -> IdentifiedOrderings | None:
        """How the orderings were found, where they were not given."""
        return self.orderings if isinstance(self.orderings, IdentifiedOrderings) else None

    def with_orderings(self, orderings: Any) -> Request:
        """Request with orderings that were found."""
        return replace(self, orderings=orderings)

    def with_chain(self, chain: Chain) -> Request:
        """Request with the chain to which the tolerance has led."""
        return replace(self, found_chain=chain)

    def with_chain_of(self, earlier: Manifest | None) -> Request:
        """Request that continues a run: with a tolerance, its chain is taken over, and need not be looked for."""
        if self.tol is None or earlier is None or not earlier.may_have_tolerance(self.tol):
            return self
        return self.with_chain(Chain(earlier.chain))

    def check(self, source: MatrixSource) -> None:
        """Refuse what no orderings would make possible, before they are looked for.

        Raises
        ------
        InputError
            If the arguments do not fit the matrix, or each other.
        """
        self._check_chain_is_open()
        chain = chain_for(self.chain, source.shape, self.rank)
        check_request(source.info, chain, self.tree, self.passes)
        if self.sweeps:
            check_entries_known(source)

    def plan(self, source: MatrixSource, engine: Engine, earlier: Manifest | None = None) -> Plan:
        """Plan the job; with an earlier run of it, by the choices that were made then."""
        budget = self._budget(engine, earlier)  # refused, if need be, before the chunks of the matrix are listed
        found = self._plan_within(source, budget, earlier)
        return self._with_proof(found, source, engine) if self.prove and len(found.chain) > 1 else found

    def _with_proof(self, found: Plan, source: MatrixSource, engine: Engine) -> Plan:
        """Plan with a note of what a proof will cost, which one of an earlier sitting may have already.

        Raises
        ------
        DButterflyError
            If the matrix cannot be proven.
        """
        ways = choose_way(found.chain, found.orderings, source, engine, self.memory, has_store=self.has_store)
        note = describe_cost(found.chain, source, ways)
        return found if note in found.notes else replace(found, notes=(*found.notes, note))

    def _plan_within(self, source: MatrixSource, budget: Budget, earlier: Manifest | None) -> Plan:
        """Plan the job within a budget."""
        is_searched = self.tol is not None and self.found_chain is None
        for part in PARTS_OF_MEMORY[:-1] if is_searched else ():
            with contextlib.suppress(MemoryBudgetError):
                return self._plan_with(source, budget, earlier, budget.memory * part)
        return self._plan_with(source, budget, earlier, budget.memory * PARTS_OF_MEMORY[-1])

    def plan_again(self, job: FactorizationJob, nested: Nested) -> Plan:
        """Plan a job again with other sizes of skeletons."""
        before = job.plan
        assert before.chain.ranks is not None
        again = make_nested_plan(
            before.source,
            before.chain.with_ranks(nested.capacities),
            nested,
            tree=before.tree,
            orderings=before.orderings,
            budget=before.budget,
            compiled=before.layout.compiled,
        )
        return replace(again, tree_is_given=before.tree_is_given, notes=before.notes)

    def plan_in_full(self, source: MatrixSource, engine: Engine) -> Plan | None:
        """Plan to evaluate all entries of a sampled matrix; None where no chain seems to reach the tolerance."""
        with contextlib.suppress(ToleranceError):
            return replace(self, found_chain=None, in_full=True).plan(source, engine)
        return None

    def _plan_nested(self, source: MatrixSource, budget: Budget, earlier: Manifest | None) -> Plan | None:
        """Plan nested skeletons; None where other ways evaluate fewer entries."""
        self._check_chain_is_open()
        orderings, evaluated = self._orderings(source), 0
        chain, nested = self.found_chain, None if earlier is None else nested_of(earlier)
        if self.tol is None:
            chain = chain_for(self.chain, source.shape, self.rank)
        elif chain is None:
            orderings.validate(source.shape)
            chain, nested, evaluated = search_nested_chain(source, self.tol, orderings, tree=self.tree)
        if chain is None or len(chain) == 1 or chain.ranks is None or not chain.is_dense:
            return None
        if nested is None:
            nested = Nested.of_chain(chain, spare=self.tol is None)
            if earlier is not None or not is_worth_nesting(source.shape, chain, nested, self.tree, self.tol is None):
                return None
        tree, orders = self.tree, orderings.for_chain(chain)
        made = make_nested_plan(
            source.info,
            chain,
            nested,
            tree=tree,
            orderings=orders,
            passes=self.passes,
            budget=budget,
            compiled=None if earlier is None else layout_of(earlier).compiled,
        )
        if earlier is not None and earlier.plan is not None:
            return replace(made, notes=tuple(earlier.plan["notes"]))
        looked = (f"ranks up to {chain.rank} for tol={self.tol:g}, by {evaluated} entries",) if evaluated else ()
        return replace(made, notes=(*made.notes, *looked))

    def _plan_with(self, source: MatrixSource, budget: Budget, earlier: Manifest | None, for_blocks: float) -> Plan:
        """Plan the job with a chain whose blocks fit into so many bytes, where it is looked for."""
        orderings, info = self._orderings(source), source.info
        if source.sampled and not source.crossed:
            found = None if self.in_full else self._plan_nested(source, budget, earlier)
            if found is not None:
                return found
            if self.tol is not None:
                check_single_read(info, self.passes)
                info = replace(info, sampled=False, in_full=True)
        chain, notes = self._find_chain(source, orderings, for_blocks)
        made = make_plan(
            info,
            chain,
            tree=self.tree,
            orderings=orderings.for_chain(chain),
            passes=self.passes,
            budget=budget,
            layout=None if earlier is None else layout_of(earlier),
            can_copy=self.has_store,
            spare=0 if self.tol is None else min(SPARE, LARGEST_RANK - chain.rank),
        )
        if earlier is None or earlier.plan is None:
            return replace(made, notes=(*made.notes, *notes))
        return replace(made, notes=tuple(earlier.plan["notes"]))

    def _orderings(self, source: MatrixSource) -> Orderings | PointOrderings:
        """Orderings of the matrix, or what gives them for a chain."""
        given = Orderings.from_any(self.orderings)
        if self.points is None:
            return given
        self.points.validate(source.shape)
        return PointOrderings(self.points, given)

    def _budget(self, engine: Engine, earlier: Manifest | None) -> Budget:
        """What the plan may use. Less may be free than when an earlier run was planned, which is still to be done."""
        budget = engine.budget(self.memory, self.backend, self.device_memory)
        if earlier is None or earlier.plan is None:
            return budget
        if self.memory is None:
            budget = replace(budget, memory=max(budget.memory, int(earlier.plan["peak_bytes"])))
        if self.device_memory is None and budget.device_memory is not None:
            needed = int(earlier.plan.get("device_peak_bytes", 0))
            budget = replace(budget, device_memory=max(budget.device_memory, needed))
        return budget

    def _find_chain(
        self, source: MatrixSource, orderings: Orderings | PointOrderings, memory: float
    ) -> tuple[Chain, tuple[str, ...]]:
        """Chain that is asked for, with a note where a tolerance has led to it."""
        self._check_chain_is_open()
        if self.tol is None:
            return chain_for(self.chain, source.shape, self.rank), ()
        if self.found_chain is not None:
            return self.found_chain, ()
        orderings.validate(source.shape)
        with late_bar(self.progress, "sampling") as watch:
            found = chain_for_tolerance(source, self.tol, orderings, memory=memory, watch=watch)
        ranks = found.chain.ranks or (1,)
        shown = f"rank {ranks[0]}" if len(set(ranks)) == 1 else f"ranks {', '.join(map(str, ranks))}"
        return found.chain, (f"{shown} for tol={self.tol:g}: {found.blocks} sampled blocks predict {found.error:.2g}",)

    def _check_chain_is_open(self) -> None:
        """Refuse a chain or a rank that something else which was given decides.

        Raises
        ------
        InputError
            If that is so.
        """
        if self.tol is None and self.chain is not None and self.rank != 1:
            raise InputError(f"rank={self.rank} goes with the default chain; the chain given has its own rank")
        if self.tol is not None and (self.chain is not None or self.rank != 1):
            given = "chain" if self.chain is not None else "rank"
            raise InputError(f"tol={self.tol!r} finds chain and rank; leave {given} out")
