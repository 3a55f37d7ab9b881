"""The search that suits a matrix: in memory by many attempts, panel by panel, or the former where the latter fails.

Large matrices of rank-one blocks are read panel by panel even where they fit: the passes cost O(N^2.5) and little
memory, attempts on the whole matrix more of both. Geometries of points (bisection), and what passes do not find, take a
matrix that can be held.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MemoryBudgetError, NonFiniteError
from ..execution.engine import Engine
from ..kernels.backend.stacks import STACK_BYTES
from ..kernels.low_rank.grid import low_rank_grid
from ..sources.base import MatrixSource
from ..structure.chain import Chain, Cut
from .alternating import alternating_run, balanced_means, best_partitions, fuse, runs_of
from .attempts import Outcome, Problem
from .cuts import Index, transpose_cuts
from .panels.passes import Passes
from .panels.trees import EXACT_IN_SINGLE, Wanted, client_bytes, is_settled, search_streamed
from .portfolio import search_trees
from .verdict import Solution, free_parts

__all__ = ["MatrixSearch"]

DOUBLE_ENTRIES = 1 << 18
"""Entries up to which a search in memory computes in double precision."""
EXACT_IN_DOUBLE = 1e-12
"""Part of the energy below which a residual counts as none while searching in double precision."""
EXACT_ENTRIES = 1 << 18
"""Entries up to which residuals are computed anew, without cancellation."""
STREAMED_ENTRIES = 1 << 17
"""Entries above which a matrix that fits into memory is first searched panel by panel."""
ROUNDING = 2e-3
"""Relative error that counts as none where residuals are differences of energies in single precision."""
FLAT = 2.0
"""Fourth moment of the entries below which they count as of equal modulus."""
COPIES = 4
"""Matrices, as computed, that an attempt holds at its peak: the matrix, arranged, moved, and products with it."""
PANEL_BYTES = 1 << 25
"""Most bytes of a panel."""
PANELS = 8
"""Part of the memory that a panel may take."""

CALLS = "the search for orderings"
"""What error messages call the calls of a search."""

Known = tuple[Index | None, Index | None]


@dataclass(frozen=True)
class MatrixSearch:
    """How the orderings of a matrix are searched.

    Attributes
    ----------
    source : MatrixSource
        The matrix.
    engine : Engine
        Where.
    method : str
        One of :data:`~dbutterfly.identification.portfolio.METHODS`.
    memory : int or None
        Bytes that a worker may hold; None for what the engine allows.
    seed : int
        Of all random choices.
    budget : float or None
        Seconds after which no attempt is begun.
    backend : str
        Array library of the workers.
    """

    source: MatrixSource
    engine: Engine
    method: str
    memory: int | None
    seed: int
    budget: float | None
    backend: str

    def solve(self, known: Known, cuts: Sequence[Cut], chain: Chain | None) -> Solution:
        """Find orders, in tree order, for these cuts; ``chain`` is that of all of them, None where some are left out.

        Raises
        ------
        MemoryBudgetError
            If a worker may not hold what the method takes; nothing has been read then.
        """
        streamed = self._streams(cuts)
        if cuts and not streamed and not self._fits:
            self._refuse(cuts)
        shape = self.source.shape
        if not cuts or all(side is not None for side in known):
            rows, cols = (np.arange(size) if side is None else side for side, size in zip(known, shape, strict=True))
            return self._remeasured(Solution(rows, cols, np.zeros(len(cuts)), free_parts(cuts, shape), 0), cuts)
        if self.method == "alternating":
            return self._remeasured(self._alternated(known, cuts), cuts)
        found = self._streamed(known, tuple(cuts)) if streamed else None
        if found is not None and (is_settled(found) or not self._fits):
            return found
        held = self._in_memory(known, Problem(tuple(cuts), chain, backend=self.backend))
        if found is None:
            return held
        best = held if held.lost.sum() < found.lost.sum() else found
        return best._replace(attempts=held.attempts + found.attempts)

    def measured(self, solution: Solution, cuts: Sequence[Cut]) -> tuple[Solution, float]:
        """The same with exact residuals where the matrix is small; also the relative error that counts as none."""
        if not self._fits or math.prod(self.source.shape) > EXACT_ENTRIES:
            return solution, ROUNDING
        return self._remeasured(solution, cuts), 64 * float(np.finfo(self._matrix.dtype).eps)

    @functools.cached_property
    def _allowed(self) -> int:
        return self.engine.budget(self.memory).memory

    @property
    def _itemsize(self) -> int:
        """Bytes of an entry as computed in single precision."""
        return 8 if self.source.info.work_dtype.startswith("complex") else 4

    @property
    def _needed(self) -> int:
        """Bytes that an attempt in memory holds."""
        entries = math.prod(self.source.shape)
        return entries * COPIES * self._itemsize * (2 if self._is_double else 1)

    @property
    def _is_double(self) -> bool:
        return self.source.info.work_dtype in ("float64", "complex128") and (
            math.prod(self.source.shape) <= DOUBLE_ENTRIES
        )

    @property
    def _fits(self) -> bool:
        return self._needed <= self._allowed

    def _streams(self, cuts: Sequence[Cut]) -> bool:
        """Whether the matrix is searched panel by panel."""
        if self.method not in ("portfolio", "middle", "pairing") or not cuts:
            return False
        simple = all(cut.rank == 1 for cut in cuts)
        if self._fits:
            return simple and math.prod(self.source.shape) > STREAMED_ENTRIES
        return self._needed_here(cuts) <= self._allowed and not self._is_sent_whole

    def _needed_here(self, cuts: Sequence[Cut]) -> int:
        """Bytes that this process holds where the matrix is read panel by panel."""
        sent = not self.engine.in_this_process
        return client_bytes(self.source.shape, cuts, self._itemsize, sent=sent)

    @property
    def _is_sent_whole(self) -> bool:
        """Whether every worker would have to hold the matrix all the same."""
        size = math.prod(self.source.shape) * self.source.dtype.itemsize
        return not self.engine.in_this_process and not self.source.shared and size > self._allowed

    def _refuse(self, cuts: Sequence[Cut]) -> None:
        m, n = self.source.shape
        able = self.method in ("portfolio", "middle", "pairing")
        least = min(self._needed, self._needed_here(cuts)) if able else self._needed
        other = "" if able else '; method="portfolio" reads a matrix panel by panel, and takes less'
        if able and self._is_sent_whole:
            least, other = self._needed, "; write the matrix to Zarr, so that workers read panels of it"
        raise MemoryBudgetError(
            f"{self.source.name}: the search for the orderings of a matrix of {m} x {n} holds {least} bytes, and a "
            f"worker may hold {self._allowed}; give memory={least} or more{other}"
        )

    def _streamed(self, known: Known, cuts: tuple[Cut, ...]) -> Solution:
        """Search panel by panel; what is known are always the columns."""
        rows, cols = known
        dtype: np.dtype[Any] = np.dtype(np.complex64 if self._itemsize == 8 else np.float32)
        panel_bytes = min(PANEL_BYTES, self._allowed // PANELS)
        with self.engine.calls(self.source, CALLS) as calls:
            passes = Passes(calls, self.source.shape, self.source.edges, dtype, panel_bytes, self.backend)
            if rows is None:
                wanted = Wanted(cuts, self.method, FLAT, self._allowed, cols)
                return search_streamed(passes, wanted, seed=self.seed, budget=self.budget)
            wanted = Wanted(transpose_cuts(cuts), self.method, FLAT, self._allowed, rows)
            found = search_streamed(passes.T, wanted, seed=self.seed, budget=self.budget)
        return found._replace(rows=found.cols, cols=found.rows, lost=found.lost[::-1], free=found.free[::-1])

    @functools.cached_property
    def _matrix(self) -> NDArray[Any]:
        """The whole matrix, in the dtype in which it is computed."""
        shape = self.source.shape
        matrix = self.source.read_range(slice(0, shape[0]), slice(0, shape[1]))
        matrix = matrix.astype(self.source.info.work_dtype, copy=False)
        if not np.isfinite(matrix).all():
            row, col = np.argwhere(~np.isfinite(matrix))[0].tolist()
            raise NonFiniteError.at(self.source.name, (row, col))
        return matrix

    def _in_memory(self, known: Known, problem: Problem) -> Solution:
        found, attempts, energy = self._searched(self._matrix, known, problem)
        lost = found.lost / energy if energy > 0 else found.lost
        return Solution(found.rows, found.cols, lost, free_parts(problem.cuts, self.source.shape), attempts)

    def _searched(self, matrix: NDArray[Any], known: Known, problem: Problem) -> tuple[Outcome, int, float]:
        """Search a matrix that is held; one whose rows are known is transposed first. Also the energy, as scaled."""
        rows, cols = known
        if rows is not None:
            turned = dataclasses.replace(problem, cuts=transpose_cuts(problem.cuts), chain=None)
            found, attempts, energy = self._searched(matrix.T, (None, rows), turned)
            return found._replace(rows=found.cols, cols=found.rows, lost=found.lost[::-1]), attempts, energy
        order = np.arange(matrix.shape[1]) if cols is None else cols
        working = _scale(matrix[:, order])
        energy = _energy(working)
        single = np.finfo(working.dtype).eps > EXACT_IN_DOUBLE
        with self.engine.calls(working, CALLS) as calls:
            found, attempts = search_trees(
                calls,
                dataclasses.replace(problem, cols_known=cols is not None),
                working.shape,
                energy,
                method=self.method,
                seed=self.seed,
                budget=self.budget,
                exact=EXACT_IN_SINGLE if single else EXACT_IN_DOUBLE,
                flat=_flatness(working) < FLAT,
            )
        return found._replace(cols=order[found.cols]), attempts, energy

    def _alternated(self, known: Known, cuts: Sequence[Cut]) -> Solution:
        """Orders from the partitions of the cuts, each found by itself; the given ones where these are no trees."""
        if any(side is not None for side in known):
            raise InputError('method="alternating" finds both sides; use another method where one is known')
        balanced_means()  # refuses, before long work, where the package is missing
        runs = runs_of(cuts, self.seed)
        with self.engine.calls(_scale(self._matrix), CALLS) as calls:
            partitions = best_partitions(runs, calls.in_order(alternating_run, runs))
        fused = fuse(partitions, tuple(cuts))
        shape = self.source.shape
        rows, cols = (
            np.arange(size) if side is None else side
            for side, size in zip((fused.rows, fused.cols), shape, strict=True)
        )
        return Solution(rows, cols, np.zeros(len(cuts)), free_parts(cuts, shape), len(runs))

    def _remeasured(self, solution: Solution, cuts: Sequence[Cut]) -> Solution:
        """The same with what the blocks of the cuts leave, computed without cancellation."""
        if not cuts:
            return solution
        arranged = self._matrix[np.ix_(solution.rows, solution.cols)]
        energy, lost = _energy(arranged), []
        for cut in cuts:
            (height, width), rank = cut.block_shape, min(cut.rank, *cut.block_shape)
            blocks = arranged.reshape(cut.row_groups, height, cut.col_groups, width).transpose(0, 2, 1, 3)
            found = low_rank_grid(blocks, (rank,), dtype=arranged.dtype, stack_bytes=STACK_BYTES)
            lost.append(float(found.discarded.sum()) / (energy or 1.0))
        return solution._replace(lost=np.array(lost), free=free_parts(cuts, self.source.shape))


def _scale(matrix: NDArray[Any]) -> NDArray[Any]:
    """Copy with a largest part of one, in double precision where it is small and in single where it is large."""
    is_complex = matrix.dtype.kind == "c"
    largest = max(float(np.abs(part).max()) for part in ((matrix.real, matrix.imag) if is_complex else (matrix,)))
    double = matrix.size <= DOUBLE_ENTRIES
    dtype: Any = (np.complex64, np.float32, np.complex128, np.float64)[2 * double + (not is_complex)]
    return np.ascontiguousarray(matrix / matrix.dtype.type(largest or 1.0), dtype=dtype)


def _flatness(matrix: NDArray[Any]) -> float:
    """``E |z|^4 / (E |z|^2)^2``: 1 for entries of equal modulus, 2 or 3 for Gaussian ones, more for heavy tails."""
    squares = np.abs(matrix) ** 2
    mean = float(squares.mean(dtype=np.float64))
    return float((squares * squares).mean(dtype=np.float64)) / (mean * mean) if mean > 0 else 1.0


def _energy(matrix: NDArray[Any]) -> float:
    return float(np.linalg.norm(matrix.astype(np.complex128 if matrix.dtype.kind == "c" else np.float64)) ** 2)
