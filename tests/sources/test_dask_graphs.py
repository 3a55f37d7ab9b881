"""Dask arrays whose steps start from results on a cluster."""

import threading

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.execution.choose import choose_engine
from dbutterfly.sources.dask_graphs import find_futures
from dbutterfly.sources.dispatch import as_source
from tests.support.comparisons import noisy_butterfly

SIDE = 64


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(SIDE)


@pytest.fixture(scope="module")
def certificate(matrix):
    return dbf.factorize(matrix).certificate


@pytest.fixture
def cluster_of_one():
    """One worker with one thread, in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=None
    ) as cluster:
        yield cluster


@pytest.fixture
def one_thread(cluster_of_one):
    with Client(cluster_of_one, set_as_default=False) as client:
        yield client


def persisted(client, matrix):
    return client.persist(da.from_array(matrix, chunks=16))


MAKE = {
    "persisted": persisted,
    "steps after persisted ones": lambda client, matrix: persisted(client, matrix / 2) * 2,
    "from a future": lambda client, matrix: da.from_delayed(
        client.submit(np.positive, matrix), matrix.shape, matrix.dtype
    ),
    "a step that takes a future": lambda client, matrix: da.from_delayed(
        dask.delayed(np.positive)(client.submit(np.positive, matrix)), matrix.shape, matrix.dtype
    ),
    "blocks that take a future": lambda client, matrix: da.zeros(matrix.shape, chunks=SIDE).map_blocks(
        np.add, client.submit(np.positive, matrix), dtype=matrix.dtype
    ),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("where", ["threads", "the cluster"])
def test_results_on_a_cluster_are_read_there(kind, where, matrix, certificate, one_thread):
    x = MAKE[kind](one_thread, matrix)
    fact = dbf.factorize(x, **({} if where == "threads" else {"client": one_thread}))
    assert fact.certificate == certificate


@pytest.mark.slow
@pytest.mark.parametrize("where", ["threads", "the cluster"])
def test_all_calls_read_results_on_a_cluster_of_processes(where, matrix, certificate, client, tmp_path):
    x = persisted(client, matrix)
    where = {} if where == "threads" else {"client": client}
    fact = dbf.factorize(x, store=tmp_path / "run", passes=2, **where)
    assert fact.certificate.error_bound < certificate.error_bound
    assert dbf.verify(fact, x, **where) == pytest.approx(fact.certificate.error_bound)
    product = dbf.stream_product(fact.operator, x, tmp_path / "product.zarr", **where)
    assert product.shape == matrix.shape
    same = da.from_array(matrix, chunks=16)
    assert str(dbf.plan(x, memory="1 GiB")) == str(dbf.plan(same, memory="1 GiB"))


def sum_row(source, row):
    return float(source.read_range(slice(row, row + 1), slice(0, SIDE)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["threads", "the cluster"])
def test_calls_read_results_on_a_cluster(where, matrix, client):
    source = as_source(persisted(client, matrix))
    with choose_engine(client if where == "the cluster" else None, None).calls(source, "sums") as calls:
        assert list(calls.in_order(sum_row, range(SIDE))) == [row.sum() for row in matrix]


def test_results_on_another_cluster_are_sent_to_the_one_that_computes(matrix, certificate, one_thread, client):
    assert dbf.factorize(persisted(one_thread, matrix), client=client).certificate == certificate


def test_calls_on_another_cluster_than_that_of_the_results_are_refused(matrix, one_thread, client):
    source, engine = as_source(persisted(one_thread, matrix)), choose_engine(client)
    with (
        pytest.raises(dbf.errors.InputError, match=r"^sums: the matrix starts from results on the cluster at .*; pass"),
        engine.calls(source, "sums"),
    ):
        pass


def test_results_of_a_closed_client_are_refused(matrix, cluster_of_one):
    with Client(cluster_of_one, set_as_default=False) as client:
        x = persisted(client, matrix)
    for call in (dbf.factorize, dbf.plan, dbf.identify):
        with pytest.raises(SourceError, match="and the client that held them is closed; make the array anew"):
            call(x)


def test_results_that_were_cancelled_are_refused(matrix, one_thread):
    x = persisted(one_thread, matrix)
    one_thread.cancel(x)
    with pytest.raises(SourceError, match="on a cluster that were cancelled"):
        dbf.factorize(x)


def test_results_of_two_clients_are_refused(matrix, one_thread, client):
    with pytest.raises(SourceError, match="results of several clients; compute all but those of one beforehand"):
        dbf.factorize(persisted(one_thread, matrix) + persisted(client, 2 * matrix))


def test_arrays_without_results_have_no_client(matrix):
    plain = da.from_array(matrix, chunks=16)
    delayed = da.from_delayed(dask.delayed(np.positive)(matrix), matrix.shape, matrix.dtype)
    for x in (plain, delayed, plain.persist(scheduler="synchronous") + 1):
        source = as_source(x)
        assert find_futures(x) == []
        assert not source.needs_cluster
        assert source.client is None


# ---------------------------------------------------------------- steps that blocks share


class Counted:
    """An array that counts how often its blocks are read."""

    shape, dtype, ndim = (SIDE, SIDE), np.dtype(float), 2

    def __init__(self, matrix):
        self.matrix, self.lock, self.reads = matrix, threading.Lock(), 0

    def __getitem__(self, index):
        with self.lock:
            self.reads += 1
        return self.matrix[index]


SHARED = {
    "row means": lambda x: x - x.mean(axis=1, keepdims=True),
    "both of a standard score": lambda x: (x - x.mean(axis=0)) / x.std(axis=0),
    "the largest entry": lambda x: x / abs(x).max(),
    "a vector": lambda x: x * (da.ones(SIDE, chunks=16) * 2),
}


def read_blocks(source):
    for row in range(0, SIDE, 16):
        for col in range(0, SIDE, 16):
            yield source.read_range(slice(row, row + 16), slice(col, col + 16))


@pytest.mark.parametrize("kind", SHARED)
def test_small_results_that_blocks_share_are_computed_once(kind, matrix):
    counted = Counted(matrix)
    x = SHARED[kind](da.from_array(counted, chunks=16))
    expected = x.compute(scheduler="synchronous")
    source = as_source(x)
    counted.reads = 0
    source.prepare(None, 2)
    found = list(read_blocks(source))
    assert counted.reads <= 3 * 16  # the passes of a standard deviation and its mean, and that of the blocks
    source.prepare(None, 2)
    assert counted.reads <= 3 * 16
    np.testing.assert_array_equal(np.block([found[k : k + 4] for k in range(0, 16, 4)]), expected)


def test_results_that_are_too_large_are_not_kept(matrix):
    x = da.fft.fft(da.from_array(matrix, chunks=16).rechunk((16, SIDE)), axis=1).rechunk((16, 16))
    source = as_source(x)
    source.prepare(None, 2)
    assert set(source.array.dask.layers) == set(x.dask.layers)


@pytest.mark.slow
def test_shared_results_are_computed_by_the_workers_of_a_client(matrix, client):
    x = SHARED["row means"](da.from_array(matrix, chunks=16))
    source = as_source(x)
    source.prepare(client, 2)
    assert len(source.array.dask.layers) < len(x.dask.layers)
    assert dbf.factorize(x, client=client).certificate == dbf.factorize(x).certificate


def test_a_run_reads_the_inputs_of_shared_steps_once_more(matrix):
    plain, shared = Counted(matrix), Counted(matrix)
    x = da.from_array(plain, chunks=16)
    y = SHARED["row means"](da.from_array(shared, chunks=16))
    planned = dbf.plan(y, workers=1)
    dbf.factorize(x, workers=1, memory=planned.peak_bytes)
    dbf.factorize(y, workers=1, memory=planned.peak_bytes)
    assert shared.reads <= plain.reads + 16 + 4  # the last for a block that is looked at before the run


def test_steps_that_fail_fail_where_they_are_needed(matrix):
    def fail(block):
        raise ZeroDivisionError("no mean")

    x = da.from_array(matrix, chunks=16)
    y = x - x.mean(axis=1, keepdims=True).map_blocks(fail, dtype=float)
    with pytest.raises(SourceError, match="ZeroDivisionError: no mean"):
        dbf.factorize(y)


def test_a_plan_says_how_often_inputs_are_computed(matrix):
    def line(x):
        return [text.split(maxsplit=1)[1] for text in str(dbf.plan(x)).splitlines() if text.startswith("computes")]

    x = da.from_array(matrix, chunks=16)
    assert line(x) == line(2 * x + 1) == line(x + x.T) == line(da.random.default_rng(0).random((64, 64))) == []
    assert line(x @ x.T) == ["each of 16 blocks from 4 of 16 inputs, as often as it is read"]
    assert line(SHARED["row means"](x)) == [
        "each of 16 blocks from 4 of 16 inputs, as often as it is read; steps that blocks share are computed once, if "
        "their results fit"
    ]
