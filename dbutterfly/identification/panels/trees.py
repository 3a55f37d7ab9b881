"""Trees of a matrix that is read panel by panel: one cut by passes over it, and from its parts all the others.

The parts of the blocks of the middle cut, O(N^1.5) numbers, hold all that the other cuts ask for, and they carry the
noise of that cut. What a smaller cut leaves is so told from noise before the next ones build on it
(:mod:`dbutterfly.identification.trees.nested`); and where the cuts end with unequal noise, all is done again from a
larger sample.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import resolve_backend
from ...structure.chain import Cut
from ..cuts import Index, left_cuts, right_cuts
from ..evidence import rival_rank
from ..one_cut.arrangement import Arrangement
from ..one_cut.solve import Search
from ..trees.nested import free_parameters, is_noise, search_nested
from ..trees.parts import nested_order
from ..trees.polish import captured_energy
from ..verdict import Solution, free_parts
from .one_cut import CutSearch, Groups
from .passes import Passes, Sample

__all__ = ["EXACT_IN_SINGLE", "PanelProblem", "client_bytes", "is_settled", "search_panels"]

EXACT_IN_SINGLE = 3e-6
"""Part of the energy that counts as none where it is computed in single precision: some tens of its rounding."""


@dataclass(frozen=True)
class Tuning:
    """Constants of the attempts. Not tuned one by one.

    Attributes
    ----------
    per_group : int
        Rows of the first sample for each row group, and columns likewise. Every second attempt doubles it.
    per_rank : int
        Such rows at least, for each unit of the rank.
    attempts : int
        Attempts at most.
    signal : float
        Part of the energy that a cut must not see as noise, or nothing is built on it.
    even, deviations : float
        Ratio of the noise that cuts see up to which nothing is searched again, and standard deviations of the energy of
        noise that are added to it.
    oversampled : int
        Vectors by which a matrix of low rank is looked for, beyond its rank.
    pair_bytes : int
        Bytes of the cost of a pair, with copies while pairs are matched.
    """

    per_group: int = 8
    per_rank: int = 4
    attempts: int = 4
    signal: float = 0.5
    even: float = 1.05
    deviations: float = 12.0
    oversampled: int = 8
    pair_bytes: int = 12


TUNING = Tuning()


@dataclass(frozen=True, eq=False)
class PanelProblem:
    """The trees that are looked for in a matrix that is read panel by panel.

    Attributes
    ----------
    cuts : tuple of Cut
        Cuts whose groups are wanted.
    method : {"portfolio", "middle", "pairing"}
        Kinds of starts.
    flat : float
        Fourth moment of the entries below which pairs tell more than clusters.
    memory : int
        Bytes that a worker may hold: the costs of all pairs of rows, or columns, may be too many.
    known_cols : ndarray of int64 or None
        Columns in tree order, where these are known.
    parameters : int
        Degrees of freedom of the butterfly matrices; 0 where they are not to be compared with matrices of low rank.
    """

    cuts: tuple[Cut, ...]
    method: str
    flat: float
    memory: int
    known_cols: Index | None = None
    parameters: int = 0

    def kinds_of_starts(self, shape: tuple[int, int], *, is_flat: bool) -> list[str]:
        """Kinds of starts, the better one first."""
        of_rank_one = all(cut.rank == 1 for cut in self.cuts)
        pairs_fit = TUNING.pair_bytes * max(shape) ** 2 <= self.memory
        if self.method == "middle" or self.known_cols is not None or not (of_rank_one and pairs_fit):
            return ["clusters"]
        if self.method == "pairing":
            return ["pairs"]
        return ["pairs", "clusters"] if is_flat else ["clusters", "pairs"]


def search_panels(passes: Passes, problem: PanelProblem, *, seed: int, budget: float | None) -> Solution:
    """Search for the trees of a matrix.

    Parameters
    ----------
    passes : Passes
        Passes over the matrix.
    problem : PanelProblem
        The trees that are looked for.
    seed : int
        Of all random choices.
    budget : float or None
        Seconds after which no attempt is begun.
    """
    until = math.inf if budget is None else time.monotonic() + budget
    rng = np.random.default_rng(seed)
    best: Solution | None = None
    for attempt in range(TUNING.attempts):
        found = _attempt(passes, problem, TUNING.per_group << attempt // 2, rng)
        if best is None or found.lost.sum() < best.lost.sum():
            best = found
        best = best._replace(attempts=attempt + 1)
        hopeless = attempt > 0 and bool(best.noise.min() >= TUNING.signal)
        if is_settled(best) or hopeless or time.monotonic() > until:
            break
    assert best is not None
    return best


def client_bytes(shape: tuple[int, int], cuts: Sequence[Cut], itemsize: int, *, sent: bool) -> int:
    """Bytes that this process holds at the peak of a search by panels: samples, parts of blocks, scores; O(N^1.5).

    Arrays that are ``sent`` to other processes are held in copies while they are on their way.
    """
    (rows, cols), root = shape, cuts[len(cuts) // 2]
    drawn = max(TUNING.per_group, TUNING.per_rank * root.rank)
    samples = min(drawn * root.row_groups, rows) * cols + min(drawn * root.col_groups, cols) * rows
    scores = rows * root.row_groups + cols * root.col_groups
    parts = root.rank * (rows * root.col_groups + cols * root.row_groups)
    return itemsize * ((6 if sent else 3) * samples + 5 * parts) + 8 * scores


def is_settled(found: Solution) -> bool:
    """Whether all cuts see the same noise."""
    noise = found.noise
    tolerated = TUNING.even + TUNING.deviations * math.sqrt(2 / (found.rows.size * found.cols.size))
    return bool(
        found.lost.max() <= EXACT_IN_SINGLE or (noise.min() < TUNING.signal and noise.max() <= tolerated * noise.min())
    )


def _attempt(passes: Passes, problem: PanelProblem, per_group: int, rng: np.random.Generator) -> Solution:
    """Make one attempt, from one sample of ``per_group`` rows for each row group, and columns likewise."""
    cuts, shape = problem.cuts, passes.shape
    root = len(cuts) // 2
    per_group = max(per_group, TUNING.per_rank * cuts[root].rank)
    rows, cols = (
        np.sort(rng.permutation(size)[: per_group * groups])
        for size, groups in zip(shape, (cuts[root].row_groups, cuts[root].col_groups), strict=True)
    )
    passes, sample = passes.sample(rows, cols)
    free = free_parts(cuts, shape)
    if sample.energy == 0:
        order = np.arange(shape[1]) if problem.known_cols is None else problem.known_cols
        return Solution(np.arange(shape[0]), order, np.zeros(len(cuts)), free, 1)
    cut_search = CutSearch(passes, sample, cuts, root, problem.known_cols)
    groups, noise, is_flat = None, math.inf, sample.flatness < problem.flat
    for kind in problem.kinds_of_starts(shape, is_flat=is_flat):
        found = cut_search.start_from_pairs(rng) if kind == "pairs" else cut_search.start_from_clusters(rng)
        if groups is None or found.captured > groups.captured:
            groups = found
        noise = (1 - groups.captured / sample.energy) / free[root]
        if noise < TUNING.signal:
            break
    assert groups is not None
    if noise >= TUNING.signal:
        return Solution(groups.rows.order, groups.cols.order, np.maximum(noise, 1) * free, free, 1)
    solution = _complete(cut_search, groups, is_flat=is_flat, rng=rng)
    rank = rival_rank(shape, problem.parameters, max(cut.rank for cut in cuts))
    return solution if rank == 0 else solution._replace(rival=_rival_residual(passes, sample, rank))


def _rival_residual(passes: Passes, sample: Sample, rank: int) -> float:
    """Part of the energy that the best matrix of a rank leaves: by a step of subspace iteration from the sample.

    It costs two passes. It is too large by what the step misses: little where a matrix is of low rank.
    """
    width = min(rank + TUNING.oversampled, *sample.rows.shape)
    _, left = np.linalg.eigh(sample.rows @ sample.rows.conj().T)
    right, _ = np.linalg.qr(sample.rows.conj().T @ left[:, -width:])
    images = passes.fit(np.arange(passes.shape[1]), right[None], 1).products[:, 0]
    basis, _ = np.linalg.qr(images)
    projected = passes.T.fit(np.arange(passes.shape[0]), basis.conj()[None], 1).products[:, 0]
    squares = np.linalg.svd(projected.astype(np.result_type(projected, np.float64)), compute_uv=False)[:rank] ** 2
    return max(1 - float(squares.sum()) / sample.energy, 0.0)


def _complete(cut_search: CutSearch, groups: Groups, *, is_flat: bool, rng: np.random.Generator) -> Solution:
    """Solve all other cuts by way of the parts of the blocks."""
    cuts, root, shape = cut_search.cuts, cut_search.root, cut_search.passes.shape
    cut, known = cut_search.cut, cut_search.known_cols is not None
    rows, cols = groups.rows, groups.cols
    rank = rows.products.shape[2]
    left = rows.products[rows.order].reshape(cut.row_groups, 1, -1, cut.col_groups * rank)
    right = cols.products[cols.order].reshape(cut.col_groups, -1, cut.row_groups * rank).transpose(0, 2, 1)[None]
    energy, size = cut_search.sample.energy, math.prod(shape)
    lost = max(energy - groups.captured, EXACT_IN_SINGLE * energy)
    free = size - cut.degrees_of_freedom(shape)
    search = Search("right", (), 0, 8, cols_known=known) if is_flat else Search("middle", cols_known=known)
    backend = cut_search.passes.backend
    tasks = [
        _PartTask(0, left_cuts(cuts, root), (1, rank), search, lost / free, int(rng.integers(1 << 62)), backend),
        _PartTask(1, right_cuts(cuts, root), (rank, 1), search, lost / free, int(rng.integers(1 << 62)), backend),
    ]
    inner, outer = cut_search.passes.calls.in_order(_arrange, tasks, left, np.ascontiguousarray(right))
    row_places = nested_order(outer.rows, inner.rows.reshape(1, cut.row_groups, -1))[0]
    col_places = nested_order(inner.cols, outer.cols.reshape(1, cut.col_groups, -1))[0]
    root_lost = max(energy - groups.captured, 0.0)
    all_lost = np.concatenate([inner.lost + root_lost, [root_lost], outer.lost + root_lost]) / energy
    all_free = np.concatenate([inner.free + free, [free], outer.free + free]) / size
    return Solution(rows.order[row_places], cols.order[col_places], all_lost, all_free, 1)


@dataclass(frozen=True)
class _PartTask:
    """The search in one of the two grids of parts: ``which`` is 0 for the left and 1 for the right one."""

    which: int
    cuts: tuple[Cut, ...]
    lines: tuple[int, int]
    search: Search
    noise: float
    seed: int
    backend: str


class _PartOrders(NamedTuple):
    """Orders (S, m) and (T, n) in a grid, what its cuts leave, and the free parameters that they leave."""

    rows: Index
    cols: Index
    lost: NDArray[np.float64]
    free: NDArray[np.float64]


def _arrange(_: Any, part: _PartTask, left: NDArray[Any], right: NDArray[Any]) -> _PartOrders:
    """Arrange a grid of parts, by other searches where the first one leaves more than noise."""
    rng = np.random.default_rng(part.seed)
    start = Arrangement.of(resolve_backend(part.backend).to_device(right if part.which else left), part.lines)
    free = np.array([free_parameters(start, cut) for cut in part.cuts], np.float64)
    energy = float(start.row_energies.sum())
    best: _PartOrders | None = None
    others = [Search(order, (1.0, 2.0), 1, 8, part.search.cols_known) for order in ("middle", "right", "left")]
    for search in [part.search, *others]:
        now = search_nested(start, part.cuts, search, rng, noise=part.noise)
        captured = captured_energy(now, part.cuts)
        lost = np.maximum(energy - captured, 0)
        if best is None or lost.sum() < best.lost.sum():
            best = _PartOrders(now.rows, now.cols, lost, free)
        if all(is_noise(now, cut, got, part.noise) for cut, got in zip(part.cuts, captured, strict=True)):
            break
    assert best is not None
    return best
