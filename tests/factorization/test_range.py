"""Matrices of which entries, or squares of entries, leave the range of their dtype."""

import json

import numpy as np
import pytest
import zarr
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import RangeError
from dbutterfly.factorization import run
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.sources.exponents import exponent_of, largest_part, shift_exponents
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import noisy_butterfly, random_matrix

ALIKE = ("error_bound", "lower_bound")


def measured(fact, matrix):
    """Relative error of the product, with both divided by the largest entry."""
    exponent = exponent_of(largest_part(matrix))
    shifted, product = (shift_exponents(values, -exponent) for values in (matrix, fact.operator.to_dense()))
    return np.linalg.norm(product - shifted) / np.linalg.norm(shifted)


def in_chunks(matrix, chunks, place=None):
    array = zarr.create_array(
        zarr.storage.MemoryStore() if place is None else place, shape=matrix.shape, chunks=chunks, dtype=matrix.dtype
    )
    array[...] = matrix
    return array


SOURCES = {
    "array": lambda matrix: matrix,
    "few chunks": lambda matrix: in_chunks(matrix, (16, 64)),
    "many chunks": lambda matrix: in_chunks(matrix, (4, 8)),
    "entries": lambda matrix: dbf.entries(lambda i, j: matrix[np.ix_(i, j)], matrix.shape, matrix.dtype),
    "operator": aslinearoperator,
}

MATRIX = noisy_butterfly(64, "float64", eps=1e-3)


@pytest.mark.parametrize("exponent", [-1035, -400, 500, 1000])
@pytest.mark.parametrize("name", SOURCES)
def test_the_certificate_is_that_of_the_matrix_but_for_its_norm(name, exponent):
    shifted = np.ldexp(MATRIX, exponent)
    expected = dbf.factorize(np.ldexp(shifted, -exponent)).certificate
    fact = dbf.factorize(SOURCES[name](shifted))
    found = fact.certificate
    for field in ALIKE:
        assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=1e-5)
    assert found.norm == pytest.approx(np.ldexp(expected.norm, exponent), rel=1e-14)
    assert found.lower_bound <= measured(fact, shifted) <= found.error_bound
    assert dbf.verify(fact, SOURCES[name](shifted)) == pytest.approx(measured(fact, shifted), rel=1e-9)
    assert fact.record["exponent"] == pytest.approx(exponent, abs=12)


@pytest.mark.parametrize(
    "arguments", [{"passes": 2}, {"sweeps": 1}, {"tol": 1e-2}, {"weights": (np.linspace(1, 4, 64), None)}]
)
def test_every_way_to_factorize_has_the_range(arguments):
    shifted = np.ldexp(MATRIX, -1000)
    fact, expected = (dbf.factorize(matrix, **arguments) for matrix in (shifted, MATRIX))
    assert fact.certificate.error_bound == pytest.approx(expected.certificate.error_bound, rel=1e-6)
    assert dbf.verify(fact, shifted) == pytest.approx(dbf.verify(expected, MATRIX), rel=1e-6)


