"""Cuts of chains and orders of trees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly import Chain
from dbutterfly.errors import ChainError, InputError
from dbutterfly.identification.cuts import (
    cuts_of,
    from_standard,
    left_cuts,
    right_cuts,
    to_standard,
    transpose_cuts,
)
from dbutterfly.structure.chain import Cut


def test_cuts_of_a_dyadic_chain():
    first, middle, last = (Cut.of_groups((16, 16), *groups, 1) for groups in ((8, 2), (4, 4), (2, 8)))
    assert cuts_of(Chain.square_dyadic(16)) == (first, middle, last)
    assert cuts_of(Chain.square_dyadic(16), [2]) == (middle,)
    assert cuts_of(Chain.square_dyadic(2)) == ()


def test_cuts_inside_of_a_cut():
    cuts = cuts_of(Chain.square_dyadic(32))
    left = 8, 8  # rows of one of four row groups, and the eight column groups
    assert left_cuts(cuts, 2) == (Cut.of_groups(left, 4, 2, 1), Cut.of_groups(left, 2, 4, 1))
    right = 8, 8
    assert right_cuts(cuts, 1) == (Cut.of_groups(right, 4, 2, 1), Cut.of_groups(right, 2, 4, 1))
    assert transpose_cuts(cuts)[0] == cuts[-1].T


def test_cuts_inside_of_a_cut_of_a_rectangle():
    cuts = cuts_of(Chain.chainable((24, 54)))
    for root, at in enumerate(cuts):
        assert {cut.shape for cut in left_cuts(cuts, root)} <= {(24 // at.row_groups, at.col_groups)}
        assert {cut.shape for cut in right_cuts(cuts, root)} <= {(at.row_groups, 54 // at.col_groups)}


@pytest.mark.parametrize("levels", [[0], [4], [1, 9], []])
def test_levels_must_be_cuts(levels):
    with pytest.raises(InputError, match=r"levels=.*1 \.\. 3"):
        cuts_of(Chain.square_dyadic(16), levels)


def test_chains_must_be_of_full_matrices():
    with pytest.raises(ChainError, match="full matrices"):
        cuts_of(Chain([(2, 2, 2, 1), (4, 1, 1, 1)]))


def test_degrees_of_freedom_are_those_of_the_blocks():
    assert Cut.of_groups((8, 8), 2, 4, 1).degrees_of_freedom((8, 8)) == 8 * (4 + 2 - 1)
    assert Cut.of_groups((8, 8), 2, 4, 3).degrees_of_freedom((8, 8)) == 64  # full blocks


@given(st.sampled_from([(16, 16), (12, 18), (8, 27), (64, 4)]), st.integers(0, 2**31))
def test_groups_are_contiguous_in_tree_order(shape, seed):
    """In standard order the row groups of a cut are the residues of the position, in tree order ranges."""
    chain = Chain.chainable(shape)
    rows = np.random.default_rng(seed).permutation(shape[0])
    np.testing.assert_array_equal(from_standard(to_standard(rows, chain), chain), rows)
    for cut in cuts_of(chain):
        groups = to_standard(rows, chain).reshape(-1, cut.row_groups).T
        assert {frozenset(group) for group in groups} == {
            frozenset(group) for group in rows.reshape(cut.row_groups, -1)
        }
