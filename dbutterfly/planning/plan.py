"""The plan of a run, in integers, made before anything is read.

The plan chooses the root cut of the chain, the tiles in which Z is read and the groups in which the halves are
factorized, from the chunk grid and the memory budget. It predicts what the run will read, write and hold. Everything
that a run does later is decided here. The tiles that are chosen change the cost, not the result.

    stage        task                      reads                      writes
    copy         panel (see below)         its part of Z              the same entries, groups of one side together
    tiles        row range x column range  its part of Z              left parts A, right parts B, energies
    left         range of row groups       A of all column groups     left factors, unit columns X, scales
    project      tile (``passes=2`` only)  its part of Z, X           B = X^H Z
    right        range of column groups    B of all row groups        right factors

Where orderings of both sides scatter every group over all chunks, a copy of Z comes first, in which the groups of one
side lie together. Tiles of the copy take the other side whole, so that its order does not matter: Z is read once,
written once and the copy read once, in tiles of about N^1.5 entries.

The budget holds for one worker with all that it does at a time: while it computes a task, it reads the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..sources.info import SourceInfo
from ..structure.axes import Axis, Tile
from ..structure.chain import Chain, Cut
from ..structure.orderings import Orderings
from ..structure.padding import Placement, place
from ..structure.tree import Tree
from .budget import Budget
from .nested_steps import NestedSteps
from .plan_text import format_plan, plan_to_json, summarize_plan
from .predicted_time import Device, predict_stage_seconds
from .tile_ranges import ranges_of, tiles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .nested import Nested

__all__ = ["Copy", "Layout", "Plan"]


class Layout(NamedTuple):
    """The choices of a plan, by which a run that was cut off is continued with the same tasks."""

    root: int
    tile_rows: int
    tile_cols: int
    left_groups: int
    right_groups: int
    prefetch: bool = True
    copy: tuple[int, int, int] | None = None
    """Side that is laid together, and groups and entries of the two sides that a panel takes."""
    compiled: bool = False
    """Whether workers on the host use the compiled kernels, whose last bits are not those of the plain ones."""


@dataclass(frozen=True, eq=False)
class Copy:
    """A copy of the matrix in which the groups of one side lie together.

    Attributes
    ----------
    rows, cols : Axis
        Sides of the matrix as the panels of the copy take them: one by groups, the other entry by entry.
    chunks : (int, int)
        Chunk of the copy.
    bytes_read : int
        Bytes of the chunks of the matrix that the panels touch.
    """

    rows: Axis
    cols: Axis
    chunks: tuple[int, int]
    bytes_read: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """Plan of a run, made before anything is read. ``print(plan)`` shows it.

    Attributes
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain
        Patterns of the factors.
    tree : Tree
        Where the chain is cut.
    orderings : Orderings
        Orderings that bring the matrix to the standard order of the chain, as they were given.
    passes : int
        Times that Z is read.
    budget : Budget
        Memory of a task and number of workers.
    split : Cut or None
        Blocks of the root cut; None for a chain of one pattern, whose factor is the matrix itself.
    rows, cols : Axis
        Sides of the matrix, or of its copy, under the root cut (one group each for a single pattern).
    copy : Copy or None
        Copy that the tiles are read from.
    layout : Layout
        The choices: tile and group sizes, and whether a worker reads ahead.
    tile_bytes_read : int
        Bytes of the chunks of the matrix, or of its copy, that the tiles touch, over all passes.
    peak_bytes : int
        Predicted peak of a worker.
    device_peak_bytes : int
        Predicted peak in the memory of a worker's GPU; 0 where the budget names none.
    notes : tuple of str
        Remarks for the caller.
    tree_is_given : bool
        False where the plan chose the root cut, which a later plan of the same job may choose otherwise.
    nested : Nested or None
        How skeletons are nested, where they are: the stages are their steps then.
    ranks : tuple of int
        Ascending ranks for which the blocks of the root cut are split: that of the chain, and those to which a
        tolerance may raise it.
    """

    source: SourceInfo
    chain: Chain
    tree: Tree
    orderings: Orderings
    passes: int
    budget: Budget
    split: Cut | None
    rows: Axis
    cols: Axis
    copy: Copy | None
    layout: Layout
    tile_bytes_read: int
    peak_bytes: int
    device_peak_bytes: int
    notes: tuple[str, ...] = ()
    tree_is_given: bool = True
    nested: Nested | None = None
    ranks: tuple[int, ...] = (1,)

    @cached_property
    def nested_steps(self) -> NestedSteps | None:
        """Steps of a run by nested skeletons."""
        return None if self.nested is None else NestedSteps(self.chain, self.layout.root, self.nested.capacities)

    @property
    def placed(self) -> Placement:
        """How the matrix lies on the sides of the chain, which may be longer."""
        return place(self.orderings, self.source.shape, self.chain)

    @property
    def itemsize(self) -> int:
        """Bytes of an entry as computed."""
        return np.dtype(self.source.work_dtype).itemsize

    @property
    def source_bytes(self) -> int:
        """Bytes of Z as stored, uncompressed."""
        return self.source.nbytes

    @property
    def amplification(self) -> float:
        """Bytes read per pass over bytes of Z: 1.00 where every chunk is read once, 2.00 with a copy."""
        return self.bytes_read / (self.passes * self.source_bytes)

    @property
    def bytes_read(self) -> int:
        """Bytes of chunks that the run asks the storage for: of the matrix, and of its copy."""
        return self.tile_bytes_read + (0 if self.copy is None else self.copy.bytes_read)

    @property
    def panels(self) -> list[Tile]:
        """Tiles of the copying tasks."""
        if self.copy is None or self.layout.copy is None:
            return []
        side, groups, width = self.layout.copy
        steps = (groups, width) if side == 0 else (width, groups)
        return tiles_of((self.copy.rows.groups, self.copy.cols.groups), steps)

    @property
    def tiles(self) -> list[Tile]:
        """Tiles in the order in which they are submitted; they cover every entry exactly once."""
        if self.split is None:
            return [Tile(0, 1, 0, 1)]
        return tiles_of((self.split.u, self.split.q), (self.layout.tile_rows, self.layout.tile_cols))

    @property
    def left_ranges(self) -> list[tuple[int, int]]:
        """Ranges of row groups of the left tasks."""
        return [] if self.split is None else list(ranges_of(self.split.u, self.layout.left_groups))

    @property
    def right_ranges(self) -> list[tuple[int, int]]:
        """Ranges of column groups of the right tasks."""
        return [] if self.split is None else list(ranges_of(self.split.q, self.layout.right_groups))

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage."""
        if self.nested is not None and self.nested_steps is not None:
            return self.nested_steps.count_tasks(self.nested.task_entries)
        stages = {
            "copy": len(self.panels),
            "tiles": len(self.tiles),
            "left": len(self.left_ranges),
            "project": 0 if self.passes == 1 or self.split is None else len(self.tiles),
            "right": len(self.right_ranges),
        }
        return {stage: count for stage, count in stages.items() if count}

    @property
    def bytes_written(self) -> int:
        """Bytes that the run stores: copy, halves, energies and factors."""
        factors = self.chain.nnz * self.itemsize
        if self.nested_steps is not None:
            return self.nested_steps.bytes_written(self.itemsize) + factors
        if self.split is None:
            return factors
        p, u, q, v, rank = self.split
        halves = ((p + v) * self.ranks[-1] + p * rank + rank**2) * u * q * self.itemsize
        copy = 0 if self.copy is None else math.prod(self.chain.shape) * self.itemsize
        numbers = (2 + 2 * len(self.ranks) + 3 * rank + self.passes - 1) * u * q
        sides = ((self.layout.root, u), (len(self.chain) - self.layout.root, q))
        numbers += sum(length * groups for length, groups in sides if length > 1)  # a cut fewer, and what all prove
        return copy + halves + numbers * 8 + factors

    def stage_seconds(self, read_bandwidth: float, device: Device | None = None) -> dict[str, float]:
        """Predicted time of every stage.

        A stage takes as long as its reading or its arithmetic, whichever is longer. The shorter one adds to that where
        a worker cannot overlap them: for its first task if it reads ahead, for all tasks if it does not. Decoding is
        part of the arithmetic, whose speeds were measured on one core (``python -m benchmarks out_of_core``). On a GPU,
        decoding and copying a task overlap with the kernels of the task before.

        Parameters
        ----------
        read_bandwidth : float
            Bytes per second that the storage gives to all workers together.
        device : Device, optional
            GPU that every worker has. Experimental: times on a GPU follow from its data sheet and were never measured
            (:mod:`dbutterfly.planning.predicted_time`).

        Returns
        -------
        dict of float
            Seconds of each stage, in the order of the stages.
        """
        return predict_stage_seconds(self, read_bandwidth, device)

    def seconds(self, read_bandwidth: float, device: Device | None = None) -> float:
        """Predicted time of all stages; see :meth:`stage_seconds`, also for ``device``, which is experimental."""
        return sum(self.stage_seconds(read_bandwidth, device).values())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix with its tiles, the first of which is filled and cut into its blocks.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The drawing. Rows and columns are those of the matrix, group by group.

        Raises
        ------
        InputError
            If ``ax`` is no Axes, or matplotlib is not installed.
        """
        from .plan_pictures import plot_plan

        return plot_plan(self, ax)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings and lists."""
        return plan_to_json(self)

    def __repr__(self) -> str:
        return summarize_plan(self)

    def __str__(self) -> str:
        return format_plan(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the plan at a prompt of IPython as :func:`print` does."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Show the plan in a notebook: its lines, and a drawing of tiles, blocks and memory."""
        from .plan_pictures import plan_html

        return plan_html(self)
