"""Trees of all cuts, one inside the other."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of, from_standard
from dbutterfly.identification.one_cut.arrangement import Arrangement
from dbutterfly.identification.one_cut.solve import Search, solve_cut
from dbutterfly.identification.trees import nested
from dbutterfly.identification.trees.nested import free_parameters, is_noise, search_nested
from dbutterfly.identification.trees.polish import captured_energy
from dbutterfly.structure.chain import Chain


def tree_order(known):
    """A matrix in tree order."""
    rows, cols = known.orderings.permutations(known.chain)
    rows = np.arange(known.shape[0]) if rows is None else rows
    cols = np.arange(known.shape[1]) if cols is None else cols
    return np.asarray(known)[from_standard(rows, known.chain)][:, cols]


def grid_of(matrix):
    return Arrangement.of(matrix[None, None])


def groups_of(order, count):
    return {frozenset(group.tolist()) for group in order.reshape(count, -1)}


CHAINS = [Chain.square_dyadic(16), Chain.chainable((24, 36)), Chain([(1, 4, 4, 16), (4, 4, 4, 4), (16, 4, 4, 1)])]


@pytest.mark.parametrize("order", ["middle", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS, ids=["dyadic", "rectangular", "radix 4"])
def test_trees_of_a_butterfly_matrix_are_found(chain, order):
    z = np.asarray(dbf.matrices.shuffled(dbf.matrices.gaussian_butterfly(chain=chain, seed=0), seed=1))
    search = Search(order, (1.0, 2.0, 4.0), 15, 8)
    now = search_nested(grid_of(z), cuts_of(chain), search, np.random.default_rng(0))
    np.testing.assert_array_equal(now.grid[0, 0], z[now.rows[0]][:, now.cols[0]])
    energy = np.linalg.norm(z) ** 2
    np.testing.assert_allclose(captured_energy(now, cuts_of(chain)), energy, rtol=1e-6)


@pytest.mark.parametrize("solved", [0, 1, 2])
def test_a_solved_cut_keeps_its_groups(solved):
    known = dbf.matrices.gaussian_butterfly(16, seed=2)
    z, cuts = tree_order(known), cuts_of(known.chain)
    now = search_nested(grid_of(z), cuts, Search("middle", (1.0,), 5), np.random.default_rng(0), solved)
    for order, groups in ((now.rows[0], cuts[solved].row_groups), (now.cols[0], cuts[solved].col_groups)):
        assert groups_of(order, groups) == groups_of(np.arange(16), groups)
    np.testing.assert_allclose(captured_energy(now, cuts), np.linalg.norm(z) ** 2, rtol=1e-6)


def test_known_columns_stay():
    known = dbf.matrices.gaussian_butterfly(16, seed=3)
    z, cuts = tree_order(known), cuts_of(known.chain)
    rows = np.random.default_rng(1).permutation(16)
    now = search_nested(grid_of(z[rows]), cuts, Search("middle", cols_known=True), np.random.default_rng(0))
    np.testing.assert_array_equal(now.cols[0], np.arange(16))
    np.testing.assert_allclose(captured_energy(now, cuts), np.linalg.norm(z) ** 2, rtol=1e-6)


def test_no_cuts_change_nothing():
    start = grid_of(np.eye(4))
    assert search_nested(start, (), Search(), np.random.default_rng(0)) is start


def test_a_cut_that_leaves_more_than_noise_is_searched_again(monkeypatch):
    searches = []

    def solve(now, cut, search, rng, tolerated=0.0):
        searches.append(search)
        return solve_cut(now, cut, search, rng)

    monkeypatch.setattr(nested, "solve_cut", solve)
    z = np.random.default_rng(0).standard_normal((16, 16))
    cuts = cuts_of(Chain.square_dyadic(16))[1:2]
    search_nested(grid_of(z), cuts, Search("middle", (1.0,), 1), np.random.default_rng(0), noise=1e-3)
    assert [len(search.alphas) for search in searches[:3]] == [1, 2, 3]
    assert [search.shakes for search in searches[:3]] == [1, 3, 5]
    searches.clear()
    search_nested(grid_of(z), cuts, Search("middle", (1.0,), 1), np.random.default_rng(0), noise=10.0)
    assert searches[0].alphas == (1.0,)
    assert len(searches) == 1


def test_noise_is_told_by_its_free_parameters():
    sigma = 0.1
    known = dbf.matrices.gaussian_butterfly(64, seed=4)
    z = tree_order(known)
    noisy = grid_of(z + sigma * np.random.default_rng(5).standard_normal(z.shape))
    cut = cuts_of(known.chain)[2]
    assert free_parameters(noisy, cut) == 64 * 64 - 64 * 15
    captured = float(captured_energy(noisy, [cut])[0])
    assert is_noise(noisy, cut, captured, sigma**2)
    assert not is_noise(noisy, cut, captured, 0.5 * sigma**2)
    swapped = noisy.with_rows(np.roll(np.arange(64), 1)[None])
    assert not is_noise(swapped, cut, float(captured_energy(swapped, [cut])[0]), sigma**2)
