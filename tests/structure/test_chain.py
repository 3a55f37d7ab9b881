import importlib
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dbutterfly.errors import ChainError, InputError
from dbutterfly.structure.chain import Chain, Cut, Pattern

sides = st.lists(st.sampled_from([2, 2, 2, 3, 5, 7]), min_size=0, max_size=6).map(math.prod)
shapes = st.tuples(sides, sides)


def support(pattern):
    a, b, c, d = pattern
    return np.kron(np.kron(np.eye(a), np.ones((b, c))), np.eye(d))


@pytest.fixture(scope="module")
def lazylinop():
    with warnings.catch_warnings(record=True):  # it warns of its own missing parts, whatever the filter
        try:
            return importlib.import_module("lazylinop.butterfly")
        except ImportError:
            pytest.skip("lazylinop is not installed")


# ---- patterns and their products


def test_pattern():
    pattern = Pattern(2, 3, 5, 7)
    assert pattern.shape == (42, 70) == support(pattern).shape
    assert pattern.nnz == 210 == support(pattern).sum()
    assert repr(pattern) == "(2, 3, 5, 7)"


def test_chain():
    chain = Chain([[1, 2, 2, 2], (2, 2, 3, 1)])
    assert chain.patterns == (Pattern(1, 2, 2, 2), Pattern(2, 2, 3, 1))
    assert (len(chain), list(chain), chain.shape, chain.nnz) == (2, list(chain.patterns), (4, 6), 20)
    assert Chain([(2, 3, 2, 1), (1, 2, 2, 2)]) == chain.T
    assert chain == chain.T.T
    assert repr(chain) == "Chain([(1, 2, 2, 2), (2, 2, 3, 1)])"
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert hash(chain) == hash(Chain(chain.patterns))


def test_a_chain_is_a_sequence():
    chain = Chain.square_dyadic(16)
    assert [chain[0], chain[-1], chain[np.int64(1)]] == [chain.patterns[0], chain.patterns[-1], chain.patterns[1]]
    assert chain[1:3] == Chain(chain.patterns[1:3])
    assert chain[-1] in chain
    assert list(reversed(chain)) == list(chain.patterns[::-1])
    with pytest.raises(IndexError):
        chain[4]
    with pytest.raises(ChainError, match="neighbours must satisfy"):
        Chain.monarch((8, 32))[::-1]
    with pytest.raises(ChainError, match="at least one pattern"):
        chain[2:2]


def test_single_pattern():
    chain = Chain([(1, 3, 4, 1)])
    assert (chain.ranks, chain.rank, chain.is_chainable, chain.is_dense) == ((), 1, True, True)
    assert (chain.row_radices, chain.col_radices) == ((3,), (4,))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "patterns is empty"),
        ([(1, 2, 3)], r"pattern \(1, 2, 3\) is not four positive integers"),
        ([(1, 2, 2, 0)], "not four positive integers"),
        ([(1, 2, 2.0, 1)], "not four positive integers"),
        ([7], "pattern 7 is not four positive integers"),
        ([(1, 2, 2, 2), (2, 3, 2, 1)], r"patterns\[0\] = .* has 4 columns but patterns\[1\] = .* has 6 rows"),
    ],
)
def test_malformed_chains(patterns, message):
    with pytest.raises(ChainError, match=message):
        Chain(patterns)


def test_chain_errors_are_input_errors():
    assert issubclass(ChainError, InputError)
    assert issubclass(ChainError, ValueError)


@pytest.mark.parametrize(
    "patterns",
    [
        [(2, 2, 2, 1), (1, 2, 2, 2)],  # a2 is no multiple of a1, d1 none of d2
        [(1, 2, 3, 2), (2, 3, 2, 1)],  # a1*c1/a2 is no integer
        [(1, 2, 4, 2), (1, 2, 2, 4)],  # a1*c1/a2 = 4, b2*d2/d1 = 4, but d1 is no multiple of d2
    ],
)
def test_unchainable(patterns):
    chain = Chain(patterns)
    assert chain.ranks is None
    assert not chain.is_chainable
    assert not chain.is_dense
    for attribute in ("rank", "row_radices", "col_radices"):
        with pytest.raises(ChainError, match="is not chainable"):
            getattr(chain, attribute)
    with pytest.raises(ChainError, match="is not chainable"):
        chain.cut(1)


