import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.planning.sides import MAX_TILES_PER_SIDE, powers_of_two, side_tilings, tile_side
from dbutterfly.structure.axes import Axis, chunk_edges


@st.composite
def axes(draw):
    """A side of a matrix, in storage order as it may come."""
    groups, members = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    length = groups * members
    layout = draw(st.sampled_from(["contiguous", "strided", "scattered"]))
    edges = draw(st.one_of(st.none(), st.integers(1, length + 2).map(lambda chunk: chunk_edges(length, chunk))))
    index = np.random.default_rng(0).permutation(length) if layout == "scattered" else None
    return Axis(length, groups, layout == "strided", index=index, edges=edges)


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 10))
def test_powers_of_two_end_with_the_limit(limit, base):
    sizes = powers_of_two(limit, base)
    assert sizes[-1] == limit
    assert sizes == sorted(set(sizes))
    assert all(size == base << k for k, size in enumerate(sizes[:-1]))


@given(axes())
def test_tilings_of_a_side_differ_and_reach_from_one_group_to_all(axis):
    per_tile = [tiling.per_tile for tiling in side_tilings(axis)]
    assert per_tile == sorted(set(per_tile))
    assert (per_tile[0], per_tile[-1]) == (1, axis.groups)


@pytest.mark.slow
@given(axes())
def test_a_tiling_costs_the_chunks_that_its_tiles_touch(axis):
    for tiling in side_tilings(axis):
        touched, widest, longest = 0, 0, 0
        for first in range(0, axis.groups, tiling.per_tile):
            last = min(first + tiling.per_tile, axis.groups)
            positions = axis.positions(first, last)
            widest = max(widest, positions.size)
            longest = max(longest, *(part.stop - part.start for part in axis.parts(first, last)))
            if axis.edges is None:
                touched += positions.size
            else:
                chunks = np.unique(np.searchsorted(axis.edges, positions, side="right") - 1)
                touched += int(np.diff(axis.edges)[chunks].sum())
        assert tiling.touched == touched
        assert tiling.widest == widest
        if axis.edges is not None or (axis.index is None and not axis.strided):  # else one range of all positions
            assert tiling.longest >= longest


def test_a_given_tiling_is_the_only_one():
    axis = Axis(64, 16, False)
    assert list(side_tilings(axis, 3)) == [tile_side(axis, 3)]


@pytest.mark.parametrize(("strided", "whole_chunks"), [(False, [3, 6, 12, 24]), (True, [6, 12, 24])])
def test_tilings_follow_the_chunks(strided, whole_chunks):
    """A chunk of six entries holds three contiguous groups of two, or one member of each of six strided groups."""
    axis = Axis(96, 48, strided, edges=chunk_edges(96, 6))
    found = {tiling.per_tile for tiling in side_tilings(axis)}
    assert found == {1, 2, 4, 8, 16, 32, 48, *whole_chunks}


def test_too_many_tiles_are_left_out():
    groups = 4 * MAX_TILES_PER_SIDE
    assert next(side_tilings(Axis(groups, groups, False))).per_tile == 4
