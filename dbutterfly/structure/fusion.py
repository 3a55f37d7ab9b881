"""Which neighbouring factors to multiply together: integers only.

Two neighbours ``(a1, b1, c1, d1)`` and ``(a2, b2, c2, d2)`` of a chainable chain multiply to one factor of pattern
``(a1, b1*d1/d2, c2*a2/a1, d2)``. Two factors of radix two have as many values as their product, of radix four, but are
two passes over the vector; longer products have more values than their factors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import ChainError
from .chain import Pattern

__all__ = ["Group", "fuse", "fuse_patterns", "groups_for_products", "groups_of_count", "groups_of_stages"]

PASS_COST = 0.75
"""Time of reading and writing an entry of a vector, over that of multiplying by one value of a factor."""

MOST_STAGES = 4
"""Factors of 2 x 2 matrices in a group: rows of more would not stay in the first-level cache."""


def fuse(left: Pattern, right: Pattern) -> Pattern | None:
    """Pattern of the product of two neighbours, None where it is no Kronecker-sparse factor."""
    (a1, b1, c1, d1), (a2, b2, c2, d2) = left, right
    if a2 % a1 or d1 % d2:
        return None
    columns, rows = a2 // a1, d1 // d2
    if c1 % columns or b2 % rows or c1 // columns != b2 // rows:
        return None
    return Pattern(a1, b1 * rows, columns * c2, d2)


def fuse_patterns(patterns: Sequence[Pattern], groups: Sequence[range]) -> list[Pattern]:
    """Patterns of the products of groups of neighbours.

    Raises
    ------
    ChainError
        If a group does not multiply to one factor.
    """
    return [functools.reduce(_product, (patterns[index] for index in group)) for group in groups]


def _product(left: Pattern, right: Pattern) -> Pattern:
    found = fuse(left, right)
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


class Group(NamedTuple):
    """Neighbouring factors that are one pass over a vector.

    Attributes
    ----------
    factors : range
        Which they are.
    pattern : Pattern
        Of their product.
    distances : tuple of int
        Where the factors of small 2 x 2 matrices are applied one after the other to ``2**m`` rows at a time: how many
        of these rows apart are those that each factor combines. Empty where the factors are multiplied together.
    """

    factors: range
    pattern: Pattern
    distances: tuple[int, ...]

    @property
    def staged(self) -> bool:
        """Whether the factors are applied one after the other."""
        return bool(self.distances)


def groups_of_stages(patterns: Sequence[Pattern], lanes: int) -> list[Group]:
    """Groups for kernels that apply 2 x 2 factors one after the other, and ``lanes`` small matrices at a time."""
    return list(_groups_of_stages(tuple(patterns), lanes))


@functools.lru_cache(maxsize=64)
def _groups_of_stages(patterns: tuple[Pattern, ...], lanes: int) -> tuple[Group, ...]:
    best: list[tuple[float, list[Group]]] = [(0.0, [])]  # of the first 0, 1, ... factors
    for end in range(1, len(patterns) + 1):
        found = []
        product: Pattern | None = patterns[end - 1]
        for start in range(end - 1, -1, -1):
            if product is not None and start < end - 1:
                pair = fuse(patterns[start], patterns[start + 1])  # see _cheapest
                product = None if pair is None else fuse(patterns[start], product)
            whole = None if product is None else Group(range(start, end), product, ())
            candidates = [group for group in (_staged(range(start, end), patterns), whole) if group is not None]
            if not candidates:
                break
            before, groups = best[start]
            found += [(before + _cost(group, lanes), [*groups, group]) for group in candidates]
        best.append(min(found, key=lambda pair: pair[0]))
    return tuple(best[-1][1])


def _staged(factors: range, patterns: Sequence[Pattern]) -> Group | None:
    """Group of 2 x 2 factors whose ``d`` are ``d, 2d, 4d, ...`` in any order, None where they are no such group."""
    chosen = [patterns[index] for index in factors]
    d, depth = min(pattern.d for pattern in chosen), len(factors)
    if depth > MOST_STAGES or any((b, c) != (2, 2) for _, b, c, _ in chosen):
        return None
    if sorted(pattern.d for pattern in chosen) != [d << k for k in range(depth)]:
        return None
    side, a = 1 << depth, min(pattern.a for pattern in chosen)
    if any(pattern.a * pattern.d * 2 != a * d * side for pattern in chosen):
        return None
    return Group(factors, Pattern(a, side, side, d), tuple(pattern.d // d for pattern in chosen))


def _cost(group: Group, lanes: int) -> float:
    a, b, c, d = group.pattern
    filled = -(-a * d // lanes) * lanes
    values = b * len(group.distances) if group.staged else b * c
    return filled * values + PASS_COST * sum(group.pattern.shape)


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
            if start == 0 or fuse(patterns[start - 1], patterns[start]) is None:
                break  # where every pair of neighbours multiplies to one factor, so do all of them, in any order
            product = _product(patterns[start - 1], product)
        best.append(found)
    return best[-1]
