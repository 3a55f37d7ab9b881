"""A fingerprint of a matrix by a sample of its entries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Index

__all__ = ["hash_sample"]

SAMPLED = 64
"""Rows and columns of the sample. Stored runs compare its hash: another number would refuse all of them."""


def hash_sample(shape: tuple[int, int], crossings: Callable[[Index, Index], NDArray[Any]]) -> str:
    """Hash the entries at 64 x 64 crossings, evenly spaced from the first row and column to the last.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    crossings : callable
        Returns the entries at the crossings of some rows and columns.
    """
    rows, cols = (np.unique(np.linspace(0, size - 1, SAMPLED).astype(np.int64)) for size in shape)
    sample = np.ascontiguousarray(crossings(rows, cols))
    return hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()
