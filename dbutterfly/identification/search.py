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

from ..errors import InputError, MemoryBudgetError
from ..execution.engine import Engine
from ..execution.progress import ProgressBar, calls_under_bar
from ..sources.base import MatrixSource
from ..structure.chain import Chain, Cut
from .alternating import alternating_run, balanced_means, best_partitions, fuse, runs_of
from .attempts import Problem
from .cuts import Index, transpose_cuts
from .found import Found
from .moments import DOUBLE_ENTRIES, energy_of, flatness, read_matrix, scale_entries, scale_into_range
from .panels.passes import Passes
from .panels.trees import EXACT_IN_SINGLE, PanelProblem, client_bytes, is_settled, search_panels
from .portfolio import search_trees
from .residuals import Counts, measure_residuals, remeasure, rival_residual, summed_residuals
from .trees.exchanges import can_exchange
from .verdict import Residuals, Solution, count_parameters, free_parts

__all__ = ["Known", "MatrixSearch"]


@dataclass(frozen=True)
class Tuning:
    """Limits between the ways to search. Not tuned, except where a measurement is named.

    Attributes
    ----------
    exact_in_double : float
        Part of the energy below which a residual counts as none while a search computes in double precision.
    exact_entries : int
        Entries up to which residuals are computed anew, without cancellation.
    panel_entries : int
        Entries above which a matrix of rank-one blocks that fits into memory is first searched panel by panel. A search
        by panels takes 3.0 to 4.2 s for 1024 x 1024, and 17 to 45 s for 4096 x 4096 (``benchmarks/README.md``,
        "identification").
    rounding : float
        Relative error that counts as none where residuals are differences of energies in single precision.
    flat : float
        Fourth moment of the entries below which they count as of equal modulus: it is 1 for these, and 2 or 3 for
        Gaussian entries.
    copies, bisection_copies : (int, int)
        Matrices, as computed, that an attempt holds at its peak beyond the matrix, for real and for complex entries:
        the matrix, arranged, moved, and products with it; for bisection, correlations and distances in double
        precision. Measured at 512 x 512 in single precision (tracemalloc): 12 and 9, bisection 31 and 17.
    panel_bytes : int
        Most bytes of a panel.
    panels_in_memory : int
        Panels that fit into the memory of a worker, which holds one.
    """

    exact_in_double: float = 1e-12
    exact_entries: int = 1 << 18
    panel_entries: int = 1 << 17
    rounding: float = 2e-3
    flat: float = 2.0
    copies: tuple[int, int] = (12, 9)
    bisection_copies: tuple[int, int] = (31, 17)
    panel_bytes: int = 1 << 25
    panels_in_memory: int = 8


TUNING = Tuning()

BY_PANELS = ("portfolio", "middle", "pairing")
"""Methods that can read a matrix panel by panel."""

CALLS = "the search for orderings"
"""What error messages call the calls of a search."""

Known = tuple[Index | None, Index | None]
"""Known orders of rows and columns, in tree order; None for a side that is to be found."""


