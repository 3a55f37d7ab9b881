"""Matrices of which a part is looked at, end to end: sampled entries and probed operators, with estimated errors."""

import itertools

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import InputError, SourceError
from tests.support.comparisons import assert_same, dense_error

ORDERINGS = ("bitreversal", None)


def sampled(known):
    return dbf.entries(known.f, known.shape, known.dtype, sampled=True)


def helmholtz_operator(n):
    return aslinearoperator(np.asarray(dbf.matrices.helmholtz(n)))


class Counter:
    """An entry function that counts what it is asked for."""

    def __init__(self, known):
        self.f, self.entries = known.f, 0

    def __call__(self, rows, cols):
        self.entries += rows.size * cols.size
        return self.f(rows, cols)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 3])
def test_sampling_evaluates_few_entries_and_says_how_many(rank):
    known = dbf.matrices.helmholtz(1024)
    counter = Counter(known)
    source = dbf.entries(counter, known.shape, known.dtype, sampled=True)
    assert "some entries of each block are evaluated" in str(dbf.plan(source, rank=rank, orderings=ORDERINGS))
    fact = dbf.factorize(source, rank=rank, orderings=ORDERINGS)
    assert fact.record["evaluated"]["entries"] <= 8 * rank * 1024**1.5 + 64 * 1024
    looked_at = counter.entries - fact.record["evaluated"]["entries"]
    assert 0 <= looked_at <= 3 * 64 * 64  # to see whether it is reproducible, and to know it again
    certificate = fact.certificate
    assert not certificate.proven
    assert "estimated" in str(certificate)
    error = dense_error(fact, known)
    assert abs(certificate.error_bound - error) <= 4 * certificate.deviation
    full = dbf.factorize(known, rank=rank, orderings=ORDERINGS)
    assert error <= 1.5 * dense_error(full, known)
    assert certificate.norm == pytest.approx(full.certificate.norm, rel=0.02)


def test_sampling_runs_on_every_engine_and_in_a_store(engine, tmp_path):
    source = sampled(dbf.matrices.dft(512))
    orderings = (None, "bitreversal")
    fact = dbf.factorize(source, orderings=orderings, store=tmp_path / "run", **engine)
    assert fact.certificate.error_bound < 1e-13
    assert dense_error(fact, dbf.matrices.dft(512)) < 1e-13
    again = dbf.open(tmp_path / "run")
    assert_same(fact, again)
    assert again.certificate.deviation == fact.certificate.deviation


def test_sampling_takes_a_tolerance():
    known = dbf.matrices.helmholtz(1024)
    fact = dbf.factorize(sampled(known), tol=1e-3, orderings=ORDERINGS)
    assert dense_error(fact, known) <= 1e-3
    assert fact.certificate.error_bound <= 1e-3


def test_samples_and_whole_matrix_are_not_one_run(tmp_path):
    known = dbf.matrices.dft(64)
    dbf.factorize(sampled(known), orderings=known.orderings, store=tmp_path / "run")
    with pytest.raises(dbf.errors.StoreMismatchError, match=r"matrix\.way is sampled, not read"):
        dbf.factorize(known, orderings=known.orderings, store=tmp_path / "run")


@pytest.mark.parametrize("sample", [False, True])
def test_an_entry_function_that_changes_is_refused(sample):
    calls = itertools.count()

    def drifting(rows, cols):
        return np.ones((rows.size, cols.size)) + 1e-3 * next(calls)

    with pytest.raises(SourceError, match="the entry function must give the same value for the same indices each time"):
        dbf.factorize(dbf.entries(drifting, (64, 64), np.float64, sampled=sample))


@pytest.mark.parametrize("make", [lambda: sampled(dbf.matrices.dft(64)), lambda: helmholtz_operator(64)])
def test_a_second_read_is_refused(make):
    with pytest.raises(InputError, match="passes=2 is not possible where"):
        dbf.factorize(make(), orderings=ORDERINGS, passes=2)


@pytest.mark.slow
def test_an_operator_takes_few_products(engine):
    operator = helmholtz_operator(1024)
    chain = dbf.Chain.chainable((1024, 1024), rank=4)
    fact = dbf.factorize(operator, chain, orderings=ORDERINGS, **engine)
    assert fact.record["evaluated"]["products"] < 640
    assert not fact.certificate.proven
    matrix = np.asarray(dbf.matrices.helmholtz(1024))
    error = dense_error(fact, matrix)
    assert abs(fact.certificate.error_bound - error) <= 4 * fact.certificate.deviation
    assert error <= 1.2 * dense_error(dbf.factorize(matrix, chain, orderings=ORDERINGS), matrix)


def test_a_small_operator_is_certified():
    operator = helmholtz_operator(64)
    fact = dbf.factorize(operator, rank=2, orderings=ORDERINGS)
    error = dense_error(fact, np.asarray(dbf.matrices.helmholtz(64)))
    assert fact.certificate.proven
    assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound


def test_a_fast_transform_is_found_from_its_products():
    n = 1024
    fourier = LinearOperator(
        (n, n),
        matvec=lambda x: np.fft.fft(x, axis=0),
        rmatvec=lambda x: n * np.fft.ifft(x, axis=0),
        matmat=lambda x: np.fft.fft(x, axis=0),
        rmatmat=lambda x: n * np.fft.ifft(x, axis=0),
        dtype=np.complex128,
    )
    fact = dbf.factorize(fourier, orderings=(None, "bitreversal"))
    assert dense_error(fact, dbf.matrices.dft(n)) < 1e-13
    assert fact.certificate.error_bound < 1e-13
    assert "multiplies" in str(dbf.plan(fourier, orderings=(None, "bitreversal")))
