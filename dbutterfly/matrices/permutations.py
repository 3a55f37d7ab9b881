"""Matrices with permuted rows and columns, and the orderings that restore them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..sources.entries import Entries
from ..structure.orderings import Orderings
from ..structure.points import Points
from .known import Indices, KnownMatrix, Matrix, Seed, as_known, generator

__all__ = ["shuffled", "undo_orderings"]


def shuffled(matrix: Matrix, *, seed: Seed = None) -> KnownMatrix:
    """Permute rows and columns at random.

    Parameters
    ----------
    matrix : KnownMatrix, Entries or ndarray
        The latter two are taken to be in standard order.
    seed : int, numpy.random.Generator or None
        None is new at every call.

    Returns
    -------
    KnownMatrix
        Its ``orderings`` are index arrays, the true ones: ``Z[rows][:, cols]`` is in standard order.

    Raises
    ------
    InputError
        If an ordering of ``matrix`` is ``"bitreversal"`` and it has no chain to say in which digits.
    """
    known, rng = as_known(matrix), generator(seed)
    shuffles = tuple(rng.permutation(size).astype(np.int64, copy=False) for size in known.shape)
    # Z'[i] = Z[shuffle[i]], so the row of Z' that holds row k of Z is shuffle^-1[k].
    rows, cols = (
        _invert(shuffle) if side is None else _invert(shuffle)[side]
        for shuffle, side in zip(shuffles, _permutations(known), strict=True)
    )
    return KnownMatrix(
        _Permuted(known, *shuffles),
        known.shape,
        known.dtype,
        norm=known.norm,
        chain=known.chain,
        orderings=(rows, cols),
        tol=known.tol,
        points=None if known._points is None else _PermutedPoints(known._points, *shuffles),
    )


def undo_orderings(matrix: KnownMatrix, orderings: Orderings) -> KnownMatrix:
    """Permute a matrix that is in standard order, such that ``orderings`` bring it back into that order."""
    orderings.validate(matrix.shape)
    assert matrix.chain is not None
    sides = orderings.permutations(matrix.chain)
    if all(side is None for side in sides):
        return matrix
    f = _Permuted(matrix, *(None if side is None else _invert(side) for side in sides))
    return KnownMatrix(f, matrix.shape, matrix.dtype, norm=matrix.norm, chain=matrix.chain, orderings=orderings)


@dataclass(frozen=True, eq=False)
class _PermutedPoints:
    """Makes the points of a matrix whose rows and columns are taken in another order."""

    points: Callable[[], Points]
    rows: Indices
    cols: Indices

    def __call__(self) -> Points:
        known = self.points()
        rows, cols = (
            None if side is None else side[order]
            for side, order in zip(known.sides.values(), (self.rows, self.cols), strict=True)
        )
        return Points(rows, cols, known.period or None)


@dataclass(frozen=True, eq=False)
class _Permuted:
    """Entry function of a matrix whose rows and columns are taken in another order."""

    matrix: Entries
    rows: Indices | None
    cols: Indices | None

    def __repr__(self) -> str:
        return f"permuted {self.matrix.f!r}"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        return self.matrix.block(
            rows if self.rows is None else self.rows[rows], cols if self.cols is None else self.cols[cols]
        )


def _permutations(known: KnownMatrix) -> tuple[Indices | None, Indices | None]:
    """Orderings of a matrix as index arrays, None for the standard order."""
    if known.chain is not None:
        return known.orderings.permutations(known.chain)
    rows, cols = known.orderings.rows, known.orderings.cols
    if isinstance(rows, str) or isinstance(cols, str):
        raise InputError(
            f"matrix={known!r} is ordered by bit reversal but has no chain to say in which digits; give it a chain or "
            "index arrays"
        )
    return rows, cols


def _invert(permutation: Indices) -> Indices:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(permutation.size)
    return inverse
