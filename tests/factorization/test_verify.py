import pickle

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import zarr

import dbutterfly as dbf
from dbutterfly.errors import InputError, StoreError
from dbutterfly.factorization.results import estimates
from dbutterfly.factorization.results.estimates import VerifiedError
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import dense_error, noisy_butterfly, random_matrix

TREES = ["balanced", "left", "right", ((0, (1, 2)), ((3, 4), 5))]
ORDERINGS = [None, (None, "bitreversal"), ("bitreversal", None), (np.arange(64)[::-1], np.roll(np.arange(64), 5))]


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("orderings", ORDERINGS, ids=["standard", "cols", "rows", "arrays"])
def test_it_equals_the_dense_error(tree, orderings, dtype):
    matrix = random_matrix((64, 64), dtype)
    fact = dbf.factorize(matrix, tree=tree, orderings=orderings)
    error = dbf.verify(fact, matrix)
    assert error == pytest.approx(dense_error(fact, matrix), rel=1e-5 if dtype in ("float32", "complex64") else 1e-12)
    assert (error.exact, error.deviation, error.samples) == (True, 0, None)


@pytest.mark.parametrize(
    "chain",
    [Chain.monarch((21, 16), p=7, q=2), Chain.chainable((30, 36)), Chain.chainable((100, 1000)), Chain([(1, 7, 5, 1)])],
    ids=str,
)
def test_it_equals_the_dense_error_of_every_chain(chain, engine):
    matrix = noisy_butterfly(chain, eps=0.3, orderings=(None, "bitreversal"))
    fact = dbf.factorize(matrix, chain, orderings=(None, "bitreversal"))
    assert dbf.verify(fact, matrix, **engine) == pytest.approx(dense_error(fact, matrix), rel=1e-12, abs=1e-15)


def test_a_chain_of_any_rank_can_be_verified():
    known = dbf.matrices.gaussian_butterfly(Chain.chainable((32, 32), rank=1), seed=0)
    fact = dbf.factorize(known)
    assert dbf.verify(fact, np.asarray(known) * 2) == pytest.approx(0.5, rel=1e-12)


def test_every_source_gives_the_same(engine, tmp_path):
    matrix = noisy_butterfly(256)
    fact = dbf.factorize(matrix)
    np.save(tmp_path / "z.npy", matrix)
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(100, 70))
    error = dbf.verify(fact, matrix)
    for source in (
        tmp_path / "z.npy",
        tmp_path / "z.zarr",
        zarr.open_array(tmp_path / "z.zarr", mode="r"),
        da.from_array(matrix, chunks=(60, 90)),
    ):
        assert dbf.verify(fact, source, **engine) == pytest.approx(float(error), rel=1e-12)


def test_another_matrix_is_told_from_its_own():
    fact = dbf.factorize(dbf.matrices.hadamard(64))
    assert dbf.verify(fact, dbf.matrices.hadamard(64)) < 1e-15
    assert dbf.verify(fact, random_matrix((64, 64))) > 1


@pytest.mark.parametrize("other", ["float32", "complex128", "int64"])
def test_the_matrix_may_have_another_dtype(other):
    matrix = np.round(10 * random_matrix((32, 32))).astype("float64")
    fact = dbf.factorize(matrix)
    assert dbf.verify(fact, matrix.astype(other)) == pytest.approx(dense_error(fact, matrix), rel=1e-6)
    assert dbf.verify(fact, matrix.astype(other), samples=32) == pytest.approx(dense_error(fact, matrix), rel=1e-6)


def test_a_float32_result_may_be_compared_with_a_wider_matrix():
    matrix = random_matrix((32, 32), "complex128")
    fact = dbf.factorize(matrix.real.astype("float32"))
    assert dbf.verify(fact, matrix) == pytest.approx(dense_error(fact, matrix), rel=1e-6)


@pytest.mark.parametrize("orderings", [None, (None, "bitreversal"), ("bitreversal", None)])
@pytest.mark.parametrize("seed", range(5))
def test_an_estimate_is_within_its_deviation(seed, orderings):
    matrix = noisy_butterfly(256, eps=0.2)
    fact = dbf.factorize(matrix, orderings=orderings)
    estimate = dbf.verify(fact, matrix, samples=32, seed=seed)
    assert (estimate.exact, estimate.samples) == (False, 32)
    assert 0 < estimate.deviation < estimate
    assert abs(estimate - dense_error(fact, matrix)) < 5 * estimate.deviation


@pytest.mark.slow
def test_the_deviation_is_honest():
    rng = np.random.default_rng(0)
    matrix = noisy_butterfly(256, eps=0.2) * rng.uniform(0.5, 2, (256, 1))
    fact = dbf.factorize(matrix)
    error = dense_error(fact, matrix)
    estimates = [dbf.verify(fact, matrix, samples=48, seed=seed) for seed in range(200)]
    scatter = np.sqrt(np.mean([(estimate - error) ** 2 for estimate in estimates]))
    stated = np.sqrt(np.mean([estimate.deviation**2 for estimate in estimates]))
    assert stated == pytest.approx(scatter, rel=0.2)


