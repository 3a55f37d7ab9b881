"""Which neighbouring factors make a segment, one pass over a vector: integers only.

The factors of a segment are multiplied together, or are applied one after the other, as *layers*. Two neighbours
``(a1, b1, c1, d1)`` and ``(a2, b2, c2, d2)`` of a chainable chain multiply to one factor of pattern
``(a1, b1*d1/d2, c2*a2/a1, d2)``. Two factors of radix two have as many values as their product, of radix four, but are
two passes over the vector; longer products have more values than their factors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from ..errors import ChainError
from .chain import Pattern

__all__ = [
    "Segment",
    "fuse",
    "fuse_patterns",
    "segments_for_few_columns",
    "segments_for_products",
    "segments_of_count",
    "segments_of_fewest_values",
    "segments_with_layers",
]

PASS_COST = 0.75
"""Time of reading and writing an entry of a vector, over that of multiplying by one value of a factor.

No measurement is recorded. With it, two factors of radix two are multiplied together, and no longer run of them is.
"""

CALL_COST = 10000
"""Time of the two calls for a factor with few columns, over that of multiplying by one value of it.

Measured for NumPy and complex128 on a core of an AMD EPYC: 2.5 us, and .25 ns for a value.
"""

MATRIX_COST = 200
"""Time that each small matrix of a factor takes beyond that of its values, likewise: 50 ns."""

LARGEST_PRODUCT = 8192
"""Most entries of a small matrix to which factors are multiplied for few columns.

OpenBLAS multiplies a matrix of 9216 entries and more by a vector on several threads, which takes longer.
"""

MOST_LAYERS = 4
"""Most layers in a segment.