def test_factors_share_the_power():
    fact = dbf.factorize(np.ldexp(MATRIX, 1000))
    largest = [np.frexp(np.abs(values).max())[1] for values in fact.ks_values]
    assert max(largest) - min(largest) < 16
    assert fact.operator.norm() == pytest.approx(fact.certificate.norm, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("rank", [1, 2])
def test_one_huge_entry_that_no_sample_meets(dtype, rank):
    matrix = random_matrix((64, 64), dtype)
    matrix[3, 5] = 1e30
    fact = dbf.factorize(matrix, rank=rank)
    assert fact.dtype == dtype
    assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chain", ["dyadic", [(1, 64, 64, 1)]])
def test_one_tiny_entry_that_no_sample_meets(dtype, chain):
    info = np.finfo(dtype)
    for size in (info.smallest_subnormal, info.smallest_normal, info.smallest_normal * 2**100):
        matrix = np.zeros((64, 64), dtype)
        matrix[3, 5] = size
        fact = dbf.factorize(matrix, chain)
        assert measured(fact, matrix) == 0
        assert fact.certificate.norm == pytest.approx(float(size), rel=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_one_huge_entry_beside_tiny_ones(sampled):
    matrix = np.ldexp(random_matrix((256, 256)), -900)
    matrix[3, 5] = 1e200
    source = dbf.entries(lambda i, j: matrix[np.ix_(i, j)], matrix.shape, matrix.dtype, sampled=sampled)
    fact = dbf.factorize(source)
    if fact.certificate.proven:
        assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound < 1e-12
    assert dbf.factorize(matrix).certificate.norm == pytest.approx(1e200)


def test_rows_of_every_size():
    matrix = random_matrix((64, 64)) * 10.0 ** np.linspace(-150, 150, 64)[:, None]
    fact = dbf.factorize(matrix, rank=2)
    assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound < 1e-12


def test_blocks_of_subnormal_numbers_beside_others():
    for dtype in ("complex64", "complex128"):
        matrix = random_matrix((16, 16), dtype)
        matrix[::4] *= np.finfo(dtype).smallest_normal / 64
        fact = dbf.factorize(matrix, rank=2)
        assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound


SEARCHES = {
    "identify": lambda matrix: dbf.identify(matrix, budget=1e-3),
    "advise": dbf.advise,
    "tolerance": lambda matrix: dbf.factorize(matrix, tol=0.5),
    "hierarchical": lambda matrix: dbf.factorize(matrix, tol=0.5, form="hierarchical"),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_before_a_run_meet_a_huge_entry_beside_tiny_ones(name):
    matrix = random_matrix((16, 16), "float32") * np.float32(1e-38)
    matrix[0, 0] = 3e38
    assert SEARCHES[name](matrix) is not None


def test_a_norm_that_is_no_number_is_refused():
    with pytest.raises(RangeError, match="which leaves the range of double precision") as caught:
        dbf.factorize(np.full((64, 64), 1.7e308))
    assert caught.value.exponent == 1024


class TestStoredRuns:
    def test_zeros_beside_the_smallest_number_are_stored(self, tmp_path):
        matrix = np.zeros((16, 16), np.float32)
        matrix[3, 5] = np.finfo(np.float32).smallest_subnormal
        dbf.factorize(matrix, store=tmp_path / "run")
        assert np.array_equal(dbf.open(tmp_path / "run").operator.to_dense(), matrix)

    def test_a_run_that_begins_again_is_known_again(self, engine, tmp_path):
        matrix = random_matrix((64, 64), "float32")
        matrix[3, 5] = 1e30
        source = in_chunks(matrix, (16, 16), tmp_path / "z.zarr")
        fact = dbf.factorize(source, store=tmp_path / "run", **engine)
        assert RunStore.open(tmp_path / "run", mode="r").manifest.exponent == fact.record["exponent"] == 100
        again = dbf.factorize(source, store=tmp_path / "run")
        assert again.certificate == fact.certificate == dbf.open(tmp_path / "run").certificate
        assert again.record["matrix_check"]
        source[0, 0] = 1e31
        with pytest.raises(dbf.errors.StoreMismatchError):
            dbf.factorize(source, store=tmp_path / "run")

    def test_a_run_that_was_cut_off_goes_on_with_its_power(self, tmp_path, monkeypatch):
        def cut_off(*_):
            raise KeyboardInterrupt

        source = np.ldexp(MATRIX, -700)
        with monkeypatch.context() as patched:
            patched.setattr(run, "assemble", cut_off)
            with pytest.raises(KeyboardInterrupt):
                dbf.factorize(source, store=tmp_path / "run")
        monkeypatch.setattr(TileTask, "compute", cut_off)
        fact = dbf.factorize(source, store=tmp_path / "run")
        assert fact.certificate.lower_bound <= measured(fact, source) <= fact.certificate.error_bound

    def test_what_is_saved_is_plain_json(self, tmp_path):
        fact = dbf.factorize(np.ldexp(MATRIX, 1000))
        fact.save(tmp_path / "saved")
        assert dbf.open(tmp_path / "saved").certificate == fact.certificate
        assert json.loads(json.dumps(fact.certificate.to_json(), allow_nan=False))["norm"] > 1e300


def test_each_matrix_of_a_stack_has_its_own_power():
    stack = np.stack([MATRIX, np.ldexp(MATRIX, -1020), np.ldexp(MATRIX, 990), np.zeros_like(MATRIX)])
    for arguments in ({}, {"passes": 2}):
        found = dbf.factorize(stack, **arguments)
        expected = dbf.factorize(MATRIX, **arguments).certificate
        for fact, matrix in zip(list(found)[:3], stack, strict=False):
            assert fact.certificate.error_bound == pytest.approx(expected.error_bound, rel=1e-3)
            assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound


def test_verify_meets_another_matrix():
    fact = dbf.factorize(MATRIX)
    assert dbf.verify(fact, np.ldexp(MATRIX, 900)) == pytest.approx(1)
    assert dbf.verify(fact, np.ldexp(MATRIX, 600), samples=32) == pytest.approx(1)


def test_the_plan_says_it():
    assert "divided by 2^-9" in str(dbf.plan(np.ldexp(MATRIX, -1000), tol=0.1))
    assert dbf.plan(np.ldexp(MATRIX, -1000), tol=0.1).to_json()["exponent"] < -900
    assert "divided" not in str(dbf.plan(MATRIX, tol=0.1))


@pytest.mark.parametrize("shared", [True, False])
def test_chains_are_looked_for_where_a_stack_is_out_of_range(shared):
    stack = np.stack([MATRIX, np.ldexp(MATRIX, 1000)])
    found, expected = (dbf.factorize(matrices, tol=1e-2, shared=shared) for matrices in (stack, np.stack([MATRIX] * 2)))
    assert [fact.chain for fact in found] == [fact.chain for fact in expected]
    assert found[1].certificate.error_bound == pytest.approx(expected[1].certificate.error_bound)


def test_a_proof_is_of_the_matrix_as_it_was_given():
    matrix = np.ldexp(MATRIX[:16, :16], -900)
    fact = dbf.factorize(matrix, prove=True)
    assert fact.certificate.lower_bound <= measured(fact, matrix) <= fact.certificate.error_bound