@dataclass(frozen=True)
class MatrixSearch:
    """The search for the orderings of one matrix.

    Attributes
    ----------
    source : MatrixSource
        The matrix.
    engine : Engine
        Threads or workers on which attempts run, or panels are read.
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
    bar : ProgressBar
        Its bar counts the attempts, or the panels, that have ended.
    """

    source: MatrixSource
    engine: Engine
    method: str
    memory: int | None
    seed: int
    budget: float | None
    backend: str
    bar: ProgressBar

    def solve(self, known: Known, cuts: Sequence[Cut], chain: Chain | None) -> Solution:
        """Find orders, in tree order, for these cuts; ``chain`` is that of all of them, None where some are left out.

        Raises
        ------
        MemoryBudgetError
            If a worker may not hold what the method takes; nothing has been read then.
        """
        by_panels = self._reads_panels(cuts)
        if cuts and not by_panels and not self._fits:
            self._refuse(cuts)
        shape = self.source.shape
        if not cuts or all(side is not None for side in known):
            rows, cols = (np.arange(size) if side is None else side for side, size in zip(known, shape, strict=True))
            given = Solution(rows, cols, np.zeros(len(cuts)), free_parts(cuts, shape), 0)
            return remeasure(self._matrix, given, cuts) if cuts else given
        if self.method == "alternating":
            return remeasure(self._matrix, self._alternate(known, cuts), cuts)
        parameters = 0 if chain is None else count_parameters(chain)
        found = self._search_panels(known, tuple(cuts), parameters) if by_panels else None
        if found is not None and (is_settled(found) or not self._fits):
            return found
        held = self._search_in_memory(known, Problem(tuple(cuts), chain, backend=self.backend))
        if found is None:
            return held
        best = held if held.lost.sum() < found.lost.sum() else found
        return best._replace(attempts=held.attempts + found.attempts)

    def measure(self, solution: Solution, cuts: Sequence[Cut], counts: Counts, parameters: int) -> Residuals:
        """Measure what the cuts leave: anew and without cancellation where the matrix is held all the same.

        ``counts`` tells rows and columns from gaps, ``parameters`` is the number of degrees of freedom of the products.
        """
        small = self._fits and math.prod(self.source.shape) <= TUNING.exact_entries
        is_clear = bool((np.sqrt(solution.lost) <= TUNING.rounding).all())
        if not small and (is_clear or "_matrix" not in self.__dict__):
            is_complex = self.source.info.work_dtype.startswith("complex")
            return summed_residuals(solution, cuts, counts, TUNING.rounding, is_complex=is_complex)
        rounding = 64 * float(np.finfo(self._matrix.dtype).eps) if small else TUNING.rounding
        return measure_residuals(self._matrix, solution, cuts, counts, parameters, rounding)

    @functools.cached_property
    def _allowed(self) -> int:
        return self.engine.budget(self.memory).memory

    @property
    def _itemsize(self) -> int:
        """Bytes of an entry as computed in single precision."""
        return 8 if self.source.info.work_dtype.startswith("complex") else 4

    @property
    def _bytes_in_memory(self) -> int:
        """Bytes that an attempt in memory holds."""
        bisects = self.method in ("portfolio", "bisection")
        copies = (TUNING.bisection_copies if bisects else TUNING.copies)[self._itemsize == 8]
        return math.prod(self.source.shape) * copies * self._itemsize * (2 if self._is_double else 1)

    @property
    def _is_double(self) -> bool:
        return self.source.info.work_dtype in ("float64", "complex128") and (
            math.prod(self.source.shape) <= DOUBLE_ENTRIES
        )

    @property
    def _fits(self) -> bool:
        return self._bytes_in_memory <= self._allowed

    def _reads_panels(self, cuts: Sequence[Cut]) -> bool:
        """Whether the matrix is searched panel by panel."""
        if self.method not in BY_PANELS or not cuts:
            return False
        simple = all(cut.rank == 1 for cut in cuts)
        if self._fits:
            return simple and math.prod(self.source.shape) > TUNING.panel_entries
        return self._client_bytes(cuts) <= self._allowed and not self._is_sent_whole

    def _client_bytes(self, cuts: Sequence[Cut]) -> int:
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
        able = self.method in BY_PANELS
        least = min(self._bytes_in_memory, self._client_bytes(cuts)) if able else self._bytes_in_memory
        other = "" if able else '; method="portfolio" reads a matrix panel by panel, and takes less'
        if able and self._is_sent_whole:
            least, other = self._bytes_in_memory, "; write the matrix to Zarr, so that workers read panels of it"
        raise MemoryBudgetError(
            f"{self.source.name}: the search for the orderings of a matrix of {m} x {n} holds {least} bytes, and a "
            f"worker may hold {self._allowed}; give memory={least} or more{other}"
        )

    def _search_panels(self, known: Known, cuts: tuple[Cut, ...], parameters: int) -> Solution:
        """Search panel by panel. Where the rows are known, the transposed matrix is searched, with known columns."""
        rows, cols = known
        dtype: np.dtype[Any] = np.dtype(np.complex64 if self._itemsize == 8 else np.float32)
        panel_bytes = min(TUNING.panel_bytes, self._allowed // TUNING.panels_in_memory)
        with calls_under_bar(self.bar, self.engine, self.source, CALLS) as calls:
            passes = Passes(calls, self.source.shape, self.source.edges, dtype, panel_bytes, self.backend)
            if rows is None:
                wanted = PanelProblem(cuts, self.method, TUNING.flat, self._allowed, cols, parameters)
                return search_panels(passes, wanted, seed=self.seed, budget=self.budget)
            wanted = PanelProblem(transpose_cuts(cuts), self.method, TUNING.flat, self._allowed, rows, parameters)
            found = search_panels(passes.T, wanted, seed=self.seed, budget=self.budget)
        return found._replace(rows=found.cols, cols=found.rows, lost=found.lost[::-1], free=found.free[::-1])

    @functools.cached_property
    def _matrix(self) -> NDArray[Any]:
        """The whole matrix, in the dtype in which it is computed, or a power of two times it."""
        return scale_into_range(read_matrix(self.source))

    def _search_in_memory(self, known: Known, problem: Problem) -> Solution:
        found, energy = self._search_matrix(self._matrix, known, problem)
        return found.as_solution(energy, free_parts(problem.cuts, self.source.shape))

    def _search_matrix(self, matrix: NDArray[Any], known: Known, problem: Problem) -> tuple[Found, float]:
        """Search a matrix in memory; one whose rows are known is transposed first.

        Returns what was found, and the squared norm of the matrix as it was scaled.
        """
        rows, cols = known
        if rows is not None:
            transposed = dataclasses.replace(problem, cuts=transpose_cuts(problem.cuts), chain=None)
            found, energy = self._search_matrix(matrix.T, (None, rows), transposed)
            best = found.outcome
            best = best._replace(rows=best.cols, cols=best.rows, lost=best.lost[::-1])
            return found._replace(outcome=best), energy
        order = np.arange(matrix.shape[1]) if cols is None else cols
        working = scale_entries(matrix[:, order])
        energy = energy_of(working)
        single = np.finfo(working.dtype).eps > TUNING.exact_in_double
        rival = 1.0
        if problem.chain is not None and can_exchange(working.shape):
            rival = rival_residual(working, problem.cuts, count_parameters(problem.chain))
        with calls_under_bar(self.bar, self.engine, working, CALLS) as calls:
            found = search_trees(
                calls,
                dataclasses.replace(problem, cols_known=cols is not None, rival=rival),
                working.shape,
                energy,
                method=self.method,
                seed=self.seed,
                budget=self.budget,
                exact=EXACT_IN_SINGLE if single else TUNING.exact_in_double,
                flat=flatness(working) < TUNING.flat,
            )
        best = found.outcome
        return found._replace(outcome=best._replace(cols=order[best.cols])), energy

    def _alternate(self, known: Known, cuts: Sequence[Cut]) -> Solution:
        """Join the partitions of the cuts into orders; a side whose groups are no tree keeps its order."""
        if any(side is not None for side in known):
            raise InputError('method="alternating" finds both sides; use another method where one is known')
        balanced_means()  # refuses, before long work, where the package is missing
        runs = runs_of(cuts, self.seed)
        with calls_under_bar(self.bar, self.engine, scale_entries(self._matrix), CALLS) as calls:
            partitions = best_partitions(runs, calls.in_order(alternating_run, runs))
        fused = fuse(partitions, tuple(cuts))
        shape = self.source.shape
        rows, cols = (
            np.arange(size) if side is None else side
            for side, size in zip((fused.rows, fused.cols), shape, strict=True)
        )
        return Solution(rows, cols, np.zeros(len(cuts)), free_parts(cuts, shape), len(runs))
