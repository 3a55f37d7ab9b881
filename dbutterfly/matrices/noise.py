"""Gaussian noise that depends on the seed and the entry only, so that any block of a noisy matrix can be evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sources.entries import Entries
from ..structure.arguments import read_number
from .known import Indices, KnownMatrix, Matrix, Seed, as_known, draw_entropy

__all__ = ["noisy", "standard_normal"]

_CELL = (8, 1024)
"""Shape of the cells in which noise is drawn, each with a generator of its own.

A cell is so large that seeding its generator takes a fifth of its time. It has few rows, because strided column groups
are read as slabs of a few whole rows. With another shape, a seed would give other noise.
"""


def noisy(matrix: Matrix, eps: float, *, seed: Seed = None) -> KnownMatrix:
    """Add independent Gaussian noise of relative size ``eps`` in the Frobenius norm.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray, shape (M, N)
        For the latter two the norm is computed, which evaluates every entry once.
    eps : float
        Standard deviation of the noise is ``eps * norm / sqrt(M*N)``; complex noise has half of its variance in each
        part.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix
        Matrix with the chain and the orderings of ``matrix``. Its norm is the expected one, ``norm * sqrt(1 + eps^2)``;
        the actual one deviates from it by a fraction of about ``eps / sqrt(M*N)``.

    Raises
    ------
    InputError
        If ``eps`` is negative or not finite.

    Notes
    -----
    The noise of an entry depends on the seed and the entry only, not on the block it is asked for in. It is drawn in
    cells of 8 x 1024 entries with a generator each, so a single row costs as much as 8 and a single column as 1024.
    """
    fault, remedy = "is not a relative size of noise", "use a finite number, at least 0"
    eps = read_number("eps", eps, least=0, fault=fault, remedy=remedy)
    known = as_known(matrix)
    deviation = eps * known.norm / math.sqrt(math.prod(known.shape))
    noise = _Noise(known.dtype, deviation, draw_entropy(seed))
    return KnownMatrix(
        _Noisy(known, noise, eps),
        known.shape,
        known.dtype,
        norm=known.norm * math.sqrt(1 + eps**2),
        chain=known.chain,
        orderings=known.orderings,
        tol=known.tol,
        points=known._points,
    )


@dataclass(frozen=True)
class _Noise:
    """Entry function of the noise alone."""

    dtype: np.dtype[Any]
    deviation: float
    entropy: int

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        out = np.empty((rows.size, cols.size), self.dtype)
        col_cells = _group_by_cell(cols, _CELL[1])
        for cell_row, at_rows in _group_by_cell(rows, _CELL[0]):
            for cell_col, at_cols in col_cells:
                cell = self._cell(cell_row, cell_col)
                inside = np.ix_(rows[at_rows] % _CELL[0], cols[at_cols] % _CELL[1])
                out[np.ix_(at_rows, at_cols)] = cell[inside]
        return out

    def _cell(self, row: int, col: int) -> NDArray[Any]:
        bits = np.random.PCG64(np.random.SeedSequence(self.entropy, spawn_key=(row, col)))
        cell = standard_normal(np.random.Generator(bits), _CELL, self.dtype)
        cell *= self.deviation
        return cell


@dataclass(frozen=True, eq=False)
class _Noisy:
    """Entry function of a matrix with noise."""

    matrix: Entries
    noise: _Noise
    eps: float

    def __repr__(self) -> str:
        return f"{self.matrix.f!r} + noise {self.eps:g}"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        block = self.noise(rows, cols)
        block += self.matrix.block(rows, cols)
        return block


def _group_by_cell(index: Indices, side: int) -> list[tuple[int, Indices]]:
    """Group indices by the cells that they fall into: number of each cell, and positions of its indices."""
    cells = index // side
    return [(int(cell), np.flatnonzero(cells == cell)) for cell in np.unique(cells)]


def standard_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Standard normal numbers of a real or complex dtype, drawn in its own precision."""
    single = dtype.itemsize == (8 if dtype.kind == "c" else 4)
    precision: Any = np.float32 if single else np.float64
    if dtype.kind != "c":
        return rng.standard_normal(shape, dtype=precision)
    pairs = rng.standard_normal((*shape, 2), dtype=precision)
    pairs *= math.sqrt(0.5)
    return pairs.view(dtype)[..., 0]
