"""The scale of a matrix: whether squares of its entries leave the range, and the power of two that mends it.

A relative error does not depend on the scale of the matrix, and to multiply by a power of two rounds nothing. A matrix
whose entries are all tiny, or of which some are huge, is therefore divided by a power of two wherever it is read
(:func:`dbutterfly.sources.weighted.rescale`), and its factors are multiplied by it in the end.

The power comes from a few entries, which cost little beside the matrix. They may miss a huge entry. A run that meets it
raises a :class:`~dbutterfly.errors.RangeError`, which says the power that would do, and begins again. Searches before a
run, for a tolerance, for orderings or for a form, do not begin again: arrays in memory are looked at as a whole for
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import ArraySource
from .base import MatrixSource
from .entries_source import SIDE
from .exponents import COMFORTABLE, exponent_of, largest_part
from .info import work_dtype
from .samples import SHARE, spread_indices
from .weighted import rescale

__all__ = ["bring_into_range"]

WHOLE_BYTES = 1 << 26
"""Bytes of a mapped file up to which all of it is looked at, where parts of it are to be read anyhow.

That takes some hundredths of a second, and no huge entry is missed. Not tuned. Entry functions may take long, and are
evaluated by the workers.
"""

BAND_BYTES = 1 << 22
"""Bytes of an array in memory that are looked at at once, where all of it is.

Measured on 8192 x 16384 float32 entries, one core: .2 s per GiB with bands of 4 MiB, .35 s as a whole.
"""


def bring_into_range(source: MatrixSource, *, is_read: bool = False) -> MatrixSource:
    """Divide a matrix by a power of two where a few of its entries say that squares would leave the range.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    is_read : bool
        Whether parts of it are to be read anyhow before a run, so that it is looked at even where that takes more than
        a hundredth of reading it.
    """
    exponent = exponent_of(max(map(largest_part, _look(source, is_read=is_read)), default=0.0))
    is_usual = abs(exponent) <= COMFORTABLE[work_dtype(source.dtype, source.name).name]
    return source if is_usual else rescale(source, source.exponent + exponent)


def _look(source: MatrixSource, *, is_read: bool) -> Iterator[NDArray[Any]]:
    """A few entries of a matrix; none where they would cost much beside reading it.

    Of what is not stored in chunks, they are those at which entry functions are checked, or all of an array.
    """
    if source.probed:
        yield source.sample(())
    elif all(edges is None for edges in source.edges) and not source.is_computed:
        if is_read and isinstance(source, ArraySource) and (source.is_held or source.info.nbytes <= WHOLE_BYTES):
            size, columns = source.shape[0], slice(0, source.shape[1])
            height = max(1, BAND_BYTES * size // max(1, source.info.nbytes))
            for first in range(0, size, height):
                yield source.read_range(slice(first, min(first + height, size)), columns)
            return
        rows, cols = (spread_indices(0, size, SIDE, np.random.default_rng(0)) for size in source.shape)
        yield source.take(rows, cols)
    elif is_read or (not source.is_computed and source.chunk_count >= SHARE):
        yield source.draw_sample().values