def test_more_samples_deviate_less():
    matrix = noisy_butterfly(256, eps=0.2)
    fact = dbf.factorize(matrix)
    few, many = (dbf.verify(fact, matrix, samples=samples).deviation for samples in (16, 128))
    assert many < few / 2


def test_all_rows_as_samples_are_exact_up_to_rounding():
    matrix = noisy_butterfly(64)
    fact = dbf.factorize(matrix)
    for samples in (64, 1000):
        estimate = dbf.verify(fact, matrix, samples=samples)
        assert estimate == pytest.approx(dense_error(fact, matrix), rel=1e-12)
        assert (estimate.deviation, estimate.samples) == (0, 64)


@pytest.mark.parametrize("orderings", ORDERINGS, ids=["standard", "cols", "rows", "arrays"])
def test_long_rows_are_compared_a_few_at_a_time(monkeypatch, orderings):
    matrix = random_matrix((64, 64))
    fact = dbf.factorize(matrix, orderings=orderings)
    asked = []

    def f(rows, cols):
        asked.append(rows.size)
        return matrix[np.ix_(rows, cols)]

    monkeypatch.setattr(estimates, "ROW_BYTES", 3 * 64 * 8)
    estimate = dbf.verify(fact, dbf.entries(f, (64, 64), "float64"), samples=64)
    assert estimate == pytest.approx(dense_error(fact, matrix), rel=1e-12)
    assert max(asked) == 3


def test_one_sample_knows_that_it_knows_nothing():
    matrix = noisy_butterfly(64)
    assert dbf.verify(dbf.factorize(matrix), matrix, samples=1).deviation == np.inf


def test_the_same_seed_draws_the_same_rows(client):
    matrix = noisy_butterfly(64)
    fact = dbf.factorize(matrix)
    first, again, other, there = (
        dbf.verify(fact, matrix, samples=8, seed=seed, **where)
        for seed, where in ((0, {}), (0, {}), (1, {}), (0, {"client": client}))
    )
    assert first == again == there != other


@pytest.mark.parametrize("samples", [None, 9])
def test_zero_matrices(samples):
    fact = dbf.factorize(np.zeros((16, 16)))
    assert dbf.verify(fact, np.zeros((16, 16)), samples=samples) == 0
    fact = dbf.factorize(np.ones((16, 16)))
    assert dbf.verify(fact, np.zeros((16, 16)), samples=samples) == np.inf


@pytest.mark.parametrize("samples", [None, 16])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("chain", [None, [(1, 16, 16, 1)]])
def test_a_bad_entry_is_named(samples, bad, chain, engine):
    matrix = random_matrix((16, 16))
    fact = dbf.factorize(matrix, chain)
    matrix[11, 3] = bad
    with pytest.raises(dbf.errors.NonFiniteError, match=r"index \(11, 3\)") as caught:
        dbf.verify(fact, matrix, samples=samples, **engine)
    assert caught.value.index == (11, 3)


def test_bad_arguments():
    matrix = random_matrix((16, 16))
    fact = dbf.factorize(matrix)
    with pytest.raises(dbf.errors.InputError, match=r"source has shape \(8, 16\).*\(16, 16\)"):
        dbf.verify(fact, matrix[:8])
    with pytest.raises(dbf.errors.InputError, match="samples=0 is not positive"):
        dbf.verify(fact, matrix, samples=0)
    with pytest.raises(dbf.errors.InputError, match="memory='lots'"):
        dbf.verify(fact, matrix, memory="lots")
    with pytest.raises(dbf.errors.MemoryBudgetError, match="the least that works"):
        dbf.verify(fact, matrix, memory=1000)


def test_it_says_how_it_was_found():
    assert str(VerifiedError(0.25)) == "0.25 (exact)"
    assert str(VerifiedError(0.25, 0.01, 8)) == "0.25 +- 0.01 (estimated from 8 rows)"
    copied = pickle.loads(pickle.dumps(VerifiedError(0.25, 0.01, 8)))
    assert (copied, copied.deviation, copied.samples, copied.exact) == (0.25, 0.01, 8, False)


def test_the_place_of_a_run_may_be_verified(tmp_path):
    matrix = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
    found = dbf.factorize(matrix, store=tmp_path / "run")
    assert (
        dbf.verify(tmp_path / "run", matrix) == dbf.verify(str(tmp_path / "run"), matrix) == dbf.verify(found, matrix)
    )
    with pytest.raises(StoreError, match="holds no dbutterfly factorization"):
        dbf.verify(str(tmp_path / "nothing"), matrix)
    with pytest.raises(InputError, match=r"factorization=.* is a ButterflyOperator; pass what factorize or dbutterfly"):
        dbf.verify(found.operator, matrix)


def test_no_more_products_are_taken_of_an_operator_than_give_all_of_it():
    matrix = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
    error = dbf.verify(dbf.factorize(matrix), scipy.sparse.csr_array(matrix), samples=10**18)
    assert error.exact
    assert error < 1e-14
