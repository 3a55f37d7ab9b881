"""One attempt at the trees of a matrix: a plain function of the matrix and of what to try, run wherever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.backend import Backend, host_array, resolve_backend
from ..structure.chain import Chain, Cut
from .cuts import Index
from .one_cut.arrangement import Arrangement
from .one_cut.solve import Search
from .residuals import greatest_evidence
from .trees.bisection import bisect
from .trees.exchanges import can_exchange, exchange, has_ambiguity, kick, product_error
from .trees.exhaustive import best_trees
from .trees.neighbours import walk
from .trees.nested import search_nested
from .trees.polish import captured_energy, polish
from .verdict import noise_levels

__all__ = ["Attempt", "Outcome", "Problem", "make_attempt"]

EVEN = 1.01
"""Ratio of the noise that two cuts see up to which it counts as the same. Not tuned by itself."""

LARGEST_POLISHED = 1024
"""Side up to which all cuts are polished at once, by an assignment whose time grows with the cube of the side."""


@dataclass(frozen=True)
class Problem:
    """The groups that are looked for, and where: common to all attempts of a search.

    Attributes
    ----------
    cuts : tuple of Cut
        Cuts whose groups are wanted.
    chain : Chain or None
        Chain whose cuts these are; None where some of its cuts are left out.
    cols_known : bool
        Whether the columns of the matrix are in order, and rows alone are to be arranged.
    backend : str
        Array library of the workers.
    rival : float
        Part of the energy that the best matrix of low rank leaves which has fewer parameters than the butterfly.
    """

    cuts: tuple[Cut, ...]
    chain: Chain | None
    cols_known: bool = False
    backend: str = "auto"
    rival: float = 1.0


@dataclass(frozen=True)
class Attempt:
    """One way to arrange a matrix: a start, a search, and what is done with its result.

    Attributes
    ----------
    problem : Problem
        The groups that are looked for.
    search : Search or None
        How the cuts are searched, one inside the other; None for bisection, or, with a start, for keeping that.
    seed : int
        Of all random choices.
    start : (array, array) or None
        Orders of rows and columns to begin with.
    solved : int or None
        Number of a cut whose groups are contiguous in the start, and stay.
    exchange_below : float
        Squared error below which rows and columns are exchanged at the end, while that lowers it.
    kick : bool
        Whether some rows and columns are exchanged at random before.
    walks : bool
        Whether the neighbours of the trees are compared with them, and theirs, where rows and columns are exchanged.
    enumerates : bool
        Whether all trees are compared instead.
    weighs : bool
        Whether the evidence for the groups that were found is computed.
    """

    problem: Problem
    search: Search | None
    seed: int
    start: tuple[Index, Index] | None = None
    solved: int | None = None
    exchange_below: float = 0.0
    kick: bool = False
    enumerates: bool = False
    weighs: bool = False
    walks: bool = False


class Outcome(NamedTuple):
    """The result of an attempt.

    Attributes
    ----------
    rows, cols : ndarray of int64
        Orders of rows and columns in which the groups of every cut are contiguous.
    lost : ndarray of float64, shape (cuts,)
        Energy that the blocks of each cut leave.
    error : float
        The number by which attempts are compared: the squared error of the factorization where the matrix is small
        and the problem has a chain, else the sum of ``lost``.
    ambiguous : bool
        Whether there are rows or columns whose exchange costs less than the noise.
    evidence : float or None
        Logarithm of the evidence for the groups of the cut for which most speaks, if it was asked for.
    """

    rows: Index
    cols: Index
    lost: NDArray[np.float64]
    error: float
    ambiguous: bool
    evidence: float | None = None


def make_attempt(matrix: NDArray[Any], attempt: Attempt) -> Outcome:
    """Arrange a matrix, and measure the result."""
    problem, rng = attempt.problem, np.random.default_rng(attempt.seed)
    backend = resolve_backend(problem.backend)
    start = attempt.start or (np.arange(matrix.shape[0]), np.arange(matrix.shape[1]))
    now = _load(matrix, *start, backend)
    if attempt.enumerates:
        now = best_trees(now, problem.cuts, problem.chain, cols_known=problem.cols_known)
    elif attempt.search is None and attempt.start is None:
        now = bisect(now, problem.cuts, cols_known=problem.cols_known).arrangement
    elif attempt.search is not None:
        now = search_nested(now, problem.cuts, attempt.search, rng, attempt.solved)
        if max(matrix.shape) <= LARGEST_POLISHED and not _is_even(now, problem.cuts):
            now = polish(now, problem.cuts, cols_known=problem.cols_known).arrangement
    rows, cols = start[0][now.rows[0]], start[1][now.cols[0]]
    error, ambiguous = None, False
    if problem.chain is not None and can_exchange(matrix.shape):
        error = product_error(now, problem.chain)
        if attempt.kick:
            now = kick(now, problem.cuts, error, rng, cols_known=problem.cols_known)
        if error < attempt.exchange_below:
            now, error = exchange(now, problem.cuts, problem.chain, cols_known=problem.cols_known)
            if attempt.walks:
                now, error = walk(now, problem.cuts, problem.chain, error)
            rows, cols = start[0][now.rows[0]], start[1][now.cols[0]]
        ambiguous = has_ambiguity(now, problem.cuts, error)
    lost = np.maximum(float(now.row_energies.sum()) - captured_energy(now, problem.cuts), 0)
    evidence = None
    if attempt.weighs:
        evidence = greatest_evidence(host_array(now.grid)[0, 0], problem.cuts, problem.rival)
    return Outcome(rows, cols, lost, float(lost.sum()) if error is None else error, ambiguous, evidence)


def _is_even(now: Arrangement, cuts: Sequence[Cut]) -> bool:
    """Whether all cuts of a large matrix see the same noise: then there is nothing to polish."""
    shape = now.grid.shape[2], now.grid.shape[3]
    noise = noise_levels(float(now.row_energies.sum()) - captured_energy(now, cuts), cuts, shape)
    return not can_exchange(shape) and float(noise.max()) < EVEN * float(noise.min())


def _load(matrix: NDArray[Any], rows: Index, cols: Index, backend: Backend) -> Arrangement:
    """Take a matrix to the device, with rows and columns in these orders, which count as those of an arrangement."""
    return Arrangement.of(backend.to_device(matrix[np.ix_(rows, cols)])[None, None, :, :])
