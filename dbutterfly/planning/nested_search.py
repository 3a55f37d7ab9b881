r"""The chain of nested skeletons for a tolerance, from skeletons of a few blocks of each cut.

Larger leaves make fewer blocks of higher ranks (:mod:`.nested_chains`). A few sizes are compared by the values of their
chains, and the best one is looked at more closely.

All steps together leave about the root of the sum of the squares of what each leaves. Ranks are those with which some
blocks leave no more than their share; what the run finds decides, and where it finds more, the run is repeated with the
ranks that were wanted (:mod:`dbutterfly.factorization.nested_ranks`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels.low_rank.skeletons.interpolative import remainders
from ..sources.base import MatrixSource
from ..sources.proxies import choose_lines
from ..structure.axes import Index, axes_of_whole
from ..structure.chain import Chain
from ..structure.fusion import fuse_patterns, segments_of_fewest_values
from ..structure.known_chains import longer_shapes
from ..structure.orderings import Orderings
from ..structure.padding import place
from ..structure.point_orderings import PointOrderings
from ..structure.tree import split_tree
from .nested import Nested, evaluates_less, limit_capacities
from .nested_chains import nested_chain
from .nested_steps import NestedSteps
from .tilings import root_position

__all__ = ["NestedChain", "least_tolerance", "search_nested_chain"]

LEAVES = (1, 4, 16, 64)
"""Sizes of leaves that are compared, from the third one on.

Measured at N = 4096 and 16384, tolerance 1e-6, radix 4: a Helmholtz kernel has as many values with 32 and 64 (ranks 12
and 17), 19 % more with 16 and 11 % more with 128; a Fourier integral has as many with 4 and 8 (18 and 27), 13 % more
with 16. The discrete Fourier transform is exact with 1.
"""

SHARE = 0.9
"""Part of the tolerance that all steps together may leave.

Measured on the cases of :data:`LEFT`: the error is .45 to .76 of the tolerance.
"""

SIDE = 32
"""Rows and columns of a block that are looked at, twice as many where its rank is above :data:`TRUSTED` of them."""

TRUSTED = 0.6
"""Part of the rows of a block that are looked at up to which its rank is that of the block.

Measured on waves between plates (N = 4096, 1e-4, ranks of 50): with .7, the run is repeated twice, with .6 once.
"""

LARGEST_SIDE = 256
"""Most rows and columns of a block that are looked at. Not tuned."""

FEW, MANY = 3, 8
"""Blocks of a cut that are looked at where leaves are compared, and of those that were chosen. Not tuned."""

LEFT = 0.1
"""Part of what a step may leave that the blocks looked at leave in the mean.

Measured on ten cases (Helmholtz, N = 2048 to 65536, 1e-3 to 1e-10, and Fourier integral, N = 2048 and 4096, 1e-4 to
1e-6): with .5 and .25, three and two of them do not reach the tolerance and are repeated; with .1 none, and factors are
up to 4 % larger.
"""

TINY = float(np.finfo(np.float64).tiny)
"""What blocks of zeros may leave: it divides nothing by zero."""

ENERGY_SIDE = 64
"""Rows and columns at whose crossings the mean square of the entries is found."""

ROUNDING_UNITS = 256
"""Least tolerance, in units in the last place.

