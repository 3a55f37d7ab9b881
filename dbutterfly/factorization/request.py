"""What a caller asks of a factorization, turned into a plan."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..execution.engine import Engine
from ..planning.plan import Layout, Plan
from ..planning.search import make_plan
from ..planning.sizes import parse_memory
from ..planning.tolerance import LARGEST_RANK, chain_for_tolerance
from ..sources.base import MatrixSource
from ..storage.run_store import RunStore
from ..structure.chain import Chain
from ..structure.orderings import Orderings

__all__ = ["Request", "layout_of"]

SPARE = 2
"""Ranks above that of the chain for which tiles are split where a tolerance may call for them."""


@dataclass(frozen=True)
class Request:
    """What a caller asks of a plan, unchecked."""

    chain: Any
    tree: Any
    rank: int
    tol: float | None
    passes: int
    orderings: Any
    memory: int | str | None
    device_memory: int | str | None
    backend: str
    can_copy: bool
    sweeps: int = 0
    known: Chain | None = None

    def of_run(self, run: RunStore | None) -> Request:
        """Settings that continue a run: with a tolerance, its chain is taken over, and need not be looked for."""
        if self.tol is None or run is None or run.manifest.get("tol") != self.tol:
            return self
        return self.raised(Chain(run.manifest["chain"]))

    def raised(self, chain: Chain) -> Request:
        """Settings with the chain that the tolerance has led to."""
        return dataclasses.replace(self, known=chain)

    def plan(self, source: MatrixSource, engine: Engine, earlier: RunStore | None = None) -> Plan:
        """Plan the job; with an earlier run of it, by the choices that were made then."""
        orderings = Orderings.from_any(self.orderings)
        chain, notes = self._chain(source, orderings)
        on_device = parse_memory(self.device_memory, "device_memory")
        budget, layout = engine.budget(parse_memory(self.memory), self.backend, on_device), None
        if earlier is not None:
            layout = layout_of(earlier)
            if self.memory is None:  # less may be free than then: what was planned then is still to be done
                needed = int(earlier.manifest["plan"]["peak_bytes"])
                budget = dataclasses.replace(budget, memory=max(budget.memory, needed))
            if self.device_memory is None and budget.device_memory is not None:
                needed = int(earlier.manifest["plan"].get("device_peak_bytes", 0))
                budget = dataclasses.replace(budget, device_memory=max(budget.device_memory, needed))
        found = make_plan(
            source.info,
            chain,
            tree=self.tree,
            orderings=orderings,
            passes=self.passes,
            budget=budget,
            layout=layout,
            can_copy=self.can_copy,
            spare=0 if self.tol is None else min(SPARE, LARGEST_RANK - chain.rank),
        )
        notes = (*found.notes, *notes) if earlier is None else tuple(earlier.manifest["plan"]["notes"])
        return dataclasses.replace(found, notes=notes)

    def _chain(self, source: MatrixSource, orderings: Orderings) -> tuple[Chain, tuple[str, ...]]:
        """Chain that is asked for, with a note where a tolerance has led to it."""
        if self.rank < 1:
            raise InputError(f"rank={self.rank} is not positive; the smallest rank is 1")
        if self.tol is None:
            if self.chain is None:
                return Chain.chainable(source.shape, self.rank), ()
            if self.rank != 1:
                raise InputError(f"rank={self.rank} goes with the default chain; the chain given has its own rank")
            return Chain.from_any(self.chain), ()
        if not (isinstance(self.tol, (int, float)) and 0 < self.tol < math.inf):
            raise InputError(f"tol={self.tol!r} is no relative error; use a positive number such as 1e-6")
        if self.chain is not None or self.rank != 1:
            given = "chain" if self.chain is not None else "rank"
            raise InputError(f"tol={self.tol!r} finds chain and rank; leave {given} out")
        if self.known is not None:
            return self.known, ()
        orderings.validate(source.shape)
        found = chain_for_tolerance(source, self.tol, orderings)
        return found.chain, (
            f"rank {found.chain.rank} for tol={self.tol:g}: {found.blocks} sampled blocks predict {found.error:.2g}",
        )


def layout_of(run: RunStore) -> Layout:
    """Choices of the plan of a run."""
    root, tile_rows, tile_cols, left, right, prefetch, copy = run.manifest["layout"]
    return Layout(root, tile_rows, tile_cols, left, right, prefetch, copy and (copy[0], copy[1], copy[2]))