Not tuned. The rows of 64 networks of four layers are 16 KiB of complex128 in each of two buffers, which fit a
first-level cache of 32 to 48 KiB; those of five layers would not.
"""


def fuse(left: Pattern, right: Pattern) -> Pattern | None:
    """Pattern of the product of two neighbours, None where it is no Kronecker-sparse factor."""
    (a1, b1, c1, d1), (a2, b2, c2, d2) = left, right
    if a2 % a1 or d1 % d2:
        return None
    columns, rows = a2 // a1, d1 // d2
    if c1 % columns or b2 % rows or c1 // columns != b2 // rows:
        return None
    return Pattern(a1, b1 * rows, columns * c2, d2)


def fuse_patterns(patterns: Sequence[Pattern], segments: Sequence[range]) -> list[Pattern]:
    """Patterns of the products of segments.

    Raises
    ------
    ChainError
        If a segment does not multiply to one factor.
    """
    return [functools.reduce(_product, (patterns[index] for index in segment)) for segment in segments]


def _product(left: Pattern, right: Pattern) -> Pattern:
    product = fuse(left, right)
    if product is None:
        raise ChainError(
            f"factors of patterns {left} and {right} do not multiply to one factor; only neighbours of a chainable "
            "chain do"
        )
    return product


class Segment(NamedTuple):
    """Neighbouring factors that are one pass over a vector.

    Attributes
    ----------
    factors : range
        Their indices.
    pattern : Pattern
        Pattern of their product.
    distances : tuple of int
        For factors that are layers, each of small 2 x 2 matrices, which are applied one after the other to ``2**m``
        rows at a time: how many of these rows apart are those that each layer combines. Empty where the factors are
        multiplied together.
    """

    factors: range
    pattern: Pattern
    distances: tuple[int, ...] = ()

    @property
    def is_layered(self) -> bool:
        """Whether the factors are applied one after the other."""
        return bool(self.distances)


def segments_for_products(patterns: Sequence[Pattern]) -> list[range]:
    """Segments that are best multiplied together before the chain is applied many times."""
    return list(_segments_for_products(tuple(patterns)))


@functools.lru_cache(maxsize=64)
def _segments_for_products(patterns: tuple[Pattern, ...]) -> tuple[range, ...]:
    def choices(factors: range, product: Pattern | None) -> Choices:
        return _fuse_choices(factors, product, lambda pattern: pattern.nnz + PASS_COST * sum(pattern.shape))

    cheapest = min(_cheapest(patterns, choices).values(), key=lambda found: found[0])
    return tuple(segment.factors for segment in cheapest[1])


def segments_for_few_columns(patterns: Sequence[Pattern]) -> list[range]:
    """Segments that are best multiplied together for few columns, which take less time than the calls for a factor."""
    return list(_segments_for_few_columns(tuple(patterns)))


@functools.lru_cache(maxsize=64)
def _segments_for_few_columns(patterns: tuple[Pattern, ...]) -> tuple[range, ...]:
    def cost(pattern: Pattern) -> float:
        return pattern.nnz + MATRIX_COST * pattern.a * pattern.d + CALL_COST

    def choices(factors: range, product: Pattern | None) -> Choices:
        if product is not None and len(factors) > 1 and product.b * product.c > LARGEST_PRODUCT:
            return []
        return _fuse_choices(factors, product, cost)

    return tuple(segment.factors for segment in _cheapest(patterns, choices, counted=False)[0][1])


def segments_of_count(patterns: Sequence[Pattern], count: int) -> list[range]:
    """Divide into ``count`` segments whose products together have the fewest values.

    Raises
    ------
    ChainError
        If there are fewer factors, or neighbours that would have to be multiplied do not make one factor.
    """
    found = _fewest_values(patterns)
    if count not in found:
        raise ChainError(
            f"n={count} is no number of factors that these {len(patterns)} can be fused to; use one of "
            f"{min(found)} to {max(found)} (only neighbours of a chainable chain multiply to one factor)"
        )
    return [segment.factors for segment in found[count][1]]


def segments_of_fewest_values(patterns: Sequence[Pattern], root: int) -> list[range]:
    """Segments whose products together have the fewest values, the most segments of equally many.

    The first ``root`` factors, at least one and not all, are not multiplied with the others.
    """
    left, right = (_fewest_of_any_count(part) for part in (patterns[:root], patterns[root:]))
    return [*left, *(range(segment.start + root, segment.stop + root) for segment in right)]


def _fewest_of_any_count(patterns: Sequence[Pattern]) -> list[range]:
    cheapest = min(_fewest_values(patterns).items(), key=lambda found: (found[1][0], -found[0]))
    return [segment.factors for segment in cheapest[1][1]]


def _fewest_values(patterns: Sequence[Pattern]) -> dict[int, tuple[float, list[Segment]]]:
    """Values, and segments, of the best partition into each possible number of segments."""

    def choices(factors: range, product: Pattern | None) -> Choices:
        return _fuse_choices(factors, product, lambda pattern: float(pattern.nnz))

    return _cheapest(patterns, choices)


def segments_with_layers(patterns: Sequence[Pattern], slots: int) -> list[Segment]:
    """Segments for kernels that apply 2 x 2 factors as layers, and ``slots`` small matrices at a time."""
    return list(_segments_with_layers(tuple(patterns), slots))


@functools.lru_cache(maxsize=64)
def _segments_with_layers(patterns: tuple[Pattern, ...], slots: int) -> tuple[Segment, ...]:
    def choices(factors: range, product: Pattern | None) -> Choices:
        layers = _layers(factors, patterns)
        fused = None if product is None else Segment(factors, product)
        return [(_cost(segment, slots), segment) for segment in (layers, fused) if segment is not None]

    return tuple(_cheapest(patterns, choices, counted=False)[0][1])


def _layers(factors: range, patterns: Sequence[Pattern]) -> Segment | None:
    """Segment of 2 x 2 factors whose ``d`` are ``d, 2d, 4d, ...`` in any order, None where they are no such segment."""
    chosen = [patterns[index] for index in factors]
    d, depth = min(pattern.d for pattern in chosen), len(factors)
    if depth > MOST_LAYERS or any((b, c) != (2, 2) for _, b, c, _ in chosen):
        return None
    if sorted(pattern.d for pattern in chosen) != [d << k for k in range(depth)]:
        return None
    side, a = 1 << depth, min(pattern.a for pattern in chosen)
    if any(pattern.a * pattern.d * 2 != a * d * side for pattern in chosen):
        return None
    return Segment(factors, Pattern(a, side, side, d), tuple(pattern.d // d for pattern in chosen))


def _cost(segment: Segment, slots: int) -> float:
    """Values that are multiplied, with those that fill up the last ``slots`` matrices, and :data:`PASS_COST`."""
    a, b, c, d = segment.pattern
    filled = -(-a * d // slots) * slots
    values = b * len(segment.distances) if segment.is_layered else b * c
    return filled * values + PASS_COST * sum(segment.pattern.shape)


Choices: TypeAlias = "list[tuple[float, Segment]]"
"""Cost and segment of each way to make one segment of some neighbours."""


def _fuse_choices(factors: range, product: Pattern | None, cost: Callable[[Pattern], float]) -> Choices:
    """Only way for kernels that multiply the factors of a segment together; none where that is impossible."""
    return [] if product is None else [(cost(product), Segment(factors, product))]


def _cheapest(
    patterns: Sequence[Pattern], choices: Callable[[range, Pattern | None], Choices], *, counted: bool = True
) -> dict[int, tuple[float, list[Segment]]]:
    """Find the cheapest partition into segments, by dynamic programming over the first 0, 1, ... factors.

    Parameters
    ----------
    patterns : sequence of Pattern
        Factors from left to right.
    choices : function
        Ways to make a segment of a range of factors, whose product has a pattern, or none.
    counted : bool
        Whether to find the cheapest partition for every number of segments.

    Returns
    -------
    dict
        Cost and segments for every number of segments that is possible, or for the key 0 unless ``counted``. Of
        partitions of equal cost, the one whose last segment is shortest.
    """
    best: list[dict[int, tuple[float, list[Segment]]]] = [{0: (0.0, [])}]
    for end in range(1, len(patterns) + 1):
        found: dict[int, tuple[float, list[Segment]]] = {}
        product: Pattern | None = patterns[end - 1]
        for start in range(end - 1, -1, -1):
            if product is not None and start < end - 1:
                # Where every pair of neighbours multiplies to one factor, so do all of them, in any order.
                pair = fuse(patterns[start], patterns[start + 1])
                product = None if pair is None else fuse(patterns[start], product)
            ways = choices(range(start, end), product)
            if not ways:
                break
            for cost, segment in ways:
                for count, (before, segments) in best[start].items():
                    key, total = count + counted, before + cost
                    if key not in found or total < found[key][0]:
                        found[key] = total, [*segments, segment]
        best.append(found)
    return best[-1]
