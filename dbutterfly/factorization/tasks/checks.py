"""Entries that cannot be factorized as they are: not finite, or too large to be squared; and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import NonFiniteError, RangeError
from ...sources.exponents import exponent_of, largest_energy, largest_part
from ...structure.axes import Axis, Index, Tile
from ..job import FactorizationJob, MatrixJob

__all__ = ["check_finite", "first_bad_entry", "further_exponent", "mark_nonzero", "non_finite_error", "range_error"]


def first_bad_entry(grid: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity of a tile, in row-major order; None if there is none."""
    row_at = _by_group(rows, tile.r0, tile.r1)
    col_at = _by_group(cols, tile.c0, tile.c1)
    best: tuple[int, int] | None = None
    for g, row_members in enumerate(row_at):
        h, i, j = np.nonzero(~np.isfinite(grid[g]))
        for candidate in _row_major_first(row_members[i], col_at[h, j]):
            best = candidate if best is None else min(best, candidate)
    return best


def _row_major_first(rows: Index, cols: Index) -> Iterator[tuple[int, int]]:
    if rows.size:
        at = np.lexsort((cols, rows))[0]
        yield int(rows[at]), int(cols[at])


def _by_group(axis: Axis, first: int, last: int) -> Index:
    """Rows of the matrix, or columns, -1 at gaps: shape (groups, members)."""
    positions = axis.rows(first, last).reshape(axis.buffer_shape(first, last))
    return positions.T if axis.strided else positions


def check_finite(job: FactorizationJob, grid: NDArray[Any], tile: Tile, energies: NDArray[np.float64]) -> None:
    """Raise unless every energy is finite, and small enough for sums of them to be so."""
    if np.max(energies) < largest_energy(job.plan.source.work_dtype):
        return
    bad = first_bad_entry(grid, job.plan.rows, job.plan.cols, tile)
    if bad is not None:
        raise non_finite_error(job, bad)
    raise range_error(job, job.source.exponent + exponent_of(largest_part(grid)))


def range_error(job: MatrixJob, exponent: int) -> RangeError:
    """Error for entries whose squares leave the range, with a power of two near which the largest of them is.

    Where squares have vanished altogether, it may be estimated too small; no number of the dtype is that small.
    """
    dtype = job.plan.source.work_dtype
    info = np.finfo(dtype)
    return RangeError.of(job.source.name, dtype, min(max(exponent, info.minexp - info.nmant), info.maxexp))


def further_exponent(job: MatrixJob) -> int:
    """Power of two by which to divide entries that are too large, by how much is not known: half of the range more."""
    return job.source.exponent + np.finfo(job.plan.source.work_dtype).maxexp // 2


def non_finite_error(job: FactorizationJob, index: tuple[int, int] | None) -> NonFiniteError:
    """Error that names the first entry that is not finite."""
    assert index is not None
    return job.source.non_finite_error(index)


def mark_nonzero(parts: NDArray[Any], energy: NDArray[np.float64]) -> None:
    """Raise energies that have underflowed to the least normal number: a matrix of norm zero is zero.

    Parameters
    ----------
    parts : array, shape (..., n, m)
        Blocks, or what was found of them.
    energy : array, shape (...)
        Their energies; changed in place.
    """
    for at in map(tuple, np.argwhere(energy == 0)):
        if parts[at].any():
            energy[at] = np.finfo(np.float64).smallest_normal
