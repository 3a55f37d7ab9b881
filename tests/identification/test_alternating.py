"""The method of Zheng et al. (2023): partitions of single cuts, and their fusion into trees."""

from __future__ import annotations

import importlib
import pickle
import re
import sys

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, how_to_install
from dbutterfly.identification import alternating
from dbutterfly.identification.alternating import (
    FusedTrees,
    Partition,
    Run,
    alternating_partition,
    alternating_run,
    best_partitions,
    fuse,
    runs_of,
)
from dbutterfly.identification.cuts import cuts_of, to_standard
from dbutterfly.structure.chain import Cut

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("k_means_constrained") is None, reason="needs the extra alternating"
)


def identified(matrix, cuts, seed, **kwargs):
    """All runs, one after the other, and what they give together."""
    runs = runs_of(cuts, seed, **kwargs)
    best = best_partitions(runs, [alternating_run(matrix, run) for run in runs])
    return best, fuse(best, cuts)


def residual_by_svd(matrix, found, cut):
    """Energy beyond the rank of the cut in the blocks of a partition."""
    return sum(
        np.sum(np.linalg.svd(matrix[np.ix_(found.rows == u, found.cols == q)], compute_uv=False)[cut.rank :] ** 2)
        for u in range(cut.row_groups)
        for q in range(cut.col_groups)
    )


def error_with(matrix, chain, orderings):
    return dbf.factorize(matrix, chain, orderings=orderings, passes=2, workers=1).certificate.error_bound


def by_groups(*groups):
    """Labels of items whose groups are given."""
    labels = np.empty(sum(map(len, groups)), np.int64)
    for number, group in enumerate(groups):
        labels[list(group)] = number
    return labels


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("noise", [0, 0.1])
@pytest.mark.parametrize("target", ["dft", "orthogonal"])
def test_trees_of_a_shuffled_butterfly(target, noise):
    clean = dbf.matrices.dft(8) if target == "dft" else dbf.matrices.orthogonal_butterfly(8, seed=1)
    z = dbf.matrices.shuffled(dbf.matrices.noisy(clean, noise, seed=2), seed=3)
    matrix, chain = np.asarray(z), z.chain
    _, trees = identified(matrix, cuts_of(chain), seed=0, alphas=(1.0, 10.0))
    assert (trees.row_break, trees.col_break) == (None, None)
    found = error_with(matrix, chain, (to_standard(trees.rows, chain), trees.cols))
    assert found <= max(1e-12, 1.001 * error_with(matrix, chain, z.orderings))


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("target", ["dft", "orthogonal"])
def test_the_settings_of_the_paper_at_its_smaller_sizes(target):
    clean = dbf.matrices.dft(32) if target == "dft" else dbf.matrices.orthogonal_butterfly(32, seed=4)
    z = dbf.matrices.shuffled(dbf.matrices.noisy(clean, 0.1, seed=5), seed=6)
    found = dbf.identify(np.asarray(z), method="alternating", workers=2)
    assert found.found
    error = error_with(np.asarray(z), z.chain, found)
    assert error <= 1.001 * error_with(np.asarray(z), z.chain, z.orderings)


