import numpy as np
import pytest

from dbutterfly.sources.proxies import choose_lines, random_stream


def stream(group=0, attempt=0):
    return random_stream(7, 1, 3, group, attempt)


@pytest.mark.parametrize(("size", "proxies"), [(10, 5), (40, 30), (1000, 20), (100_000, 64)])
def test_lines_are_all_different(size, proxies):
    for group in range(20):
        lines = choose_lines(np.arange(size) * 3 + 5, proxies, 4, stream(group))
        both = np.concatenate(lines)
        assert (lines.proxies.size, lines.checks.size) == (proxies, 4)
        assert np.unique(both).size == both.size
        assert set(both.tolist()) <= set(range(5, 3 * size + 5, 3))


def test_small_groups_are_taken_whole():
    lines = choose_lines(np.arange(24), 20, 4, stream())
    np.testing.assert_array_equal(lines.proxies, np.arange(24))
    assert lines.checks.size == 0


def test_gaps_are_never_chosen():
    members = np.arange(300)
    members[::3] = -1
    assert min(np.concatenate(choose_lines(members, 20, 4, stream()))) > 0
    np.testing.assert_array_equal(choose_lines(members[:30], 20, 4, stream()).proxies, members[:30][members[:30] >= 0])


def test_proxies_lie_close_at_both_ends():
    counted = np.zeros(10)
    for group in range(200):
        proxies = choose_lines(np.arange(1000), 20, 4, stream(group)).proxies
        assert (np.diff(proxies) > 0).all()
        counted += np.bincount(proxies // 100, minlength=10)
    assert counted[[0, -1]].min() > 1.5 * counted[4:6].max()


def test_both_ends_are_proxies():
    for group in range(20):
        proxies = choose_lines(np.arange(1000), 20, 4, stream(group)).proxies
        assert (proxies[0], proxies[-1]) == (0, 999)


def test_checks_are_equally_likely_anywhere():
    counted = np.zeros(10)
    for group in range(1000):
        counted += np.bincount(choose_lines(np.arange(1000), 20, 4, stream(group)).checks // 100, minlength=10)
    assert counted.min() > 0.8 * 400
    assert counted.max() < 1.2 * 400


def test_lines_that_lie_beside_each_other_are_sorted_and_scattered_ones_are_not():
    rng = np.random.default_rng(0)
    beside, scattered = rng.permutation(512) * 8 + 3, rng.permutation(1 << 20)[:512]
    assert (np.diff(choose_lines(beside, 20, 4, stream()).proxies) > 0).all()
    proxies = choose_lines(scattered, 20, 4, stream()).proxies
    places = [scattered.tolist().index(line) for line in proxies]
    assert places == sorted(places)


def test_streams_differ_in_everything_that_they_are_named_by():
    keys = [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0), (0, 1, 1, 0, 0), (0, 0, 2, 0, 0), (0, 0, 1, 1, 0), (0, 0, 1, 0, 1)]
    assert len({random_stream(*key).random() for key in keys}) == len(keys)
    assert random_stream(*keys[0]).random() == random_stream(*keys[0]).random()
