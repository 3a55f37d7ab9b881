"""Runs whose kernels are the compiled ones."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.kernels import compilation
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import assert_same, noisy_butterfly

pytestmark = [
    pytest.mark.skipif(compilation.compiled_kernels("low_rank") is None, reason="needs Numba"),
    pytest.mark.slow,  # Numba compiles for most of their time
]


@pytest.fixture(autouse=True)
def worthwhile(monkeypatch):
    """Runs of small matrices use the compiled kernels, which are there."""
    monkeypatch.setattr(compilation, "WORTHWHILE", 1)
    compilation.compile_now("D", rooms=compilation.ROOMS_OF_RUNS)


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(128) * (1 + 2j)


@pytest.mark.parametrize("passes", [1, 2])
def test_threads_and_clusters_give_the_same_bits(matrix, passes, client):
    one, two, dask = (
        dbf.factorize(matrix, passes=passes, **where) for where in ({"workers": 1}, {"workers": 2}, {"client": client})
    )
    assert one.record["plan"]["compiled"]
    assert_same(one, two)
    assert_same(one, dask)


def test_the_certificate_is_that_of_the_plain_kernels(matrix, monkeypatch):
    compiled = dbf.factorize(matrix)
    monkeypatch.setattr(compilation, "WORTHWHILE", 1 << 60)
    plain = dbf.factorize(matrix)
    assert not plain.record["plan"]["compiled"]
    assert compiled.certificate.error_bound == pytest.approx(plain.certificate.error_bound, rel=1e-3)
    assert compiled.certificate.lower_bound == pytest.approx(plain.certificate.lower_bound, rel=1e-3)
    error = np.linalg.norm(matrix - compiled.operator @ np.eye(128)) / np.linalg.norm(matrix)
    assert compiled.certificate.lower_bound <= error <= compiled.certificate.error_bound


def test_a_run_is_continued_with_the_kernels_that_began_it(matrix, tmp_path, monkeypatch):
    expected = dbf.factorize(matrix, store=tmp_path / "whole")
    store = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("dbutterfly.factorization.tasks.halves.RightTask.compute", refuse)
        with pytest.raises(dbf.errors.TaskError):
            dbf.factorize(matrix, store=store)
    assert RunStore.open(store).manifest.layout["compiled"]
    monkeypatch.setattr(compilation, "WORTHWHILE", 1 << 60)  # as where the cache was emptied meanwhile
    assert_same(dbf.factorize(matrix, store=store), expected)


def refuse(*_):
    raise RuntimeError("cut off")


def test_small_matrices_and_those_of_which_entries_are_sampled_use_the_plain_kernels(matrix, monkeypatch):
    sampled = dbf.plan(dbf.entries(lambda rows, cols: matrix[rows, cols], matrix.shape, matrix.dtype, sampled=True))
    assert not sampled.layout.compiled
    monkeypatch.setattr(compilation, "WORTHWHILE", matrix.size + 1)
    assert not dbf.plan(matrix).layout.compiled
    assert dbf.plan(matrix, rank=2).layout.compiled, "blocks of higher ranks take longer"
    monkeypatch.setattr(compilation, "WORTHWHILE", matrix.size)
    assert dbf.plan(matrix).layout.compiled


def test_a_stack_uses_them_where_all_its_matrices_together_are_large(matrix, monkeypatch):
    stack = np.stack([matrix, matrix + 1, 2 * matrix])
    monkeypatch.setattr(compilation, "WORTHWHILE", 3 * matrix.size)
    found = dbf.factorize(stack)
    assert not dbf.plan(stack[:2]).batches[0].plan.layout.compiled
    assert dbf.plan(stack[:1], rank=2).batches[0].plan.layout.compiled, "blocks of higher ranks take longer"
    monkeypatch.setattr(compilation, "WORTHWHILE", matrix.size)
    for number, each in enumerate(stack):
        assert_same_factors(found[number], dbf.factorize(each))


def assert_same_factors(one, other):
    for x, y in zip(one.ks_values, other.ks_values, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


def test_a_process_that_cannot_compile_continues_by_the_plain_kernels(matrix, monkeypatch):
    plan = dbf.plan(matrix)
    assert plan.layout.compiled
    expected = dbf.factorize(matrix)
    monkeypatch.setattr("dbutterfly.factorization.device_job.has_kernels_of_runs", lambda _: False)
    monkeypatch.setattr("dbutterfly.kernels.low_rank.compiled.compiled_kernels", lambda _: None)
    found = dbf.factorize(matrix)
    assert found.certificate.error_bound == pytest.approx(expected.certificate.error_bound, rel=1e-3)
