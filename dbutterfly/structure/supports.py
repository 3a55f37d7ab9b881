"""The support of a factor as shapes to draw: rectangles and diagonals, few of them, whatever the size of the factor.

A pattern ``(a, b, c, d)`` has ``a`` blocks along the diagonal, each of ``b x c`` squares that hold a diagonal of length
``d``. What is too small to be told apart is drawn as one shape.
"""

from __future__ import annotations

from typing import NamedTuple

from .chain import Chain, Pattern

__all__ = ["Support", "factor_sizes", "shown_factors", "support_of"]

SMALLEST_BLOCK = 3.0
"""Size in pixels below which the blocks of a factor are drawn as one diagonal. Not tuned."""

SMALLEST_SQUARE = 2.5
"""Size in pixels below which the diagonals of a block are drawn as one rectangle. Not tuned."""

PALEST = 0.45
"""Share of a rectangle that counts as filled at least, however few of its entries are in the support."""

FLATTEST = 10.0
"""Pixels of the shorter side of a factor at least, however long the other one is. Not tuned."""

MOST_FACTORS = 24
"""Factors that are drawn; of more, the first and the last ones. Not tuned."""


class Support(NamedTuple):
    """Shapes of a support in a rectangle of ``width x height``, with the origin at the top left.

    Attributes
    ----------
    rectangles : list of (x, y, width, height)
        Parts that are filled.
    filled : float
        Share of their entries that are in the support, or :data:`PALEST`.
    diagonals : list of (x, y, width, height)
        Lines from the top left to the bottom right of these rectangles.
    thickness : float
        Width of the lines.
    """

    rectangles: list[tuple[float, float, float, float]]
    filled: float
    diagonals: list[tuple[float, float, float, float]]
    thickness: float


def support_of(pattern: Pattern, width: float, height: float) -> Support:
    """Shapes of the support of a factor that is drawn in a rectangle of this size."""
    a, b, c, d = pattern
    across, down = width / a, height / a
    if a > 1 and max(across, down) < SMALLEST_BLOCK:
        return Support([], 1.0, [(0.0, 0.0, width, height)], max(across, down, 1.2))
    blocks = [(block * across, block * down, across, down) for block in range(a)]
    if d == 1:
        return Support(blocks, 1.0, [], 1.2)
    if min(across / c, down / b) < SMALLEST_SQUARE:
        return Support(blocks, max(1 / d, PALEST), [], 1.2)
    squares = [
        (x + column * across / c, y + row * down / b, across / c, down / b)
        for x, y, *_ in blocks
        for row in range(b)
        for column in range(c)
    ]
    return Support([], 1.0, squares, 1.2)


def shown_factors(chain: Chain) -> tuple[range, range]:
    """Factors that are drawn: all of them and none, or the first and the last ones of many."""
    if len(chain) <= MOST_FACTORS:
        return range(len(chain)), range(0)
    return range(MOST_FACTORS // 2), range(len(chain) - MOST_FACTORS // 2, len(chain))


def factor_sizes(chain: Chain, longest: float) -> list[tuple[float, float]]:
    """Width and height with which each factor is drawn, if the longest side of all is so long."""
    scale = longest / max(size for pattern in chain for size in pattern.shape)
    return [(max(pattern.shape[1] * scale, FLATTEST), max(pattern.shape[0] * scale, FLATTEST)) for pattern in chain]
