import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dbutterfly.sources.tile_grids import unfold
from dbutterfly.structure.axes import Axis, Tile, axes_of_cut
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from dbutterfly.structure.orderings import Orderings

KINDS = ["contiguous", "strided", "scattered"]


def chunk_edges(length, chunk):
    return np.append(np.arange(0, length, chunk), length).astype(np.int64)


@st.composite
def grids(draw, length):
    """Chunk boundaries: regular, irregular, some chunks empty, or none."""
    kind = draw(st.sampled_from(["regular", "irregular", "empty"]))
    if kind == "regular":
        return chunk_edges(length, draw(st.integers(1, length + 2)) if length > 1 else 1)
    inner = draw(st.lists(st.integers(0, length), max_size=6))
    inner = sorted(inner) if kind == "empty" else sorted(set(inner) - {0, length})
    return np.asarray([0, *inner, length], np.int64)


@st.composite
def axes(draw, kinds=KINDS):
    members, groups = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(kinds))
    length = members * groups
    index = np.asarray(draw(st.permutations(range(length))), np.int64) if kind == "scattered" else None
    return Axis(length, groups, kind == "strided", index=index, edges=draw(grids(length)))


@st.composite
def axes_with_range(draw):
    axis = draw(axes())
    first = draw(st.integers(0, axis.groups - 1))
    return axis, first, draw(st.integers(first + 1, axis.groups))


def chunks_of(edges, positions):
    """Chunks in which positions lie, by their starts: an empty chunk holds nothing."""
    return {int(edges[edges <= position].max()) for position in positions}


def size_of(edges, start):
    return int(edges[edges > start].min()) - start


def as_array(selection, size):
    return np.arange(size)[selection]


# ---------------------------------------------------------------- positions


@given(axes_with_range())
def test_positions_of_a_range_are_its_groups(case):
    axis, first, last = case
    positions = axis.positions(first, last).reshape(axis.buffer_shape(first, last))
    by_group = positions.T if axis.strided else positions
    assert by_group.shape == (last - first, axis.members)
    for group, members in zip(range(first, last), by_group, strict=True):
        if axis.index is not None:
            expected = axis.index[group * axis.members :][: axis.members]
        elif axis.strided:
            expected = np.arange(axis.members) * axis.groups + group
        else:
            expected = group * axis.members + np.arange(axis.members)
        np.testing.assert_array_equal(members, expected)


@given(axes())
def test_positions_of_all_groups_are_all_positions(axis):
    np.testing.assert_array_equal(np.sort(axis.positions(0, axis.groups)), np.arange(axis.length))


# ---------------------------------------------------------------- parts


@settings(max_examples=300, deadline=None)
@given(axes_with_range())
def test_parts_fill_the_buffer_once_and_share_no_chunk(case):
    axis, first, last = case
    wanted = axis.positions(first, last)
    buffer = np.full(wanted.size, -1)
    seen = set()
    for part in axis.parts(first, last):
        assert 0 <= part.start < part.stop <= axis.length
        kept = np.arange(part.start, part.stop)[part.keep]
        dest = as_array(part.dest, wanted.size)
        assert np.all(buffer[dest] == -1)
        buffer[dest] = kept
        chunks = chunks_of(axis.edges, range(part.start, part.stop))
        assert not chunks & seen
        seen |= chunks
        assert chunks == chunks_of(axis.edges, kept)
        assert {part.start, part.stop - 1} <= set(kept.tolist())
    np.testing.assert_array_equal(buffer, wanted)


@pytest.mark.slow
@given(axes_with_range())
def test_scattered_parts_keep_to_one_chunk(case):
    axis, first, last = case
    assume(axis.index is not None)
    for part in axis.parts(first, last):
        assert len(chunks_of(axis.edges, range(part.start, part.stop))) == 1


def test_whole_chunks_in_a_row_are_one_range():
    axis = Axis(24, 6, False, edges=chunk_edges(24, 4))
    (part,) = axis.parts(1, 5)
    assert (part.start, part.stop, part.keep, part.dest) == (4, 20, slice(None), slice(None))
    strided = Axis(24, 6, True, edges=chunk_edges(24, 6))
    assert [(p.start, p.stop, p.keep) for p in strided.parts(0, 6)] == [(0, 24, slice(None))]


def test_chunk_wanted_in_part_is_read_as_its_hull():
    axis = Axis(16, 4, True, edges=chunk_edges(16, 8))
    parts = axis.parts(1, 3)
    assert [(part.start, part.stop) for part in parts] == [(1, 7), (9, 15)]
    np.testing.assert_array_equal(parts[0].keep, [0, 1, 4, 5])
    assert [part.dest for part in parts] == [slice(0, 4), slice(4, 8)]


def test_axis_without_edges_is_read_as_one_hull():
    (part,) = Axis(12, 3, True).parts(1, 2)
    assert (part.start, part.stop) == (1, 11)
    np.testing.assert_array_equal(part.keep, [0, 3, 6, 9])


# ---------------------------------------------------------------- costs


@pytest.mark.slow
@settings(max_examples=300)
@given(axes(), st.integers(1, 10))
def test_tiling_cost_is_what_the_tiles_touch(axis, per_tile):
    touched, longest = axis.tiling_cost(per_tile)
    count = longest_part = 0
    for first in range(0, axis.groups, per_tile):
        last = min(first + per_tile, axis.groups)
        count += sum(size_of(axis.edges, chunk) for chunk in chunks_of(axis.edges, axis.positions(first, last)))
        longest_part = max([longest_part, *(part.stop - part.start for part in axis.parts(first, last))])
    assert touched == count
    assert longest_part <= longest <= axis.length


