import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.errors import ChainError
from dbutterfly.structure.chain import Chain, Pattern
from dbutterfly.structure.fusion import (
    PASS_COST,
    fuse,
    fuse_patterns,
    segments_for_products,
    segments_of_count,
    segments_of_fewest_values,
    segments_with_layers,
)


def partitions(count):
    for cuts in itertools.product([False, True], repeat=count - 1):
        edges = [0, *(k + 1 for k, cut in enumerate(cuts) if cut), count]
        yield list(itertools.starmap(range, itertools.pairwise(edges)))


@st.composite
def chains(draw):
    shape = draw(st.tuples(st.integers(1, 64), st.integers(1, 64)))
    return Chain.chainable(shape, rank=draw(st.integers(1, min(3, *shape))))


def test_radix_two_is_fused_to_radix_four():
    assert fuse(Pattern(1, 2, 2, 8), Pattern(2, 2, 2, 4)) == Pattern(1, 4, 4, 4)
    sizes = [len(segment) for segment in segments_for_products(Chain.square_dyadic(2048).patterns)]
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2]


def test_neighbours_that_are_not_chainable_stay_apart():
    patterns = [Pattern(4, 2, 3, 1), Pattern(1, 2, 2, 6)]
    assert fuse(*patterns) is None
    assert segments_for_products(patterns) == [range(1), range(1, 2)]
    with pytest.raises(ChainError, match=r"\(4, 2, 3, 1\) and \(1, 2, 2, 6\) do not multiply to one factor"):
        fuse_patterns(patterns, [range(2)])


def test_segments_multiply_in_any_order():
    patterns = [Pattern(1, 1, 2, 1), Pattern(1, 1, 1, 2), Pattern(1, 2, 1, 1)]
    assert fuse(*patterns[:2]) is None
    assert fuse(patterns[0], fuse(*patterns[1:])) is not None
    assert segments_for_products(patterns) == [range(1), range(1, 3)]
    assert [segment.factors for segment in segments_with_layers(patterns, 64)] == [range(1), range(1, 3)]


@given(chain=chains())
def test_segments_are_the_cheapest(chain):
    def cost(segments):
        return sum(pattern.nnz + PASS_COST * sum(pattern.shape) for pattern in fuse_patterns(chain.patterns, segments))

    found = segments_for_products(chain.patterns)
    assert cost(found) == min(map(cost, partitions(len(chain))))
    for count in range(1, len(chain) + 1):
        nnz = [count_values(chain, segments) for segments in partitions(len(chain)) if len(segments) == count]
        assert count_values(chain, segments_of_count(chain.patterns, count)) == min(nnz)
    for root in range(1, len(chain)):
        fewest = segments_of_fewest_values(chain.patterns, root)
        divided = [segments for segments in partitions(len(chain)) if root in [segment.start for segment in segments]]
        nnz = [(count_values(chain, segments), -len(segments)) for segments in divided]
        assert (count_values(chain, fewest), -len(fewest)) == min(nnz)
        assert fewest in divided


def count_values(chain, segments):
    return sum(pattern.nnz for pattern in fuse_patterns(chain.patterns, segments))


@given(chain=chains())
def test_products_are_chainable_with_the_same_shape(chain):
    assert chain.is_dense
    product = Chain(fuse_patterns(chain.patterns, segments_for_products(chain.patterns)))
    assert product.shape == chain.shape
    assert product.is_dense


@pytest.mark.parametrize("count", [0, -1, 5])
def test_numbers_that_cannot_be_reached_are_refused(count):
    with pytest.raises(ChainError, match=rf"n={count} is no number of factors .* use one of 1 to 4 "):
        segments_of_count(Chain.square_dyadic(16).patterns, count)


@given(chain=chains(), slots=st.sampled_from([1, 64]))
def test_segments_with_layers_cover_every_factor_once(chain, slots):
    segments = segments_with_layers(chain.patterns, slots)
    assert [index for segment in segments for index in segment.factors] == list(range(len(chain)))
    for segment in segments:
        assert [segment.pattern] == fuse_patterns(chain.patterns, [segment.factors])
        if segment.is_layered:
            small = [chain.patterns[index] for index in segment.factors]
            assert all((pattern.b, pattern.c) == (2, 2) for pattern in small)
            assert [pattern.d // segment.pattern.d for pattern in small] == list(segment.distances)
            assert sorted(segment.distances) == [1 << k for k in range(len(small))]


def test_dyadic_chains_are_layers_in_both_directions():
    patterns = Chain.square_dyadic(4096).patterns
    assert [segment.distances for segment in segments_with_layers(patterns, 64)] == 3 * [(8, 4, 2, 1)]
    assert [segment.distances for segment in segments_with_layers(patterns[::-1], 64)] == 3 * [(1, 2, 4, 8)]
    assert not any(
        segment.is_layered for segment in segments_with_layers(Chain.chainable((4096, 4096), rank=2).patterns, 64)[1:-1]
    )
