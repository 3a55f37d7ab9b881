r"""Which chain reaches a tolerance, estimated from sampled blocks before the run.

Some rows and columns of some blocks of some cuts of a chain are read, and the singular values of these samples are
taken. Let ``e_l(r)^2`` be the energy beyond the first r singular values at the cut l, as a fraction of the energy of
the matrix. The squared error of a product of rank r is estimated by

    singular values that fall fast   sum_l e_l(r)^2    every cut leaves a part of its own
    flat ones                        max_l e_l(r)^2    every cut leaves the same noise

and by a mean of the two in between, weighted by how flat they are: ``f = sum_l e_l(r + 1)^2 / sum_l e_l(r)^2``. Chains
of every rank are tried, with several sizes of the digits at their ends (:meth:`dbutterfly.Chain.chainable`, balanced
and not), those with the fewest values first.

The certificate of the run decides whether the tolerance was reached. Where it was not, the rank is raised.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..sources.base import MatrixSource
from ..structure.axes import Axis, Tile, axes_of_cut, axis_of_entries
from ..structure.chain import Chain
from ..structure.known_chains import longer_shapes
from ..structure.orderings import Orderings
from ..structure.padding import place
from ..structure.point_orderings import PointOrderings

__all__ = ["LARGEST_RANK", "Estimate", "chain_for_tolerance"]

SIDE = 64
"""Most rows and columns of a block that are read, or four times the rank if that is more. Not tuned by itself."""

BLOCKS = 64
"""Number of blocks that are sampled in all, divided evenly among the cuts.

With it, the estimates for five kernels at N = 512 are within a factor of five of the error of the factorization
(``tests/planning/test_tolerance.py``); other numbers were not compared.
"""

BLOCKS_OF_CUT = 6
"""Least number of blocks that are sampled at a cut, whatever :data:`BLOCKS` gives. Not tuned."""

LARGEST_RANK = 64
"""Largest rank that is tried. Not tuned: it bounds the time of planning."""

LEAVES = (1, 2, 4)
"""Divisors of the rank, which give the least size of the digits at the ends of a chain.

