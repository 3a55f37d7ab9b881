"""Groups of one cut that are improved step by step."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.identification.one_cut.arrangement import Arrangement
from dbutterfly.identification.one_cut.descent import (
    BestArrangement,
    descend,
    improve_by_turns,
    is_gain,
    regroup,
    shake,
)
from dbutterfly.structure.chain import Cut


def blocks_of_rank(cut, seed=0):
    """A matrix whose blocks have the rank of a cut, with contiguous groups."""
    rng = np.random.default_rng(seed)
    p, u, q, v, rank = cut
    blocks = rng.standard_normal((u, q, p, rank)) @ rng.standard_normal((u, q, rank, v))
    return blocks.transpose(0, 2, 1, 3).reshape(cut.shape)


def grid_of(matrix):
    return Arrangement.of(matrix[None, None])


def groups_of(order, count):
    return {frozenset(group.tolist()) for group in order.reshape(count, -1)}


CUTS = [
    Cut.of_groups((24, 20), 4, 5, 1),
    Cut.of_groups((16, 24), 8, 3, 1),  # groups of two rows are matched as pairs
    Cut.of_groups((24, 24), 3, 3, 2),
]


@pytest.mark.parametrize("cut", CUTS)
def test_rows_return_to_their_groups(cut):
    z = blocks_of_rank(cut)
    rng = np.random.default_rng(1)
    order = np.arange(cut.shape[0])
    order[[0, -1]] = order[[-1, 0]]  # one row of two groups each
    rows = rng.permutation(cut.row_groups)
    start = np.concatenate([order.reshape(cut.row_groups, -1)[group] for group in rows])
    found = descend(grid_of(z[start]), cut, cols_known=True)
    assert found.captured == pytest.approx(np.linalg.norm(z) ** 2, rel=1e-9)
    assert groups_of(start[found.arrangement.rows[0]], cut.row_groups) == groups_of(np.arange(len(z)), cut.row_groups)
    np.testing.assert_array_equal(found.arrangement.cols[0], np.arange(z.shape[1]))


@pytest.mark.parametrize("cut", CUTS)
def test_a_descent_never_loses(cut):
    rng = np.random.default_rng(2)
    z = blocks_of_rank(cut) + rng.standard_normal(cut.shape)
    start = grid_of(z[rng.permutation(cut.shape[0])][:, rng.permutation(cut.shape[1])])
    before = regroup(start, cut, leave_out=False)[1].sum()
    found = descend(start, cut)
    assert before <= found.captured * (1 + 1e-12)
    assert found.captured <= np.linalg.norm(z) ** 2
    energy = found.arrangement.grid[0, 0]
    np.testing.assert_array_equal(energy, start.grid[0, 0][found.arrangement.rows[0]][:, found.arrangement.cols[0]])


@pytest.mark.parametrize("cut", CUTS)
def test_regrouping_says_what_was_captured_before(cut):
    z = blocks_of_rank(cut) + 0.1 * np.random.default_rng(3).standard_normal(cut.shape)
    moved, captured = regroup(grid_of(z), cut, leave_out=False)
    blocks = z.reshape(cut.row_groups, cut.block_shape[0], cut.col_groups, cut.block_shape[1]).transpose(0, 2, 1, 3)
    kept = np.sum(np.linalg.svd(blocks, compute_uv=False)[..., : cut.rank] ** 2)
    assert float(captured.sum()) == pytest.approx(kept, rel=1e-3)
    assert moved.grid.shape == (1, 1, *cut.shape)


def test_only_a_gain_beyond_rounding_replaces_the_best():
    one, other = grid_of(np.eye(2)), grid_of(np.ones((2, 2)))
    best = BestArrangement(one)
    assert best.offer(one, 0.0)
    assert best.offer(other, 1.0)
    assert not best.offer(one, 1.0 + 1e-9)
    assert best.arrangement is other
    assert best.offer(one, 1.001)
    np.testing.assert_array_equal(is_gain(np.array([1.0, 1.1]), np.array([1.0, 1.0])), [False, True])


def test_turns_end_where_nothing_moves():
    calls = []

    def stay(now, goal, leave_out):
        calls.append((goal, leave_out))
        return now, 1.0

    found = improve_by_turns(grid_of(np.eye(4)), stay, "rows", "cols", rounds=9, patience=3)
    assert found.captured == 1.0
    assert calls == [("rows", True), ("cols", True), ("rows", False), ("cols", False)]


def test_patience_counts_rounds_without_a_gain():
    calls = []

    def rotate(now, _, leave_out):
        calls.append(leave_out)
        return now.with_rows(np.roll(np.arange(4), 1)[None]), 1.0

    improve_by_turns(grid_of(np.eye(4)), rotate, "rows", None, rounds=9, patience=2)
    assert calls.count(True) == 4  # the first gains, and three more do not
    assert calls.count(False) == 1


@pytest.mark.parametrize(("fraction", "moved"), [(0.3, 2), (0.5, 4), (1.0, 8)])
def test_shaken_groups_keep_their_sizes_and_the_others_their_members(fraction, moved):
    labels = np.stack([np.repeat(np.arange(8), 5)] * 3)
    shaken = shake(labels, fraction, np.random.default_rng(0))
    for row, own in zip(shaken, labels, strict=True):
        np.testing.assert_array_equal(np.bincount(row), np.bincount(own))
        changed = set(own[row != own].tolist())
        assert changed == set(row[row != own].tolist())
        assert 2 <= len(changed) <= moved
