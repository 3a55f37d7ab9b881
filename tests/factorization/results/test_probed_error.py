import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.factorization.results.probed_error import ProbedError, probed_error
from dbutterfly.sources import operators
from dbutterfly.sources.dispatch import as_source
from tests.support.comparisons import dense_error, noisy_butterfly, random_matrix


def approximated(shape=(60, 80), dtype="float64", eps=0.1, rank=None):
    """A matrix, and one that differs from it by eps in all directions, or in some."""
    matrix = random_matrix(shape, dtype)
    change = random_matrix(shape, dtype, seed=1)
    if rank is not None:
        change = random_matrix((shape[0], rank), dtype, 2) @ random_matrix((rank, shape[1]), dtype, 3)
    return matrix, matrix + eps * change


@pytest.mark.parametrize("rank", [None, 1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_error_is_estimated_with_an_honest_deviation(dtype, rank):
    matrix, near = approximated(dtype=dtype, rank=rank)
    exact = np.linalg.norm(matrix - near) / np.linalg.norm(matrix)
    source = as_source(aslinearoperator(matrix))
    found = [probed_error(source, lambda x: near @ x, seed=seed) for seed in range(150)]
    scatter = np.sqrt(np.mean([(one.error - exact) ** 2 for one in found]))
    assert np.sqrt(np.mean([one.deviation**2 for one in found])) == pytest.approx(scatter, rel=0.25)
    assert scatter <= 0.15 * exact
    residuals = [one.residual for one in found]
    assert np.mean(residuals) == pytest.approx(np.linalg.norm(matrix - near) ** 2, abs=4 * np.std(residuals) / 150**0.5)
    energies = [one.energy for one in found]
    assert np.mean(energies) == pytest.approx(np.linalg.norm(matrix) ** 2, abs=4 * np.std(energies) / 150**0.5)


def test_products_are_as_many_as_asked_for_in_bounded_batches(monkeypatch):
    matrix, near = approximated()
    asked = []

    def product(x):
        asked.append(x.shape[1] if x.ndim == 2 else 1)
        return matrix @ x

    operator = LinearOperator(
        matrix.shape, matvec=product, matmat=product, rmatvec=lambda y: matrix.T @ y, dtype="float64"
    )
    whole = probed_error(as_source(operator), lambda x: near @ x, probes=20)
    monkeypatch.setattr(operators, "PRODUCT_BYTES", 8 * 140 * 8)
    source = as_source(operator)
    asked.clear()
    assert probed_error(source, lambda x: near @ x, probes=20) == pytest.approx(whole)
    assert asked == [8, 8, 4]
    assert whole.probes == 20


def test_one_seed_gives_one_estimate():
    matrix, near = approximated()
    source = as_source(scipy.sparse.csr_array(matrix))
    first, same, other = (probed_error(source, lambda x: near @ x, seed=seed) for seed in (5, 5, 6))
    assert first == same != other


def test_one_probe_knows_that_it_knows_nothing():
    matrix, near = approximated()
    assert probed_error(as_source(aslinearoperator(matrix)), lambda x: near @ x, probes=1).deviation == np.inf


def test_zero_and_exact():
    matrix, near = approximated()
    exact = probed_error(as_source(aslinearoperator(matrix)), lambda x: matrix @ x)
    assert (exact.error, exact.deviation, exact.residual) == (0, 0, 0)
    zero = as_source(aslinearoperator(np.zeros_like(matrix)))
    assert probed_error(zero, lambda x: 0 * (matrix @ x), probes=3) == ProbedError(0.0, 0.0, 0.0, 0.0, 3)
    assert probed_error(zero, lambda x: near @ x).error == np.inf


def test_a_wider_approximation_is_compared_as_it_is():
    matrix, near = approximated(dtype="float32", eps=1e-4)
    found = probed_error(as_source(aslinearoperator(matrix)), lambda x: near.astype("float64") @ x, probes=400)
    assert found.error == pytest.approx(np.linalg.norm(matrix - near) / np.linalg.norm(matrix), rel=0.1)


def test_what_is_not_finite_is_named():
    matrix, near = approximated()
    source = as_source(aslinearoperator(matrix))
    matrix[7, 3] = np.nan
    with pytest.raises(SourceError, match=r"matmat of a vector of normal numbers \(number 0\) holds .* in row 7;"):
        probed_error(source, lambda x: near @ x)


@pytest.mark.parametrize(
    "orderings", [None, (None, "bitreversal"), (np.arange(64)[::-1].copy(), np.roll(np.arange(64), 5))]
)
def test_verification_of_an_operator_compares_products(orderings):
    matrix = noisy_butterfly(64, eps=0.2, orderings=orderings)
    fact = dbf.factorize(matrix, orderings=orderings)
    asked = []

    def product(x):
        asked.append(x.shape[1] if x.ndim == 2 else 1)
        return matrix @ x

    operator = LinearOperator((64, 64), matvec=product, matmat=product, rmatvec=lambda y: matrix.T @ y, dtype="float64")
    estimate = dbf.verify(fact, operator, samples=32, seed=1)
    assert asked == [3, 1, 1, 32]  # a look at the operator, then the verification
    assert (estimate.exact, estimate.samples, estimate.compared) == (False, 32, "products")
    assert str(estimate).endswith("(estimated from 32 products)")
    assert 0 < estimate.deviation < 0.2 * estimate
    assert abs(estimate - dense_error(fact, matrix)) < 5 * estimate.deviation
    exact = dbf.verify(fact, operator)
    assert exact.exact
    assert exact == pytest.approx(dense_error(fact, matrix), rel=1e-12)
