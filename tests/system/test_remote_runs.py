"""Whole runs whose matrix, store and factors are on a real S3 server, also a flaky one."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

import dbutterfly as dbf
from dbutterfly.errors import SourceError, StoreBusyError, StoreError
from dbutterfly.execution import backlog, thread_engine
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.zarr_array import ZarrSource
from dbutterfly.storage import retries
from dbutterfly.storage.places import as_store
from tests.support.comparisons import assert_same, memory_for, noisy_butterfly
from tests.support.flaky_proxy import FlakyProxy
from tests.support.parts import require
from tests.support.s3_server import SECRET, ObjectServer

pytestmark = pytest.mark.slow

obstore = require("obstore", "test-s3")

TREE = (((0, 1), (2, 3)), (4, (5, (6, 7))))


@pytest.fixture(scope="module")
def matrix() -> Any:
    return noisy_butterfly(256, "float32")


@pytest.fixture(scope="module")
def expected(matrix: Any) -> dbf.Factorization:
    return dbf.factorize(matrix, tree=TREE)


def written(s3: ObjectServer, matrix: Any) -> str:
    url = s3.url("z.zarr")
    dbf.matrices.write(matrix, url, chunks=(64, 64))
    return url


def test_matrix_store_and_factors_on_object_storage(s3, matrix, expected):
    z, run = written(s3, matrix), s3.url("run.zarr")
    planned = dbf.plan(z, tree=TREE)
    fact = dbf.factorize(z, tree=TREE, store=run)
    assert_same(fact, expected)
    assert fact.record["stages"]["tiles"]["bytes_read"] == planned.bytes_read == matrix.nbytes
    assert_same(dbf.open(run), expected)
    assert_same(dbf.factorize(z, tree=TREE, store=run), expected)  # nothing left to do
    assert dbf.verify(dbf.open(run), z) == pytest.approx(float(dbf.verify(expected, matrix)), rel=1e-6)
    fact.save(s3.url("copy.zarr"))
    assert_same(dbf.open(s3.url("copy.zarr")), expected)
    with pytest.raises(StoreError, match=r"already holds something"):
        fact.save(z)


def test_on_a_cluster_whose_workers_have_the_credentials(s3, matrix, expected):
    z = written(s3, matrix)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="1GiB") as cluster,
        Client(cluster) as client,
    ):
        assert_same(dbf.factorize(z, tree=TREE, store=s3.url("run.zarr"), client=client), expected)


def test_a_copy_in_another_order_lies_in_the_store(s3, matrix):
    orderings = tuple(np.random.default_rng(side).permutation(256) for side in range(2))
    z = written(s3, matrix)
    memory = memory_for(16, z, tree=TREE, orderings=orderings, store="s3")
    fact = dbf.factorize(z, tree=TREE, orderings=orderings, store=s3.url("run.zarr"), memory=memory)
    assert_same(fact, dbf.factorize(matrix, tree=TREE, orderings=orderings))


@pytest.mark.parametrize("faults", [{"errors": 0.1}, {"resets": 0.03}, {"delays": 0.1, "delay": 0.3}], ids=str)
def test_a_flaky_server_costs_time_only(s3, matrix, expected, faults, monkeypatch):
    z = written(s3, matrix)
    with FlakyProxy(s3.endpoint, seed=1, **faults) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert_same(dbf.factorize(z, tree=TREE, store=s3.url("run.zarr")), expected)
        assert sum(proxy.counts.values()) > 0


KINDS: dict[str, dict[str, Any]] = {
    "whole chunks": {"chunks": (16, 16)},
    "shards": {"chunks": (8, 8), "shards": (16, 16)},
    "Zarr 2": {"chunks": (16, 16), "zarr_format": 2},
}


@pytest.mark.filterwarnings("ignore::dbutterfly.errors.MissingChunksWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_are_not_found_now_and_then_change_nothing(s3, kind, monkeypatch):
    """Of the matrix, a part of which was never written, and of the run's own store."""
    matrix = noisy_butterfly(64)
    matrix[:16, 32:] = 0
    url, tree = s3.url("z.zarr"), ((0, (1, 2)), (3, (4, 5)))
    zarr.create_array(as_store(url), shape=(64, 64), dtype="f8", **KINDS[kind])[...] = matrix
    arguments = {"tree": tree, "orderings": ("bitreversal", None), "workers": 1}
    expected = dbf.factorize(matrix, **arguments)
    with FlakyProxy(s3.endpoint, seed=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        source = as_source(url)
        assert source.missing_chunks == 2
        proxy.absences = 0.05
        monkeypatch.setattr(retries, "LONGEST_WAIT", 0.05)
        with contextlib.suppress(SourceError, StoreError):  # which may happen, and never another result
            assert_same(dbf.factorize(source, store=s3.url("run.zarr"), **arguments), expected)
            assert_same(dbf.open(s3.url("run.zarr")), expected)
        assert proxy.counts["absences"] > 3


def test_a_chunk_that_is_never_found_again_is_an_error(s3, monkeypatch):
    source = as_source(written(s3, noisy_butterfly(128, "float32")))
    assert source.missing_chunks == 0
    travelled = pickle.loads(pickle.dumps(source))
    obstore.delete(source.array.store.store, "c/1/0")
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.01)
    for one in (source, travelled):
        with pytest.raises(SourceError, match="chunk c/1/0 was there and is not found now; restore it"):
            one.read_block(slice(0, 128), slice(0, 128))


