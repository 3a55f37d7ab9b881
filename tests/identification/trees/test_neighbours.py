"""Walks over the trees of matrices that have many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of, from_standard
from dbutterfly.identification.one_cut.arrangement import Arrangement
from dbutterfly.identification.trees import neighbours
from dbutterfly.identification.trees.exchanges import product_error, product_errors
from dbutterfly.identification.trees.neighbours import can_walk, walk
from dbutterfly.structure.chain import Chain

M = dbf.matrices

BITS = np.array(list(itertools.product((0, 1), repeat=3)))


def trees_of_hadamard():
    """Orders (168, 8) of rows and columns in which the matrix of (-1)**(r . c) is butterfly, one for each basis.

    Rows and columns are given by their coordinates in a basis and in the dual one, the columns in reverse.
    """
    triples = map(np.array, itertools.product(BITS.tolist(), repeat=3))
    bases = [base for base in triples if round(np.linalg.det(base)) % 2]
    duals = [np.rint(np.linalg.inv(base).T * np.linalg.det(base)).astype(int) % 2 for base in bases]
    rows, cols = ([BITS @ base % 2 @ (4, 2, 1) for base in side] for side in (bases, duals))
    return np.array(rows), np.array(cols)[:, np.arange(8).reshape(2, 2, 2).transpose().ravel()]


def noisy_hadamard(dtype=np.float64):
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((8, 8)) + (1j * rng.standard_normal((8, 8)) if np.dtype(dtype).kind == "c" else 0)
    return ((-1.0) ** (BITS @ BITS.T) + 0.1 * noise).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_a_walk_finds_the_tree_that_noise_prefers(monkeypatch, dtype):
    z, chain = noisy_hadamard(dtype), Chain.square_dyadic(8)
    rows, cols = trees_of_hadamard()
    errors = product_errors(z[rows[:, :, None], cols[:, None, :]], chain)
    assert len(rows) == 168
    assert errors.max() < 0.02 * np.linalg.norm(z) ** 2  # all of them are trees of the matrix without noise
    monkeypatch.setattr(neighbours, "TUNING", neighbours.Tuning(kept=21))  # so many trees are not the same
    worst = int(errors.argmax())
    start = Arrangement.of(z[None, None]).with_rows(rows[worst][None]).with_cols(cols[worst][None])
    now, error = walk(start, cuts_of(chain), chain, float(errors[worst]))
    assert error == pytest.approx(errors.min(), rel=1e-6)
    assert error == pytest.approx(product_error(now, chain), rel=1e-6)
    np.testing.assert_array_equal(now.grid[0, 0], z[np.ix_(now.rows[0], now.cols[0])])


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_a_walk_pairs_anew_what_was_paired_wrongly(side):
    chain = Chain.square_dyadic(16)
    z = np.asarray(M.noisy(M.orthogonal_butterfly(16, seed=0), 0.05, seed=1))[from_standard(np.arange(16), chain)]
    right = Arrangement.of(z[None, None])
    order = np.arange(16)
    order[[1, 2]] = 2, 1
    wrong = right.with_rows(order[None]) if side == "rows" else right.with_cols(order[None])
    least, more = product_error(right, chain), product_error(wrong, chain)
    assert more > 2 * least
    assert walk(wrong, cuts_of(chain), chain, more)[1] == pytest.approx(least)


def test_trees_of_other_radices_have_no_walks():
    assert can_walk(cuts_of(Chain.square_dyadic(neighbours.TUNING.largest_side)))
    assert not can_walk(cuts_of(Chain.square_dyadic(2 * neighbours.TUNING.largest_side)))
    assert not can_walk(cuts_of(Chain.chainable((27, 27))))
    assert not can_walk(cuts_of(Chain.chainable((16, 24))))
