r"""Which chain reaches a tolerance, estimated from sampled blocks before the run.

Of some blocks of some cuts of a chain, some rows and columns are read, and their singular values taken. With
``e_l(r)^2`` the energy beyond the first r of them, as a fraction of that of the matrix, a product of rank r leaves
about ``sum_l e_l(r)^2`` over all cuts l of the chain where singular values fall fast, and ``max_l e_l(r)^2`` where
they are flat: then it is the same noise that every cut leaves. In between, something in between is taken. Chains of
every rank are tried, with several sizes of the digits at their ends (:meth:`dbutterfly.Chain.chainable`, balanced and
not), fewest values first.

The certificate of the run has the last word: it says whether the tolerance was reached, and where it was not, the rank
is raised.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, NonFiniteError
from ..sources.base import MatrixSource
from ..structure.axes import Axis, Tile, axes_of_cut, axis_of_entries
from ..structure.chain import Chain
from ..structure.orderings import Orderings

__all__ = ["LARGEST_RANK", "Estimate", "chain_for_tolerance"]

SIDE = 64
"""Most rows and columns of a block that are read, or four times the rank if that is more."""

BLOCKS = 64
"""Blocks sampled of all cuts together, ..."""

BLOCKS_OF_CUT = 6
"""... but so many of each at least."""

LARGEST_RANK = 64
"""Largest rank that is tried."""

LEAVES = (1, 2, 4)
"""Chains are tried whose end digits reach the rank, or that part of it: some rank may be redundant at the ends."""

READ_FRACTION = 0.05
"""Part of a chunked matrix that sampling may read, ..."""

READ_LEAST = 1 << 26
"""... or bytes, if that is more. The middle cuts come first."""


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
    """What sampled blocks of chains with the same digits leave beyond each rank.

    ``tails[l, r]``: mean energy beyond rank r of a sampled entry, at the sampled cut l; ``positions`` of these cuts;
    ``energy``: mean energy of a sampled entry; ``blocks`` sampled.
    """

    tails: NDArray[np.float64]
    positions: NDArray[np.int64]
    energy: float
    blocks: int


def chain_for_tolerance(source: MatrixSource, tol: float, orderings: Orderings, seed: int = 0) -> Estimate:
    """Choose the chain with the fewest values that seems to reach a tolerance.

    Parameters
    ----------
    source : MatrixSource
        The matrix, of which some blocks are read.
    tol : float
        Relative Frobenius error.
    orderings : Orderings
        Orderings that bring it to standard order.
    seed : int
        Seed of the choice of blocks.

    Raises
    ------
    InputError
        If no chain with fewer values than the matrix seems to reach it.
    NonFiniteError
        If a NaN or an infinity is met.
    """
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], _Tails] = {}
    least = math.inf
    for chain in _candidates(source.shape):
        digits = chain.row_radices, chain.col_radices
        if digits not in known:
            known[digits] = _sample(source, chain, orderings, np.random.default_rng(seed))
        error = _expected_error(known[digits], chain)
        if error <= tol:
            return Estimate(chain, error, known[digits].blocks)
        least = min(least, error)
    raise InputError(
        f"tol={tol:g} seems out of reach: sampled blocks leave {least:.2g} at least with any chain that has fewer "
        "values than the matrix; give a larger tol, other orderings, or a chain of your own"
    )


def _candidates(shape: tuple[int, int]) -> list[Chain]:
    """Chains with fewer values than the matrix, fewest first."""
    found = {
        Chain.chainable(shape, rank, max(1, rank // part), balanced=balanced)
        for rank in range(1, min(LARGEST_RANK, *shape) + 1)
        for part in LEAVES
        for balanced in (False, True)
    }
    fewer = [chain for chain in found if len(chain) > 1 and chain.nnz < math.prod(shape)]
    return sorted(fewer, key=lambda chain: (chain.nnz, chain.rank, chain.patterns))


def _expected_error(tails: _Tails, chain: Chain) -> float:
    """Estimated error of a product of the chain; cuts that were not sampled count as the nearest that was."""
    if tails.energy == 0:
        return 0.0
    cuts = [int(np.argmin(np.abs(tails.positions - position))) for position in range(1, len(chain))]
    beyond, further = (tails.tails[cuts, min(rank, tails.tails.shape[1] - 1)] for rank in (chain.rank, chain.rank + 1))
    largest = beyond.max()
    flat = further.sum() / beyond.sum() if largest > 0 else 0.0
    return math.sqrt((largest + (1 - flat) * (beyond.sum() - largest)) / tails.energy)


def _sample(source: MatrixSource, chain: Chain, orderings: Orderings, rng: np.random.Generator) -> _Tails:
    allowed = max(READ_LEAST, READ_FRACTION * source.info.nbytes)
    side = max(SIDE, 4 << (chain.rank - 1).bit_length())
    found: dict[int, list[NDArray[np.float64]]] = {}
    energies, read = [], 0
    for position in sorted(range(1, len(chain)), key=lambda cut: abs(2 * cut - len(chain))):
        if found and read > allowed:
            break
        rows, cols = axes_of_cut(chain, position, orderings, source.edges)
        for _ in range(max(BLOCKS_OF_CUT, BLOCKS // (len(chain) - 1))):
            block, touched = _block(source, rows, cols, side, rng)
            read += touched
            squares = np.linalg.svd(block, compute_uv=False).astype(np.float64) ** 2 / block.size
            tails = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
            found.setdefault(position, []).append(np.pad(tails, (0, side + 1 - tails.size)))
            energies.append(tails[0])
    positions = np.array(sorted(found))
    means = np.array([np.mean(found[position], axis=0) for position in sorted(found)])
    return _Tails(means, positions, float(np.mean(energies)), len(energies))


def _block(
    source: MatrixSource, rows: Axis, cols: Axis, side: int, rng: np.random.Generator
) -> tuple[NDArray[Any], int]:
    """Some rows and columns of a random block, in double precision, and the bytes that reading them touched."""
    sides = []
    for axis in (rows, cols):
        group = int(rng.integers(axis.groups))
        members = axis.positions(group, group + 1)
        chosen = np.sort(rng.permutation(members.size)[:side])
        sides.append((axis_of_entries(axis.length, members[chosen], axis.edges), members[chosen]))
    (row_axis, row_index), (col_axis, col_index) = sides
    tile = Tile(0, row_index.size, 0, col_index.size)
    block = source.read(row_axis, col_axis, tile)[:, :, 0, 0]
    block = block.astype(np.result_type(block.dtype, np.float64))
    if not np.isfinite(block).all():
        row, col = np.argwhere(~np.isfinite(block))[0]
        raise NonFiniteError.at(source.name, (int(row_index[row]), int(col_index[col])))
    return block, source.bytes_touched(row_axis, col_axis, tile)