Measured on a Helmholtz kernel, N = 2048: it is reached by skeletons in complex64, and in complex128, where the function
itself rounds its phases by as much, by evaluating all entries. A fourth of it is out of reach of any chain.
"""


class NestedChain(NamedTuple):
    """A chain for a tolerance, and how its skeletons are nested; ``evaluated`` entries were looked at.

    Both are None where the matrix is better evaluated in full.
    """

    chain: Chain | None
    nested: Nested | None
    evaluated: int


def least_tolerance(dtype: np.dtype[Any]) -> float:
    """Least tolerance that arithmetic in a dtype reaches."""
    return ROUNDING_UNITS * float(np.finfo(dtype).eps)


def search_nested_chain(
    source: MatrixSource,
    tol: float,
    orderings: Orderings | PointOrderings,
    *,
    tree: Any = "balanced",
    seed: int = 0,
) -> NestedChain:
    """Look for the chain with the fewest values whose skeletons seem to reach a tolerance.

    Parameters
    ----------
    source : MatrixSource
        The matrix, of which some entries are evaluated.
    tol : float
        Relative Frobenius error.
    orderings : Orderings or PointOrderings
        Orderings that bring it to standard order.
    tree : str or nested pairs
        Where chains are cut.
    seed : int
        Seed of the choice of blocks.

    Raises
    ------
    InputError
        If the tolerance is below rounding.
    """
    least = least_tolerance(np.dtype(source.info.work_dtype))
    if tol < least:
        raise InputError(
            f"tol={tol:g} is below what {source.info.work_dtype} keeps of products; the least that works is "
            f"tol={least:.2g}; give a larger one, or declare double precision"
        )
    shape = _shape(source.shape, orderings)
    energy, evaluated = _mean_square(source, seed)

    def look_at(leaf: int) -> tuple[Chain, Nested]:
        nonlocal evaluated
        chain = nested_chain(shape, leaf)
        floor = SHARE * tol / math.sqrt(len(chain))
        look = _Look(source, chain, orderings, floor**2 * energy, seed)
        cuts = sorted({1, len(chain) // 2, len(chain) - 1} - {0})
        ranks = np.interp(range(1, len(chain)), cuts, look.ranks(cuts, FEW))
        evaluated += look.evaluated
        nested = Nested(floor, energy, tuple(math.ceil(rank) for rank in ranks))
        return chain.with_ranks(nested.capacities), nested

    leaves = [leaf for leaf in LEAVES if leaf**2 <= min(shape) and len(nested_chain(shape, leaf)) > 1]
    if not leaves:
        return NestedChain(None, None, evaluated)
    chain, nested = _descend(leaves, look_at, tree)
    nested = nested._replace(floor=SHARE * tol / math.sqrt(_count_inexact(chain, nested, tree)))
    look = _Look(source, chain, orderings, nested.floor**2 * energy, seed + 1)
    sizes = look.ranks(range(1, len(chain)), MANY)
    return _worth(source, chain, nested, sizes, evaluated + look.evaluated, tree)


def _descend(leaves: list[int], look_at: Callable[[int], tuple[Chain, Nested]], tree: Any) -> tuple[Chain, Nested]:
    """Chain with the fewest values: with larger leaves than the third ones, or with smaller ones, while that helps."""
    start = min(2, len(leaves) - 1)
    best = look_at(leaves[start])
    for others in (leaves[start + 1 :], leaves[:start][::-1]):
        has_moved = False
        for leaf in others:
            found = look_at(leaf)
            if _count_values(found[0], tree) >= _count_values(best[0], tree):
                break
            best, has_moved = found, True
        if has_moved:
            break
    return best


def _count_values(chain: Chain, tree: Any) -> int:
    """Values of the factors once neighbours are multiplied together, which the result of a run does."""
    root = root_position(split_tree(len(chain), tree))
    return sum(
        pattern.nnz for pattern in fuse_patterns(chain.patterns, segments_of_fewest_values(chain.patterns, root))
    )


def _worth(
    source: MatrixSource, chain: Chain, nested: Nested, ranks: list[int], evaluated: int, tree: Any
) -> NestedChain:
    """The chain with these ranks, unless all entries are no more than its skeletons take."""
    capacities = limit_capacities(chain, ranks)
    if not evaluates_less(source.shape, _steps_of(chain, capacities, tree)):
        return NestedChain(None, None, evaluated)
    return NestedChain(chain.with_ranks(capacities), nested._replace(capacities=capacities), evaluated)


def _count_inexact(chain: Chain, nested: Nested, tree: Any) -> int:
    """Number of steps that leave something: skeletons of the others are all of their candidates."""
    steps = _steps_of(chain, limit_capacities(chain, nested.capacities), tree).steps
    return max(1, sum(step.keep < step.candidates for step in steps))


def _steps_of(chain: Chain, capacities: tuple[int, ...], tree: Any) -> NestedSteps:
    return NestedSteps(chain, root_position(split_tree(len(chain), tree)), capacities)


def _least_size(means: NDArray[np.float64]) -> int:
    """Least size of skeletons that leave little; all lines where none does."""
    little = np.flatnonzero(means <= LEFT)
    return max(1, int(little[0])) if little.size else means.size - 1


class _Look:
    """Ranks of some blocks of the cuts of a chain."""

    def __init__(
        self,
        source: MatrixSource,
        chain: Chain,
        orderings: Orderings | PointOrderings,
        allowed: float,
        seed: int,
    ) -> None:
        placed = place(orderings.for_chain(chain), source.shape, chain)
        rows, cols = axes_of_whole(chain, placed, (None, None))
        self._lines = rows.rows(0, 1), cols.rows(0, 1)
        self._source, self._chain, self._allowed, self._seed = source, chain, allowed, seed
        self.evaluated = 0

    def ranks(self, cuts: Sequence[int], count: int) -> list[int]:
        """Sizes of skeletons that leave little in the mean of some blocks of each cut.

        They are at corners, in the middle, and at random.
        """
        found, side, left = dict.fromkeys(cuts, 1), SIDE, list(cuts)
        while left and side <= LARGEST_SIDE:
            blocks = np.stack([block for cut in left for block in self._blocks(cut, count, side)])
            allowed = self._allowed * np.array([self._share(cut, side) for cut in left for _ in range(count)])
            remain = remainders(blocks, side, LEFT * allowed) / np.maximum(allowed, TINY)[:, None]
            means = remain.reshape(len(left), count, -1).mean(axis=1)
            found.update({cut: _least_size(mean) for cut, mean in zip(left, means, strict=True)})
            splits = {cut: self._chain.cut(cut)[0] for cut in left}
            left = [cut for cut in left if TRUSTED * side < found[cut] and side < max(splits[cut].block_shape)]
            side *= 2
        return [found[cut] for cut in cuts]

    def _share(self, cut: int, side: int) -> float:
        """Part of what is looked at that there is; blocks are smaller at the leaves."""
        return math.prod(min(side, size) for size in self._chain.cut(cut)[0].block_shape) / side**2

    def _blocks(self, cut: int, count: int, side: int) -> Iterator[NDArray[Any]]:
        split = self._chain.cut(cut)[0]
        rng = np.random.default_rng([self._seed, cut])
        for pair in itertools.islice(_spread(split.u, split.q, rng), count):
            yield self._block(split.u, pair, split.v, side, rng)

    def _block(self, u: int, pair: tuple[int, int], v: int, side: int, rng: np.random.Generator) -> NDArray[Any]:
        """Some rows and columns of a block; zero beyond those that there are."""
        members: tuple[Index, Index] = self._lines[0][pair[0] :: u], self._lines[1][pair[1] * v : (pair[1] + 1) * v]
        rows, cols = (choose_lines(at, side, 0, rng).proxies for at in members)
        block = np.zeros((side, side), self._source.info.work_dtype)
        if rows.size and cols.size:
            entries = self._source.take(rows, cols)
            bad = np.argwhere(~np.isfinite(entries))
            if bad.size:
                raise self._source.non_finite_error((int(rows[bad[0, 0]]), int(cols[bad[0, 1]])))
            block[: rows.size, : cols.size] = entries
            self.evaluated += entries.size
        return block


def _spread(u: int, q: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Blocks: where kernels are often least smooth, which is in the middle and in the corners, and at random."""
    yield from dict.fromkeys([(0, q // 2), (u // 2, 0), (u - 1, q // 2 - 1 if q > 1 else 0), (u // 2, q - 1)])
    while True:
        yield int(rng.integers(u)), int(rng.integers(q))


def _mean_square(source: MatrixSource, seed: int) -> tuple[float, int]:
    """Mean square of the entries at some rows and columns, and how many entries that took."""
    rng = np.random.default_rng([seed, 0])
    rows, cols = (np.sort(rng.permutation(size)[:ENERGY_SIDE]).astype(np.int64) for size in source.shape)
    entries = source.take(rows, cols)
    bad = np.argwhere(~np.isfinite(entries))
    if bad.size:
        raise source.non_finite_error((int(rows[bad[0, 0]]), int(cols[bad[0, 1]])))
    return float(np.mean(np.abs(entries).astype(np.float64) ** 2)), entries.size


def _shape(shape: tuple[int, int], orderings: Orderings | PointOrderings) -> tuple[int, int]:
    """Sides of the chain: those that index arrays with gaps have, or the nearest ones with small digits."""
    sides = orderings.sides.values() if isinstance(orderings, Orderings) else (None, None)
    lengths = [side.size if isinstance(side, np.ndarray) else size for side, size in zip(sides, shape, strict=True)]
    given = lengths[0], lengths[1]
    return given if given != shape else next(iter(longer_shapes(shape)), shape)
