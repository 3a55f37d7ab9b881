r"""The error of a factorization, estimated from rows and columns of the matrix that its making has not seen.

With ``z_i = ||row i of Z||^2`` and ``r_i = ||row i of Z - product||^2``, the mean over rows drawn at random estimates
``||Z||^2`` and ``||Z - product||^2`` without a bias, whatever the matrix, and so does the mean over columns. Both are
taken: what a few rows hide, such as a bad block of few rows, lies in many columns, and the other way round.

    (1)  q = (M mean r_i + N mean r_j) / (M mean z_i + N mean z_j),    error = sqrt(q)

Its deviation is that of a ratio, by linearization (Cochran, Sampling Techniques, section 6.4), with half the difference
of what rows and columns say by themselves where that is more. It is of no use where a few lines hold most of the
residual, because lines like these may be there that were not drawn. Twice as many lines are compared then, and again,
and if that does not help, the deviation is infinite, which says that the sample cannot tell. Where a tolerance is
given, and all lines together would keep it if each were as bad as the worst one, the deviation says that much.

Measured (``python -m benchmarks entries``): of 200 hostile functions, N = 512, the truth of 193 lay within three
deviations, or their deviation was infinite; the other 7 were among the 25 with entries of heavy tails. Isolated entries
that no line meets stay unknown to any sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.factors.product_rows import product_columns, product_rows
from ...planning.nested import ESTIMATE_LINES
from ...sources.base import MatrixSource
from ...structure.axes import Index
from ...structure.padding import inverse_order
from .estimates import VerifiedError, energy_ratio
from .factorization import Factorization

__all__ = ["LARGEST_PART", "ProductLines", "error_of_lines", "lines_of"]

LARGEST_PART = 0.3
"""Part of the residual of all lines that one may hold; where it holds more, the sample cannot tell.

