"""Groups of equal size, by spectral clustering."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.identification.one_cut.clustering import TUNING, landmark_groups, spectral_groups


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_items_are_grouped_by_their_likeness_to_landmarks(scale):
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(4), 10))
    landmarks = np.repeat(np.arange(4), 3)
    alike = scale * ((groups[:, None] == landmarks) + 0.3 * rng.random((40, 12)))
    found = landmark_groups(alike.astype(np.float32), 4, rng)
    assert (np.bincount(found, minlength=4) == 10).all()
    assert len(set(zip(groups.tolist(), found.tolist(), strict=True))) == 4


def test_items_that_are_like_nothing_are_grouped_all_the_same():
    size = TUNING.largest_dense + 4  # for Lanczos iteration
    assert (np.bincount(spectral_groups(np.zeros((size, size)), 4, np.random.default_rng(0))) == size // 4).all()
    alike = np.zeros((12, 6))
    assert (np.bincount(landmark_groups(alike, 3, np.random.default_rng(0))) == 4).all()