def test_chainable_but_not_dense():
    chain = Chain([(2, 2, 2, 2), (4, 2, 2, 1)])
    assert chain.is_chainable
    assert not chain.is_dense


@pytest.mark.parametrize("position", [-1, 0, 3, 4])
def test_cut_refuses_other_positions(position):
    with pytest.raises(ChainError, match=f"position={position} is no cut of .* cuts 1 to 2"):
        Chain.square_dyadic(8).cut(position)


def test_cut_by_its_groups():
    cut = Cut.of_groups((12, 40), 3, 5, 2)
    assert cut == Cut(p=4, u=3, q=5, v=8, rank=2)
    assert (cut.row_groups, cut.col_groups, cut.block_shape, cut.shape) == (3, 5, (4, 8), (12, 40))
    assert Cut.of_groups((40, 12), 5, 3, 2) == cut.T
    assert cut == cut.T.T


@pytest.mark.parametrize("groups", [(5, 5), (3, 7), (0, 5), (3, -1)])
def test_groups_of_a_cut_divide_the_sides(groups):
    with pytest.raises(ChainError, match=r"row_groups=.* do not divide a matrix of 12 x 40"):
        Cut.of_groups((12, 40), *groups, 1)


@pytest.mark.parametrize("rank", [1, 2, 3, 9])
def test_degrees_of_freedom_are_those_of_matrices_of_this_rank(rank):
    """The dimension of ``x, y -> x y`` of two factors of a block is the rank of its derivative."""
    rng = np.random.default_rng(0)
    cut, least = Cut.of_groups((12, 8), 3, 2, rank), min(rank, 4)
    x, y = rng.standard_normal((4, least)), rng.standard_normal((least, 4))
    derivative = np.hstack([np.kron(np.eye(4), y.T), np.kron(x, np.eye(4))])
    assert cut.degrees_of_freedom(cut.shape) == 3 * 2 * np.linalg.matrix_rank(derivative)
    several_lines = Cut.of_groups((24, 8), 3, 2, rank)
    assert cut.degrees_of_freedom((24, 8)) == several_lines.degrees_of_freedom((24, 8))


# ---- constructors


@given(shapes, st.integers(1, 4), st.none() | st.integers(1, 8), st.booleans())
def test_chainable_is_chainable(shape, rank, leaf, balanced):
    assume(rank <= min(shape))
    chain = Chain.chainable(shape, rank, leaf, balanced=balanced)
    assert chain.shape == shape
    assert chain.is_dense
    assert set(chain.ranks) <= {rank}
    assert math.prod(chain.row_radices) == shape[0]
    assert math.prod(chain.col_radices) == shape[1]
    if len(chain) > 1:
        assert chain.rank == rank
        assert chain.patterns[0].b >= (rank if leaf is None else leaf)
        assert chain.patterns[-1].c >= (rank if leaf is None else leaf)


@pytest.mark.parametrize(("n", "rank"), [(256, 1), (256, 8), (1024, 4), (210, 3), (360, 5)])
def test_balanced_blocks_have_as_many_entries_as_those_of_rank_one(n, rank):
    chain = Chain.chainable((n, n), rank, balanced=True)
    assert len(chain) > 1
    for position in range(1, len(chain)):
        split = chain.cut(position)[0]
        assert split.p * split.v == n
        assert min(split.p, split.v) >= rank


