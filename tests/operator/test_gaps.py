"""Operators of matrices that are smaller than the product of their factors."""

import pickle

import array_api_strict
import dask.array
import numpy as np
import pytest
from scipy.sparse.linalg import lsqr

import dbutterfly as dbf
from dbutterfly.errors import InputError, SingularFactorError
from tests.support.comparisons import DTYPES

SHAPE = (13, 21)
CHAIN = dbf.Chain.chainable((16, 24))


def random_operator(dtype="complex128", seed=0):
    """Operator with gaps on both sides whose factors have values there, and its matrix."""
    rng = np.random.default_rng(seed)
    factors = [(rng.standard_normal(p) + 1j * rng.standard_normal(p)).astype(dtype) for p in CHAIN]
    sides = [
        rng.permutation(np.r_[np.arange(size), -np.ones(length - size, int)])
        for size, length in zip(SHAPE, CHAIN.shape, strict=True)
    ]
    whole = dbf.ButterflyOperator(factors).to_dense()
    matrix = np.empty(SHAPE, dtype)
    rows, cols = (np.flatnonzero(side >= 0) for side in sides)
    matrix[np.ix_(sides[0][rows], sides[1][cols])] = whole[np.ix_(rows, cols)]
    return dbf.ButterflyOperator(factors, sides), matrix


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_those_of_the_matrix(dtype):
    operator, matrix = random_operator(dtype)
    rng = np.random.default_rng(1)
    tol = 1e-4 if np.dtype(dtype).itemsize // (1 + (np.dtype(dtype).kind == "c")) == 4 else 1e-12
    assert operator.shape == SHAPE
    assert np.allclose(operator.to_dense(), matrix, rtol=tol, atol=tol * abs(matrix).max())
    for given, dense in (
        (operator, matrix),
        (operator.T, matrix.T),
        (operator.H, matrix.conj().T),
        (operator.conj(), matrix.conj()),
    ):
        for x in (
            rng.standard_normal(dense.shape[1]),
            rng.standard_normal((dense.shape[1], 3)) * 1j,
            rng.standard_normal((dense.shape[1], 65)).astype(dtype),
        ):
            expected = dense @ x
            product = given @ x
            assert product.shape == expected.shape
            assert product.dtype == np.result_type(dtype, x.dtype)
            assert np.allclose(product, expected, atol=tol * abs(expected).max())
            out = np.empty(expected.shape, product.dtype)
            assert given.apply(x, out) is out
            assert np.array_equal(out, product)
            assert np.allclose(given.apply(x, workers=2), expected, atol=tol * abs(expected).max())


@pytest.mark.slow
def test_other_libraries_multiply_it():
    operator, matrix = random_operator()
    x = np.random.default_rng(0).standard_normal((21, 4)) + 0j
    strict = operator.apply(array_api_strict.asarray(x, device=array_api_strict.Device("device1")))
    assert np.allclose(
        np.asarray(array_api_strict.asarray(strict, device=array_api_strict.Device("CPU_DEVICE"))), matrix @ x
    )
    assert np.allclose((operator @ dask.array.from_array(x, chunks=(8, 2))).compute(), matrix @ x)
    product = np.eye(13)
    for factor in operator.to_scipy():
        product = product @ factor.toarray()
    assert np.allclose(product, matrix)
    back = lsqr(operator.H, operator.H @ np.arange(13.0))[0]
    assert np.allclose(back, np.arange(13), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lazylinop", "pylops"])
@pytest.mark.filterwarnings("ignore")
def test_other_packages_take_it(package):
    pytest.importorskip(package)
    operator, matrix = random_operator()
    x = np.random.default_rng(0).standard_normal(21) + 0j
    taken = getattr(operator, f"to_{package}")()
    assert taken.shape == SHAPE
    assert np.allclose(taken @ x, matrix @ x)


def test_it_is_stored_and_derived_with_its_gaps(tmp_path):
    operator, matrix = random_operator()
    for place in (tmp_path / "op.npz", tmp_path / "op.zarr"):
        operator.save(place)
        loaded = dbf.ButterflyOperator.load(place)
        assert loaded.shape == SHAPE
        assert np.array_equal(loaded.to_dense(), operator.to_dense())
    for other, expected in (
        (pickle.loads(pickle.dumps(operator.T)), matrix.T),
        (2 * operator, 2 * matrix),
        (operator.fuse(2), matrix),
        (operator.prune(1e-9), matrix),
        (operator.astype("complex64"), matrix),
        (operator.H @ operator, matrix.conj().T @ matrix),
        (operator @ operator.H, matrix @ matrix.conj().T),
    ):
        assert other.shape == expected.shape
        assert np.allclose(other @ np.eye(expected.shape[1]), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


def test_norms_are_those_of_the_matrix():
    operator, matrix = random_operator()
    for order in ("fro", 2, 1, np.inf):
        assert operator.norm(order) == pytest.approx(np.linalg.norm(matrix, order), rel=2e-3)


def test_factors_without_values_at_gaps_are_not_copied():
    operator, _ = random_operator()
    again = dbf.ButterflyOperator(operator.ks_values, operator.orderings)
    assert all(x is y for x, y in zip(again.ks_values, operator.ks_values, strict=True))


def test_an_inverse_is_refused():
    chain = dbf.Chain.square_dyadic(16)
    order = np.r_[np.arange(13), [-1] * 3]
    operator = dbf.ButterflyOperator([np.ones(pattern) for pattern in chain], (order, order))
    for call in (lambda: operator.solve(np.ones(13)), operator.inverse):
        with pytest.raises(SingularFactorError, match=r"13 x 13 operator is part of a 16 x 16 product.*use .*gmres"):
            call()


@pytest.mark.parametrize("rows", [np.arange(13), np.r_[np.arange(12), -1, -1, -1, 13], np.r_[np.arange(14), -1, -2]])
def test_orderings_name_every_row_once(rows):
    factors = [np.ones(pattern) for pattern in CHAIN]
    with pytest.raises(InputError, match=r"rows is not a permutation of 0 .. "):
        dbf.ButterflyOperator(factors, (rows, None))
