"""What holds for every matrix: structure, seeds, pickles, refusals."""

import functools
import pickle

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly import matrices
from dbutterfly.errors import InputError
from dbutterfly.matrices import KnownMatrix
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from dbutterfly.structure.orderings import Orderings
from tests.support.matrix_references import (
    CHAINS,
    excess_rank,
    numerical_rank,
    random_factors,
    scattered_blocks,
    standard_order,
)

TARGETS = {
    **{
        f"helmholtz {geometry} {points}": functools.partial(
            matrices.helmholtz, geometry=geometry, points=points, seed=0
        )
        for geometry in ("segments", "circles", "squares")
        for points in ("grid", "random")
    },
    "nudft": functools.partial(matrices.nudft, seed=0),
    "fourier_integral": matrices.fourier_integral,
    "hankel": matrices.hankel,
    "hankel of order 5": functools.partial(matrices.hankel, order=5),
    "legendre": matrices.legendre,
    "cauchy": matrices.cauchy,
}


@pytest.fixture(params=TARGETS)
def target(request):
    """Make a matrix whose blocks are of low rank to a tolerance only."""
    return TARGETS[request.param]


@pytest.mark.parametrize(
    "make",
    [
        *TARGETS.values(),
        matrices.dft,
        matrices.hadamard,
        matrices.dct2,
        functools.partial(matrices.orthogonal_butterfly, seed=1),
        functools.partial(matrices.gaussian_butterfly, seed=1),
    ],
)
def test_every_matrix_is_factorized_by_its_own_chain_and_orderings(make):
    known = make(128)
    fact = dbf.factorize(np.asarray(known), known.chain, orderings=known.orderings)
    assert fact.certificate.error_bound <= max(2 * known.tol, 1e-13)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
def test_bit_reversed_rows_give_every_block_the_rank_of_the_chain_to_its_tolerance(target, tol):
    matrix = target(256, tol=tol)
    assert matrix.orderings.describe() == "rows bitreversal, columns standard"
    assert matrix.chain.is_dense
    assert (matrix.tol, len(set(matrix.chain.ranks))) == (tol, 1)
    assert matrix.rank == matrix.chain.rank
    assert numerical_rank(standard_order(matrix), matrix.chain, tol) <= matrix.rank
    dyadic = Chain.square_dyadic(256)
    assert numerical_rank(matrix[digit_reversal(dyadic.row_radices), :], dyadic, tol) <= matrix.rank
    if tol == 1e-6 and "cauchy" not in repr(matrix):  # which is of low rank as a whole
        assert numerical_rank(np.asarray(matrix), dyadic, tol) > matrix.rank


@pytest.mark.parametrize("n", [240, 243])
def test_ranks_hold_for_other_prime_factors(target, n):
    matrix = target(n, tol=1e-3)
    assert numerical_rank(standard_order(matrix), matrix.chain, 1e-3) <= matrix.rank
    assert len(matrix.chain) > 1


@pytest.mark.parametrize("n", [1, 2, 3, 30, 64])
def test_targets_of_any_size(target, n):
    matrix = target(n)
    dense = np.asarray(matrix)
    assert (matrix.shape, matrix.chain.shape) == ((n, n), (n, n))
    assert dense.dtype == matrix.dtype
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-9)
    for rows, cols in scattered_blocks(matrix.shape):
        np.testing.assert_allclose(matrix.block(rows, cols), dense[rows][:, cols], rtol=0, atol=1e-15 * matrix.norm)


def test_targets_in_single_precision(target):
    exact = target(40)
    single = target(40, dtype="complex64" if exact.dtype.kind == "c" else "float32")
    assert single.dtype.itemsize == exact.dtype.itemsize // 2
    np.testing.assert_array_equal(single, np.asarray(exact).astype(single.dtype))


def test_targets_are_pickled_without_their_tables(target):
    matrix = target(1024)
    matrix[:1, :1]
    stored = pickle.dumps(matrix)
    assert len(stored) < 2000
    copy = pickle.loads(stored)
    np.testing.assert_array_equal(copy[::100, 5:9], matrix[::100, 5:9])
    assert (copy.norm, copy.chain, copy.tol, repr(copy)) == (matrix.norm, matrix.chain, matrix.tol, repr(matrix))


def test_targets_with_noise_and_shuffled(target):
    clean = target(64)
    noisy = matrices.noisy(clean, 0.01, seed=1)
    assert np.linalg.norm(np.asarray(noisy) - np.asarray(clean)) == pytest.approx(0.01 * clean.norm, rel=0.1)
    shuffled = matrices.shuffled(noisy, seed=2)
    np.testing.assert_array_equal(standard_order(shuffled), standard_order(noisy))
    for matrix in (noisy, shuffled):
        assert (matrix.chain, matrix.tol, matrix.rank) == (clean.chain, clean.tol, clean.rank)


def test_targets_refuse_a_tolerance_without_a_rank(target):
    for tol in (1e-12, -1.0, np.nan, None):
        with pytest.raises(InputError, match=r"tol=.* use 1e-09 or more, or give factorize a chain of higher rank"):
            target(8, tol=tol)


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
        lambda seed: matrices.nudft(16, seed=seed),
        lambda seed: matrices.helmholtz(16, points="random", seed=seed),
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
        (lambda: matrices.helmholtz(0), "n=0 is not positive"),
        (lambda: matrices.helmholtz(4, geometry="cubes"), "geometry='cubes' is unknown; use one of segments, circles"),
        (lambda: matrices.helmholtz(4, points=3), "points=3 is unknown; use one of grid, random"),
        (lambda: matrices.helmholtz(4, wavenumber=np.inf), "wavenumber=inf is not a finite number; None stands"),
        (lambda: matrices.helmholtz(4, wavenumber="x"), "wavenumber='x' is not a finite number"),
        (lambda: matrices.helmholtz(4, points="random", seed=-1), "seed=-1 is not usable"),
        (lambda: matrices.helmholtz(4, dtype=float), "dtype=float64: a wave is complex; use complex64"),
        (lambda: matrices.nudft(4, dtype=float), "dtype=float64: a complex exponential is complex; use complex64"),
        (lambda: matrices.nudft(-3), "n=-3 is not positive"),
        (lambda: matrices.fourier_integral(2.5), "n=2.5 is not an integer"),
        (lambda: matrices.hankel(4, order=21), "order=21 is not an integer from 0 to 20"),
        (lambda: matrices.hankel(4, order=0.5), "order=0.5 is not an integer from 0 to 20"),
        (lambda: matrices.legendre(0), "n=0 is not positive"),
        (lambda: matrices.legendre(4, dtype=int), "is not supported; use float32"),
        (lambda: matrices.cauchy(4, points="equal"), "points='equal' is unknown; use one of separated, interlaced"),
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
    assert (made.tol, made.rank) == (0, None)
    assert matrices.dft(4).rank == 1


def test_public_names():
    assert sorted(matrices.__all__) == matrices.__all__
    for name in matrices.__all__:
        assert getattr(matrices, name).__doc__