@given(shapes, st.integers(1, 3))
def test_cuts_are_consistent(shape, rank):
    assume(rank <= min(shape))
    chain = Chain.chainable(shape, rank)
    for position in range(1, len(chain)):
        (p, u, q, v, r), left, right = chain.cut(position)
        assert (p * u, q * v) == shape
        assert r == rank
        assert (left.shape, right.shape) == ((p, q * r), (u * r, v))
        assert left.is_dense
        assert right.is_dense
        assert (len(left), len(right)) == (position, len(chain) - position)
        assert u * left.nnz + q * right.nnz == chain.nnz
        assert p == math.prod(chain.row_radices[:position])
        assert q == math.prod(chain.col_radices[:position])


@settings(deadline=None)
@given(shapes, st.integers(1, 3))
def test_product_of_supports_is_full(shape, rank):
    assume(rank <= min(shape) and math.prod(shape) <= 4096)
    chain = Chain.chainable(shape, rank)
    count = support(chain.patterns[0])
    for pattern in chain.patterns[1:]:
        count = count @ support(pattern)
    assert count.shape == shape
    assert (count == rank ** (len(chain) - 1)).all()  # each entry is the product of so many paths


@given(shapes)
def test_transpose(shape):
    chain = Chain.chainable(shape)
    assert chain.T.shape == shape[::-1]
    assert chain.T.nnz == chain.nnz
    assert chain == chain.T.T


def test_cut_of_rank_two():
    split, left, right = Chain([(1, 2, 6, 4), (3, 8, 4, 1)]).cut(1)
    assert split == (2, 4, 3, 4, 2)
    assert split.rank == 2
    assert (left, right) == (Chain([(1, 2, 6, 1)]), Chain([(1, 8, 4, 1)]))


@pytest.mark.parametrize("n", [1, 2, 4, 64])
def test_square_dyadic(n):
    chain = Chain.square_dyadic(n)
    assert chain == Chain.square_dyadic((n, n))
    assert chain.shape == (n, n)
    assert chain.is_dense
    assert chain.rank == 1
    assert len(chain) == max(n.bit_length() - 1, 1)


@pytest.mark.parametrize(("n", "message"), [(12, r"n=12 .*Chain\.chainable\(\(12, 12\)\)"), ((4, 8), r"\(4, 8\)")])
def test_square_dyadic_refuses(n, message):
    with pytest.raises(ChainError, match=message):
        Chain.square_dyadic(n)


@pytest.mark.parametrize("n", [0, -4, (4, 0)])
def test_empty_sides(n):
    with pytest.raises(ChainError, match="has an empty side"):
        Chain.square_dyadic(n)


@pytest.mark.parametrize("n", [2.5, (2, 2, 2), "ab", None])
def test_sizes_that_are_none(n):
    with pytest.raises(ChainError, match="is not a size or a pair of sizes"):
        Chain.square_dyadic(n)


def test_monarch():
    assert Chain.monarch((6, 20), p=3, q=4) == Chain([(1, 3, 4, 2), (4, 2, 5, 1)])
    assert Chain.monarch((16, 64)) == Chain([(1, 4, 8, 4), (8, 4, 8, 1)])
    assert Chain.monarch((7, 11)).is_dense
    assert Chain.monarch((1, 1)).shape == (1, 1)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"p": 4}, r"p=4 does not divide 6; the divisors are \[1, 2, 3, 6\]"),
        ({"q": 3}, "q=3 does not divide 20"),
        ({"q": 0}, "q=0 does not divide 20"),
    ],
)
def test_monarch_refuses(given_, message):
    with pytest.raises(ChainError, match=message):
        Chain.monarch((6, 20), **given_)


@pytest.mark.parametrize(
    ("rank", "leaf", "message"),
    [(0, None, "rank=0 is not positive"), (1, 0, "leaf=0 is not positive"), (5, None, "rank=5 exceeds .* 4 x 8")],
)
def test_chainable_refuses(rank, leaf, message):
    with pytest.raises(ChainError, match=message):
        Chain.chainable((4, 8), rank, leaf)


def test_chainable_of_powers_of_two_is_dyadic():
    assert Chain.chainable((32, 32)) == Chain.square_dyadic(32)


