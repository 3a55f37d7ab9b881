"""The plan of a hierarchical run: the regions of the block tree, how each is read, and what that costs.

    stage      task              reads                                   writes
    panels     whole chunks      its part of Z (where a copy is made)    what it has of every region, of strips the far
                                                                         parts at a low rank (:mod:`.bands`)
    regions    one block of the  its part of Z, in the order of the      factors of the blocks into which it is divided,
               block tree        clusters, or its pieces of the copy     and a table that says what they are

Which blocks there are in the end is found by the tasks: a block far from the diagonal is of low rank or a butterfly, or
is divided again where neither has fewer values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..sources.info import SourceInfo
from ..structure.axes import Axis, Tile
from ..structure.block_tree import Block, ClusterTree, is_admissible
from .bands import BandCopy
from .budget import Budget
from .pieces import PieceCopy
from .regions import RegionSizes, tile_of
from .sizes import format_bytes

__all__ = ["HierarchicalPlan"]


@dataclass(frozen=True, eq=False, kw_only=True)
class HierarchicalPlan:
    """Plan of a hierarchical run. ``print(plan)`` shows it.

    Attributes
    ----------
    source : SourceInfo
        The matrix.
    trees : pair of ClusterTree
        Clusters of the rows and of the columns.
    eta : float
        Admissibility: the smaller diameter of two clusters that are far apart is at most this times their distance.
    leaf : int
        Most positions of a cluster that is not divided.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether only the regions on and below the diagonal are looked at.
    tol : float or None
        Relative error to reach.
    rank : int or None
        Rank of the blocks far from the diagonal, where there is no tolerance.
    level : float
        Squared error of an entry that tasks may leave, for the tolerance: 0 without one.
    regions : tuple of Block
        Disjoint blocks of the block tree, each the work of a task.
    sizes : RegionSizes
        How large they may be.
    budget : Budget
        Memory of a worker and number of workers.
    copy : PieceCopy or None
        Copy that the regions are read from.
    region_bytes_read : int
        Bytes of the chunks of the matrix that the regions touch; 0 where they are read from a copy.
    peak_bytes : int
        Predicted peak of a worker.
    prefetch : bool
        Whether a worker reads for the next task while it computes one.
    looked_at : int
        Entries that were looked at for the level.
    notes : tuple of str
        Remarks for the caller.
    """

    source: SourceInfo
    trees: tuple[ClusterTree, ClusterTree]
    eta: float
    leaf: int
    symmetry: str
    tol: float | None
    rank: int | None
    level: float
    regions: tuple[Block, ...]
    sizes: RegionSizes
    budget: Budget
    copy: PieceCopy | None
    region_bytes_read: int
    peak_bytes: int
    prefetch: bool
    looked_at: int = 0
    notes: tuple[str, ...] = ()

    @property
    def itemsize(self) -> int:
        """Bytes of an entry as computed."""
        return np.dtype(self.source.work_dtype).itemsize

    @property
    def is_half(self) -> bool:
        """Whether regions above the diagonal are left out."""
        return self.symmetry != "none"

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """Ranges of positions of the regions."""
        return tuple(tile_of(*self.trees, block) for block in self.regions)

    @property
    def panels(self) -> tuple[Tile, ...]:
        """Ranges of the matrix of the tasks that make the copy."""
        return () if self.copy is None else self.copy.panels

    @property
    def rows(self) -> Axis:
        """Rows of the matrix in the order of their clusters, entry by entry."""
        return self._side(0)

    @property
    def cols(self) -> Axis:
        """Columns of the matrix in the order of their clusters, entry by entry."""
        return self._side(1)

    def _side(self, which: int) -> Axis:
        tree, edges = self.trees[which], self.source.edges[which]
        return Axis(tree.size, tree.size, False, index=tree.order, edges=edges)

    @cached_property
    def far(self) -> int:
        """Number of the regions whose clusters are far apart."""
        return sum(is_admissible(*self.trees, block, self.eta) for block in self.regions)

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage."""
        counts = {"panels": len(self.panels), "regions": len(self.regions)}
        return {stage: count for stage, count in counts.items() if count}

    @property
    def source_bytes(self) -> int:
        """Bytes of Z as stored, uncompressed."""
        return self.source.nbytes

    @property
    def bytes_read(self) -> int:
        """Bytes of chunks that the run asks the storage for: of the matrix, and of its copy."""
        if self.copy is None:
            return self.region_bytes_read
        return self.copy.bytes_read + self.copy.entries * self.itemsize

    @property
    def amplification(self) -> float:
        """Bytes read over bytes of Z: 1.00 where every chunk is read once, about 2 with a copy."""
        return self.bytes_read / self.source_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings and lists."""
        source, copy = self.source, self.copy
        return {
            "form": "hierarchical",
            "shape": list(source.shape),
            "dtype": source.dtype,
            "work_dtype": source.work_dtype,
            "decoding": source.decoding,
            "exponent": source.exponent,
            "tol": self.tol,
            "rank": self.rank,
            "eta": self.eta if math.isfinite(self.eta) else None,
            "leaf": self.leaf,
            "symmetry": self.symmetry,
            "regions": {"count": len(self.regions), "far": self.far, **self.sizes._asdict()},
            "copy": None if copy is None else _describe_copy(copy),
            "chunks": {"count": source.chunk_count, "missing": source.missing_chunks},
            "tasks": self.tasks,
            "split": None,
            "prefetch": self.prefetch,
            "source_bytes": self.source_bytes,
            "bytes_read": self.bytes_read,
            "amplification": self.amplification,
            "peak_bytes": self.peak_bytes,
            "budget": asdict(self.budget),
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and texts of the numbers of the plan."""
        source, (rows, cols) = self.source, self.source.shape
        converted = "" if source.dtype == source.work_dtype else f", computed in {source.work_dtype}"
        half = "" if self.symmetry == "none" else f", {self.symmetry}: one half"
        yield "matrix", f"{rows} x {cols} {source.dtype}{converted}, {format_bytes(self.source_bytes)}{half}"
        if source.decoding:
            yield "decoded", f"from {source.decoding} (by its attributes; decode=False takes the numbers stored)"
        if source.exponent:
            yield "scaled", f"entries are divided by 2^{source.exponent}, so that their squares stay in range"
        wanted = f"tol={self.tol:g}" if self.tol is not None else f"rank {self.rank}"
        yield "form", f"hierarchical, {wanted}, eta {self.eta:g}, leaves of up to {self.leaf}"
        yield "clusters", " x ".join(_describe_tree(tree) for tree in self.trees)
        yield "regions", self._describe_regions()
        yield "tasks", ", ".join(f"{count} {stage}" for stage, count in self.tasks.items())
        yield self._reading()
        if source.steps is not None:
            yield "computes", source.steps
        budget = f"{format_bytes(self.budget.memory)} allowed, {self.budget.workers} at a time"
        ahead = "the next task read ahead" if self.prefetch else "nothing read ahead"
        yield "memory", f"{format_bytes(self.peak_bytes)} per worker at its peak, {ahead} ({budget})"
        for note in self.notes:
            yield "note", note

    def _describe_regions(self) -> str:
        """How many regions there are, and what they are."""
        if isinstance(self.copy, BandCopy):
            return f"{len(self.regions)} strips of up to {self.copy.most_bands} bands"
        near = len(self.regions) - self.far
        return f"{self.far} far apart, {near} near, up to {format_bytes(self._largest)} each"

    @property
    def _largest(self) -> int:
        """Bytes of the largest region, as computed."""
        return max((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in self.tiles) * self.itemsize

    def _reading(self) -> tuple[str, str]:
        """What is done to the matrix, and how much of it."""
        if self.source.sampled:
            return "evaluates", "what the regions ask for, some N log^2 N of the entries"
        if self.source.in_full:
            return "evaluates", f"all {format_bytes(self.bytes_read)}: samples would be no fewer entries"
        if self.copy is None:
            return "reads", f"{format_bytes(self.bytes_read)}, amplification {self.amplification:.2f}"
        kind = "a copy in the order of the clusters"
        if isinstance(self.copy, BandCopy):
            kind = f"a copy in {sum(map(len, self.copy.bands))} bands, far from the diagonal at low rank"
        of_it = f"{format_bytes(self.copy.bytes_read)} of it for {kind}"
        return "reads", f"{format_bytes(self.bytes_read)}, {of_it}, amplification {self.amplification:.2f}"

    def __repr__(self) -> str:
        (rows, cols), stored = self.source.shape, self.source.dtype
        return (
            f"<HierarchicalPlan for a {rows} x {cols} {stored} matrix: {len(self.regions)} regions, {self.far} of them "
            f"far apart; {' '.join(self._reading())}; {format_bytes(self.peak_bytes)} per worker at its peak>"
        )

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{text}" for name, text in self.lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the plan at a prompt of IPython as :func:`print` does."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Show the plan in a notebook: its lines, and a drawing of the regions."""
        from .region_pictures import plan_html

        return plan_html(self)


def _describe_copy(copy: PieceCopy) -> dict[str, int]:
    bands = {"bands": sum(map(len, copy.bands))} if isinstance(copy, BandCopy) else {}
    return {"pieces": len(copy.pieces), "bytes_read": copy.bytes_read, **bands}


def _describe_tree(tree: ClusterTree) -> str:
    order = "as stored" if tree.order is None else "by points"
    return f"{1 << tree.levels} leaves {order}"
