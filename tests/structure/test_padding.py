"""Sides of a chain that are longer than those of the matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.errors import InputError
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import BITREVERSAL, GAP, Orderings
from dbutterfly.structure.padding import Padding, fill_gaps, inverse_order, place, show_gaps, spread_gaps

CHAIN = Chain.chainable((16, 24))
SHAPE = (13, 21)


@pytest.mark.slow
@given(st.integers(1, 200), st.integers(0, 200), st.booleans())
def test_rows_keep_their_order_on_a_longer_side(size, gaps, is_spread):
    padding = Padding(size, size + gaps, is_spread)
    rows, every = np.arange(size), np.arange(size + gaps)
    positions = padding.positions(rows)
    assert np.all(np.diff(positions) > 0)
    assert positions.min() >= 0
    assert positions.max() < size + gaps
    at = padding.rows(every)
    assert np.array_equal(at[positions], rows)
    assert np.count_nonzero(at == GAP) == gaps
    assert np.array_equal(padding.count(every), np.cumsum(at != GAP) - (at != GAP))  # rows before each position
    if is_spread and gaps:
        apart = np.diff(np.flatnonzero(at == GAP))
        assert apart.size == 0 or apart.max() - apart.min() <= 1


@given(st.integers(1, 200), st.integers(1, 99), st.booleans(), st.integers(1, 60))
def test_chunks_of_the_longer_side_hold_the_rows_of_the_matrix(size, gaps, is_spread, chunk):
    padding = Padding(size, size + gaps, is_spread)
    edges = np.append(np.arange(0, size, chunk), size)
    longer = padding.edges(edges)
    assert longer[0] == 0
    assert longer[-1] == size + gaps
    assert np.array_equal(padding.count(longer)[: edges.size], edges)
    assert padding.count(longer)[-1] == size
    assert padding.edges(None) is None


@pytest.mark.parametrize("rows", [None, BITREVERSAL])
@pytest.mark.parametrize("cols", [None, BITREVERSAL])
def test_names_are_found_again_from_the_gaps_that_they_stand_for(rows, cols):
    """So that an opened result is read by whole chunks, as its run was."""
    given_ = Orderings(rows, cols)
    shown = show_gaps(given_, SHAPE, CHAIN)
    assert shown.shape(CHAIN) == SHAPE
    shown.validate(SHAPE, CHAIN)
    for orderings in (given_, shown):
        placed = place(orderings, SHAPE, CHAIN)
        assert placed.has_gaps
        assert (placed.orderings.rows, placed.orderings.cols) == (rows, cols)
        assert placed.paddings == (Padding(13, 16, True), Padding(21, 24, True))


def test_index_arrays_say_where_the_gaps_are():
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.concatenate([np.arange(13), [GAP] * 3]))
    placed = place(Orderings(rows, None), SHAPE, CHAIN)
    assert placed.paddings[0] == Padding(13, 16, False)
    order = placed.orderings.rows
    assert np.array_equal(np.sort(order), np.arange(16))
    assert np.array_equal(np.where(order < 13, order, GAP), rows)
    assert np.array_equal(fill_gaps(rows), order)
    assert np.array_equal(rows[inverse_order(rows)], np.arange(13))
    assert np.array_equal(show_gaps(Orderings(rows, None), SHAPE, CHAIN).rows, rows)


def test_gaps_are_spread_among_an_index_array_without():
    rows = np.random.default_rng(0).permutation(13)
    spread = spread_gaps(Orderings(rows, None), SHAPE, CHAIN)
    assert np.array_equal(spread.rows[spread.rows != GAP], rows)
    assert (
        np.flatnonzero(spread.rows == GAP).tolist()
        == np.flatnonzero(Padding(13, 16, True).rows(np.arange(16)) < 0).tolist()
    )
    assert place(spread, SHAPE, CHAIN).paddings == place(Orderings(rows, None), SHAPE, CHAIN).paddings
    assert spread_gaps(Orderings(None, BITREVERSAL), SHAPE, CHAIN).cols == BITREVERSAL


def test_a_matrix_as_large_as_its_chain_has_no_gaps():
    orderings = Orderings(np.arange(16)[::-1], BITREVERSAL)
    placed = place(orderings, CHAIN.shape, CHAIN)
    assert not placed.has_gaps
    assert np.array_equal(placed.orderings.rows, orderings.rows)
    assert show_gaps(orderings, CHAIN.shape, CHAIN) is orderings


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 1, 1, -1], r"rows is not a permutation of 0 .. 2"),
        ([0, 1, -2, 2], r"rows is not a permutation of 0 .. 2"),
        ([0, 1, 2, -1, -1], r"rows has 5 entries, of which 2 are -1, and the chain has 4 positions"),
        ([0, -1, 1, 3], r"rows is not a permutation of 0 .. 2"),
    ],
)
def test_what_names_no_row_once_is_refused(rows, message):
    with pytest.raises(InputError, match=message):
        Orderings(rows).validate((3, 4), Chain.chainable((4, 4)))


def test_gaps_are_described():
    assert Orderings([0, -1, 1], None).describe() == "rows permuted (2 indices, 1 gaps), columns standard"


def test_sides_whose_product_is_no_integer_of_64_bits_have_their_gaps_at_the_end():
    side = 2**40 + 1
    placed = place(Orderings(), (side, 8), Chain.chainable((2**40 + 2**30, 8)))
    assert placed.paddings == (Padding(side, 2**40 + 2**30, False), None)
    assert placed.paddings[0].rows(np.array([2**40, 2**40 + 1])).tolist() == [2**40, GAP]