def test_a_server_that_is_gone_is_named_and_the_run_goes_on_later(s3, matrix, expected, monkeypatch):
    z, run = written(s3, matrix), s3.url("run.zarr")
    memory = memory_for(16, z, tree=TREE)
    monkeypatch.setenv("DBUTTERFLY_STORAGE_TIMEOUT", "3")  # a busy machine takes its time to answer too
    monkeypatch.setattr(backlog, "IN_A_ROW", 1)  # each failure takes as long
    with FlakyProxy(s3.endpoint, seed=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        ended = []

        def die(job: Any, outputs: Any) -> None:
            write(job, outputs)
            ended.append(outputs[-1].name)
            if len(ended) == 5:
                proxy.die()

        write = thread_engine.write_outputs
        monkeypatch.setattr(thread_engine, "write_outputs", die)
        with pytest.raises((SourceError, StoreError)):
            dbf.factorize(z, tree=TREE, store=run, memory=memory, workers=1)
        monkeypatch.setattr(thread_engine, "write_outputs", write)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("DBUTTERFLY_STORAGE_TIMEOUT", s3.env["DBUTTERFLY_STORAGE_TIMEOUT"])
    fact = dbf.factorize(z, tree=TREE, store=run, memory=memory)
    assert fact.record["stages"]["tiles"]["resumed"] >= len(ended) >= 5
    assert_same(fact, expected)


HOLDING = """
import sys
from dbutterfly.storage.run_store import RunStore
lease = RunStore.open(sys.argv[1], mode="r+").lease()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_dead(s3, matrix, expected):
    z, run = written(s3, matrix), s3.url("run.zarr")
    with pytest.raises(StoreError, match="out of luck"):
        dbf.factorize(Unlucky(z), tree=TREE, store=run)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match=rf"process {holder.pid} "):
            dbf.factorize(z, tree=TREE, store=run)
        holder.kill()
        holder.wait()
    assert_same(dbf.factorize(z, tree=TREE, store=run), expected)


class Unlucky(ZarrSource):
    """A matrix that cannot be read."""

    def __init__(self, url: str) -> None:
        super().__init__(as_source(url).array)

    def read(self, *_: Any) -> Any:
        raise StoreError("out of luck")


def test_wrong_credentials_are_told_at_once(s3, matrix, monkeypatch):
    z = written(s3, matrix)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceError, match=r"z\.zarr") as caught:
        dbf.factorize(z, tree=TREE)
    assert SECRET not in str(caught.value)
    with pytest.raises(StoreError, match=r"run\.zarr"):
        dbf.factorize(matrix, tree=TREE, store=s3.url("run.zarr"))