def test_chainable_of_small_primes_is_one_pattern():
    assert Chain.chainable((7, 64)) == Chain([(1, 7, 64, 1)])


@pytest.mark.parametrize(
    ("shape", "longer"),
    [
        ((1009, 1009), (1024, 1024)),
        ((13, 13), (14, 14)),
        ((1000, 625), (1000, 625)),  # no prime factor above 7
        ((62, 62), (64, 64)),
        ((1, 1009), (1, 1009)),
        ((97, 1), (97, 1)),
    ],
)
def test_chainable_is_longer_where_that_gives_far_fewer_values(shape, longer):
    assert Chain.chainable(shape).shape == longer


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 3))
def test_chainable_fits_every_shape(rows, cols, rank):
    shape = (rows, cols)
    chain = Chain.chainable(shape, min(rank, rows, cols))
    assert all(size <= length <= 1.15 * size for size, length in zip(shape, chain.shape, strict=True))
    assert chain.is_dense
    assert chain.nnz <= max(math.prod(shape), 8 * rank**2 * sum(shape) * 11)  # no dense factor of a large matrix


def test_the_longest_side_is_extended_soon():
    assert Chain.chainable((2**31 - 1, 2**31 - 1)).nnz < 2**38


def test_chainable_digits_are_as_equal_as_they_can_be():
    assert Chain.chainable((4, 64)).col_radices == (8, 8)
    assert Chain.chainable((8, 1024)).col_radices in set(itertools.permutations((8, 8, 16)))
    assert Chain.chainable((2**20, 2**30)).shape == (2**20, 2**30)


# ---- other packages


@pytest.mark.parametrize("n", [2, 16, 128])
def test_square_dyadic_is_that_of_lazylinop(lazylinop, n):
    peer = lazylinop.Chain.square_dyadic((n, n))
    assert Chain.from_any(peer) == Chain.square_dyadic(n)
    assert Chain.from_any(peer).is_chainable


@pytest.mark.parametrize(("shape", "p", "q"), [((12, 30), 3, 5), ((64, 64), 8, 8), ((21, 16), 7, 2)])
def test_monarch_is_that_of_lazylinop(lazylinop, shape, p, q):
    assert Chain.from_any(lazylinop.Chain.monarch(shape, p, q)) == Chain.monarch(shape, p, q)


def test_from_any():
    chain = Chain.square_dyadic(8)
    assert Chain.from_any(chain) is chain
    assert Chain.from_any(list(chain)) == chain


@pytest.mark.parametrize("given_", [None, 5, "square_dyadic"])
def test_from_any_refuses(given_):
    with pytest.raises(ChainError, match="neither a Chain nor a list of patterns"):
        Chain.from_any(given_)


def test_ranks_of_their_own_for_all_junctions():
    chain = Chain.chainable((64, 48), rank=3)
    ranks = tuple(range(1, len(chain)))
    own = chain.with_ranks(list(ranks))
    assert (own.shape, own.ranks) == ((64, 48), ranks)
    assert (own.row_radices, own.col_radices) == (chain.row_radices, chain.col_radices)
    assert own == Chain.of_digits(chain.row_radices, chain.col_radices, ranks)
    assert own.raised(2).ranks == tuple(rank + 2 for rank in ranks)
    assert chain.with_ranks([5] * len(ranks)) == chain.of_rank(5)


def test_ranks_that_do_not_fit_the_junctions_are_refused():
    chain = Chain.square_dyadic(8)
    for ranks in ([1], "12", 2, [1, 2, 3]):
        with pytest.raises(ChainError, match="are not the ranks of 2 junctions"):
            chain.with_ranks(ranks)
    with pytest.raises(ChainError, match="the smallest rank is 1"):
        chain.with_ranks([1, 0])
    with pytest.raises(ChainError, match="give as many digits of both, and one rank fewer"):
        Chain.of_digits((2, 2), (2, 2), (1, 1))
