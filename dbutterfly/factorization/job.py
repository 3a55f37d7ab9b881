"""What all tasks of a factorization share: the matrix, the plan, the workspace and the backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, SourceError
from ..execution.task import Output
from ..kernels.compilation import ROOMS_OF_RUNS, ROOMS_OF_SKELETONS, comparable_entries
from ..planning.plan import Plan
from ..sources.base import MatrixSource
from ..sources.samples import Sample, digest_tile
from ..storage.workspace import Workspace
from ..structure.axes import Axis, Index, Tile, axes_of_whole
from ..structure.chain import Chain
from ..structure.tree import Tree
from .device_job import DeviceJob

__all__ = ["CopySource", "FactorizationJob", "MatrixJob", "ReadingPlan"]


class ReadingPlan(Protocol):
    """What must be known of the plan of a run: the sides and tiles by which it reads, or copies, the matrix."""

    @property
    def rows(self) -> Axis:
        """Rows of the tiles."""

    @property
    def cols(self) -> Axis:
        """Columns of the tiles."""

    @property
    def tiles(self) -> Sequence[Tile]:
        """Tiles."""

    @property
    def copy(self) -> Any:
        """Copy that the tiles are read from, with sides of its own; None where there is none."""

    @property
    def panels(self) -> Sequence[Tile]:
        """Tiles of the copying tasks."""

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage."""


@dataclass(frozen=True, eq=False)
class MatrixJob(DeviceJob):
    """Matrix, plan, workspace and backend of a run of one matrix, which all of its tasks share.

    Attributes
    ----------
    source : MatrixSource
        The matrix.
    plan : Plan or HierarchicalPlan
        How it is cut.
    workspace : Workspace
        Where the outputs go.
    backend : str
        Array library of the workers; resolved in each worker's process.
    sample : Sample or None
        Entries of the matrix when the run began, with which its tiles are compared.
    keeps_digests : bool
        Whether tasks leave digests of what they have read of the matrix.
    """

    source: MatrixSource
    plan: Any
    workspace: Workspace
    backend: str = "auto"
    sample: Sample | None = None
    keeps_digests: bool = False

    @property
    def reads_tiles(self) -> bool:
        """Whether tasks read tiles of the matrix, which are compared with the sample."""
        return True

    def check(self, output: Output) -> None:
        """Refuse an output with a NaN, which in the workspace means that nothing was written."""
        if np.isnan(output.values).any():
            raise InputError(
                f"{self.source.name} has entries of which {output.name} cannot be computed in "
                f"{self.plan.source.work_dtype}; scale the matrix, or convert it to double precision"
            )

    def inspect(self, grid: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> int:
        """Compare a tile of the matrix with the sample, and take its digest.

        Parameters
        ----------
        grid : array, shape (r1 - r0, c1 - c0, p, v)
            What was read of it.
        rows, cols : Axis
            Sides of the matrix.
        tile : Tile
            Which tile it is.

        Raises
        ------
        SourceError
            If an entry of the sample has another value now.
        """
        difference = None
        if self.sample is not None:
            difference = self.sample.find_difference_in_tile(grid, rows, cols, tile)
        self._refuse(difference)
        return digest_tile(grid, rows, cols) if self.keeps_digests else 0

    def check_unchanged(self) -> None:
        """Refuse a matrix that has lost or gained chunks while it was read, or whose entries have changed.

        Raises
        ------
        SourceError
            If that is so.
        """
        if self.sample is not None and not self.reads_tiles:
            self._refuse(self.sample.find_difference(self.source.sample(self.sample.places)))
        before, now = self.plan.source.missing_chunks, self.source.recount()
        if before != now:
            raise SourceError(
                f"{self.source.name}: {before} chunks were missing at the start of the run and {now} are at its end; "
                "begin anew (resume=False) with a matrix that nobody changes"
            )

    def _refuse(self, difference: str | None) -> None:
        """Refuse a matrix that has changed, if it has."""
        if difference is not None:
            raise SourceError(
                f"{self.source.name} gives other entries than when the run began: {difference}; a matrix must stay as "
                "it is while it is factorized, and functions must give an entry the same value each time"
            )


@dataclass(frozen=True, eq=False)
class FactorizationJob(MatrixJob):
    """What the tasks of a butterfly factorization share; see :class:`MatrixJob`."""

    plan: Plan

    @property
    def reads_tiles(self) -> bool:
        """Whether tasks read tiles of the matrix; those of nested skeletons read none."""
        return self.plan.nested is None

    @property
    def kernel_rooms(self) -> tuple[str, ...]:
        """Packages of the kernels that the tasks use."""
        return ROOMS_OF_RUNS if self.plan.nested is None else ROOMS_OF_SKELETONS

    @property
    def entries_met(self) -> int:
        """Entries of the matrix that the kernels meet, at most, as those of rank one that take as long."""
        steps = self.plan.nested_steps
        if steps is not None:
            return steps.entries
        return comparable_entries(math.prod(self.plan.source.shape), self.plan.ranks[-1])

    @property
    def prefetch(self) -> bool:
        """Whether a worker reads for the next task while it computes one, as the plan says."""
        return self.plan.layout.prefetch

    @property
    def tile_source(self) -> MatrixSource:
        """Source of the tiles: the matrix, or its copy in another order."""
        return self.source if self.plan.copy is None else CopySource(self.plan, self.workspace)

    @cached_property
    def lines(self) -> tuple[Index, Index]:
        """Rows and columns of the matrix in standard order, -1 at gaps."""
        rows, cols = axes_of_whole(self.plan.chain, self.plan.placed, (None, None))
        return rows.rows(0, 1), cols.rows(0, 1)

    @property
    def halves(self) -> tuple[Chain, Chain]:
        """Chains of the left and right parts of the blocks."""
        _, left, right = self.plan.chain.cut(self.root)
        return left, right

    @property
    def trees(self) -> tuple[Tree, Tree]:
        """Trees of the left and right parts."""
        assert isinstance(self.plan.tree, tuple)
        return self.plan.tree

    @property
    def root(self) -> int:
        """Number of factors to the left of the root cut."""
        return self.plan.layout.root

    @property
    def rank(self) -> int:
        """Rank of the root cut."""
        assert self.plan.split is not None
        return self.plan.split.rank


class CopySource(MatrixSource):
    """The copy of the matrix in a workspace."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._workspace = workspace
        self.name, self.shape, self.dtype = "copy of the matrix", plan.chain.shape, np.dtype(plan.source.work_dtype)
        edges = plan.rows.edges, plan.cols.edges
        self.edges, self.shared = edges, workspace.shared

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        return self._workspace.read("copy", (rows, cols))
