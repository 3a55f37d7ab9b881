"""The ledger of a search, and each rule about its end."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.identification.attempts import Attempt, Outcome, Problem
from dbutterfly.identification.cuts import cuts_of
from dbutterfly.identification.exit_rules import RULES, TUNING, is_hopeless, is_settled, is_worn_out
from dbutterfly.identification.ledger import Ledger
from dbutterfly.identification.one_cut.solve import Search
from dbutterfly.identification.verdict import free_parts
from dbutterfly.structure.chain import Chain

EXACT = 1e-12


class Account:
    """A ledger, and attempts whose outcomes are given by the noise of the cuts, as parts of the energy."""

    def __init__(self, n, rank=1, *, by_product=False, is_flat=False):
        self.chain = Chain.chainable((n, n), rank=rank)
        self.cuts, self.shape, self.energy = cuts_of(self.chain), (n, n), float(n * n)
        self.problem = Problem(self.cuts, self.chain if by_product else None)
        self.ledger = Ledger(self.problem, self.shape, self.energy, EXACT, is_flat=is_flat)
        self.search = Search()

    def add(self, noise, error=1.0, *, ambiguous=False, evidence=None, **attempt):
        attempt = {"search": self.search, **attempt}
        lost = np.broadcast_to(noise, len(self.cuts)) * free_parts(self.cuts, self.shape) * self.energy
        order = np.arange(self.shape[0])
        outcome = Outcome(order, order, lost, error, ambiguous, evidence)
        self.ledger.add(Attempt(self.problem, seed=0, **attempt), outcome)
        return outcome

    @property
    def decides(self):
        """The rule that decides, and how."""
        rule = next(rule for rule in RULES if rule.applies(self.ledger))
        assert is_settled(self.ledger) == rule.settles(self.ledger)
        return rule.name, rule.settles(self.ledger)


def uneven(account, ratio=3.0):
    return 0.01 * np.linspace(1, ratio, len(account.cuts))


# ---- rules


@pytest.mark.parametrize("n", [16, 512])
def test_exact_trees_settle_at_once(n):
    account = Account(n)
    account.add(1e-15)
    assert account.decides == ("exact", True)


def test_a_geometry_settles_a_kernel_whatever_its_cuts_leave():
    account = Account(256, rank=4)
    account.add(uneven(account, 1.5), search=None)
    assert account.decides == ("geometry", True)


@pytest.mark.parametrize("why", ["of rank one", "too much is left", "found by clusters"])
def test_no_geometry(why):
    account = Account(256, rank=1 if why == "of rank one" else 4)
    noise = 0.1 if why == "too much is left" else 0.01
    account.add(noise * np.linspace(1, 3, len(account.cuts)), search=Search() if why == "found by clusters" else None)
    assert account.decides == ("three origins", False)


@pytest.mark.parametrize("why", ["ambiguous", "flat"])
def test_small_matrices_are_settled_by_a_second_witness(why):
    account = Account(TUNING.small_side, is_flat=why == "flat")
    account.add(0.01, ambiguous=why == "ambiguous")
    assert account.decides == ("small", False)
    account.add(0.01, ambiguous=why == "ambiguous")
    assert account.decides == ("small", True)


def test_trees_of_a_small_matrix_that_stand_out_need_no_witness():
    account = Account(TUNING.small_side)
    account.add(0.01)
    assert account.decides == ("small", True)


@pytest.mark.parametrize("why", ["rivals", "uneven", "no signal"])
def test_else_small_matrices_are_settled_by_many_attempts(why):
    account = Account(TUNING.small_side)
    noise = {"rivals": 0.01, "uneven": uneven(account), "no signal": 0.9}[why]
    if why == "rivals":
        account.add(noise, 1.01)
    while account.ledger.attempts < TUNING.small_attempts - 1:
        account.add(noise)
        assert account.decides == ("small", False)
    account.add(noise)
    assert account.decides[0] != "small"


def test_two_walks_that_end_apart_settle_small_matrices():
    account = Account(TUNING.small_side, by_product=True, is_flat=True)
    account.add(0.01, 1.0, walks=True, exchange_below=2.0)
    assert account.decides == ("small", False)
    account.add(0.01, 1.01, walks=True, exchange_below=2.0)
    assert account.decides == ("small", True)


def test_attempts_without_trees_of_little_error_are_no_walks():
    account = Account(TUNING.small_side, by_product=True, is_flat=True)
    account.add(0.01, 1.0, walks=True, exchange_below=2.0)
    account.add(0.01, 3.0, walks=True, exchange_below=2.0)
    assert account.ledger.walked == 1
    assert account.decides == ("small", False)


def test_attempts_walk_where_entries_are_of_equal_modulus():
    assert Account(64, by_product=True, is_flat=True).ledger.walks
    assert not Account(64, is_flat=True).ledger.walks  # no chain, and no product to compare
    assert not Account(64, by_product=True).ledger.walks


def test_even_noise_settles():
    account = Account(512)
    account.add(0.01)
    assert account.decides == ("even noise", True)


@pytest.mark.parametrize("why", ["uneven", "ambiguous", "no signal"])
def test_noise_that_proves_nothing(why):
    account = Account(512)
    noise = {"uneven": uneven(account), "ambiguous": 0.01, "no signal": 0.9}[why]
    account.add(noise, ambiguous=why == "ambiguous")
    assert account.decides == ("three origins", False)


def test_where_products_are_compared_there_are_two_attempts():
    account = Account(128, by_product=True)
    account.add(0.01)
    assert account.decides == ("even noise", False)
    account.add(0.01)
    assert account.decides == ("even noise", True)


def test_rivals_are_compared():
    account = Account(128, by_product=True)
    account.add(0.01, 1.0)
    account.add(0.01, 1.01)  # other trees that are about as good
    while account.ledger.attempts < TUNING.compared:
        assert account.decides == ("even noise", False)
        account.add(0.01, 2.0)
    assert account.decides == ("even noise", True)


def test_rivals_of_entries_of_equal_modulus_are_left_to_the_walk_in_the_end():
    account = Account(128, by_product=True, is_flat=True)
    account.add(0.01, 1.0)
    account.add(0.01, 1.01)
    assert account.decides == ("even noise", True)


def test_two_origins_make_up_for_ambiguous_rows():
    account = Account(512)
    account.add(0.01, ambiguous=True)
    assert account.decides == ("three origins", False)
    account.add(0.01, ambiguous=True)
    assert account.decides == ("two origins", True)


def test_three_origins_settle_whatever_the_noise():
    account = Account(512)
    for _ in range(2):
        account.add(uneven(account))
        assert account.decides == ("three origins", False)
    account.add(uneven(account))
    assert account.decides == ("three origins", True)


def test_patience_is_shorter_where_there_is_no_signal():
    for noise, patience in ((0.01, TUNING.patience), (0.9, TUNING.little_patience)):
        account = Account(64)
        account.add(noise)
        for _ in range(patience):
            assert not is_worn_out(account.ledger)
            account.add(noise, 2.0)
        assert not is_worn_out(account.ledger)
        account.add(noise, 2.0)
        assert is_worn_out(account.ledger)
        account.add(noise, 0.5)
        assert not is_worn_out(account.ledger)


@pytest.mark.parametrize(("noise", "patience"), [(0.9, TUNING.weighed), (0.01, TUNING.many_weighed)])
def test_a_search_is_given_up_where_nothing_speaks_for_any_groups(noise, patience):
    account = Account(64)
    account.add(noise)
    for _ in range(patience):
        assert not is_hopeless(account.ledger)
        account.add(noise, evidence=-1.0)
    assert is_hopeless(account.ledger)
    account.add(noise, evidence=1.0)
    assert not is_hopeless(account.ledger)


# ---- the ledger


def test_repairs_of_one_cut_are_one_origin_and_kicks_are_none():
    account = Account(64)
    order = np.arange(64)
    start = (order, order)
    account.add(0.01)
    for _ in range(2):
        account.add(0.01, start=start, solved=1)
    account.add(0.01, search=None, start=start, kick=True)
    assert len(account.ledger.origins) == 2
    account.add(0.01, 0.5)
    assert len(account.ledger.origins) == 1  # better trees begin anew
    account.add(0.01, 0.4, search=None, start=start, kick=True)
    assert not account.ledger.origins


def test_each_cut_keeps_the_orders_in_which_it_sees_least():
    account = Account(64)
    first = account.add([0.3, 0.3, 0.01, 0.3, 0.3])
    second = account.add([0.2, 0.2, 0.02, 0.2, 0.2], 2.0)
    assert account.ledger.known_best is first
    assert account.ledger.solved[2].rows is first.rows
    assert account.ledger.solved[0].rows is second.rows
    assert [cut.noise / account.energy for cut in account.ledger.solved] == pytest.approx([0.2, 0.2, 0.01, 0.2, 0.2])
    assert account.ledger.standing_out == 2


def test_no_cut_stands_out_of_even_noise():
    account = Account(64)
    assert account.ledger.standing_out is None
    account.add([0.1, 0.09, 0.1, 0.08, 0.1])
    assert account.ledger.standing_out is None


def test_spread_and_signal_are_those_of_the_best_outcome():
    account = Account(64)
    account.add([0.1, 0.1, 0.3, 0.1, 0.1])
    assert account.ledger.spread == pytest.approx(3)
    assert not account.ledger.has_signal  # of so small a matrix, trees can be fitted to noise
    account.add(0.1, 0.5)
    assert account.ledger.spread == pytest.approx(1)
    assert account.ledger.has_signal
