"""Which neighbouring factors to multiply together: integers only.

Two neighbours ``(a1, b1, c1, d1)`` and ``(a2, b2, c2, d2)`` of a chainable chain multiply to one factor of pattern
``(a1, b1*d1/d2, c2*a2/a1, d2)``. Two factors of radix two have as many values as their product, of radix four, but are
two passes over the vector; longer products have more values than their factors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from .chain import Pattern
from .errors import ChainError

__all__ = ["fused", "fused_patterns", "groups_for_products", "groups_of_count"]

PASS_COST = 0.75
"""Time of reading and writing an entry of a vector, over that of multiplying by one value of a factor."""


def fused(left: Pattern, right: Pattern) -> Pattern | None:
    """Pattern of the product of two neighbours, None where it is no Kronecker-sparse factor."""
    (a1, b1, c1, d1), (a2, b2, c2, d2) = left, right
    if a2 % a1 or d1 % d2:
        return None
    columns, rows = a2 // a1, d1 // d2
    if c1 % columns or b2 % rows or c1 // columns != b2 // rows:
        return None
    return Pattern(a1, b1 * rows, columns * c2, d2)


def fused_patterns(patterns: Sequence[Pattern], groups: Sequence[range]) -> list[Pattern]:
    """Patterns of the products of groups of neighbours.

    Raises
    ------
    ChainError
        If a group does not multiply to one factor.
    """
    return [functools.reduce(_product, (patterns[index] for index in group)) for group in groups]


def _product(left: Pattern, right: Pattern) -> Pattern:
    found = fused(left, right)
    if found is None:
        raise ChainError(
            f"factors of patterns {left} and {right} do not multiply to one factor; only neighbours of a chainable "
            "chain do"
        )
    return found


def groups_for_products(patterns: Sequence[Pattern]) -> list[range]:
    """Groups of neighbours that are best multiplied together before the chain is applied many times."""
    return list(_groups_for_products(tuple(patterns)))


@functools.lru_cache(maxsize=64)
def _groups_for_products(patterns: tuple[Pattern, ...]) -> tuple[range, ...]:
    found = _cheapest(patterns, lambda pattern: pattern.nnz + PASS_COST * sum(pattern.shape))
    return tuple(min(found.values(), key=lambda pair: pair[0])[1])


def groups_of_count(patterns: Sequence[Pattern], count: int) -> list[range]:
    """Split into ``count`` groups of neighbours whose products together have the fewest values.

    Raises
    ------
    ChainError
        If there are fewer factors, or neighbours that would have to be multiplied do not make one factor.
    """
    found = _cheapest(patterns, lambda pattern: float(pattern.nnz))
    if count not in found:
        raise ChainError(
            f"n={count} is no number of factors that these {len(patterns)} can be fused to; use one of "
            f"{min(found)} to {max(found)} (only neighbours of a chainable chain multiply to one factor)"
        )
    return found[count][1]


def _cheapest(patterns: Sequence[Pattern], cost: Callable[[Pattern], float]) -> dict[int, tuple[float, list[range]]]:
    """Cost and groups of the cheapest partition into each number of groups that is possible."""
    best: list[dict[int, tuple[float, list[range]]]] = [{0: (0.0, [])}]  # of the first 0, 1, ... factors
    for end in range(1, len(patterns) + 1):
        found: dict[int, tuple[float, list[range]]] = {}
        product = patterns[end - 1]
        for start in range(end - 1, -1, -1):
            for count, (before, groups) in best[start].items():
                total = before + cost(product)
                if count + 1 not in found or total < found[count + 1][0]:
                    found[count + 1] = total, [*groups, range(start, end)]
            if start == 0 or fused(patterns[start - 1], patterns[start]) is None:
                break  # where every pair of neighbours multiplies to one factor, so do all of them, in any order
            product = _product(patterns[start - 1], product)
        best.append(found)
    return best[-1]
