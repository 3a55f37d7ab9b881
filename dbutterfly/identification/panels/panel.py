"""One panel of a matrix: how it is read, and the calls that work on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import host_array, resolve_backend
from ...kernels.grouping.panels import fit_panel
from ...kernels.grouping.similarity import landmark_similarity
from ...sources.base import MatrixSource
from ..cuts import Index

__all__ = ["Panel", "compare_rows", "sample_entries", "score_rows"]

ZERO_EXPONENT = -1073
"""Power of two that stands for the largest entry of a panel of zeros: that of the least positive double."""


@dataclass(frozen=True)
class Panel:
    """Rows ``first`` to ``last - 1`` of the matrix, or of its transpose if ``transposed``, as they are computed."""

    first: int
    last: int
    transposed: bool
    dtype: np.dtype[Any]
    scale: float
    backend: str

    def read(self, source: MatrixSource) -> NDArray[Any]:
        """Read from storage: a view where that gives one."""
        here, across = slice(self.first, self.last), slice(0, source.shape[0 if self.transposed else 1])
        return source.read_range(across, here).T if self.transposed else source.read_range(here, across)

    def load(self, source: MatrixSource, order: Index) -> Any:
        """Take the columns in some order, scaled, to the device."""
        block = np.take(self.read(source), order, axis=1)
        if self.scale != 1:
            block = block * np.float64(self.scale)
        return resolve_backend(self.backend).to_device(block.astype(self.dtype, copy=False))


def score_rows(
    source: MatrixSource, task: tuple[Panel, int, Index | None], order: Index, basis: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Compute scores, best groups and products of the rows of a panel."""
    panel, groups, labels = task
    rows = panel.load(source, order)
    to_device = resolve_backend(panel.backend).to_device
    fit = fit_panel(rows, to_device(basis), groups, None if labels is None else to_device(labels))
    return host_array(fit.scores), host_array(fit.best), host_array(fit.products)


def compare_rows(
    source: MatrixSource, task: tuple[Panel, int, float], order: Index, landmarks: NDArray[Any]
) -> NDArray[Any]:
    """Compute the similarity of the rows of a panel to landmarks."""
    panel, groups, alpha = task
    rows = panel.load(source, order)
    return host_array(landmark_similarity(rows, resolve_backend(panel.backend).to_device(landmarks), groups, alpha))


def sample_entries(
    source: MatrixSource, task: tuple[Panel, Index], col_index: Index
) -> tuple[NDArray[Any], NDArray[Any], tuple[int, float, float]]:
    """Take some rows and columns of a panel, and the moments of its entries.

    Moments are the exponent e of the largest entry, and the sums of the second and fourth powers of ``|z| / 2^e``.
    """
    panel, wanted = task
    block = panel.read(source)
    block = block.astype(np.result_type(block.dtype, np.float32), copy=False)
    parts = (block.real, block.imag) if block.dtype.kind == "c" else (block,)
    largest = max(float(np.abs(part).max()) for part in parts)
    if not math.isfinite(largest):
        row, col = np.argwhere(~np.isfinite(block))[0].tolist()
        here = (col, panel.first + row) if panel.transposed else (panel.first + row, col)
        raise source.non_finite_error(here)
    exponent = math.frexp(largest)[1] if largest > 0 else ZERO_EXPONENT
    squares = sum(np.square(np.ldexp(part, -exponent), dtype=np.float64) for part in parts)
    moments = exponent, float(np.sum(squares)), float(np.vdot(squares, squares))
    return block[wanted - panel.first], block[:, col_index], moments
