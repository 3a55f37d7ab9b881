import numpy as np
import pytest

from dbutterfly.errors import InputError
from dbutterfly.matrices.ranked import ranked_chain
from dbutterfly.structure.chain import Chain

RANKS = {1e-3: 2, 1e-6: 5}


@pytest.mark.parametrize("n", [1, 2, 7, 24, 30, 64, 360, 1000, 1024, 6561])
@pytest.mark.parametrize("rank", [1, 2, 3, 8, 12])
def test_every_block_has_n_entries_and_sides_no_shorter_than_the_rank(n, rank):
    chain = ranked_chain(n, {1e-3: rank}, 1e-3)
    assert chain.shape == (n, n)
    assert chain.is_dense
    assert set(chain.ranks) <= {rank}
    for position in range(1, len(chain)):
        split = chain.cut(position)[0]
        assert split.p * split.v == n
        assert min(split.p, split.v) >= rank


def test_chains():
    assert ranked_chain(64, {1.0: 1}, 1.0) == Chain.square_dyadic(64)
    assert ranked_chain(64, {1.0: 3}, 1.0) == Chain([(1, 4, 12, 16), (4, 6, 6, 8), (8, 6, 6, 4), (16, 12, 4, 1)])
    assert ranked_chain(60, {1.0: 4}, 1.0).row_radices == (4, 3, 5)
    assert ranked_chain(63, {1.0: 8}, 1.0) == Chain([(1, 63, 63, 1)])


@pytest.mark.parametrize(("tol", "rank"), [(1.0, 2), (1e-3, 2), (1e-4, 5), (np.float64(1e-6), 5), (1, 2)])
def test_least_rank_that_reaches_the_tolerance(tol, rank):
    assert ranked_chain(256, RANKS, tol).rank == rank


@pytest.mark.parametrize("tol", [1e-7, 0, -1, np.nan, "x", None])
def test_a_tolerance_below_all_is_refused(tol):
    with pytest.raises(InputError, match=f"tol={tol!r} is no tolerance whose rank is known; use 1e-06 or more"):
        ranked_chain(256, RANKS, tol)
