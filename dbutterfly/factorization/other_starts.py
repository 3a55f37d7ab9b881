r"""Sweeps from other starts, for matrices whose error has several minima.

Where a sweep ends depends on where it has begun: noise alone, or butterflies under noise of their own size, have many
stationary points. Other starts are taken near the best product X that is known, by a random matrix of about the size of
the residual (basin hopping: Wales and Doye, J. Phys. Chem. A 101, 1997),

    (1)  X + s ||Z - X|| G,    ||G|| = 1,

which are factorized hierarchically, and swept towards Z. The best of a round takes the place of X if its error is
lower. Rounds end where all starts have come back to the error of X, which is the rule for butterflies with little
noise; where some rounds in a row have found nothing lower; or where so many entries have been swept.

Random numbers come from a fixed seed, and the number of starts depends on the shape alone: the same matrix gives the
same factors, whatever the time and the memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.backend import Array, host_array, is_complex, namespace
from ..kernels.backend.stacks import STACK_BYTES
from ..kernels.factors.hierarchy import factor_stack
from ..kernels.factors.sweeps import sweep
from ..kernels.linalg import squared_norms
from ..structure.chain import Chain
from ..structure.tree import Tree
from .stationary import Stationary, is_rounding, sweep_until_stationary

__all__ = ["Restarted", "search_other_starts", "starts_of_round"]

STARTS = 16
"""Starts of a round, of small matrices."""

SCALES = (1.0, 1.5, 2.0, 3.0)
"""Sizes s of the random matrices of (1), beside the residual, by turns.

Measured on matrices of normal random numbers, and of Gaussian butterflies with as much noise, of 16 to 64 rows and
ranks 1 and 2: improvements came from sizes of 1 to 3, about as often from each; .3 and .6 mostly led back.
"""

SWEEPS = 20
"""Sweeps from a start, and from the best of a round again. Not tuned."""

BEST = 4
"""One in so many starts of a round, the best ones, is swept again. Not tuned."""

SWEEPS_BETWEEN_LOOKS = 5
"""Sweeps after which starts that have come back are left out. Not tuned."""

SAME = 1e-6
"""Relative difference of errors up to which a start has come back, or has found nothing lower.

Above the rounding of errors in single precision. With 1e-5, a minimum of a 32 x 32 matrix of normal random numbers that
is lower by 6e-6 was taken for the one that was known.
"""

IDLE = 6
"""Rounds in a row that find nothing lower, after which no other is begun.

Measured on 31 matrices of normal random numbers, 16 x 16 and 32 x 32, rank 1: with 4, one search ends above the best of
20 random starts of alternating least squares, with 5 or 6 none does.
"""

SWEPT_ENTRIES = 1 << 26
"""Entries of all sweeps from other starts, each counted as often as the rank, after which no other round is begun.

That is some seconds of a core, beside the sweeps until the best of a round is stationary. A matrix of 16 x 16 is never
stopped by it; one of 256 x 256 has nine rounds of 6 starts at rank one.
"""

ROUNDS = 8
"""Rounds that :data:`SWEPT_ENTRIES` must last for; larger matrices have fewer starts in each. Not tuned."""


class Restarted(NamedTuple):
    """The best that is known after other starts.

    Attributes
    ----------
    found : Stationary
        The factors with the least error.
    starts : int
        Number of other starts.
    """

    found: Stationary
    starts: int


class _Swept(NamedTuple):
    """Starts of a round that are still swept: factors, shapes (K, a, b, c, d), and errors, shape (K,)."""

    factors: list[Array]
    errors: NDArray[np.float64]

    def take(self, at: NDArray[np.intp]) -> _Swept:
        """Some of the starts."""
        xp, device = namespace(self.factors[0]), self.factors[0].device
        index = xp.asarray(at, device=device)
        return _Swept([xp.take(values, index, axis=0) for values in self.factors], self.errors[at])

    def best(self, count: int) -> _Swept:
        """So many of the starts, those with the least errors."""
        return self.take(np.argsort(self.errors, kind="stable")[:count])


def starts_of_round(chain: Chain) -> int:
    """Number of other starts of a round; none for large matrices, and where the first factorization is the best one."""
    fits = SWEPT_ENTRIES // (ROUNDS * _work_of_start(chain))
    return min(STARTS, fits) if fits > 1 and len(chain) > 2 else 0


def _work_of_start(chain: Chain) -> int:
    """Entries that the sweeps from a start take, as :data:`SWEPT_ENTRIES` counts them."""
    return SWEEPS * math.prod(chain.shape) * chain.rank


def search_other_starts(matrix: Array, found: Stationary, chain: Chain, tree: Tree) -> Restarted:
    """Look for a lower error than that of a stationary point.

    Parameters
    ----------
    matrix : array, shape (1, m, n)
        The matrix Z.
    found : Stationary
        What sweeps from the hierarchical factorization have come to.
    chain : Chain
        Dense chain of shape (m, n).
    tree : Tree
        Nodes of factorizations and sweeps.
    """
    count, rng = starts_of_round(chain), np.random.default_rng(0)
    if not count or is_rounding(matrix, found.errors[-1]):
        return Restarted(found, 0)
    begun = idle = 0
    while idle < IDLE and begun * _work_of_start(chain) < SWEPT_ENTRIES:
        known = found.errors[-1]
        starts = factor_stack(_draw_near(found, count, rng), chain, tree, stack_bytes=STACK_BYTES).factors
        begun += count
        swept = _sweep_all(matrix, _Swept(starts, np.full(count, np.inf)), chain, tree, known)
        if not swept.errors.size:
            break
        swept = _sweep_all(matrix, swept.best(-(-swept.errors.size // BEST)), chain, tree, known)
        idle += 1
        if swept.errors.size:
            other = sweep_until_stationary(matrix, swept.best(1).factors, chain, tree)
            idle = 0 if other.errors[-1] < (1 - SAME) * known else idle
            found = other if other.errors[-1] < known else found
    return Restarted(found, begun)


def _draw_near(found: Stationary, count: int, rng: np.random.Generator) -> Array:
    """Matrices (1), shape (count, m, n)."""
    product = found.product
    xp, shape = namespace(product), (count, *product.shape[1:])
    drawn = rng.standard_normal(shape)
    if is_complex(xp, product.dtype):
        drawn = drawn + 1j * rng.standard_normal(shape)
    sizes = np.resize(SCALES, count) * found.errors[-1] / np.linalg.norm(drawn, axis=(1, 2))
    return product + xp.asarray(drawn * sizes[:, None, None], dtype=product.dtype, device=product.device)


def _sweep_all(matrix: Array, swept: _Swept, chain: Chain, tree: Tree, known: float) -> _Swept:
    """Sweep over all starts, and leave out those that come to the known error."""
    xp = namespace(matrix)
    for _ in range(0, SWEEPS, SWEEPS_BETWEEN_LOOKS):
        if not swept.errors.size:
            break
        factors = swept.factors
        matrices = xp.broadcast_to(matrix, (swept.errors.size, *matrix.shape[1:]))
        for _ in range(SWEEPS_BETWEEN_LOOKS):
            factors, product = sweep(matrices, factors, chain, tree)
        energies = xp.sum(squared_norms(matrix - product), axis=-1)
        swept = _Swept(factors, np.sqrt(np.asarray(host_array(energies))))
        swept = swept.take(np.flatnonzero(np.abs(swept.errors - known) > SAME * known))
    return swept
