"""The columns of the array ``stats`` by their names."""

import numpy as np
import pytest

from dbutterfly.factorization.block_stats import BlockStats


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_the_array_goes_both_ways(xp, ranks):
    array = xp.asarray(np.random.default_rng(0).random((3, 4, 1 + 2 * ranks)))
    stats = BlockStats.from_array(array)
    assert stats.energy.shape == (3, 4)
    assert stats.discarded.shape == stats.slack.shape == (3, 4, ranks)
    np.testing.assert_array_equal(xp.to_numpy(stats.to_array()), xp.to_numpy(array))


def test_one_rank_has_the_columns_of_its_place():
    array = np.arange(2 * 3 * 7.0).reshape(2, 3, 7)
    for rank_index in range(3):
        stats = BlockStats.from_array(array).of_rank(rank_index)
        np.testing.assert_array_equal(stats.energy, array[..., 0])
        np.testing.assert_array_equal(stats.discarded, array[..., 1 + rank_index])
        np.testing.assert_array_equal(stats.slack, array[..., 4 + rank_index])


def test_energies_are_views_so_that_they_can_be_raised_in_place():
    array = np.zeros((2, 2, 3))
    BlockStats.from_array(array).energy[0, 1] = 1
    assert array[0, 1, 0] == 1
