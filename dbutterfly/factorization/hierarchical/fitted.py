"""What is known of a block of a hierarchical matrix once it has been fitted, and how blocks are to be fitted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...operator.block_factors import BlockFactors

__all__ = ["ETA", "LEAF", "FittedBlock", "Settings", "dense_block", "zero_block"]

ETA = 4.0
"""Smaller diameter over distance up to which clusters are far apart.

Measured at N = 4096: exponential covariance at 1e-4 on random points in the plane takes 16.1, 13.6, 12.6, 12.5 and 12.3
MB for 1, 2, 4, 8 and 16, in space 42.0, 38.9, 32.9, 32.9 and 32.9 MB; the Helmholtz kernel on a circle at 1e-6 31.3 to
31.7 MB, a Cauchy matrix 5.5 MB for each. Time is level from 2 on. Blocks that are not of low rank are divided.
"""

LEAF = 64
"""Most rows and columns of a block that is not divided.

Measured as :data:`ETA`: 32 takes 13.1, 36.8, 30.8 and 5.0 MB in place of 12.6, 32.9, 31.7 and 5.5, and up to 1.4 times
the time.
"""


class Settings(NamedTuple):
    """How blocks are fitted.

    Attributes
    ----------
    level : float
        Squared error that a block may have for each of its rows and columns.
    rank : int or None
        Rank of all blocks away from the diagonal, whatever their error, in place of a level.
    eta : float
        Smaller diameter of two clusters over their distance up to which they are far apart.
    is_half : bool
        Whether blocks above the diagonal are left out, for which those below it stand.
    """

    level: float = 0.0
    rank: int | None = None
    eta: float = ETA
    is_half: bool = False


class FittedBlock(NamedTuple):
    """A block in factors, and what is known of it.

    Attributes
    ----------
    factors : BlockFactors
        The block.
    energy : float
        Energy of what was fitted: of the matrix there, but for what was left out.
    error : float
        Squared error: at most this, or an estimate where some entries only were evaluated.
    lower : float
        Squared error that any factors of these shapes have; 0 where it is not known.
    deviation : float
        Standard deviation of ``error``; 0 where it is proven.
    spectrum : array of float64, shape (k,)
        Singular values of a block of low rank, of which the first factor has orthonormal columns and the second one the
        scale; those beyond its rank were dropped. Empty for other blocks.
    left_out : float
        Energy of what was left out of the matrix before it was fitted, which ``error`` and ``lower`` do not have.
    """

    factors: BlockFactors
    energy: float
    error: float
    lower: float
    deviation: float
    spectrum: NDArray[np.float64]
    left_out: float = 0.0


def dense_block(rows: tuple[int, int], cols: tuple[int, int], values: NDArray[Any], energy: float) -> FittedBlock:
    """Block with all of its entries, which are copied."""
    kept = np.array(values)[None, :, :, None]
    return FittedBlock(BlockFactors(rows, cols, (kept,)), energy, 0.0, 0.0, 0.0, np.zeros(0))


def zero_block(rows: tuple[int, int], cols: tuple[int, int], energy: float, spectrum: Any = ()) -> FittedBlock:
    """Block of zeros in place of one that hardly differs from it; the error is that of rank zero, and the least one."""
    return FittedBlock(BlockFactors(rows, cols, ()), energy, energy, energy, 0.0, np.asarray(spectrum, np.float64))