It is the part for 32 lines, and falls with the root of their number: that of the largest line falls faster where
deviations mean anything, and not at all where tails are heavy. With one part for all numbers, 2 of 8 matrices with
entries of heavy tails lay outside of three deviations, since doubling stops where luck has it.
"""

DOUBLINGS = 2
"""Times that twice as many lines are compared. Not tuned."""

LINE_BYTES = 1 << 25
"""Bytes of lines that are compared at a time (at least one line)."""


class _Energies(NamedTuple):
    """Squared norms of lines of the matrix, and of what is left of them, as parts of the whole matrix."""

    given: NDArray[np.float64]
    left: NDArray[np.float64]

    @property
    def mean(self) -> tuple[float, float]:
        """Estimates of both energies."""
        return float(self.given.mean()), float(self.left.mean())

    def join(self, more: _Energies) -> _Energies:
        """Energies of these lines and of others."""
        return _Energies(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))


ProductLines = Callable[[int, Index], Iterable[NDArray[Any]]]
"""Gives some rows (side 0), or columns (side 1), of a product by their numbers."""


def lines_of(factorization: Factorization) -> ProductLines:
    """Rows and columns of the product of Kronecker-sparse factors."""
    orders = factorization.orderings.permutations(factorization.chain)
    positions = [
        np.arange(length, dtype=np.int64) if order is None else inverse_order(order)
        for order, length in zip(orders, factorization.chain.shape, strict=True)
    ]

    def product_lines(side: int, chosen: Index) -> Iterator[NDArray[Any]]:
        multiply = (product_rows, product_columns)[side]
        for line in multiply(factorization.ks_values, factorization.chain, positions[side][chosen]):
            yield line[positions[1 - side]]

    return product_lines


def error_of_lines(
    product_lines: ProductLines,
    source: MatrixSource,
    seed: int,
    lines: int = ESTIMATE_LINES,
    most: float = math.inf,
    enough: float = 0.0,
) -> VerifiedError:
    """Compare rows and columns of the matrix with those of the product.

    Parameters
    ----------
    product_lines : callable
        Rows and columns of the product: :func:`lines_of` a factorization.
    source : MatrixSource
        The matrix, of which any crossings can be taken.
    seed : int
        Seed of the draw.
    lines : int
        Rows, and as many columns, to begin with.
    most : float
        Most rows, where few of them hold most of the residual and more are compared.
    enough : float
        Error that all lines would be allowed to leave. Where few lines hold most of a residual, and all could be as bad
        as the worst of them without leaving more than this, the deviation is up to what they would leave then.

    Raises
    ------
    NonFiniteError
        If a NaN or an infinity is met.
    """
    orders = [np.random.default_rng([seed, side]).permutation(source.shape[side]) for side in range(2)]
    sides = [_Energies(np.empty(0), np.empty(0))] * 2
    for _ in range(DOUBLINGS + 1):
        for side, order in enumerate(orders):
            chosen = np.sort(order[sides[side].left.size : lines]).astype(np.int64)
            sides[side] = sides[side].join(_energies(product_lines, source, side, chosen))
        (given, left), (given_too, left_too) = (side.mean for side in sides)
        energy, residual = (given + given_too) / 2, (left + left_too) / 2
        error = energy_ratio(residual, energy)
        deviation = _deviation(sides, source.shape, error, energy)
        if math.isfinite(deviation) or not math.isfinite(error) or 2 * lines > most:
            break
        lines *= 2
    if math.isinf(deviation) and math.isfinite(error):
        worst = energy_ratio(max(float(side.left.max()) for side in sides), energy)
        deviation = worst - error if worst <= enough else deviation
    found = VerifiedError(error, deviation, sum(side.left.size for side in sides), "rows and columns")
    found.norm = math.sqrt(energy)
    return found


def _deviation(sides: list[_Energies], shape: tuple[int, int], error: float, energy: float) -> float:
    """Standard deviation of the error; infinite where the lines cannot tell."""
    if error == 0 or not math.isfinite(error):
        return 0.0 if error == 0 else math.inf
    squared, variance, alone = error**2, 0.0, []
    for side, size in zip(sides, shape, strict=True):
        count = side.left.size
        largest = LARGEST_PART * math.sqrt(ESTIMATE_LINES / count)
        if count < size and (count < 2 or side.left.max() > largest * side.left.sum()):
            return math.inf
        spread = float(np.var(side.left - squared * side.given, ddof=1)) if count > 1 else 0.0
        variance += (1 - count / size) * spread / count / 4
        given, left = side.mean
        alone.append(energy_ratio(left, given))
    by_scatter = math.sqrt(variance) / energy / (2 * error)
    return max(by_scatter, abs(alone[0] - alone[1]) / 2)


def _energies(product_lines: ProductLines, source: MatrixSource, side: int, chosen: Index) -> _Energies:
    """Energies of some rows (side 0) or columns (side 1), times the number of all."""
    size, length = source.shape[side], source.shape[1 - side]
    across = np.arange(length, dtype=np.int64)
    found = np.empty((2, chosen.size))
    step = max(1, LINE_BYTES // (length * np.dtype(source.info.work_dtype).itemsize))
    for first in range(0, chosen.size, step):
        part = chosen[first : first + step]
        entries = _take(source, (part, across) if side == 0 else (across, part))
        pairs = zip(entries if side == 0 else entries.T, product_lines(side, part), strict=True)
        for number, (line, product) in enumerate(pairs, first):
            found[0, number] = _squares(line)
            found[1, number] = _squares(line - product)
    return _Energies(*(found * size))


def _take(source: MatrixSource, at: tuple[Index, Index]) -> NDArray[Any]:
    entries = source.take(*at)
    bad = np.argwhere(~np.isfinite(entries))
    if bad.size:
        raise source.non_finite_error((int(at[0][bad[0, 0]]), int(at[1][bad[0, 1]])))
    return entries


def _squares(line: NDArray[Any]) -> float:
    return float(np.sum(np.abs(line).astype(np.float64) ** 2))
