"""What a chain and a tree of a manifest must be."""

from __future__ import annotations

import itertools
from typing import Any

from .json_checks import LARGEST, ManifestError, integer, is_integer, list_of, tuple_of

__all__ = ["MOST_FACTORS", "check_chain", "check_tree", "leaves_of", "shape_of"]

MOST_FACTORS = 4096
"""Most patterns of a chain. Not tuned: a butterfly of 2^64 rows has 64."""

DEEPEST = 256
"""Most nodes above another one in a tree. Not tuned: Python's own limit of nested calls is 1000."""


def check_chain(value: Any, name: str) -> None:
    """Check a list of patterns of which each can follow the one before it."""
    list_of(tuple_of(*[integer(1)] * 4), MOST_FACTORS)(value, name)
    for index, pattern in enumerate(value):
        a, b, c, d = pattern
        if max(a * b * d, a * c * d, a * b * c * d) > LARGEST:
            raise ManifestError(f"{name}[{index}]", pattern, f"a pattern of at most {LARGEST} values")
    for index, ((a1, _, c1, d1), (a2, b2, _, d2)) in enumerate(itertools.pairwise(value)):
        if a1 * c1 * d1 != a2 * b2 * d2:
            raise ManifestError(f"{name}[{index + 1}]", value[index + 1], "a pattern that can follow the one before it")


def shape_of(chain: list[list[int]]) -> list[int]:
    """Shape of the product of a chain."""
    (a, b, _, d), (a2, _, c2, d2) = chain[0], chain[-1]
    return [a * b * d, a2 * c2 * d2]


def leaves_of(tree: Any, name: str = "tree") -> list[int]:
    """Leaves of nested pairs, left to right, without nested calls.

    Raises
    ------
    ManifestError
        If it is no tree, or too deep.
    """
    leaves, open_nodes = [], [(tree, 0)]
    while open_nodes:
        node, depth = open_nodes.pop()
        if is_integer(node):
            leaves.append(node)
        elif isinstance(node, list) and len(node) == 2 and depth < DEEPEST:
            open_nodes += [(node[1], depth + 1), (node[0], depth + 1)]
        else:
            wanted = f"nested pairs of the numbers of factors, to a depth of {DEEPEST}"
            raise ManifestError(name, node if depth < DEEPEST else "nested too deep", wanted)
        if len(leaves) + len(open_nodes) > MOST_FACTORS:
            raise ManifestError(name, "too many nodes", f"a tree of at most {MOST_FACTORS} factors")
    return leaves


def check_tree(value: Any, name: str) -> None:
    """Check nested pairs of numbers."""
    leaves_of(value, name)
