"""Work on the blocks of a matrix at a cut, a piece of them at a time, on threads or on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.calls import Calls
from ...kernels.factors.cut_spaces import CutSpaces, remove_spaces
from ...kernels.low_rank.spectra import Shrunk, shrink_leading, trailing_energies
from ...structure.chain import Cut

__all__ = ["COUPLING", "CutWork"]

PIECE_BYTES = 1 << 20
"""Bytes of blocks that one call works on.

Not tuned: some milliseconds of eigenvectors, beside which a call on a thread costs nothing, and little to send.
"""

COUPLING = 1.0
"""How strongly a step holds targets together, beside what it gains at each cut (:mod:`.ascent`).

Measured on Gaussian butterflies of N = 32, 64 and 128 with noise .1 and .3, with equal shares: after 10 steps,
couplings of .2, 1, 2 and 5 leave ratios of 1.0024, 1.0013, 1.0016 and 1.0024 at N = 64 and noise .1, where 1.0011 is
the limit; the others alike.
"""


class CutWork:
    """Work on the blocks of matrices at the cuts of a chain.

    Parameters
    ----------
    calls : Calls
        Where it is done.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def trailing_energies(self, matrix: NDArray[Any], cut: Cut) -> NDArray[np.float64]:
        """Squared distance of each block of a matrix to those that have the rank of the cut, shape (u, q)."""
        found = self._run(_trailing_energies, [(piece, cut.rank) for piece in _pieces(matrix, cut)])
        return np.concatenate(found).reshape(cut.u, cut.q)

    def shrink(self, matrix: NDArray[Any], cut: Cut) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Matrix whose leading singular values, of each block, are less, and the energies of these, shape (u, q).

        See :func:`shrink_leading`.
        """
        found = self._run(_shrink, [(piece, cut.rank) for piece in _pieces(matrix, cut)])
        blocks, leading = zip(*found, strict=True)
        return _join(blocks, cut), np.concatenate(leading).reshape(cut.u, cut.q)

    def remove(self, matrix: NDArray[Any], cut: Cut, spaces: CutSpaces) -> NDArray[Any]:
        """Part of a matrix outside of the ranges of the blocks of a product; see :func:`remove_spaces`."""
        pieces, at = [], 0
        for piece in _pieces(matrix, cut):
            part = slice(at, at + len(piece))
            pieces.append((piece, CutSpaces(*(side[part] for side in spaces))))
            at += len(piece)
        return _join(self._run(_remove, pieces), cut)

    def _run(self, function: Callable[..., Any], pieces: Sequence[Any]) -> list[Any]:
        return list(self._calls.in_order(function, pieces))


def _trailing_energies(_matrix: Any, given: tuple[NDArray[Any], int]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = trailing_energies(*given)
    return found


def _shrink(_matrix: Any, given: tuple[NDArray[Any], int]) -> Shrunk:
    return shrink_leading(*given, COUPLING)


def _remove(_matrix: Any, given: tuple[NDArray[Any], CutSpaces]) -> NDArray[Any]:
    found: NDArray[Any] = remove_spaces(*given)
    return found


def _pieces(matrix: NDArray[Any], cut: Cut) -> list[NDArray[Any]]:
    """Blocks of a matrix, row group after row group, as stacks (n, p, v)."""
    p, u, q, v, _ = cut
    blocks = np.ascontiguousarray(matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)).reshape(u * q, p, v)
    step = max(1, PIECE_BYTES // (p * v * matrix.itemsize))
    return [blocks[first : first + step] for first in range(0, u * q, step)]


def _join(pieces: Sequence[NDArray[Any]], cut: Cut) -> NDArray[Any]:
    """Matrix of which these are the blocks: inverse of :func:`_pieces`."""
    p, u, q, v, _ = cut
    blocks = np.concatenate(pieces).reshape(u, q, p, v)
    return np.ascontiguousarray(blocks.transpose(2, 0, 1, 3)).reshape(p * u, q * v)
