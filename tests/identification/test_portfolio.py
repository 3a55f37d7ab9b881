"""Rounds of attempts, and the search that makes them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.attempts import Outcome, Problem, make_attempt
from dbutterfly.identification.cuts import cuts_of
from dbutterfly.identification.ledger import Ledger
from dbutterfly.identification.portfolio import TUNING, Strategy, search_trees
from dbutterfly.identification.verdict import free_parts
from dbutterfly.structure.chain import Chain


class CallsHere:
    """Calls that are made in this thread when their result is asked for."""

    def __init__(self, matrix):
        self.matrix, self.made = matrix, []

    def in_order(self, function, tasks, *arrays):
        for task in tasks:
            self.made.append(task)
            yield function(self.matrix, task, *arrays)


def strategy_for(n, *, method="portfolio", flat=False, rank=1, cols_known=False, seed=0):
    chain = Chain.chainable((n, n), rank=rank)
    problem = Problem(cuts_of(chain), chain, cols_known)
    ledger = Ledger(problem, (n, n), float(n * n), 1e-12)
    return ledger, Strategy(ledger, method, np.random.default_rng(seed), flat=flat)


def add(ledger, attempt, noise, error=1.0):
    cuts, shape = ledger.problem.cuts, ledger.shape
    lost = np.broadcast_to(noise, len(cuts)) * free_parts(cuts, shape) * ledger.energy
    order = np.arange(shape[0])
    ledger.add(attempt, Outcome(order, order, lost, error, False))


def kind(attempt):
    if attempt.kick:
        return "kick"
    if attempt.solved is not None:
        return "repair"
    return "bisection" if attempt.search is None else attempt.search.order


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ["middle"]),
        ({"flat": True}, ["right", "left", "middle", "bisection"]),
        ({"rank": 2}, ["bisection", "middle"]),
        ({"cols_known": True}, ["bisection", "middle"]),
        ({"method": "middle"}, ["middle"]),
        ({"method": "pairing"}, ["right", "left"]),
        ({"method": "bisection"}, ["bisection"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_first_round_has_what_suits_the_matrix(options, kinds):
    _, strategy = strategy_for(64, **options)
    first = next(strategy.rounds())
    assert [kind(attempt) for attempt in first] == kinds
    assert all(
        attempt.search is None or attempt.search.cols_known == bool(options.get("cols_known")) for attempt in first
    )


def test_bisection_is_one_attempt():
    _, strategy = strategy_for(64, method="bisection")
    assert len(list(strategy.rounds())) == 1


def test_a_cut_that_stands_out_is_repaired_first():
    for noise, kinds in (
        ([0.3, 0.3, 0.01, 0.3, 0.3], ["repair", "right", "repair", "left"]),
        (0.3, ["right", "left", "bisection"]),
    ):
        ledger, strategy = strategy_for(64)
        rounds = strategy.rounds()
        add(ledger, next(rounds)[0], noise)
        second = next(rounds)
        assert [kind(attempt) for attempt in second] == kinds
        assert all(attempt.solved == 2 for attempt in second if attempt.solved is not None)


def test_later_rounds_mix_repairs_and_new_starts():
    ledger, strategy = strategy_for(64)
    rounds = strategy.rounds()
    for attempts in itertools.islice(rounds, 2):
        for attempt in attempts:
            add(ledger, attempt, 0.3)
    assert [kind(attempt) == "repair" for attempt in next(rounds)] == [True, False, True, True]
    add(ledger, attempts[0], [0.01, 0.3, 0.3, 0.3, 0.3])
    assert [kind(attempt) == "repair" for attempt in next(rounds)] == [True, True, True, False]


def test_the_best_outcome_is_kicked_where_nothing_better_is_found():
    ledger, strategy = strategy_for(64)
    rounds = strategy.rounds()
    kicks = 0
    for attempts in itertools.islice(rounds, 6):
        kicks += sum(attempt.kick for attempt in attempts)
        for attempt in attempts:
            add(ledger, attempt, 0.05, 1.0 if ledger.best is None else 2.0)
    assert kicks > 0
    kick = strategy.kick()
    assert kick.start[0] is ledger.known_best.rows
    assert kick.exchange_below == np.inf


def test_exchanges_are_tried_near_the_best_error_only():
    ledger, strategy = strategy_for(64)
    assert strategy.cluster().exchange_below == 0
    for _ in range(TUNING.per_round):
        add(ledger, strategy.cluster(), 0.05, 3.0)
    assert strategy.cluster().exchange_below == TUNING.close * 3.0


def test_the_same_seed_makes_the_same_attempts():
    sequences = []
    for _ in range(2):
        ledger, strategy = strategy_for(64, seed=7)
        made = []
        for attempts in itertools.islice(strategy.rounds(), 4):
            for attempt in attempts:
                add(ledger, attempt, 0.3)
                made.append((attempt.seed, attempt.search, attempt.solved))
        sequences.append(made)
    assert sequences[0] == sequences[1]
    assert len({seed for seed, *_ in sequences[0]}) == len(sequences[0])


def search(z, chain, **options):
    calls = CallsHere(z)
    energy = float(np.linalg.norm(z) ** 2)
    options = {"method": "portfolio", "seed": 0, "budget": None, "exact": 1e-12, "flat": False, **options}
    return search_trees(calls, Problem(cuts_of(chain), chain), z.shape, energy, **options), calls.made


def test_exact_trees_end_the_search_in_its_first_round():
    known = dbf.matrices.shuffled(dbf.matrices.dft(16), seed=1)
    found, made = search(np.asarray(known), known.chain, flat=True)
    assert found.outcome.error < 1e-20
    assert found.attempts == len(made) <= 4  # nothing is exchanged at the end


def test_the_best_outcome_is_exchanged_at_the_end_where_there_is_noise():
    known = dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(64, seed=1), seed=2)
    z = np.asarray(dbf.matrices.noisy(known, 0.05, seed=3))
    found, made = search(z, known.chain)
    assert len(made) == found.attempts + 1
    last = made[-1]
    assert (last.search, last.exchange_below, last.kick) == (None, np.inf, False)
    kept = make_attempt(z, last)
    assert kept.error == found.outcome.error


def test_a_budget_ends_the_search_after_an_attempt():
    z = np.random.default_rng(0).standard_normal((64, 64))
    assert search(z, Chain.square_dyadic(64), budget=1e-9)[0].attempts == 1


def test_all_trees_of_a_small_matrix_are_compared_at_once():
    z = np.random.default_rng(0).standard_normal((8, 8))
    found, made = search(z, Chain.square_dyadic(8))
    assert found.attempts == len(made) == 1
    assert made[0].enumerates


def test_evidence_is_weighed_where_the_first_attempts_found_little():
    ledger, strategy = strategy_for(64)
    assert not strategy.cluster().weighs
    for _ in range(TUNING.per_round):
        add(ledger, strategy.cluster(), 0.9)
    assert strategy.cluster().weighs
    order = np.arange(64)
    ledger.add(strategy.cluster(), Outcome(order, order, np.ones(5), 1.0, False, evidence=3.0))
    assert not strategy.cluster().weighs


def test_small_matrices_are_exchanged_from_the_first_attempt_on():
    ledger, strategy = strategy_for(32)
    assert strategy.cluster().exchange_below == ledger.energy * ledger.signal
    add(ledger, strategy.cluster(), 0.05, 3.0)
    assert strategy.cluster().exchange_below == TUNING.close * 3.0


def test_a_second_start_follows_a_first_one_that_tells_of_trees():
    ledger, strategy = strategy_for(64)
    rounds = strategy.rounds()
    add(ledger, next(rounds)[0], 0.01)
    assert [kind(attempt) for attempt in next(rounds)] == ["middle"]
