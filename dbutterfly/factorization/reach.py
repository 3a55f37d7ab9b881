"""Whether a tolerance can still be reached, looked at while the tiles of a matrix are split.

No product of a chain has an error below that of the best approximations of the blocks of its root cut. With every tile
that ends, more of that error is proven, for every rank for which tiles are split. Once it is above the tolerance for
all of them, the rest of the work is in vain: the run goes on with a higher rank at once, or stops.

The error is relative to the norm of the whole matrix. What the tiles to come hold is read, for a matrix in memory, and
else taken to be :data:`MARGIN` times as much for each entry as in the tile that holds most of those before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ToleranceError
from ..execution.task import done_name
from ..kernels.linalg import squared_norms
from ..sources.arrays import ArraySource
from ..structure.axes import Tile
from .block_stats import BlockStats, total_of
from .job import FactorizationJob
from .ranks import rank_beyond
from .results.certificate import least_energy, rounding_of_products

__all__ = ["RankTooLow", "Reach"]

MARGIN = 4.0
"""Times the largest energy for each entry of the tiles that have ended, which those to come are taken to hold.

Not tuned. A run stops too early only where the rest of a matrix holds more, in blocks that fit the chain better.
"""


class RankTooLow(Exception):
    """No product of the ranks up to those of the run reaches the tolerance: it goes on with a higher one.

    Attributes
    ----------
    rank : int
        Rank of the root cut with which to go on.
    """

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.rank = rank


class Reach:
    """What the tiles that have ended prove of the errors of a run.

    Parameters
    ----------
    job : FactorizationJob
        A job that splits tiles.
    tol : float
        Relative error that was asked for.
    """

    def __init__(self, job: FactorizationJob, tol: float) -> None:
        self._job, self._tol = job, tol
        self._least = np.zeros(len(job.plan.ranks))
        self._energy = self._densest = 0.0
        self._left = dict(enumerate(job.plan.tiles))
        self._rest: float | None = None
        self._has_said = False

    def resume(self) -> None:
        """Take account of the tiles that have ended in an earlier sitting, and look."""
        rows = self._job.workspace.read_rows(done_name("tiles"))
        for number in np.flatnonzero(~np.isnan(rows).any(axis=1)):
            self._account_for(int(number))
        if self._left:
            self.look()

    def look_at(self, number: int) -> None:
        """Take account of a tile that has ended, and look, unless it is the last one."""
        self._account_for(number)
        if self._left:
            self.look()

    def _account_for(self, number: int) -> None:
        tile = self._left.pop(number, None)
        if tile is None:
            return
        at = slice(tile.r0, tile.r1), slice(tile.c0, tile.c1)
        stats = BlockStats.from_array(self._job.workspace.read("stats", at))
        self._least += [least_energy(stats.of_rank(index), self._eps) for index in range(len(self._least))]
        energy = total_of(stats.energy)
        self._energy += energy
        self._densest = max(self._densest, energy / self._entries(tile))

    def look(self) -> None:
        """Raise where the tolerance is excluded; once only, since tiles that end meanwhile are delivered as well.

        Raises
        ------
        RankTooLow
            If only a higher rank can do.
        ToleranceError
            If none is left that is worthwhile.
        """
        if self._has_said or not self._energy > 0:
            return
        plan = self._job.plan
        place = -1 if self._left else plan.ranks.index(self._job.rank)  # while tiles are left, any of the ranks may do
        if not self._errors(self._energy + self._densest * self._entries_left())[place] > self._tol:
            return
        errors = self._errors(self._energy + self._energy_left())
        if not errors[place] > self._tol:
            return
        later = [
            rank for rank, error in zip(plan.ranks, errors, strict=True) if rank > self._job.rank and error <= self._tol
        ]
        self._has_said = True
        likely = self._errors(self._energy)  # if the rest is like the tiles that have ended
        rank = later[0] if later else rank_beyond(self._job, likely, self._tol)
        if rank is not None:
            raise RankTooLow(rank)
        raise ToleranceError(self._explain(float(errors[-1]), float(likely[-1])), least_error=float(errors[-1]))

    def _errors(self, energy: float) -> Any:
        """Least relative errors for each rank, of a matrix with this energy."""
        rounding = rounding_of_products(len(self._job.plan.chain), max(self._job.plan.ranks), self._eps)
        return np.maximum(np.sqrt(np.maximum(self._least, 0) / energy) * (1 - rounding) - rounding, 0)

    def _energy_left(self) -> float:
        """Energy of the tiles to come: that of a matrix in memory, and else what they are taken to hold at most."""
        if not isinstance(self._job.source, ArraySource):
            return MARGIN * self._densest * self._entries_left()
        if self._rest is None:
            plan = self._job.plan
            grids = (self._job.tile_source.read(plan.rows, plan.cols, tile) for tile in self._left.values())
            dtype = np.dtype(plan.source.work_dtype)
            self._rest = self._energy + math.fsum(float(squared_norms(grid.astype(dtype)).sum()) for grid in grids)
        return max(self._rest - self._energy, 0.0)

    def _entries_left(self) -> int:
        return sum(map(self._entries, self._left.values()))

    def _entries(self, tile: Tile) -> int:
        plan = self._job.plan
        block = math.prod(plan.source.shape) / (plan.rows.groups * plan.cols.groups)
        return math.ceil((tile.r1 - tile.r0) * (tile.c1 - tile.c0) * block)

    @property
    def _eps(self) -> float:
        return float(np.finfo(self._job.plan.source.work_dtype).eps)

    def _explain(self, least: float, likely: float) -> str:
        """The message: what is known, from how much, and what to do."""
        plan, ended = self._job.plan, len(self._job.plan.tiles) - len(self._left)
        known = "proven"
        if self._left and not isinstance(self._job.source, ArraySource):
            known = f"unless the others hold more than {MARGIN:g} times as much for each entry as any of these"
        seen = "all tiles" if not self._left else f"{ended} of {len(plan.tiles)} tiles, which alone leave {likely:.3g}"
        return (
            f"tol={self._tol:g} is out of reach: no product of this chain with ranks of its root cut up to "
            f"{plan.ranks[-1]} has a relative error below {least:.3g} ({known}, from {seen}), and no higher rank is "
            f"worthwhile; give a tol above {likely:.2g}, which goes on from what this run has done where it has a "
            'store, or other orderings (orderings="auto" looks for some)'
        )
