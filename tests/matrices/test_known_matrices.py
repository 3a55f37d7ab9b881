"""What holds for every matrix: structure, seeds, pickles, refusals."""

import pickle

import numpy as np
import pytest
from references import CHAINS, excess_rank, random_factors, standard_order

from dbutterfly import matrices
from dbutterfly.errors import InputError
from dbutterfly.matrices import KnownMatrix
from dbutterfly.orderings import Orderings


@pytest.mark.parametrize(
    "matrix",
    [
        *(matrices.dft(n) for n in (2, 12, 30, 64, 105)),
        matrices.hadamard(64),
        matrices.orthogonal_butterfly(64, seed=1),
        matrices.orthogonal_butterfly(64, dtype=complex, seed=1),
        *(matrices.gaussian_butterfly(chain, seed=1) for chain in CHAINS),
        matrices.gaussian_butterfly((36, 48), seed=1),
        matrices.butterfly(random_factors(CHAINS[1], complex), ("bitreversal", "bitreversal")),
        matrices.shuffled(matrices.dft(60), seed=1),
    ],
    ids=lambda matrix: repr(matrix.f)[:60],
)
def test_every_block_of_every_cut_has_the_rank_of_its_junction(matrix):
    assert excess_rank(standard_order(matrix), matrix.chain) < 1e-14


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: matrices.orthogonal_butterfly(32, seed=seed),
        lambda seed: matrices.gaussian_butterfly((12, 18), dtype="complex64", seed=seed),
        lambda seed: matrices.noisy(matrices.dft(16), 0.1, seed=seed),
        lambda seed: matrices.shuffled(matrices.dft(16), seed=seed),
    ],
)
def test_seeds(make):
    np.testing.assert_array_equal(make(4), make(4))
    np.testing.assert_array_equal(make(np.random.default_rng(4)), make(4))
    assert not np.array_equal(make(4), make(5))
    assert not np.array_equal(make(None), make(None))


@pytest.mark.parametrize(
    "matrix",
    [
        matrices.dft(12),
        matrices.hadamard(8),
        matrices.dct2(9),
        matrices.gaussian_butterfly(CHAINS[5], seed=0),
        matrices.shuffled(matrices.noisy(matrices.dft(12), 0.2, seed=1), seed=2),
    ],
    ids=repr,
)
def test_pickles(matrix):
    copy = pickle.loads(pickle.dumps(matrix))
    np.testing.assert_array_equal(copy, matrix)
    assert (copy.norm, copy.chain, repr(copy)) == (matrix.norm, matrix.chain, repr(matrix))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrices.dft(0), "n=0 is not positive"),
        (lambda: matrices.dft(2.5), "n=2.5 is not an integer"),
        (lambda: matrices.dft(4, dtype=float), "dtype=float64: a Fourier matrix is complex"),
        (lambda: matrices.dct2(4, dtype=int), "is not supported; use float32"),
        (lambda: matrices.hadamard(12), "n=12 is not a power of two; hadamard"),
        (lambda: matrices.orthogonal_butterfly(12), "n=12 is not a power of two; orthogonal_butterfly"),
        (lambda: matrices.orthogonal_butterfly(1), "n=1"),
        (lambda: matrices.orthogonal_butterfly(4, seed=-1), "seed=-1 is not usable"),
        (lambda: matrices.gaussian_butterfly(4, seed="x"), "seed='x' is not usable"),
        (lambda: matrices.gaussian_butterfly((4, 0)), "n=0 is not positive"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2))]), r"ks_values\[0\] has shape \(1, 2, 2\)"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2, 1), int)]), "dtype.*int64.* is not supported"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2, 1))], ([0, 0], None)), "rows is not a permutation"),
        (lambda: matrices.noisy(matrices.dft(2), -0.1), "eps=-0.1 is not a relative size"),
        (lambda: matrices.noisy(matrices.dft(2), np.nan), "eps=nan"),
        (lambda: matrices.noisy([[1.0]], 0.1), "matrix of type list"),
        (lambda: matrices.noisy(np.ones(3), 0.1), r"shape \(3,\)"),
        (lambda: matrices.noisy(np.ones((3, 3), int), 0.1), r"convert other arrays with \.astype"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_norm_and_orderings_of_a_known_matrix_are_normalised():
    made = KnownMatrix(matrices.dft(4).f, (4, 4), complex, norm=np.float32(4))
    assert type(made.norm) is float
    assert isinstance(made.orderings, Orderings)


def test_public_names():
    assert sorted(matrices.__all__) == matrices.__all__
    for name in matrices.__all__:
        assert getattr(matrices, name).__doc__
