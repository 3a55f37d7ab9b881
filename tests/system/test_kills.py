"""A few kills at random moments; ``python -m benchmarks kills`` does many."""

from itertools import islice

import pytest

from tests.support.random_kills import Killer, random_kills

KILLS = 5


@pytest.mark.slow
def test_no_kill_loses_anything(tmp_path):
    with Killer(tmp_path) as killer:
        found = [outcome for outcome in map(killer.outcome, islice(random_kills(seed=1), KILLS)) if outcome is not None]
    assert len(found) > KILLS // 2
    assert all(outcome.equal for outcome in found), found
    assert not any(outcome.in_vain for outcome in found), found
