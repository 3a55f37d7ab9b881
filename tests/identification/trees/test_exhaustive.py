"""All trees of small matrices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of
from dbutterfly.identification.one_cut.arrangement import Arrangement
from dbutterfly.identification.trees import exhaustive
from dbutterfly.identification.trees.exchanges import product_error
from dbutterfly.identification.trees.exhaustive import best_trees, can_enumerate
from dbutterfly.structure.chain import Chain

M = dbf.matrices


@pytest.mark.parametrize(("size", "counts", "trees"), [(4, (2,), 3), (8, (2, 4), 315), (8, (4,), 105), (9, (3,), 280)])
def test_every_tree_is_there_once(size, counts, trees):
    found = exhaustive._trees(size, counts)
    assert len(found) == exhaustive._count_trees(size, counts) == trees
    sets = {tuple(frozenset(map(frozenset, order.reshape(count, -1).tolist())) for count in counts) for order in found}
    assert len(sets) == trees
    assert all(sorted(order) == list(range(size)) for order in found)


def test_large_matrices_have_too_many():
    assert can_enumerate(cuts_of(Chain.square_dyadic(8)), cols_known=False)
    assert not can_enumerate(cuts_of(Chain.square_dyadic(16)), cols_known=False)


@pytest.mark.parametrize("known", [M.orthogonal_butterfly(8, seed=0), M.dft(8)], ids=["real", "complex"])
def test_no_trees_have_less_error(known):
    z = np.asarray(M.noisy(M.shuffled(known, seed=1), 0.5, seed=2))
    chain = Chain.square_dyadic(8)
    start = Arrangement.of(z[None, None])
    best = product_error(best_trees(start, cuts_of(chain), chain), chain)
    rng = np.random.default_rng(0)
    trees = exhaustive._trees(8, (2, 4))
    others = [
        product_error(start.with_rows(rows[None]).with_cols(cols[None]), chain)
        for rows, cols in zip(rng.permutation(trees)[:40], rng.permutation(trees)[:40], strict=True)
    ]
    assert best <= min(others) * (1 + 1e-9)


def test_known_columns_stay():
    z = np.random.default_rng(0).standard_normal((8, 8))
    found = best_trees(Arrangement.of(z[None, None]), cuts_of(Chain.square_dyadic(8)), None, cols_known=True)
    np.testing.assert_array_equal(found.cols[0], np.arange(8))


def test_without_a_chain_the_sum_of_what_the_cuts_leave_counts():
    z = np.random.default_rng(1).standard_normal((4, 4))
    (cut,) = cuts_of(Chain.square_dyadic(4))
    found = best_trees(Arrangement.of(z[None, None]), (cut,), None)

    def lost(rows, cols):
        blocks = z[np.ix_(rows, cols)].reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)
        return float((np.linalg.svd(blocks, compute_uv=False)[..., 1:] ** 2).sum())

    least = min(lost(rows, cols) for rows, cols in itertools.product(itertools.permutations(range(4)), repeat=2))
    assert math.isclose(lost(found.rows[0], found.cols[0]), least)
