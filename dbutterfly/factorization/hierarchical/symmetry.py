"""Whether a matrix is symmetric or Hermitian, by a sample of its entries and of those across the diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...sources.base import MatrixSource
from ...sources.samples import ROUNDING, Place, norm_of_finite
from ...structure.points import Points

__all__ = ["find_symmetry"]

PLACES = 8
"""Most places that are compared. Not tuned: 512 entries of what is stored, 1024 of an entry function."""

REMEDY = "leave symmetric out"


def find_symmetry(source: MatrixSource, points: Points | None) -> str:
    """Kind of symmetry of a matrix that is said to have one.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    points : Points or None
        Points of its rows and columns, which must be the same.

    Returns
    -------
    str
        ``"hermitian"`` of a complex matrix whose sample is so, else ``"symmetric"``.

    Raises
    ------
    InputError
        If the sample shows that it has none; the message names an entry.
    """
    if source.shape[0] != source.shape[1]:
        raise InputError(f"symmetric=True is for square matrices, and {source.name} has shape {source.shape}; {REMEDY}")
    sides = (None, None) if points is None else (points.rows, points.cols)
    if not _are_same(*sides):
        raise InputError(f"symmetric=True needs the same points for rows and columns; give points=(X, X), or {REMEDY}")
    places = [place for place in source.choose_places(np.random.default_rng(0))[:PLACES] if place.rows.size]
    pairs = [(place, source.take(*place), source.take(place.cols, place.rows).T) for place in places]
    found = [name for name in ("symmetric", "hermitian") if all(_agree(name, *pair[1:]) for pair in pairs)]
    if found:
        return found[0]
    place, (i, j), values = _worst(pairs)
    raise InputError(
        f"symmetric=True: {source.name} has {values[0]} at {(int(place.rows[i]), int(place.cols[j]))} and {values[1]} "
        f"at {(int(place.cols[j]), int(place.rows[i]))}; {REMEDY}"
    )


def _are_same(rows: NDArray[np.float64] | None, cols: NDArray[np.float64] | None) -> bool:
    return rows is cols or (rows is not None and cols is not None and np.array_equal(rows, cols))


def _agree(name: str, entries: NDArray[Any], across: NDArray[Any]) -> bool:
    """Whether entries are those across the diagonal, or their conjugates, up to rounding."""
    wanted = np.conj(across) if name == "hermitian" else across
    both = np.isfinite(entries) & np.isfinite(wanted)
    allowed = ROUNDING * float(np.finfo(np.result_type(entries.dtype, np.float32)).eps) * norm_of_finite(entries)
    return bool(np.all(np.abs(entries[both] - wanted[both]) <= allowed))


def _worst(pairs: list[tuple[Place, NDArray[Any], NDArray[Any]]]) -> tuple[Place, tuple[int, int], tuple[Any, Any]]:
    """Entry that differs most from that across the diagonal."""
    gaps = [np.nan_to_num(np.abs(entries - across), nan=0.0, posinf=0.0) for _, entries, across in pairs]
    place, entries, across = pairs[max(range(len(pairs)), key=lambda at: float(gaps[at].max()))]
    i, j = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(entries - across)))), entries.shape)
    return place, (int(i), int(j)), (entries[i, j], across[i, j])