@needs_library
@pytest.mark.parametrize(
    "chain",
    [
        dbf.Chain.monarch((12, 20), p=4, q=5),
        dbf.Chain([(1, 4, 4, 4), (4, 4, 4, 1)]),
        dbf.Chain.monarch((32, 32), p=8, q=4),
    ],
    ids=["rectangular", "radix 4", "oblong blocks"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_any_chain_of_rank_one(chain, dtype):
    z = dbf.matrices.shuffled(dbf.matrices.gaussian_butterfly(chain, dtype=dtype, seed=0), seed=1)
    matrix = np.asarray(z)
    (best,), trees = identified(matrix, cuts_of(chain), seed=0, alphas=(10.0,), restarts=3)
    assert best.residual < 1e-10 * np.linalg.norm(matrix) ** 2
    assert error_with(matrix, chain, (to_standard(trees.rows, chain), trees.cols)) < 1e-5


@needs_library
def test_rank_two_by_its_residual():
    chain = dbf.Chain([(1, 8, 4, 2), (2, 4, 8, 1)])
    assert cuts_of(chain) == (Cut.of_groups((16, 16), 2, 2, 2),)
    z = dbf.matrices.shuffled(dbf.matrices.gaussian_butterfly(chain, seed=0), seed=1)
    matrix = np.asarray(z)
    (best,), trees = identified(matrix, cuts_of(chain), seed=0, alphas=(10.0,))
    assert best.residual < 1e-20 * np.linalg.norm(matrix) ** 2
    assert error_with(matrix, chain, (to_standard(trees.rows, chain), trees.cols)) < 1e-12


@needs_library
@pytest.mark.parametrize(
    ("cut", "dtype"),
    [(Cut.of_groups((16, 12), 2, 4, 1), np.complex128), (Cut.of_groups((16, 12), 4, 2, 2), np.float64)],
)
def test_residual_is_the_discarded_energy_on_every_namespace(xp, cut, dtype):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((16, 12)).astype(dtype)
    if matrix.dtype.kind == "c":
        matrix += 1j * rng.standard_normal((16, 12))
    found = alternating_partition(xp.asarray(matrix), cut, 1.0, 5, rounds=3)
    assert np.bincount(found.rows).tolist() == [16 // cut.row_groups] * cut.row_groups
    assert np.bincount(found.cols).tolist() == [12 // cut.col_groups] * cut.col_groups
    assert found.rows.dtype == found.cols.dtype == np.int64
    assert found.residual == pytest.approx(residual_by_svd(matrix, found, cut), rel=2e-3)
    again = alternating_partition(matrix, cut, 1.0, 5, rounds=3)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.cols, again.cols)


@needs_library
def test_rounds_end_where_nothing_changes(monkeypatch):
    matrix = np.asarray(dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(16, seed=0), seed=1))
    calls = []
    clustering = alternating.row_similarity
    monkeypatch.setattr(alternating, "row_similarity", lambda *args: calls.append(args) or clustering(*args))
    cut = Cut.of_groups((16, 16), 4, 4, 1)
    ended = alternating_partition(matrix, cut, 10.0, 0, rounds=50)
    assert len(calls) % 2 == 1
    rounds = (len(calls) - 1) // 2
    assert rounds < 20
    before = alternating_partition(matrix, cut, 10.0, 0, rounds=rounds - 1)
    np.testing.assert_array_equal(before.rows, ended.rows)
    np.testing.assert_array_equal(before.cols, ended.cols)
    calls.clear()
    alternating_partition(matrix, cut, 10.0, 0, rounds=1)
    assert len(calls) == 3


@needs_library
def test_more_rounds_never_leave_more():
    matrix = np.asarray(dbf.matrices.shuffled(dbf.matrices.dft(16), seed=1))
    residuals = [
        alternating_partition(matrix, Cut.of_groups((16, 16), 4, 4, 1), 1.0, 2, rounds=rounds).residual
        for rounds in range(8)
    ]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < residuals[0]


@needs_library
@pytest.mark.parametrize("alpha", alternating.TUNING.alphas)
@pytest.mark.parametrize("zeros", ["some", "all"])
def test_zero_rows_and_columns_are_grouped_like_others(alpha, zeros):
    matrix = np.array(dbf.matrices.orthogonal_butterfly(8, seed=0))
    matrix[[2, 3, 6]] = 0
    matrix[:, 5] = 0
    if zeros == "all":
        matrix[:] = 0
    for groups in ((4, 2, 1), (2, 2, 2), (1, 8, 1), (8, 1, 1)):
        cut = Cut.of_groups((8, 8), *groups)
        found = alternating_partition(matrix, cut, alpha, 0, rounds=3)
        assert np.isfinite(found.residual)
        assert np.bincount(found.rows).tolist() == [8 // cut.row_groups] * cut.row_groups
        assert np.bincount(found.cols).tolist() == [8 // cut.col_groups] * cut.col_groups


def test_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "k_means_constrained", None)  # as if it were not installed
    with pytest.raises(InputError, match=f'method="alternating" needs .* {re.escape(how_to_install("alternating"))}'):
        alternating_partition(np.eye(4), Cut.of_groups((4, 4), 2, 2, 1), 1.0, 0)


def test_runs_are_independent_and_travel():
    cuts = cuts_of(dbf.Chain.square_dyadic(16))
    runs = runs_of(cuts, 7)
    assert len(runs) == len(cuts) * len(alternating.TUNING.alphas) * alternating.TUNING.restarts
    assert len({run.seed for run in runs}) == len(runs)
    assert runs == runs_of(cuts, 7)
    assert {run.seed for run in runs}.isdisjoint(run.seed for run in runs_of(cuts, 8))
    assert all(run.cut == cuts[run.level] for run in runs)
    function, sent = pickle.loads(pickle.dumps((alternating_run, runs)))
    assert function is alternating_run
    assert sent == runs


def test_best_partition_of_each_cut():
    cuts = cuts_of(dbf.Chain.square_dyadic(8))
    runs = [Run(1, cuts[1], 1.0, 0), Run(0, cuts[0], 1.0, 0), Run(1, cuts[1], 10.0, 0)]
    labels = np.zeros(8, np.int64)
    found = [Partition(labels, labels, residual) for residual in (3.0, 2.0, 1.0)]
    assert best_partitions(runs, found) == [found[1], found[2]]


def test_fused_orders_keep_the_groups_of_every_cut_together():
    cuts = [Cut.of_groups((12, 16), *groups, 1) for groups in ((6, 2), (3, 4), (1, 8))]
    rng = np.random.default_rng(0)
    rows, cols = rng.permutation(12), rng.permutation(16)
    partitions = []
    for cut in cuts:
        row_names, col_names = rng.permutation(cut.row_groups), rng.permutation(cut.col_groups)
        row_labels = row_names[np.argsort(rows) * cut.row_groups // rows.size]
        col_labels = col_names[np.argsort(cols) * cut.col_groups // cols.size]
        partitions.append(Partition(row_labels, col_labels, 0.0))
    trees = fuse(partitions, cuts)
    assert trees.row_break is None
    assert trees.col_break is None
    for cut, partition in zip(cuts, partitions, strict=True):
        for labels, order, groups in (
            (partition.rows, trees.rows, cut.row_groups),
            (partition.cols, trees.cols, cut.col_groups),
        ):
            np.testing.assert_array_equal(np.sort(order), np.arange(labels.size))
            together = labels[order].reshape(groups, -1)
            assert (together == together[:, :1]).all()
            assert len(set(together[:, 0])) == groups


def test_partitions_that_do_not_nest_name_the_cut():
    cuts = cuts_of(dbf.Chain.square_dyadic(8))  # (4, 2), (2, 4)
    pairs, halves = by_groups([0, 5], [1, 2], [3, 7], [4, 6]), by_groups([0, 5, 3, 7], [1, 2, 4, 6])
    crossed = by_groups([0, 1, 3, 7], [5, 2, 4, 6])
    valid = fuse([Partition(pairs, halves, 0.0), Partition(halves, pairs, 0.0)], cuts)
    assert valid.row_break is valid.col_break is None
    rows_fail = fuse([Partition(pairs, halves, 0.0), Partition(crossed, pairs, 0.0)], cuts)
    assert (rows_fail.rows, rows_fail.row_break, rows_fail.col_break) == (None, 1, None)
    np.testing.assert_array_equal(rows_fail.cols, valid.cols)
    cols_fail = fuse([Partition(pairs, crossed, 0.0), Partition(halves, pairs, 0.0)], cuts)
    assert (cols_fail.cols, cols_fail.row_break, cols_fail.col_break) == (None, None, 0)
    unequal = by_groups([0, 5, 3], [1], [2, 7], [4, 6])
    assert fuse([Partition(unequal, halves, 0.0), Partition(halves, pairs, 0.0)], cuts).row_break == 0


def test_a_single_cut_is_always_a_tree():
    labels = by_groups([0, 3], [1, 2])
    trees = fuse([Partition(labels, labels, 0.0)], (Cut.of_groups((4, 4), 2, 2, 1),))
    assert isinstance(trees, FusedTrees)
    assert trees.rows.tolist() == trees.cols.tolist() == [0, 3, 1, 2]
