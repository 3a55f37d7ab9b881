"""Evidence for the groups of a cut: its formulas against integrals, and its level against matrices without groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from dbutterfly.identification import evidence
from dbutterfly.identification.evidence import Blocks, log_evidence, rival_rank
from dbutterfly.structure.chain import Cut

CUT = Cut.of_groups((16, 16), 4, 4, 1)


def blocks_of(matrix, cut=CUT):
    """The blocks of a matrix whose groups are contiguous."""
    grid = matrix.reshape(cut.u, cut.p, cut.q, cut.v).transpose(0, 2, 1, 3)
    squares = np.linalg.svd(grid, compute_uv=False) ** 2 / np.linalg.norm(matrix) ** 2
    sides = np.full(cut.u, cut.p), np.full(cut.q, cut.v)
    return Blocks.of(
        cut,
        sides,
        squares[..., : cut.rank].sum(-1),
        float(squares[..., cut.rank :].sum()),
        is_complex=np.iscomplexobj(matrix),
    )


def rival(matrix, rank):
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    return float(squares[rank:].sum() / squares.sum())


def butterfly_blocks(seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    blocks = rng.standard_normal((4, 4, 4, 1)) * rng.standard_normal((4, 4, 1, 4))
    return blocks.transpose(0, 2, 1, 3).reshape(16, 16) + noise * rng.standard_normal((16, 16))


@pytest.mark.parametrize("beta", [1, 2])
@pytest.mark.parametrize(("p", "v"), [(2, 2), (2, 3)])
def test_the_norm_of_the_density_of_singular_values_is_its_integral(beta, p, v):
    def density(least, most):
        return (
            (most**2 - least**2) ** beta
            * (least * most) ** (beta * (v - p + 1) - 1)
            * math.exp(-(least**2 + most**2) / 2)
        )

    whole, _ = dblquad(density, 0, 12, 0, lambda most: most)
    assert evidence._log_norm(p, v, beta) == pytest.approx(math.log(whole), abs=1e-6)


def test_blocks_count_degrees_of_freedom_and_groupings():
    blocks = blocks_of(butterfly_blocks())
    assert blocks.free == 16 * 9
    np.testing.assert_array_equal(blocks.fitted, np.full(16, 7.0))
    groupings = math.factorial(16) / (math.factorial(4) ** 4 * math.factorial(4))
    overlap = evidence._log_overlap(4, 4, 1, 1)
    assert overlap > 0
    assert blocks.penalty == pytest.approx(2 * math.log(groupings) + 16 * overlap)


def test_gaps_are_no_entries():
    whole = Blocks.of(CUT, (np.full(4, 4), np.full(4, 4)), np.ones((4, 4)), 0.1, is_complex=True)
    less = Blocks.of(CUT, (np.array([4, 4, 3, 0]), np.full(4, 4)), np.ones((4, 4)), 0.1, is_complex=True)
    assert whole.free + whole.fitted.sum() == 2 * 16 * 16
    assert less.free + less.fitted.sum() == 2 * 11 * 16
    assert less.fitted.size == 12


def test_the_density_of_one_ratio_for_all_blocks_is_its_integral():
    blocks, largest = blocks_of(butterfly_blocks(noise=0.3)), 100.0
    total, fitted, captured = blocks.free + blocks.fitted.sum(), blocks.fitted.sum(), blocks.captured.sum()

    def density(log_ratio):
        square = math.exp(2 * log_ratio)
        return -fitted * log_ratio - total / 2 * math.log(blocks.lost + captured / square)

    top = max(density(x) for x in np.linspace(0, math.log(largest), 1000))
    whole, _ = quad(lambda x: math.exp(density(x) - top), 0, math.log(largest))
    expected = (
        math.log(whole / math.log(largest)) + top + math.lgamma(total / 2) - math.log(2) + total / 2 * math.log(2)
    )
    assert evidence._log_shared(blocks, largest) == pytest.approx(expected, abs=1e-3)


def test_one_block_has_the_same_density_by_either_half():
    blocks = Blocks(30.0, np.array([20.0]), np.array([0.9]), 0.1, 0.0)
    assert evidence._log_separate(blocks, 100.0) == pytest.approx(evidence._log_shared(blocks, 100.0), abs=1e-3)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_noise_and_low_rank_with_noise_reach_the_level_seldom(rank):
    """The expectation of the ratio is at most one in any groups, of which these are some."""
    rng = np.random.default_rng(rank)
    ratios = []
    for _ in range(50):
        matrix = rng.standard_normal((16, 16)) + 3 * rng.standard_normal((16, rank)) @ rng.standard_normal((rank, 16))
        ratios.append(log_evidence(blocks_of(matrix), rival(matrix, rank)))
    assert max(ratios) < 0


@pytest.mark.parametrize("noise", [1e-6, 0.01, 0.1])
def test_groups_that_are_there_are_evident_and_more_so_with_less_noise(noise):
    matrix = butterfly_blocks(noise=noise)
    found = log_evidence(blocks_of(matrix), rival(matrix, 2))
    assert found > 4.6
    noisier = butterfly_blocks(noise=2 * noise)
    assert found > log_evidence(blocks_of(noisier), rival(noisier, 2))


def test_other_groups_are_not():
    matrix = butterfly_blocks()[np.random.default_rng(1).permutation(16)]
    assert log_evidence(blocks_of(matrix), rival(matrix, 2)) < 0


def test_a_matrix_of_low_rank_alone_is_no_evidence():
    matrix = np.outer(np.arange(1.0, 17), np.ones(16))
    assert log_evidence(blocks_of(matrix), 0.0) == -math.inf


def test_rivals_have_fewer_parameters_and_a_low_rank():
    assert rival_rank((64, 64), 448, 1) == 3  # 3 * (128 - 3) = 375
    assert rival_rank((64, 64), 375, 1) == 2
    assert rival_rank((4, 4), 12, 1) == 1
    assert rival_rank((64, 64), 2000, 1) == 4
    assert rival_rank((64, 64), 2000, 2) == 5
    assert rival_rank((64, 64), 0, 1) == 0
