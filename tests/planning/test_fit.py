"""Errors that sampled blocks predict, beside those of runs."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.planning.fit import FitSampler
from dbutterfly.planning.fitting_chains import find_fitting_chains, leaves_noise
from dbutterfly.planning.other_forms import find_other_forms
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.windows import open_window
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from tests.support.comparisons import noisy_butterfly, random_matrix
from tests.support.odd_sizes import kernel


def window_of(matrix, limit=1 << 26):
    return open_window(as_source(matrix), limit, np.random.default_rng(0))


NAMES = ["orthogonal_butterfly", "gaussian_butterfly", "helmholtz", "nudft", "fourier_integral", "hankel", "legendre"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_predictions_are_within_a_factor_of_two(name, rank):
    seed = {"seed": 0} if name in ("orthogonal_butterfly", "gaussian_butterfly", "nudft") else {}
    known = getattr(dbf.matrices, name)(256, **seed)
    noisy = np.asarray(dbf.matrices.noisy(known, 1e-3, seed=1))
    chain = Chain.chainable((256, 256), rank)
    found = FitSampler(window_of(noisy)).predict_error(chain, known.orderings)
    bound = dbf.factorize(noisy, chain, orderings=known.orderings, workers=1).certificate.error_bound
    assert bound / 2 <= found <= 2 * bound


def test_gaps_and_rectangles_are_predicted():
    matrix = kernel((211, 307))
    chain, orderings = Chain.chainable(matrix.shape, 4), Orderings("bitreversal", None)
    assert chain.shape != matrix.shape
    found = FitSampler(window_of(matrix)).predict_error(chain, orderings)
    bound = dbf.factorize(matrix, chain, orderings=orderings).certificate.error_bound
    assert bound / 2 <= found <= 2 * bound


def test_a_cut_has_the_same_sample_whatever_came_before():
    matrix, orderings = noisy_butterfly(128), Orderings()
    chains = [Chain.chainable((128, 128), rank) for rank in (1, 2, 3)]
    forth, back = FitSampler(window_of(matrix)), FitSampler(window_of(matrix))
    errors = [forth.predict_error(chain, orderings) for chain in chains]
    assert [back.predict_error(chain, orderings) for chain in chains[::-1]][::-1] == errors


def test_nothing_is_predicted_from_what_may_not_be_read():
    matrix = random_matrix((256, 256))
    window = window_of(matrix, 200_000)
    sampler = FitSampler(window)
    assert sampler.predict_error(Chain.square_dyadic(256), Orderings()) is None
    assert window.bytes_read <= window.limit


def test_chains_are_found_rank_by_rank_until_nothing_is_left():
    fourier = FitSampler(window_of(np.asarray(dbf.matrices.dft(128))))
    found = list(find_fitting_chains(fourier, Orderings(None, "bitreversal")))
    assert [(each.chain, each.error < 1e-12) for each in found] == [(Chain.square_dyadic(128), True)]
    waves = list(find_fitting_chains(FitSampler(window_of(kernel((256, 256)))), Orderings("bitreversal", None)))
    assert [each.chain.rank for each in waves[:4]] == [1, 2, 3, 4]
    assert waves[3].error < waves[0].error / 100
    noise = list(find_fitting_chains(FitSampler(window_of(random_matrix((256, 256)))), Orderings()))
    assert len(noise) == 4, "given up"
    assert all(leaves_noise(each.error, each.chain.nnz, 256**2) for each in noise)


def forms_of(matrix, tol=1e-3):
    return {form.name: form for form in find_other_forms(window_of(matrix), tol, 0)}


def test_other_forms_are_found():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random((2, 300)), axis=1)
    smooth = 1 / (1 + (x[:, None] - y) ** 2)
    found = forms_of(smooth)
    assert found.keys() == {"low rank"}
    rank, left = found["low rank"].rank, np.linalg.svd(smooth, compute_uv=False)
    assert np.linalg.norm(left[rank:]) <= 2e-3 * np.linalg.norm(left) < np.linalg.norm(left[rank - 1 :]) * 2
    sparse = np.where(rng.random((300, 200)) < 0.03, 1.0, 0.0)
    assert forms_of(sparse)["sparse storage"].values == pytest.approx(0.03 * sparse.size, rel=0.1)
    numbers = rng.standard_normal(600)
    shifts = np.subtract.outer(np.arange(300), np.arange(300))
    assert forms_of(numbers[shifts + 299]).keys() == {"Toeplitz"}
    assert forms_of(numbers[shifts % 300])["circulant"].values == 300
    assert forms_of(random_matrix((300, 300))) == {}
