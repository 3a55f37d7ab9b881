r"""Tiles of an operator, whose blocks are found from its products with random vectors.

A vector on one column group shows a combination of the columns of all blocks below it at once, and one on a row group,
by which the adjoint is multiplied, a combination of the rows of all blocks beside it::

                 on column group h                                   group 0   group 1   group 2
                        |                                          +---------+---------+---------+
      group 0  +----|---------|----+                       group g |  Psi^H Z of every block     |
      group 1  |    | Z Omega |    |                               +---------+---------+---------+
      group 2  +----|---------|----+

From both, every block is approximated on its own (:mod:`dbutterfly.kernels.low_rank.nystrom`). Two more vectors on each
column group, of which the approximations know nothing, give unbiased estimates of the energies of blocks and of their
errors. Nothing is proven by such estimates: slacks are infinite. Where as many products would give all entries, the
operator is multiplied by unit vectors and its blocks are treated as those of any other matrix.

Vectors depend on the seed and on the number of their group, so that results do not depend on the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...execution.task import Inputs, Output
from ...kernels.backend import Backend
from ...kernels.low_rank.nystrom import nystrom, probed_energies
from ...sources.base import MatrixSource
from ...sources.operators import OperatorSource
from ...sources.probes import CHECKS, COLUMN_STREAM, OVERSAMPLING, ROW_STREAM, ProbeSizes, normal_vectors
from ...structure.axes import Index, group_members
from ..block_stats import BlockStats
from ..job import FactorizationJob
from .checks import further_exponent, mark_nonzero, range_error
from .tiles import TiledTask, TileTask

__all__ = ["ProbeTask"]


@dataclass(frozen=True)
class ProbeTask(TiledTask):
    """Approximate each block of a tile of an operator from products.

    Attributes
    ----------
    tile : Tile
        The blocks. One tile of all blocks takes the fewest products
        (:meth:`dbutterfly.sources.probes.ProbeSizes.products`).
    seed : int
        Seed of the vectors.
    oversampling : int
        Vectors beyond the rank.

    Notes
    -----
    It writes what :class:`dbutterfly.factorization.tasks.tiles.TileTask` writes; energies in ``stats`` are estimates,
    and slacks infinite, unless all entries were found. It holds the products of the tile
    (:meth:`dbutterfly.sources.probes.ProbeSizes.held_bytes`), of order ``N^1.5`` for all of a square matrix, what it
    writes, ``PRODUCT_BYTES`` of vectors and products (one of each at least) while it multiplies, and a few stacks of
    products after that; and what the operator itself takes.
    """

    stage: ClassVar[str] = "tiles"
    kind: ClassVar[str] = "products of tile"
    seed: int = 0
    oversampling: int = OVERSAMPLING

    def source_of(self, job: FactorizationJob) -> MatrixSource:
        """The operator."""
        return job.source

    def read_source(self, job: FactorizationJob) -> Inputs:
        """Multiply, and keep of the products what belongs to the tile."""
        source, tile, sizes = job.source, self.tile, self._sizes(job)
        if not isinstance(source, OperatorSource):
            raise SourceError(f"{source.name} is no operator, and cannot be multiplied by vectors")
        if sizes.in_full:
            return {"grid": source.read(job.plan.rows, job.plan.cols, tile)}
        row_at = group_members(job.plan.rows, tile.r0, tile.r1)
        col_at = group_members(job.plan.cols, tile.c0, tile.c1)
        across = _ProbedSide(source, "column", tile.c0, col_at, row_at, source.forward)
        down = _ProbedSide(source, "row", tile.r0, row_at, col_at, source.backward)
        columns = across.products(lambda h: self._on_columns(job, h))
        rows = down.products(lambda g: self._on_rows(job, g))
        return {"columns": columns.swapaxes(0, 1), "rows": np.conj(rows, out=rows)}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Approximate from the products, a stack of blocks at a time."""
        if "grid" in inputs:
            return TileTask(self.tile).compute(job, inputs)
        (r0, r1, c0, c1), (p, _, _, v, _), dtype = self.tile, self._sizes(job).split, inputs["rows"].dtype
        groups, rank = (r1 - r0, c1 - c0), job.plan.ranks[-1]
        left, right = (np.empty((*groups, rank, side), dtype) for side in (p, v))
        ranks = len(job.plan.ranks)
        stats = np.full((*groups, 1 + 2 * ranks), np.inf)  # nothing is proven: slacks stay infinite
        backend, ranges = job.computing, self._sizes(job).ranges
        checks = np.stack([self._on_columns(job, h)[:, ranges:].T for h in range(c0, c1)])
        for g, part in _stacks(groups, inputs, backend):
            try:
                few = {name: array[g, part] for name, array in inputs.items()}
                found = self._approximate(job, r0 + g, few, checks[part])
            except np.linalg.LinAlgError:  # of products that have overflowed
                raise range_error(job, further_exponent(job)) from None
            left[g, part], right[g, part], stats[g, part, : 1 + ranks] = found
        energy = BlockStats.from_array(stats).energy
        if not np.isfinite(energy).all():
            raise range_error(job, further_exponent(job))
        mark_nonzero(left, energy)
        r, c = self.groups
        outputs = [Output("A", (r, c), left), Output("stats", (r, c), stats)]
        if job.plan.passes == 1:
            outputs.append(Output("B", (c, r), right.swapaxes(0, 1)))
        return outputs

    def _approximate(
        self, job: FactorizationJob, group: int, inputs: Inputs, checks: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """Left and right parts and energies of some blocks of a row group."""
        backend, ranges, ranks = job.computing, self._sizes(job).ranges, job.plan.ranks
        products, rows = (backend.to_device(inputs[name]) for name in ("columns", "rows"))
        tests = backend.to_device(self._on_rows(job, group)[None])
        found = nystrom(products[:, :ranges, :], rows, tests, ranks[-1])
        energies = probed_energies(found, backend.to_device(checks), products[:, ranges:, :], ranks)
        return backend.to_host(found.left), backend.to_host(found.right), backend.to_host(energies)

    def _sizes(self, job: FactorizationJob) -> ProbeSizes:
        assert job.plan.split is not None
        return ProbeSizes(job.plan.split, job.plan.ranks[-1], self.oversampling)

    def _on_columns(self, job: FactorizationJob, group: int) -> NDArray[Any]:
        """Vectors (v, s + 2) on a column group: those that show ranges, then those that check."""
        sizes = self._sizes(job)
        shape = (job.plan.cols.members, sizes.ranges + CHECKS)
        return normal_vectors(self.seed, COLUMN_STREAM, group, shape, job.plan.source.work_dtype)

    def _on_rows(self, job: FactorizationJob, group: int) -> NDArray[Any]:
        """Vectors (p, t) on a row group."""
        shape = (job.plan.rows.members, self._sizes(job).tests)
        return normal_vectors(self.seed, ROW_STREAM, group, shape, job.plan.source.work_dtype)


@dataclass(frozen=True, eq=False)
class _ProbedSide:
    """Products with vectors on the groups of one side, of which the groups of the other side are kept.

    Attributes
    ----------
    source : OperatorSource
        The operator.
    name : str
        "column" or "row".
    first : int
        Number of the first group.
    at, kept : array of int64, shape (groups, members)
        Lines of the matrix in the groups of this side and of the other one, -1 at gaps.
    multiply : callable
        Product with the operator or with its adjoint.
    """

    source: OperatorSource
    name: str
    first: int
    at: Index
    kept: Index
    multiply: Callable[[NDArray[Any]], NDArray[Any]]

    def products(self, vectors: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """Products, shape (groups, groups of the other side, vectors, members of the other side)."""
        count = vectors(self.first).shape[1]
        dtype = self.source.dtype
        found = np.empty((len(self.at), len(self.kept), count, self.kept.shape[1]), dtype)
        length = self.source.shape[1 if self.name == "column" else 0]
        step = max(1, self.source.batch // count)
        for start in range(0, len(self.at), step):
            groups = range(start, min(start + step, len(self.at)))
            placed = np.zeros((length, len(groups), count), dtype)
            for number, group in enumerate(groups):
                there = self.at[group] >= 0  # no gaps
                placed[self.at[group][there], number] = vectors(self.first + group)[there]
            product = self.multiply(placed.reshape(length, -1)).reshape(-1, len(groups), count)
            self._check_finite(product, groups)
            for number, group in enumerate(groups):
                found[group] = np.where(self.kept[..., None] >= 0, product[self.kept, number], 0).swapaxes(1, 2)
        return found

    def _check_finite(self, product: NDArray[Any], groups: range) -> None:
        finite = np.isfinite(product)
        if finite.all():
            return
        at, number, vector = (int(index) for index in np.argwhere(~finite)[0])
        members = self.at[groups[number]]
        method, entry = ("matmat", "row") if self.name == "column" else ("rmatmat", "column")
        raise SourceError(
            f"{self.source.name}: {method} of vector {vector} of normal numbers on {self.name} group "
            f"{self.first + groups[number]} ({members.size} {self.name}s, the first one {members[0]}) holds a NaN or "
            f"an infinity in {entry} {at}; the operator holds such entries, or some too large to be multiplied in "
            f"{product.dtype}"
        )


def _stacks(groups: tuple[int, int], inputs: Inputs, backend: Backend) -> Iterator[tuple[int, slice]]:
    """Blocks of one row group whose products fill a stack: (row group, column groups)."""
    per_block = math.prod(inputs["columns"].shape[2:]) + math.prod(inputs["rows"].shape[2:])
    step = max(1, backend.stack_bytes // (per_block * inputs["rows"].itemsize))
    for g in range(groups[0]):
        for h in range(0, groups[1], step):
            yield g, slice(h, min(h + step, groups[1]))
