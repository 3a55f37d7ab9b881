"""Which chain reaches a tolerance, estimated from sampled blocks before the run.

Cuts are sampled, and the smallest chain whose estimated error (:mod:`dbutterfly.planning.expected_error`) is below the
tolerance is looked for (:mod:`dbutterfly.planning.chain_search`). The certificate of the run decides whether the
tolerance was reached. Where it was not, the ranks are raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..errors import ToleranceError
from ..sources.arrays import ArraySource
from ..sources.base import MatrixSource
from ..structure.chain import Chain
from ..structure.known_chains import longer_shapes
from ..structure.orderings import Orderings
from ..structure.point_orderings import PointOrderings
from .chain_search import LARGEST_RANK, USEFUL, ChainSearch, Found
from .cut_graph import CutGraph
from .cut_samples import THOROUGH

__all__ = ["LARGEST_RANK", "Estimate", "chain_for_tolerance"]

READ_FRACTION = 0.05
"""Part of a matrix after which sampling ends, the middle cuts having come first. Not tuned."""

READ_LEAST = 1 << 26
"""Bytes that sampling may read of any matrix, even if :data:`READ_FRACTION` of it is less. Not tuned."""

READ_OF_SAMPLED = 1 << 24
"""The same of a matrix of which not all entries are looked at. Not tuned."""

READ_OF_ARRAY = float(1 << 30)
"""The same of an array in memory, whose entries cost little: what counts there is the time of the singular values, some
tenths of a second for 64 MiB. Not tuned."""

MARGIN = 1.1
"""Factor by which the estimate must be below the tolerance where all blocks of a cut are looked at.

Six kernels at N = 256 and 512, tolerances 1e-1 to 1e-9: the certificate is .99 to 1.07 times the estimate.
"""

MARGIN_OF_PARTS = 1.3
"""The same where some blocks are looked at. Four kernels at N = 4096, tolerances 1e-2 and 1e-4: .99 to 1.4 times."""

BLOCKS_IN_MEMORY = 4
"""Blocks of which a worker's memory must hold so many: a tile of one block, what is computed of it, and the next one.
Not tuned; the plan knows better."""

MOST_LONGER = 1
"""Longer shapes whose cuts are sampled, for a matrix that is of another size. Not tuned: each takes as long."""


class Estimate(NamedTuple):
    """A chain that seems to reach a tolerance.

    Attributes
    ----------
    chain : Chain
        The chain.
    error : float
        Its estimated relative error.
    blocks : int
        Blocks that were sampled.
    """

    chain: Chain
    error: float
    blocks: int


def chain_for_tolerance(
    source: MatrixSource,
    tol: float,
    orderings: Orderings | PointOrderings,
    *,
    memory: float = math.inf,
    seed: int = 0,
    watch: Callable[[int], None] | None = None,
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
    memory : float
        Bytes that a worker may hold: a chain whose blocks are too large for them is no help.
    seed : int
        Seed of the choice of blocks.
    watch : callable, optional
        Called with the bytes of every cut that has been sampled.

    Raises
    ------
    ToleranceError
        If no chain that is a tenth smaller than the matrix seems to reach it.
    NonFiniteError
        If a NaN or an infinity is met.
    """
    allowed = _allowed_bytes(source)
    goal = tol / (MARGIN if math.prod(source.shape) <= THOROUGH else MARGIN_OF_PARTS)
    largest_block = memory / BLOCKS_IN_MEMORY / np.dtype(source.info.work_dtype).itemsize
    searches = []
    for shape in _shapes(source.shape, orderings):
        searches.append(
            ChainSearch(source, orderings, CutGraph(shape), largest_block=largest_block, seed=seed, watch=watch)
        )
        searches[-1].sample(allowed)
    while True:
        at, found = min(enumerate(search.find(goal) for search in searches), key=lambda pair: _by_size(pair[1]))
        if searches[at].look_closer(found.cuts, allowed):
            continue
        further = [search.look_further(goal, found.values, allowed) for search in searches]
        if not any(further):
            break
    if found.chain is None:
        raise ToleranceError(
            f"tol={tol:g} seems out of reach: sampled blocks leave {found.error:.2g} at least with any chain that has "
            f"less than {USEFUL:g} times the values of the matrix; give a larger tol, other orderings, or a chain of "
            "your own"
        )
    return Estimate(found.chain, found.error, sum(search.blocks for search in searches))


def _allowed_bytes(source: MatrixSource) -> float:
    """Bytes that may be read of a matrix."""
    if isinstance(source, ArraySource):
        return READ_OF_ARRAY
    least = READ_OF_SAMPLED if source.sampled or source.probed else READ_LEAST
    return max(least, READ_FRACTION * source.info.nbytes)


def _by_size(found: Found) -> tuple[int, float]:
    """Order of what was found: the smallest chain first, or what leaves least."""
    return found.values, found.error


def _shapes(shape: tuple[int, int], orderings: Orderings | PointOrderings) -> list[tuple[int, int]]:
    """Sides that a chain for a matrix may have: its own, longer ones, or those that index arrays with gaps give."""
    sides = orderings.sides.values() if isinstance(orderings, Orderings) else (None, None)
    lengths = [side.size if isinstance(side, np.ndarray) else size for side, size in zip(sides, shape, strict=True)]
    given = lengths[0], lengths[1]
    return [given] if given != shape else [shape, *longer_shapes(shape)[:MOST_LONGER]]
