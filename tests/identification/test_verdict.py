"""Verdicts on searches, from residuals that are given."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of
from dbutterfly.identification.verdict import TUNING, Solution, free_parts, judge, noise_levels
from dbutterfly.structure.chain import Chain, Cut

SHAPE = (64, 64)
CUTS = cuts_of(Chain.square_dyadic(64))


def verdict(lost, cuts=CUTS, rounding=1e-10):
    lost = np.asarray(lost, np.float64)
    order = np.arange(64)
    return judge(Solution(order, order, lost, free_parts(cuts, SHAPE), 1), cuts, SHAPE, rounding)


def noise(part, cuts=CUTS):
    """Residuals of a butterfly matrix with noise of this part of the energy."""
    return part * free_parts(cuts, SHAPE)


def test_free_parts_are_degrees_of_freedom():
    (cut,) = cuts_of(Chain.square_dyadic(64), [3])
    np.testing.assert_allclose(free_parts([cut], SHAPE), 1 - 64 * 15 / 4096)
    full = Cut.of_groups(SHAPE, 8, 8, 8)
    np.testing.assert_allclose(free_parts([full], SHAPE), 1 / 4096)  # never zero: residuals are divided by it


def test_cuts_of_a_butterfly_matrix_see_the_noise_that_was_added():
    chain, sigma = Chain.square_dyadic(64), 0.1
    z = np.asarray(dbf.matrices.gaussian_butterfly(64, seed=0))
    added = np.random.default_rng(1).standard_normal(SHAPE)
    added *= sigma * np.linalg.norm(z) / np.linalg.norm(added)
    standard = z + added
    lost = []
    for position in range(1, len(chain)):
        p, u, q, v, rank = chain.cut(position)[0]
        blocks = standard.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        lost.append(np.sum(np.linalg.svd(blocks, compute_uv=False)[..., rank:] ** 2))
    np.testing.assert_allclose(noise_levels(np.array(lost), CUTS, SHAPE), np.linalg.norm(added) ** 2, rtol=0.1)


def test_nothing_left_is_found():
    result = verdict(np.zeros(len(CUTS)))
    assert result.found
    assert result.confidence == 1
    assert not result.floors.any()


def test_the_noise_of_one_size_at_all_cuts_is_found():
    result = verdict(noise(0.01))
    assert result.found
    np.testing.assert_allclose(result.residuals, result.floors)
    assert result.confidence > 0.95


def test_floors_are_those_of_the_cut_that_sees_least():
    lost = noise(0.01)
    lost[2] *= 1.2
    result = verdict(lost)
    assert result.found
    np.testing.assert_allclose(result.floors**2, noise(0.01))


def test_uneven_noise_is_not_found():
    lost = noise(0.01)
    lost[2] *= 1.05 * (TUNING.uneven + TUNING.deviations * np.sqrt(2 / 4096))
    assert not verdict(lost).found


def test_uneven_residuals_that_are_rounding_are_found():
    lost = noise(1e-24)
    lost[2] *= 100
    assert verdict(lost).found


def test_as_much_as_noise_alone_leaves_is_not_found():
    assert not verdict(noise(1.0)).found
    assert verdict(noise(1.0)).confidence < 0.3


@pytest.mark.parametrize(("part", "found"), [(0.2, True), (0.3, False)])
def test_a_single_cut_must_explain_more(part, found):
    cuts = CUTS[2:3]
    assert verdict(noise(part, cuts), cuts).found == found
    assert verdict(noise(part)).found