Smaller digits at the ends give fewer values; part of the rank may be redundant there.
"""

READ_FRACTION = 0.05
"""Part of a chunked matrix after which sampling ends, the middle cuts having come first. Not tuned."""

READ_LEAST = 1 << 26
"""Bytes that sampling may read of any matrix, even if :data:`READ_FRACTION` of it is less. Not tuned."""


class Estimate(NamedTuple):
    """A chain that seems to reach a tolerance.

    Attributes
    ----------
    chain : Chain
        The chain.
    error : float
        Its estimated relative error.
    blocks : int
        Blocks that were sampled for it.
    """

    chain: Chain
    error: float
    blocks: int


class _Tails(NamedTuple):
    """Energies of sampled blocks beyond each rank, for all chains with the same digits.

    Attributes
    ----------
    tails : array, shape (cuts, ranks)
        Mean energy beyond rank r of a sampled entry, at each sampled cut.
    positions : array of int, shape (cuts,)
        Number of factors to the left of each sampled cut.
    energy : float
        Mean energy of a sampled entry.
    blocks : int
        Blocks that were sampled.
    """

    tails: NDArray[np.float64]
    positions: NDArray[np.int64]
    energy: float
    blocks: int


def chain_for_tolerance(
    source: MatrixSource, tol: float, orderings: Orderings | PointOrderings, seed: int = 0
) -> Estimate:
    """Choose the chain with the fewest values that seems to reach a tolerance.

    Parameters
    ----------
    source : MatrixSource
        The matrix, of which some blocks are read.
    tol : float
        Relative Frobenius error.
    orderings : Orderings or PointOrderings
        Orderings that bring it to standard order; those of points are others for each chain.
    seed : int
        Seed of the choice of blocks.

    Raises
    ------
    InputError
        If no chain with fewer values than the matrix seems to reach it.
    NonFiniteError
        If a NaN or an infinity is met.
    """
    known: dict[tuple[Any, ...], _Tails] = {}
    least = math.inf
    for chain in _candidates(source.shape):
        sampled = chain.row_radices, chain.col_radices, _side_of_sample(chain)  # few rows say nothing of a high rank
        if sampled not in known:
            known[sampled] = _sample(source, chain, orderings.for_chain(chain), np.random.default_rng(seed))
        error = _expected_error(known[sampled], chain)
        if error <= tol:
            return Estimate(chain, error, known[sampled].blocks)
        least = min(least, error)
    raise InputError(
        f"tol={tol:g} seems out of reach: sampled blocks leave {least:.2g} at least with any chain that has fewer "
        "values than the matrix; give a larger tol, other orderings, or a chain of your own"
    )


def _candidates(shape: tuple[int, int]) -> list[Chain]:
    """Chains with fewer values than the matrix, fewest first."""
    found = {
        Chain.chainable(sides, rank, max(1, rank // part), balanced=balanced)
        for sides in (shape, *longer_shapes(shape))
        for rank in range(1, min(LARGEST_RANK, *shape) + 1)
        for part in LEAVES
        for balanced in (False, True)
    }
    fewer = [chain for chain in found if len(chain) > 1 and chain.nnz < math.prod(shape)]
    return sorted(fewer, key=lambda chain: (chain.nnz, chain.rank, chain.patterns))


def _expected_error(tails: _Tails, chain: Chain) -> float:
    """Estimate the relative error of a product of the chain; a cut that was not sampled counts as the nearest one."""
    if tails.energy == 0:
        return 0.0
    cuts = [int(np.argmin(np.abs(tails.positions - position))) for position in range(1, len(chain))]
    beyond, further = (tails.tails[cuts, min(rank, tails.tails.shape[1] - 1)] for rank in (chain.rank, chain.rank + 1))
    largest = beyond.max()
    flat = further.sum() / beyond.sum() if largest > 0 else 0.0  # the f of the module docstring
    return math.sqrt((largest + (1 - flat) * (beyond.sum() - largest)) / tails.energy)


def _side_of_sample(chain: Chain) -> int:
    """Most rows and columns that are read of a block of a chain."""
    return max(SIDE, 4 << (chain.rank - 1).bit_length())


def _sample(source: MatrixSource, chain: Chain, orderings: Orderings, rng: np.random.Generator) -> _Tails:
    """Sample blocks of the cuts of a chain, the middle cuts first, until enough has been read."""
    allowed = max(READ_LEAST, READ_FRACTION * source.info.nbytes)
    side = _side_of_sample(chain)
    found: dict[int, list[NDArray[np.float64]]] = {}
    energies, read, placed = [], 0, place(orderings, source.shape, chain)
    for position in sorted(range(1, len(chain)), key=lambda cut: abs(2 * cut - len(chain))):
        if found and read > allowed:
            break
        rows, cols = axes_of_cut(chain, position, placed, source.edges)
        for _ in range(max(BLOCKS_OF_CUT, BLOCKS // (len(chain) - 1))):
            block, touched = _read_sample(source, rows, cols, side, rng)
            read += touched
            squares = np.linalg.svd(block, compute_uv=False).astype(np.float64) ** 2 / block.size
            tails = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
            found.setdefault(position, []).append(np.pad(tails, (0, side + 1 - tails.size)))
            energies.append(tails[0])
    positions = np.array(sorted(found))
    means = np.array([np.mean(found[position], axis=0) for position in sorted(found)])
    return _Tails(means, positions, float(np.mean(energies)), len(energies))


def _read_sample(
    source: MatrixSource, rows: Axis, cols: Axis, side: int, rng: np.random.Generator
) -> tuple[NDArray[Any], int]:
    """Read some rows and columns of a random block, in double precision; return them and the bytes touched."""
    sides = []
    for axis in (rows, cols):
        group = int(rng.integers(axis.groups))
        members = axis.positions(group, group + 1)
        chosen = np.sort(rng.permutation(members.size)[:side])
        side_axis = axis_of_entries(axis.length, members[chosen], axis.edges, axis.padding)
        sides.append((side_axis, side_axis.rows(0, chosen.size)))
    (row_axis, row_index), (col_axis, col_index) = sides
    tile = Tile(0, row_index.size, 0, col_index.size)
    block = source.read(row_axis, col_axis, tile)[:, :, 0, 0]
    block = block.astype(np.result_type(block.dtype, np.float64))
    if not np.isfinite(block).all():
        row, col = np.argwhere(~np.isfinite(block))[0]
        raise source.non_finite_error((int(row_index[row]), int(col_index[col])))
    return block, source.bytes_touched(row_axis, col_axis, tile)
