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
    groups_for_products,
    groups_of_count,
    groups_of_stages,
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
    sizes = [len(group) for group in groups_for_products(Chain.square_dyadic(2048).patterns)]
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2]


def test_neighbours_that_are_not_chainable_stay_apart():
    patterns = [Pattern(4, 2, 3, 1), Pattern(1, 2, 2, 6)]
    assert fuse(*patterns) is None
    assert groups_for_products(patterns) == [range(1), range(1, 2)]
    with pytest.raises(ChainError, match=r"\(4, 2, 3, 1\) and \(1, 2, 2, 6\) do not multiply to one factor"):
        fuse_patterns(patterns, [range(2)])


def test_groups_multiply_in_any_order():
    patterns = [Pattern(1, 1, 2, 1), Pattern(1, 1, 1, 2), Pattern(1, 2, 1, 1)]
    assert fuse(*patterns[:2]) is None
    assert fuse(patterns[0], fuse(*patterns[1:])) is not None
    assert groups_for_products(patterns) == [range(1), range(1, 3)]
    assert [group.factors for group in groups_of_stages(patterns, 64)] == [range(1), range(1, 3)]


@given(chain=chains())
def test_groups_are_the_cheapest(chain):
    def cost(groups):
        return sum(pattern.nnz + PASS_COST * sum(pattern.shape) for pattern in fuse_patterns(chain.patterns, groups))

    found = groups_for_products(chain.patterns)
    assert cost(found) == min(map(cost, partitions(len(chain))))
    for count in range(1, len(chain) + 1):
        nnz = [
            sum(pattern.nnz for pattern in fuse_patterns(chain.patterns, groups))
            for groups in partitions(len(chain))
            if len(groups) == count
        ]
        groups = groups_of_count(chain.patterns, count)
        assert sum(pattern.nnz for pattern in fuse_patterns(chain.patterns, groups)) == min(nnz)


@given(chain=chains())
def test_products_are_chainable_with_the_same_shape(chain):
    assert chain.is_dense
    product = Chain(fuse_patterns(chain.patterns, groups_for_products(chain.patterns)))
    assert product.shape == chain.shape
    assert product.is_dense


@pytest.mark.parametrize("count", [0, -1, 5])
def test_numbers_that_cannot_be_reached_are_refused(count):
    with pytest.raises(ChainError, match=rf"n={count} is no number of factors .* use one of 1 to 4 "):
        groups_of_count(Chain.square_dyadic(16).patterns, count)


@given(chain=chains(), lanes=st.sampled_from([1, 64]))
def test_groups_of_stages_cover_every_factor_once(chain, lanes):
    groups = groups_of_stages(chain.patterns, lanes)
    assert [index for group in groups for index in group.factors] == list(range(len(chain)))
    for group in groups:
        assert [group.pattern] == fuse_patterns(chain.patterns, [group.factors])
        if group.staged:
            small = [chain.patterns[index] for index in group.factors]
            assert all((pattern.b, pattern.c) == (2, 2) for pattern in small)
            assert [pattern.d // group.pattern.d for pattern in small] == list(group.distances)
            assert sorted(group.distances) == [1 << k for k in range(len(small))]


def test_dyadic_chains_are_stages_in_both_directions():
    patterns = Chain.square_dyadic(4096).patterns
    assert [group.distances for group in groups_of_stages(patterns, 64)] == 3 * [(8, 4, 2, 1)]
    assert [group.distances for group in groups_of_stages(patterns[::-1], 64)] == 3 * [(1, 2, 4, 8)]
    assert not any(group.staged for group in groups_of_stages(Chain.chainable((4096, 4096), rank=2).patterns, 64)[1:-1])
