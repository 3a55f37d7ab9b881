import itertools

import numpy as np

from dbutterfly.structure.chain import Chain
from dbutterfly.structure.rank_choice import growing_ranks, least_ranks

M, N = (4, 2, 2, 4), (4, 2, 2, 4)


def tails_of(seed, falls=(0.1, 0.3, 0.2), count=8):
    """Energies of singular values that fall by a factor of each cut, with some noise on them."""
    rng = np.random.default_rng(seed)
    squares = [np.sort(fall ** np.arange(count) * rng.uniform(0.5, 1, count))[::-1] for fall in falls]
    return [[*np.cumsum(of_cut[::-1])[::-1], 0.0] for of_cut in squares]


def test_ranks_grow_one_at_a_time_until_nothing_is_left():
    tails = tails_of(0)
    path = list(growing_ranks(tails, M, N))
    assert path[0] == (1, 1, 1)
    assert path[-1] == (8, 8, 8)
    assert all(sum(after) == sum(before) + 1 for before, after in itertools.pairwise(path))


def test_ranks_are_nearly_the_best_for_every_energy():
    for seed in range(5):
        tails = tails_of(seed)
        path = list(growing_ranks(tails, M, N))
        everything = [
            (sum(tail[rank] for tail, rank in zip(tails, ranks, strict=True)), Chain.of_digits(M, N, ranks).nnz)
            for ranks in itertools.product(range(1, 9), repeat=3)
        ]
        for ranks in path:
            left = sum(tail[rank] for tail, rank in zip(tails, ranks, strict=True))
            least = min(values for energy, values in everything if energy <= left)
            assert Chain.of_digits(M, N, ranks).nnz <= 1.1 * least


def test_a_cut_that_leaves_nothing_stays():
    path = list(growing_ranks([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0]], (2, 2, 2), (2, 2, 2)))
    assert path == [(1, 1), (1, 2)]


def test_least_ranks_leave_what_is_allowed_with_few_values():
    for seed, allowed in itertools.product(range(5), (0.5, 1e-1, 1e-2, 1e-4)):
        tails = tails_of(seed)

        def left(ranks, tails=tails):
            return sum(tail[rank] for tail, rank in zip(tails, ranks, strict=True))

        found = least_ranks(tails, M, N, allowed)
        assert left(found) <= allowed
        every = itertools.product(range(1, 9), repeat=3)
        least = min(Chain.of_digits(M, N, ranks).nnz for ranks in every if left(ranks) <= allowed)
        assert Chain.of_digits(M, N, found).nnz <= 1.1 * least


def test_nothing_allowed_keeps_what_there_is():
    assert least_ranks([[1.0, 0.25, 0.0], [1.0, 0.0, 0.0]], (2, 2, 2), (2, 2, 2), 0.0) == (2, 1)
