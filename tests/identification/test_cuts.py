"""Cuts of chains and orders of trees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly import Chain
from dbutterfly.errors import ChainError, InputError
from dbutterfly.identification.cuts import (
    GroupedCut,
    cuts_of,
    from_standard,
    left_of,
    right_of,
    to_standard,
    transposed,
)


def test_cuts_of_a_dyadic_chain():
    assert cuts_of(Chain.square_dyadic(16)) == (GroupedCut(8, 2, 1), GroupedCut(4, 4, 1), GroupedCut(2, 8, 1))
    assert cuts_of(Chain.square_dyadic(16), [2]) == (GroupedCut(4, 4, 1),)
    assert cuts_of(Chain.square_dyadic(2)) == ()


def test_cuts_inside_of_a_cut():
    cuts = cuts_of(Chain.square_dyadic(32))
    assert left_of(cuts, 2) == (GroupedCut(4, 2, 1), GroupedCut(2, 4, 1))
    assert right_of(cuts, 1) == (GroupedCut(4, 2, 1), GroupedCut(2, 4, 1))
    assert transposed(cuts)[0] == cuts[-1].T


@pytest.mark.parametrize("levels", [[0], [4], [1, 9], []])
def test_levels_must_be_cuts(levels):
    with pytest.raises(InputError, match=r"levels=.*1 \.\. 3"):
        cuts_of(Chain.square_dyadic(16), levels)


def test_chains_must_be_of_full_matrices():
    with pytest.raises(ChainError, match="full matrices"):
        cuts_of(Chain([(2, 2, 2, 1), (4, 1, 1, 1)]))


def test_degrees_of_freedom_are_those_of_the_blocks():
    assert GroupedCut(2, 4, 1).degrees_of_freedom((8, 8)) == 8 * (4 + 2 - 1)
    assert GroupedCut(2, 4, 3).degrees_of_freedom((8, 8)) == 64  # full blocks


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
