"""Split trees: in which order the factors of a chain are separated by cuts."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..errors import ChainError
from .arguments import as_integer, read_count, show_value

__all__ = ["Tree", "format_tree", "read_tree", "split_tree", "tree_leaves"]


Tree: TypeAlias = "int | tuple[Tree, Tree]"
"""A leaf is the index of a factor; a node is the pair of its left and right subtrees."""

_SIZES = {"balanced": lambda n: n // 2, "left": lambda _: 1, "right": lambda n: n - 1}
"""Factors to the left of the first cut of so many factors, in the trees that have a name."""


def split_tree(factors: int, tree: str | Any = "balanced", root: int | None = None) -> Tree:
    """Build the binary tree that says where a chain of ``factors`` patterns is cut.

    Parameters
    ----------
    factors : int
        Number of factors, at least 1.
    tree : {"balanced", "left", "right"} or nested pairs
        ``"balanced"`` cuts in the middle; ``"left"`` peels one factor off from the left at every cut ("l2r" in
        lazylinop) and ``"right"`` one from the right. Explicit nestings hold every index once and in order,
        such as ``((0, 1), (2, (3, 4)))``.
    root : int, optional
        For ``"balanced"``: number of factors to the left of the first cut, by default half of them.

    Raises
    ------
    ChainError
        If ``tree`` is unknown or is not a nesting of exactly these factors, or ``factors`` or ``root`` is out of range.
    """
    factors = read_count("factors", factors, remedy="a tree needs at least one factor", error=ChainError)
    if root is not None and not 1 <= root < factors:
        raise ChainError(f"root={root} is no cut of {factors} factors; it must leave some on both sides")
    nested = read_tree("tree", tree)
    if isinstance(nested, str):
        return _grow(range(factors), _SIZES[nested], root if nested == "balanced" else None)
    leaves = tree_leaves(nested)
    if leaves != list(range(factors)):
        raise ChainError(
            f"tree={show_value(tree)} has the leaves {show_value(leaves)}; a chain of {factors} factors needs 0 to "
            f"{factors - 1}"
        )
    return nested


def _grow(indices: range, size: Any, root: int | None = None) -> Tree:
    if len(indices) == 1:
        return indices[0]
    left = size(len(indices)) if root is None else root
    return _grow(indices[:left], size), _grow(indices[left:], size)


def read_tree(name: str, value: Any) -> str | Tree:
    """Read a tree as callers give it: one of the three names, or nested pairs of integers.

    Raises
    ------
    ChainError
        If it is neither.
    """
    if isinstance(value, str):
        if value not in _SIZES:
            raise ChainError(f'{name}={show_value(value)} is unknown; use "balanced", "left", "right" or nested pairs')
        return str(value)
    try:
        return _check_nesting(value)
    except RecursionError:
        raise ChainError(f"{name}={show_value(value)} is nested too deeply, or in itself; use nested pairs") from None


def _check_nesting(tree: Any) -> Tree:
    if isinstance(tree, (list, tuple)):
        if len(tree) != 2:
            raise ChainError(f"tree node {show_value(tree)} has {len(tree)} children; every node is a pair")
        return _check_nesting(tree[0]), _check_nesting(tree[1])
    leaf = as_integer(tree)
    if leaf is None:
        raise ChainError(f"tree leaf {show_value(tree)} is not the index of a factor; use integers from 0 on")
    return leaf


def tree_leaves(tree: Tree) -> list[int]:
    """Indices of the factors under ``tree``, left to right."""
    return [tree] if isinstance(tree, int) else [*tree_leaves(tree[0]), *tree_leaves(tree[1])]


def format_tree(tree: Tree) -> str:
    """One line for a tree: named where it has a name, else the nesting."""
    factors = len(tree_leaves(tree))
    for name in ("balanced", "left", "right"):
        if tree == split_tree(factors, name):
            return name
    if isinstance(tree, tuple):
        root = len(tree_leaves(tree[0]))
        if tree == split_tree(factors, "balanced", root):
            return f"balanced below a root cut after factor {root}"
    return str(tree).replace(" ", "")
