import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.errors import ChainError
from dbutterfly.structure.tree import format_tree, split_tree, tree_leaves


def test_named_trees():
    assert split_tree(1) == 0
    assert split_tree(5) == ((0, 1), (2, (3, 4)))
    assert split_tree(4, "left") == (0, (1, (2, 3)))
    assert split_tree(4, "right") == (((0, 1), 2), 3)
    assert split_tree(5, root=1) == (0, ((1, 2), (3, 4)))


def test_explicit_nestings():
    assert split_tree(5, [[0, 1], (2, [np.int64(3), 4])]) == ((0, 1), (2, (3, 4)))
    assert split_tree(1, 0) == 0


@given(st.integers(1, 12), st.sampled_from(["balanced", "left", "right"]))
def test_trees_hold_every_factor_once(factors, name):
    tree = split_tree(factors, name)
    assert tree_leaves(tree) == list(range(factors))
    assert split_tree(factors, tree) == tree
    assert split_tree(factors, format_tree(tree)) == tree


def test_balanced_trees_are_shallow():
    def depth(tree):
        return 0 if isinstance(tree, int) else 1 + max(map(depth, tree))

    for factors in range(1, 40):
        assert depth(split_tree(factors)) == math.ceil(math.log2(factors))
    assert depth(split_tree(9, "left")) == depth(split_tree(9, "right")) == 8


def test_format_of_an_unnamed_tree():
    assert format_tree((((0, 1), 2), (3, (4, 5)))) == "(((0,1),2),(3,(4,5)))"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("middle", "tree='middle' is unknown"),
        ((0, 1), r"has the leaves \[0, 1\]; a chain of 3 factors needs 0 to 2"),
        ((0, (2, 1)), r"has the leaves \[0, 2, 1\]"),
        ((0, 1, 2), r"tree node \(0, 1, 2\) has 3 children"),
        ((0, (1, 2.0)), "tree leaf 2.0 is not the index of a factor"),
        (None, "tree leaf None"),
    ],
)
def test_bad_trees(tree, message):
    with pytest.raises(ChainError, match=message):
        split_tree(3, tree)


def test_bad_numbers_of_factors():
    with pytest.raises(ChainError, match="factors=0 is not positive"):
        split_tree(0)


@pytest.mark.parametrize("root", [0, 3, -1])
def test_bad_roots(root):
    with pytest.raises(ChainError, match=f"root={root} is no cut of 3 factors"):
        split_tree(3, root=root)
