"""Rows and columns that could as well stand elsewhere, exchanged where that lowers the error of the factorization.

The residuals of the single cuts say little of a row whose energy is near the noise; the error of the product does. Only
exchanges that cost little by the residuals are tried, many in one stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, entry_bytes, host_array, namespace
from ...kernels.factors.hierarchy import factor_stack
from ...kernels.linalg import squared_norms
from ...structure.chain import Chain, Cut
from ...structure.digits import digit_reversal
from ...structure.tree import split_tree
from ..cuts import Index, transpose_cuts
from ..one_cut.arrangement import Arrangement

__all__ = ["can_exchange", "exchange", "has_ambiguity", "kick", "product_error", "product_errors"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the exchanges. None was varied by itself; the benchmark ``identification`` is of all together.

    Attributes
    ----------
    largest_side : int
        Side up to which attempts are compared by the error of the factorization, and exchanges are tried. A round
        factorizes as many matrices as there are rows and columns, or more.
    stack_bytes : int
        Bytes of matrices that are factorized at a time.
    rounds : int
        Rounds at most; most searches end before.
    like_noise : float
        Times the noise that a row sees up to which an exchange is tried.
    gain : float
        Least relative gain that counts.
    kicks : int
        Exchanges of a kick, on either side.
    per_item : int
        Exchanges that are tried in a round, for each row and column.
    """

    largest_side: int = 256
    stack_bytes: int = 1 << 22
    rounds: int = 40
    like_noise: float = 4
    gain: float = 1e-9
    kicks: int = 5
    per_item: int = 1


TUNING = Tuning()


def can_exchange(shape: tuple[int, ...]) -> bool:
    """Whether a matrix is small enough for exchanges, and for a factorization by every attempt."""
    return max(shape) <= TUNING.largest_side


def product_error(now: Arrangement, chain: Chain) -> float:
    """Squared error of the factorization of one arranged matrix."""
    return float(product_errors(now.grid[0, ...], chain)[0])


def product_errors(matrices: Array, chain: Chain) -> NDArray[np.float64]:
    """Squared errors (K,) of the factorizations of matrices (K, M, N) in tree order."""
    xp = namespace(matrices)
    standard = xp.asarray(digit_reversal(chain.row_radices), device=array_api_compat.device(matrices))
    matrices = xp.take(matrices, standard, axis=1)
    found = factor_stack(matrices, chain, split_tree(len(chain), "balanced"), stack_bytes=TUNING.stack_bytes)
    return host_array(xp.sum(squared_norms(matrices - found.product), axis=-1)).astype(np.float64)


def exchange(
    start: Arrangement, cuts: Sequence[Cut], chain: Chain, *, cols_known: bool = False
) -> tuple[Arrangement, float]:
    """Exchange rows, and columns, while the error of the factorization falls.

    Parameters
    ----------
    start : Arrangement
        One matrix, in tree order.
    cuts : sequence of Cut
        All cuts of the chain.
    chain : Chain
        The chain.
    cols_known : bool
        Whether the columns stay.

    Returns
    -------
    arrangement : Arrangement
        The best one.
    error : float
        Its squared error.
    """
    now, error = start, product_error(start, chain)
    for _ in range(TUNING.rounds):
        before = error
        now, error = _apply_exchanges(now, chain, _candidates(now, cuts, error), error, of_rows=True)
        if not cols_known:
            now, error = _apply_exchanges(
                now, chain, _candidates(now.T, transpose_cuts(cuts), error), error, of_rows=False
            )
        if error >= before * (1 - TUNING.gain):
            break
    return now, error


def kick(
    now: Arrangement, cuts: Sequence[Cut], error: float, rng: np.random.Generator, *, cols_known: bool = False
) -> Arrangement:
    """Make some exchanges that cost little by the residuals, whatever they do to the error of the product.

    The result is a start for :func:`exchange`, away from a local optimum.
    """
    for side in (cuts, None if cols_known else transpose_cuts(cuts)):
        if side is not None:
            pairs = _candidates(now, side, error)
            order = np.arange(now.rows.shape[1])
            for pair in rng.permutation(pairs)[: TUNING.kicks]:
                order[pair] = order[pair[::-1]]
            now = now.with_rows(order[None, :])
        now = now.T
    return now


