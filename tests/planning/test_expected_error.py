import pytest

from dbutterfly.planning.expected_error import expected_error


def test_singular_values_that_fall_fast_add_up():
    tails = [[1.0, 9e-4, 0.0], [1.0, 16e-4, 0.0]]
    assert expected_error(tails, (1, 1)) == pytest.approx(0.05)


def test_flat_ones_are_the_same_noise():
    tails = [[1.0, 1e-4, 1e-4], [1.0, 1e-4, 1e-4]]
    assert expected_error(tails, (1, 1)) == pytest.approx(0.01)


def test_nothing_is_left_beyond_full_ranks():
    assert expected_error([[1.0, 0.5, 0.0]], (2,)) == 0
    assert expected_error([[0.0, 0.0]], (1,)) == 0
