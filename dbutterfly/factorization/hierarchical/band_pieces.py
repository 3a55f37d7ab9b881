"""What a panel keeps of a strip: of each band its far columns at a low rank, and its near ones as they are.

A piece has the ranks of its bands, by which it is cut, and then, band after band::

    Q | B | norms of what Q B leaves out of each far column | near columns

Ranks are exact in single precision. That they lie in the piece itself spares a file for each.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Output
from ...planning.bands import Band, BandCopy
from ...planning.pieces import Piece, padded
from ...storage.workspace import Workspace
from ...structure.axes import Index
from .captured import DenseRest, Wanted, capture_all
from .fitted import Settings
from .rows import read_row, row_output

__all__ = ["BANDS", "KeptBand", "cut_piece", "energy_to_leave_out", "keep_strip", "read_piece"]

BANDS = "bands"
"""Name of the array of pieces of this kind."""

LEFT_OUT = 1 / 16
"""Part of the squared error allowed that may be left out before blocks are fitted.

Measured on an exponential covariance of 32768 random points in the plane, 1e-3: with 1/32, 1/16 and 1/8, the mean rank
is 12.7, 11.9 and 11.3, and .05, .07 and .09 of the tolerance are left out."""


class KeptBand(NamedTuple):
    """What a panel has kept of a band.

    Attributes
    ----------
    rows : array of int
        Positions of its rows.
    far, near : array of int
        Positions of its columns.
    basis, coefficients : array
        What is kept of the far ones.
    left_out : array of float64
        Energy that each of them differs by.
    values : array
        The near ones.
    """

    rows: Index
    far: Index
    near: Index
    basis: NDArray[Any]
    coefficients: NDArray[Any]
    left_out: NDArray[np.float64]
    values: NDArray[Any]


def energy_to_leave_out(settings: Settings, rows: int, cols: int, band: Band) -> float:
    """Energy that may be left out of some rows and far columns of a band, whose blocks are taken to be squares."""
    return LEFT_OUT * settings.level * 2 * rows * cols / (band.last - band.first)


def keep_strip(copy: BandCopy, piece: Piece, values: NDArray[Any], settings: Settings) -> Output:
    """Keep what a panel has of a strip.

    Parameters
    ----------
    copy : BandCopy
        The copy.
    piece : Piece
        The piece that is made.
    values : array
        Entries of the panel, as stored.
    settings : Settings
        How blocks are going to be fitted.

    Returns
    -------
    Output
        The piece.
    """
    rows, cols = copy.sides(piece.panel)
    of_bands = [rows.order[rows.within(band.first, band.last)] for band in copy.bands[piece.region]]
    held = np.empty((max(own.size for own in of_bands), values.shape[1]), values.dtype)
    wanted, near = [], []
    for band, own in zip(copy.bands[piece.region], of_bands, strict=True):
        far, beside = (cols.order[cols.inside(spans)] for spans in (band.far, band.near))
        near.append(np.empty((own.size, beside.size), values.dtype))
        rest = partial(_gather, values, own, held, far, (beside, near[-1]))
        allowed = energy_to_leave_out(settings, own.size, far.size, band)
        wanted.append(Wanted(rest, allowed, min(copy.most_rank, own.size, far.size)))
    found = capture_all(wanted)
    parts: list[NDArray[Any]] = [np.array([each.basis.shape[1] for each in found], values.dtype)]
    for each, beside in zip(found, near, strict=True):
        parts += [each.basis, each.coefficients, np.sqrt(each.left_out).astype(values.dtype), beside]
    return row_output(BANDS, piece.number, parts, copy.chunk)


def _gather(
    values: NDArray[Any], rows: Index, held: NDArray[Any], far: Index, near: tuple[Index, NDArray[Any]]
) -> DenseRest:
    """Rows of a panel, put into an array, of which the far columns are captured; the near ones are put aside."""
    gathered = np.take(values, rows, axis=0, out=held[: rows.size], mode="clip")
    np.take(gathered, near[0], axis=1, out=near[1], mode="clip")
    return DenseRest(gathered, far)


def read_piece(workspace: Workspace, copy: BandCopy, piece: Piece) -> NDArray[Any]:
    """Read a piece, which its ranks tell the length of."""
    known = padded(len(copy.bands[piece.region]), copy.chunk)
    beginning = read_row(workspace, BANDS, piece.number, known, copy.chunk)
    length = padded(_length_of(copy, piece, beginning), copy.chunk)
    if length == known:
        return beginning
    rest = workspace.read(BANDS, (slice(piece.number, piece.number + 1), slice(known, length)))
    return np.concatenate((beginning, rest[0]))


def _length_of(copy: BandCopy, piece: Piece, values: NDArray[Any]) -> int:
    """Entries of a piece that has the ranks with which values begin."""
    sizes = copy.sizes_of(piece.panel, piece.region)
    pairs = zip(_ranks_of(values, len(sizes)), sizes, strict=True)
    return len(sizes) + sum(rank * (rows + far) + far + rows * near for rank, (rows, far, near) in pairs)


def _ranks_of(values: NDArray[Any], count: int) -> list[int]:
    """Ranks of so many bands, with which a piece begins."""
    ranks: list[int] = values[:count].real.astype(np.int64).tolist()
    return ranks


def cut_piece(copy: BandCopy, piece: Piece, values: NDArray[Any]) -> list[KeptBand]:
    """What a piece has of each band; ``values`` begins with it."""
    bands = copy.bands[piece.region]
    found, at = [], len(bands)

    def take(*shape: int) -> NDArray[Any]:
        nonlocal at
        first, at = at, at + math.prod(shape)
        return values[first:at].reshape(shape)

    for band, rank in zip(bands, _ranks_of(values, len(bands)), strict=True):
        rows = copy.rows_of(piece.panel, band)
        far, near = (copy.cols_of(piece.panel, spans) for spans in (band.far, band.near))
        basis, coefficients = take(rows.size, rank), take(rank, far.size)
        norms = np.abs(take(far.size)).astype(np.float64) * (1 + float(np.finfo(values.dtype).eps))
        found.append(KeptBand(rows, far, near, basis, coefficients, norms**2, take(rows.size, near.size)))
    return found
