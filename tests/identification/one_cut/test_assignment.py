"""Equal groups and perfect matchings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dbutterfly.identification.one_cut import assignment
from dbutterfly.identification.one_cut.assignment import best_pairs, equal_groups


def symmetric(n, seed):
    costs = np.random.default_rng(seed).random((n, n))
    return costs + costs.T


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_the_largest_sum(seed):
    scores = np.random.default_rng(seed).random((6, 3))
    labels = equal_groups(scores, 3)
    assert (np.bincount(labels) == 2).all()
    best = max(
        scores[np.arange(6), list(choice)].sum()
        for choice in itertools.product(range(3), repeat=6)
        if (np.bincount(choice, minlength=3) == 2).all()
    )
    assert scores[np.arange(6), labels].sum() == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_many_items_choose_by_regret(seed, monkeypatch):
    scores = np.random.default_rng(seed).random((64, 4))
    best = equal_groups(scores, 4)
    monkeypatch.setattr(assignment, "TUNING", assignment.Tuning(largest_assigned=1))
    labels = equal_groups(scores, 4)
    assert (np.bincount(labels) == 16).all()
    at = np.arange(64)
    assert 0.97 * scores[at, best].sum() <= scores[at, labels].sum() <= scores[at, best].sum() + 1e-9


def test_one_group_takes_all():
    np.testing.assert_array_equal(equal_groups(np.ones((4, 1)), 1), np.zeros(4))


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_pairs_that_stand_out_are_found(n):
    order = np.random.default_rng(n).permutation(n)
    costs = 1 + symmetric(n, n)
    costs[order[::2], order[1::2]] = costs[order[1::2], order[::2]] = 0.1
    labels = best_pairs(costs)
    assert (labels[order[::2]] == labels[order[1::2]]).all()
    assert (np.bincount(labels) == 2).all()


@pytest.mark.parametrize("seed", range(4))
def test_few_items_are_matched_at_the_least_cost(seed):
    costs = symmetric(6, seed)
    labels = best_pairs(costs)
    found = sum(costs[tuple(np.flatnonzero(labels == pair))] for pair in range(3))
    every = (sum(costs[p[k], p[k + 1]] for k in (0, 2, 4)) for p in itertools.permutations(range(6)))
    assert found == pytest.approx(min(every))


@pytest.mark.parametrize("limit", [1, 1024])
def test_any_costs_give_a_perfect_matching(limit, monkeypatch):
    monkeypatch.setattr(assignment, "TUNING", assignment.Tuning(largest_matched=limit))
    for seed in range(5):
        labels = best_pairs(symmetric(20, seed))
        assert (np.bincount(labels) == 2).all()
    assert (np.bincount(best_pairs(np.zeros((12, 12)))) == 2).all()