@pytest.mark.parametrize(("per_tile", "chunk"), [(1, 1), (1, 7), (100, 3), (4096, 1), (5, 2048), (10, 4), (20, 3)])
def test_tiling_cost_of_a_long_scattered_side(per_tile, chunk):
    index = np.random.default_rng(0).permutation(4096)
    edges = chunk_edges(4096, chunk)
    touched = sum(np.unique(tile // chunk).size for tile in np.split(index, range(per_tile, 4096, per_tile))) * chunk
    last = 4096 % chunk
    if last:  # the last chunk is shorter
        tiles = sum(np.any(tile >= edges[-2]) for tile in np.split(index, range(per_tile, 4096, per_tile)))
        touched -= tiles * (chunk - last)
    assert Axis(4096, 4096, False, index=index, edges=edges).tiling_cost(per_tile) == (touched, chunk)


@pytest.mark.parametrize("strided", [False, True])
def test_side_without_edges_costs_what_it_holds(strided):
    assert Axis(24, 6, strided).tiling_cost(4) == (24, 16)
    assert Axis(24, 6, strided).tiling_cost(99) == (24, 24)


@pytest.mark.parametrize(("chunk", "touched"), [(4, 64), (8, 64), (2, 64), (16, 64 * 2), (64, 64 * 2), (3, 79)])
def test_strided_tiles_of_eight_groups(chunk, touched):
    """64 positions in 16 groups of 4, tiles of 8 groups: chunks of up to 8 positions are read once."""
    assert Axis(64, 16, True, edges=chunk_edges(64, chunk)).tiling_cost(8)[0] == touched


# ---------------------------------------------------------------- the sides of a cut

SIDES = ["standard", "bitreversal", "scattered"]
CHAINS = {
    "dyadic": Chain.square_dyadic(32),
    "mixed radix": Chain.chainable((24, 90)),
    "monarch": Chain.monarch((21, 16)),
    "uneven": Chain.monarch((12, 20), p=6, q=2),
}


def side_of(kind, size, rng):
    return {"standard": None, "bitreversal": "bitreversal", "scattered": rng.permutation(size)}[kind]


def in_standard_order(stored, chain, orderings):
    """Permute a matrix entry by entry, as the orderings define it."""
    for side, radices, axis in ((orderings.rows, chain.row_radices, 0), (orderings.cols, chain.col_radices, 1)):
        order = digit_reversal(radices) if isinstance(side, str) else side
        stored = stored if order is None else np.take(stored, order, axis=axis)
    return stored


def of_storage(order, numbers):
    """Standard numbers of groups given by their numbers in storage."""
    return numbers if order is None else np.argsort(order)[numbers]


@pytest.mark.parametrize("col_kind", SIDES)
@pytest.mark.parametrize("row_kind", SIDES)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_buffers_unfold_to_the_blocks_of_the_standard_order(chain, row_kind, col_kind):
    rng = np.random.default_rng(0)
    stored = rng.standard_normal(chain.shape)
    orderings = Orderings(*(side_of(kind, n, rng) for kind, n in zip((row_kind, col_kind), chain.shape, strict=True)))
    standard = in_standard_order(stored, chain, orderings)
    for position in range(1, len(chain)):
        (p, u, q, v, _), *_ = chain.cut(position)
        blocks = standard.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        rows, cols = axes_of_cut(chain, position, orderings, (None, None))
        assert (rows.groups, rows.members, cols.groups, cols.members) == (u, p, q, v)
        for tile in [Tile(0, u, 0, q), Tile(u // 2, u, 0, max(1, q // 2)), Tile(u - 1, u, q - 1, q)]:
            buffer = stored[np.ix_(rows.positions(tile.r0, tile.r1), cols.positions(tile.c0, tile.c1))]
            grid = unfold(buffer, rows, cols, tile)
            assert np.shares_memory(grid, buffer)
            grid = grid if rows.member_order is None else grid[:, :, rows.member_order]
            grid = grid if cols.member_order is None else grid[:, :, :, cols.member_order]
            row_groups = of_storage(rows.group_order, np.arange(tile.r0, tile.r1))
            col_groups = of_storage(cols.group_order, np.arange(tile.c0, tile.c1))
            np.testing.assert_array_equal(grid, blocks[row_groups][:, col_groups])


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_layouts_of_the_orderings(chain):
    """Standard rows are strided and standard columns contiguous; digit reversal swaps that."""
    for position in range(1, len(chain)):
        rows, cols = axes_of_cut(chain, position, Orderings(), (None, None))
        assert (rows.strided, cols.strided) == (True, False)
        rows, cols = axes_of_cut(chain, position, Orderings("bitreversal", "bitreversal"), (None, None))
        assert (rows.strided, cols.strided) == (False, True)
        everything = Orderings(np.arange(chain.shape[0]), np.arange(chain.shape[1]))
        assert not any(axis.strided for axis in axes_of_cut(chain, position, everything, (None, None)))


def test_edges_go_to_their_sides():
    edges = chunk_edges(12, 5), chunk_edges(20, 7)
    rows, cols = axes_of_cut(CHAINS["uneven"], 1, Orderings(), edges)
    assert rows.edges is edges[0]
    assert cols.edges is edges[1]
