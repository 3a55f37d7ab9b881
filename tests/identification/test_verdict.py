"""Verdicts on searches, from residuals that are given, and of matrices that earlier verdicts were wrong about."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of, from_standard
from dbutterfly.identification.residuals import measure_residuals
from dbutterfly.identification.verdict import (
    LEVEL,
    UNEVEN,
    Residuals,
    Solution,
    count_parameters,
    free_parts,
    judge,
    noise_levels,
    unevenness,
)
from dbutterfly.structure.chain import Chain, Cut

M = dbf.matrices
SHAPE, SIZE = (64, 64), 64 * 64
CHAIN = Chain.square_dyadic(64)
CUTS = cuts_of(CHAIN)
CHAIN_16 = Chain.square_dyadic(16)
FREE = SIZE * free_parts(CUTS, SHAPE)


def verdict(lost, *, evidence=100.0, rounding=1e-10):
    lost = np.asarray(lost, np.float64)
    return judge(Residuals(lost, FREE, SIZE, np.full(lost.size, evidence), rounding), count_parameters(CHAIN))


def noise(part):
    """Residuals of a butterfly matrix with noise of this part of the energy."""
    return part * FREE / SIZE


def lost_by(z):
    """Energy that every cut leaves of a matrix in standard order."""
    lost = []
    for p, u, q, v, rank in CUTS:
        blocks = z.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        lost.append(np.sum(np.linalg.svd(blocks, compute_uv=False)[..., rank:] ** 2))
    return np.array(lost)


def test_free_parts_are_degrees_of_freedom():
    (cut,) = cuts_of(CHAIN, [3])
    np.testing.assert_allclose(free_parts([cut], SHAPE), 1 - 64 * 15 / 4096)
    full = Cut.of_groups(SHAPE, 8, 8, 8)
    np.testing.assert_allclose(free_parts([full], SHAPE), 1 / 4096)  # never zero: residuals are divided by it


def test_parameters_are_the_values_less_what_neighbours_can_pass_each_other():
    assert count_parameters(CHAIN) == 64 * 7
    (cut,) = cuts_of(Chain.monarch((8, 8), 4, 2))
    assert count_parameters(Chain.monarch((8, 8), 4, 2)) == cut.degrees_of_freedom((8, 8))


def test_cuts_of_a_butterfly_matrix_see_the_noise_that_was_added():
    z = np.asarray(M.gaussian_butterfly(64, seed=0))
    added = np.random.default_rng(1).standard_normal(SHAPE)
    added *= 0.1 * np.linalg.norm(z) / np.linalg.norm(added)
    np.testing.assert_allclose(noise_levels(lost_by(z + added), CUTS, SHAPE), np.linalg.norm(added) ** 2, rtol=0.1)


def test_chance_makes_no_more_unevenness_than_it_should():
    """The largest of ten differences, each of about one standard deviation; those of wrong trees are many times it."""
    z, rng = np.asarray(M.orthogonal_butterfly(64, seed=0)), np.random.default_rng(2)
    drawn = [
        unevenness(lost_by(z + 0.01 * rng.standard_normal(SHAPE)), FREE, SIZE, count_parameters(CHAIN))
        for _ in range(20)
    ]
    assert 0 < np.median(drawn) < 2
    assert max(drawn) < 4
    swapped = z[np.r_[1, 0, 2:64]] + 0.01 * rng.standard_normal(SHAPE)
    assert unevenness(lost_by(swapped), FREE, SIZE, count_parameters(CHAIN)) > 10


def test_nothing_left_is_found():
    result = verdict(np.zeros(len(CUTS)), evidence=-math.inf)
    assert result.found
    assert result.evidence == math.inf
    assert not result.floors.any()


def test_the_noise_of_one_size_at_all_cuts_is_found():
    result = verdict(noise(0.01))
    assert result.found
    np.testing.assert_allclose(result.residuals, result.floors)


def test_floors_are_those_of_the_cut_that_sees_least():
    lost = noise(0.01)
    lost[2] *= 1.03
    result = verdict(lost)
    assert result.found
    np.testing.assert_allclose(result.floors**2, noise(0.01))


def test_uneven_noise_is_not_found():
    lost = noise(0.01)
    lost[2] *= 1.3
    assert not verdict(lost).found


def test_differences_within_the_accuracy_of_residuals_do_not_count():
    lost = noise(0.01)
    lost[2] *= 1 + UNEVEN / 2
    assert verdict(lost).unevenness == 0


def test_uneven_residuals_that_are_rounding_are_found():
    lost = noise(1e-24)
    lost[2] *= 100
    assert verdict(lost, evidence=-math.inf).found


def test_evidence_decides_at_its_level():
    assert verdict(noise(0.01), evidence=-math.log(LEVEL) + 0.01).found
    assert not verdict(noise(0.01), evidence=-math.log(LEVEL) - 0.01).found


def test_a_row_of_another_group_is_seen_where_there_is_one_cut():
    """No other cut sees more noise than this one."""
    chain = Chain.monarch((16, 16), 4, 4)
    rng = np.random.default_rng(3)
    z = np.asarray(M.gaussian_butterfly(chain=chain, seed=0)) + 0.02 * rng.standard_normal((16, 16))
    cuts, order = cuts_of(chain), np.arange(16)
    counts = np.ones(16, bool), np.ones(16, bool)
    rows = from_standard(order, chain)
    found = []
    for swap in (False, True):
        given = rows.copy()
        if swap:
            given[[0, 4]] = given[[4, 0]]
        solution = Solution(given, order, np.zeros(1), free_parts(cuts, (16, 16)), 1)
        found.append(judge(measure_residuals(z, solution, cuts, counts, count_parameters(chain), 1e-12), 112).found)
    assert found == [True, False]


# ---- matrices that were called found, and are none


def low_rank(n, rank, noise):
    rng = np.random.default_rng(n + rank)
    low = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    return low / np.linalg.norm(low) + noise / n * rng.standard_normal((n, n))


def test_uniform_random_numbers_are_not_found():
    """Their mean is of rank one, and fits every order."""
    found = dbf.identify(np.random.default_rng(0).random((64, 64)), budget=0.5, workers=1)
    assert not found.found
    assert found.confidence < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("n", "rank", "noise"), [(16, 1, 0.1), (16, 2, 0.2), (32, 2, 0.1)])
def test_low_rank_with_noise_is_not_found(n, rank, noise):
    found = dbf.identify(low_rank(n, rank, noise), budget=0.3, workers=1)
    assert not found.found
    assert found.confidence < 0.1


@pytest.mark.slow
def test_a_normal_matrix_is_refused_after_few_attempts():
    found = dbf.identify(np.random.default_rng(0).standard_normal((64, 64)), workers=1)
    assert not found.found
    assert found.attempts <= 6
    assert found.confidence < 0.5


def test_one_attempt_leaves_doubt():
    """Confidence was 1.000 after one attempt."""
    z = np.asarray(M.noisy(M.shuffled(M.gaussian_butterfly(32, seed=3), seed=4), 0.3, seed=5))
    found = dbf.identify(z, budget=1e-9, workers=1)
    assert found.attempts == 1
    assert found.confidence < 0.95


@pytest.mark.slow
def test_a_sparse_butterfly_that_is_found_is_found_exactly():
    rng = np.random.default_rng(0)
    keep = [
        np.where(rng.random(pattern.nnz) < 0.85, rng.standard_normal(pattern.nnz), 0) for pattern in CHAIN_16.patterns
    ]
    values = [one.reshape(pattern) for one, pattern in zip(keep, CHAIN_16.patterns, strict=True)]
    z = dbf.ButterflyOperator(values).to_dense()[rng.permutation(16)][:, rng.permutation(16)]
    found = dbf.identify(z, workers=1)
    assert found.found
    assert found.residual < 1e-12
