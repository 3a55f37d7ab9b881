"""What other than a butterfly would hold a matrix, by some of its entries: low rank, zeros, constant diagonals."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sources.windows import Window
from ..structure.axes import Index

__all__ = ["OtherForm", "find_other_forms"]

SIDE = 384
"""Rows and columns of the sample for a low rank, at most: a third of them is the highest rank that it tells of. Not
tuned: the singular values of the sample take a quarter of a second in complex128."""

PART_OF_SAMPLE = 3
"""Entries of a side of the sample for each rank. Not tuned."""

SPARSE = 2 / 3
"""Part of zeros from which on sparse storage is named: with indices of four bytes, it is smaller. Not tuned."""

SHIFTS = 8
"""Shifts along the diagonals by which entries are compared. Not tuned."""

SHIFTED = 24
"""Rows and columns that are compared for each shift. Not tuned."""

LOW_RANK, SPARSE_STORAGE, TOEPLITZ, CIRCULANT = "low rank", "sparse storage", "Toeplitz", "circulant"


class OtherForm(NamedTuple):
    """What would hold a matrix in place of butterfly factors.

    Attributes
    ----------
    name : {"low rank", "sparse storage", "Toeplitz", "circulant"}
        The form.
    error : float
        Relative error that the entries which were looked at predict.
    values : int
        Numbers that it stores.
    rank : int
        Rank, of the low rank; 0 of the others.
    """

    name: str
    error: float
    values: int
    rank: int = 0


def find_other_forms(window: Window, tol: float, seed: int) -> list[OtherForm]:
    """Find what would hold a matrix to a tolerance with fewer values than it has, smallest first.

    Parameters
    ----------
    window : Window
        What of the matrix is looked at.
    tol : float
        Relative error.
    seed : int
        Seed of the choice of entries.
    """
    rng = np.random.default_rng((seed, 0))
    if not window.has_room(SIDE**2 + 4 * SHIFTS * SHIFTED**2, SHIFTED):
        return []
    rows, cols = (_choose(side, size, rng) for side, size in _sides(window))
    if window.shares_cols:
        cols = np.sort(rng.permutation(cols)[:SHIFTED])  # a product for each
    block = window.read(rows, cols)
    found = [_find_low_rank(block, window, tol), _find_zeros(block, window.source.shape)]
    if not window.shares_cols:
        found += _find_diagonals(window, tol, rng)
    entries = math.prod(window.source.shape)
    return sorted((form for form in found if form is not None and form.values < entries), key=lambda form: form.values)


def _sides(window: Window) -> list[tuple[Index | None, int]]:
    return list(zip((window.rows, window.cols), window.source.shape, strict=True))


def _choose(side: Index | None, size: int, rng: np.random.Generator) -> Index:
    """Rows of the window at random, ascending."""
    if side is None:
        return np.sort(rng.choice(size, min(SIDE, size), replace=False)).astype(np.int64)
    return np.sort(rng.permutation(side)[:SIDE])


def _find_low_rank(block: NDArray[Any], window: Window, tol: float) -> OtherForm | None:
    """Least rank beyond which a sample of the whole matrix has no more energy than a tolerance allows."""
    energy = np.linalg.svd(block, compute_uv=False).astype(np.float64) ** 2
    if energy.sum() == 0:
        return None
    left = np.append(np.cumsum(energy[::-1])[::-1], 0.0) / energy.sum()
    rank = _rank(left, tol)
    pairs = zip(block.shape, window.source.shape, strict=True)
    most = min(size if taken == size else taken // PART_OF_SAMPLE for taken, size in pairs)
    if rank > most:
        return None
    whole = math.ceil(rank * (1 / min(window.covered)) ** _growth(block, rank, tol))
    return OtherForm(LOW_RANK, math.sqrt(left[rank]), whole * sum(window.source.shape), whole)


def _rank(left: NDArray[np.float64], tol: float) -> int:
    """Least rank beyond which there is no more of the energy than a tolerance allows."""
    return max(1, int(np.argmax(left <= tol**2)))


def _growth(block: NDArray[Any], rank: int, tol: float) -> float:
    """Power of a side by which the rank grows: 0 of a smooth kernel, 1 of an oscillatory one.

    A window with a part of the rows and columns sees a part of the rank; so does half of the sample.
    """
    half = block[: -(-block.shape[0] // 2), : -(-block.shape[1] // 2)]
    energy = np.linalg.svd(half, compute_uv=False).astype(np.float64) ** 2
    left = np.append(np.cumsum(energy[::-1])[::-1], 0.0) / max(float(energy.sum()), np.finfo(np.float64).tiny)
    return min(max(math.log2(rank / _rank(left, tol)), 0.0), 1.0)


def _find_zeros(block: NDArray[Any], shape: tuple[int, int]) -> OtherForm | None:
    """Number of entries that are no zeros, where they are few."""
    there = np.count_nonzero(block) / block.size
    return OtherForm(SPARSE_STORAGE, 0.0, math.ceil(there * math.prod(shape))) if 1 - there >= SPARSE else None


def _find_diagonals(window: Window, tol: float, rng: np.random.Generator) -> list[OtherForm]:
    """Constant diagonals, which an FFT multiplies by; those of a circulant matrix go on at the other side."""
    rows, cols = window.source.shape
    along = _difference(window, rng, wraps=False)
    if along is None or along > tol:
        return []
    if rows == cols:
        around = _difference(window, rng, wraps=True)
        if around is not None and around <= tol:
            return [OtherForm(CIRCULANT, max(along, around), rows)]
    return [OtherForm(TOEPLITZ, along, rows + cols - 1)]


def _difference(window: Window, rng: np.random.Generator, *, wraps: bool) -> float | None:
    """Part of the norm by which entries differ from others on their diagonal, far away; None if none were found."""
    (down, height), (across, width) = _sides(window)
    apart = energy = 0.0
    for _ in range(SHIFTS):
        start, end = rng.choice(height if down is None else down, 2)
        shift = int(end - start) % height if wraps else int(end - start)
        pairs = [
            _shifted(_choose(*side, rng), shift, *side, rng, wraps=wraps) for side in ((down, height), (across, width))
        ]
        if shift == 0 or not all(near.size for near, _ in pairs):
            continue
        (rows, far_rows), (cols, far_cols) = pairs
        orders = np.argsort(far_rows), np.argsort(far_cols)
        near = window.read(rows, cols)[np.ix_(*orders)]
        far = window.read(far_rows[orders[0]], far_cols[orders[1]])
        apart += float(np.sum(np.abs(near - far) ** 2)) / 2
        energy += float(np.sum(np.abs(near) ** 2 + np.abs(far) ** 2)) / 2
    return math.sqrt(apart / energy) if energy > 0 else None


def _shifted(
    side: Index, shift: int, inside: Index | None, size: int, rng: np.random.Generator, *, wraps: bool
) -> tuple[Index, Index]:
    """Rows that stay in the window when they are shifted, and where they come to lie."""
    far = (side + shift) % size if wraps else side + shift
    there = (far >= 0) & (far < size) if inside is None else np.isin(far, inside)
    kept = np.sort(rng.permutation(np.flatnonzero(there))[:SHIFTED])
    return side[kept], far[kept]
