"""Shares of the cuts in every entry: they add up to one, and move to where the bound rises."""

import numpy as np
import pytest

from dbutterfly.factorization.proof.ascent import Targets
from dbutterfly.factorization.proof.cut_work import CutWork
from dbutterfly.factorization.proof.shares import are_shares, equal_shares, most_uneven, move_shares, times
from dbutterfly.factorization.proof.subject import cuts_of
from dbutterfly.structure.chain import Chain
from tests.support.calls import CallsHere
from tests.support.comparisons import noisy_butterfly

CHAINS = [
    Chain.square_dyadic(16),
    Chain.chainable((24, 30), 2),
    Chain([(1, 2, 6, 4), (2, 6, 6, 2), (4, 6, 2, 1)]),
    Chain.chainable((64, 64), 2, balanced=True),
]


def blocks_of(matrix, cut):
    return matrix.reshape(cut.p, cut.u, cut.q, cut.v).transpose(1, 2, 0, 3)


def value(parts, shares, cuts):
    """Sum of ``h(M) / w`` over all blocks: what moving shares lowers."""
    total = 0.0
    for part, share, cut in zip(parts, shares, cuts, strict=True):
        values = np.linalg.svd(blocks_of(part, cut), compute_uv=False)
        total += float(((values[..., : cut.rank] ** 2).sum(axis=-1) / share).sum())
    return total


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_moved_shares_add_up_to_one_and_lower_what_is_captured(chain):
    cuts, rng = cuts_of(chain), np.random.default_rng(0)
    shares = equal_shares(cuts)
    parts = [times(rng.standard_normal(chain.shape) ** 3, share, cut) for share, cut in zip(shares, cuts, strict=True)]
    before = value(parts, shares, cuts)
    for _ in range(5):
        captured = [
            (np.linalg.svd(blocks_of(part, cut), compute_uv=False)[..., : cut.rank] ** 2).sum(axis=-1) / share**2
            for part, share, cut in zip(parts, shares, cuts, strict=True)
        ]
        shares = move_shares(shares, captured, cuts)
        assert are_shares(shares, cuts)
        assert most_uneven(shares, cuts) < 1e-14
    assert value(parts, shares, cuts) < before * (1 - 1e-6)


def test_blocks_without_energy_move_nothing():
    cuts = cuts_of(Chain.square_dyadic(8))
    shares = equal_shares(cuts)
    moved = move_shares(shares, [np.zeros((cut.u, cut.q)) for cut in cuts], cuts)
    assert all(np.array_equal(old, new) for old, new in zip(shares, moved, strict=True))


def test_numbers_that_are_no_shares():
    cuts = cuts_of(Chain.square_dyadic(8))
    for wrong in (0.0, -0.5, np.nan, np.inf, 0.5 + 1e-6):
        one, other = equal_shares(cuts)
        one[1, 1] = wrong
        assert not are_shares([one, other], cuts)
    assert are_shares(equal_shares(cuts), cuts)
    assert most_uneven([np.full((4, 2), 0.5), np.full((2, 4), 0.25)], cuts) == 0.25


def test_no_product_is_below_a_bound_with_unequal_shares():
    """The matrix without noise is a product; targets are pulled by shares that differ from block to block."""
    chain = Chain.square_dyadic(16)
    clean, matrix = noisy_butterfly(chain, eps=0.0), noisy_butterfly(chain, eps=0.3)
    cuts, work = cuts_of(chain), CutWork(CallsHere())
    targets = Targets(matrix, cuts, [matrix.copy() for _ in cuts], clean.copy())
    bounds = []
    for _ in range(20):
        targets.ascend(work)
        bounds.append(targets.bound(work)[0])
    assert max(np.ptp(share) for share in targets.shares) > 0.01
    assert 0 < max(bounds) <= np.linalg.norm(matrix - clean)
    mean = sum(
        times(target, share, cut) for target, share, cut in zip(targets.targets, targets.shares, cuts, strict=True)
    )
    np.testing.assert_allclose(mean, matrix, atol=1e-13)