def has_ambiguity(now: Arrangement, cuts: Sequence[Cut], error: float) -> bool:
    """Whether there are rows or columns whose exchange costs less than the noise."""
    return len(_candidates(now, cuts, error)) > 0 or len(_candidates(now.T, transpose_cuts(cuts), error)) > 0


def _candidates(now: Arrangement, cuts: Sequence[Cut], error: float) -> Index:
    """Pairs of places (K, 2) whose exchange costs least by the residuals of the cuts, and less than the noise."""
    m = now.rows.shape[1]
    leaves = max(cut.row_groups for cut in cuts)
    scores = np.zeros((m, leaves))
    for cut in cuts:
        fit = now.row_fit(cut, leave_out=True)
        scores += np.repeat(host_array(fit.scores)[0], leaves // cut.row_groups, axis=1)
    leaf = np.arange(m) * leaves // m
    cost = scores[np.arange(m), leaf][:, None] - scores[:, leaf]  # of moving row i to the leaf of row j
    i, j = np.triu_indices(m, 1)
    apart = leaf[i] != leaf[j]
    i, j = i[apart], j[apart]
    both = cost[i, j] + cost[j, i]
    noise = error / now.grid.size * sum(cut.col_groups for cut in cuts)
    best = np.argsort(both, kind="stable")[: TUNING.per_item * sum(now.grid.shape[2:])]
    best = best[both[best] < TUNING.like_noise * noise]
    return np.stack([i[best], j[best]], axis=1)


def _apply_exchanges(
    now: Arrangement, chain: Chain, pairs: Index, error: float, *, of_rows: bool
) -> tuple[Arrangement, float]:
    """Apply exchanges that lower the error of the product.

    Those that lower it by themselves are sorted by their gain; of these, no two touch the same row. The best 1, 2, 4,
    ... are tried together, and the number that leaves the least error is applied.
    """
    items = now.grid.shape[2 if of_rows else 3]
    orders = np.tile(np.arange(items), (len(pairs), 1))
    np.put_along_axis(orders, pairs, pairs[:, ::-1], axis=1)
    errors = _reordered_errors(now, chain, orders, of_rows=of_rows)
    better = [at for at in np.argsort(errors, kind="stable") if errors[at] < error * (1 - TUNING.gain)]
    if not better:
        return now, error
    order, touched, prefixes = np.arange(items), np.zeros(items, bool), []
    for at in better:
        if not touched[pairs[at]].any():
            touched[pairs[at]] = True
            order[pairs[at]] = pairs[at][::-1]
            prefixes.append(order.copy())
    lengths = {min(1 << power, len(prefixes)) for power in range(len(prefixes).bit_length() + 1)}
    tried = np.stack([prefixes[length - 1] for length in sorted(lengths)])
    together = _reordered_errors(now, chain, tried, of_rows=of_rows)
    best = int(np.argmin(together))
    chosen = tried[best : best + 1]
    return now.with_rows(chosen) if of_rows else now.with_cols(chosen), float(together[best])


def _reordered_errors(now: Arrangement, chain: Chain, orders: Index, *, of_rows: bool) -> NDArray[np.float64]:
    """Squared errors (K,) of the factorizations with rows, or columns, in each of the orders (K, m)."""
    xp = namespace(now.grid)
    device = array_api_compat.device(now.grid)
    size = max(1, TUNING.stack_bytes // (now.grid.size * entry_bytes(xp, now.grid.dtype)))
    errors = [np.empty(0)]
    for first in range(0, len(orders), size):
        index = [xp.asarray(order, device=device) for order in orders[first : first + size]]
        stack = [xp.take(now.grid[0, 0, ...], order, axis=0 if of_rows else 1) for order in index]
        errors.append(product_errors(xp.stack(stack, axis=0), chain))
    return np.concatenate(errors)
