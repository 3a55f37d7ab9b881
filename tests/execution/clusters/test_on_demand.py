"""Clusters that are started for a call: on processes of this machine, and on schedulers that run."""

import os

import dask.config
import psutil
import pytest

import dbutterfly as dbf
from dbutterfly.errors import ClusterError, InputError, MemoryBudgetError, StoreMismatchError
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters.kind import GPU_OF_TASK
from tests.support.comparisons import assert_same, noisy_butterfly
from tests.support.dask_processes import Cluster

pytestmark = pytest.mark.slow

ORDERINGS = (None, "bitreversal")


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(128)


def profiled():
    return dask.config.get("distributed.worker.profile.enabled")


def listening():
    """Places at which this process and its children listen."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {at.laddr for one in processes for at in one.net_connections() if at.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("tls", [None, "temporary"])
def test_one_cluster_for_several_calls(matrix, tls, tmp_path):
    expected, before = dbf.factorize(matrix), listening()
    with clusters.opened("local", workers=2, tls=tls, memory="1 GiB") as cluster:
        planned = dbf.plan(matrix, cluster=cluster)
        assert (planned.budget.memory, planned.budget.workers) == (int(0.55 * 2**30), 2)
        assert not cluster.is_started
        found = dbf.factorize(matrix, cluster=cluster)
        assert cluster.is_started
        client = cluster.client()
        assert dbf.verify(found, matrix, cluster=cluster) == dbf.verify(found, matrix)
        assert cluster.client() is client
        assert len(client.scheduler_info()["workers"]) == 2
        assert {at.ip for at in listening() - before} == {"127.0.0.1"}
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        variables = client.run(lambda: [os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")])
        assert list(variables.values()) == [["1"] * 3] * 2
        assert set(client.run(profiled).values()) == {False}
        assert dbf.identify(noisy_butterfly(16), cluster=cluster, seed=1).rows is not None
    assert client.status == "closed"
    assert_same(found, expected)


def test_workers_are_profiled_where_somebody_wants_it():
    before = profiled()
    with clusters.opened("local", workers=1, profile=True) as cluster:
        assert list(cluster.client().run(profiled).values()) == [True]
    assert profiled() is before


def test_a_call_closes_its_cluster(matrix, tmp_path):
    children = psutil.Process().children(recursive=True)
    found = dbf.factorize(matrix, cluster="local", store=tmp_path / "run.zarr", workers=1)
    assert found.record["engine"] == "ClusterEngine"
    left = [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]
    assert set(left) <= set(children)


def test_nothing_is_started_for_what_is_done_or_refused(matrix, tmp_path):
    kind = clusters.choose("local", workers=1, memory="1 GiB")
    dbf.factorize(matrix, store=tmp_path / "run.zarr")
    with clusters.opened(kind) as cluster:
        assert dbf.factorize(matrix, store=tmp_path / "run.zarr", cluster=cluster).certificate.exact is not None
        with pytest.raises(MemoryBudgetError):
            dbf.factorize(matrix, memory=1000, cluster=cluster)
        with pytest.raises(StoreMismatchError):
            dbf.factorize(matrix + 1, store=tmp_path / "run.zarr", cluster=cluster)
        with pytest.raises(
            InputError, match=r"memory=2147483648 is more than the 1073741824 bytes of a worker's limit"
        ):
            dbf.factorize(matrix, memory="2 GiB", cluster=cluster)
        assert not cluster.is_started


def never(*keywords):
    raise AssertionError("a cluster is started")


def test_a_plan_starts_nothing(matrix, monkeypatch):
    monkeypatch.setattr(clusters.Local, "started", never)
    planned = dbf.plan(matrix, cluster="local", workers=1)
    assert planned.budget == dbf.plan(matrix, cluster=clusters.choose("local", workers=1)).budget
    assert planned.budget.workers == 1


def test_processes_of_this_machine_are_what_is_expected(matrix):
    with clusters.opened("local", workers=1) as cluster:
        planned = dbf.plan(matrix, cluster=cluster)
        assert not cluster.is_started
        (info,) = cluster.client().scheduler_info()["workers"].values()
        assert cluster.kind.expected() == (1, info["nthreads"], info["memory_limit"])
        assert planned.budget == dbf.plan(matrix, client=cluster.client()).budget


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 4, "threads": 64}, "workers=4 with threads=64 each are more than the .* cores"),
        ({"workers": 1, "memory": "1000 TiB"}, "each need more than the .* bytes of this machine"),
    ],
)
def test_more_than_the_machine_has(matrix, options, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(matrix, cluster=clusters.choose("local", **options))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), workers=1, memory="1GiB") as cluster, cluster.client():
        yield cluster


def test_a_scheduler_that_runs_goes_on(matrix, running):
    for _ in range(2):
        found = dbf.factorize(matrix, cluster=running.address)
    assert_same(found, dbf.factorize(matrix))


def test_a_gpu_that_no_worker_has(matrix, running):
    kind = clusters.choose(running.address, gpu=True)
    with pytest.raises(
        InputError, match="tasks need the resource GPU, and none of the 1 workers has it; start workers"
    ):
        dbf.factorize(matrix, cluster=kind)


def test_tasks_go_to_workers_with_a_gpu(matrix, running, tmp_path):
    with running.client() as client:
        plain = set(client.scheduler_info()["workers"])
        process = running._start(
            "worker", running.address, "--host", "127.0.0.1", "--nthreads", 2, "--resources", "GPU=1", "--no-dashboard"
        )
        running.here.append(process)
        client.wait_for_workers(2)
        before = client.run(lambda dask_worker: str(dask_worker.state.log).count("tiles-"))
        dbf.factorize(matrix, cluster=clusters.choose(running.address, gpu=True), memory="64MiB")
        after = client.run(lambda dask_worker: str(dask_worker.state.log).count("tiles-"))
        assert {address for address in after if after[address] > before[address]} == set(after) - plain
        running.kill_worker(process)


def test_a_task_holds_so_little_that_threads_decide():
    assert 1 / GPU_OF_TASK["GPU"] >= 1024
    assert sum([GPU_OF_TASK["GPU"]] * 1024) == 1.0  # no rounding


def test_no_scheduler(matrix):
    with pytest.raises(InputError, match="no Dask scheduler can be reached at 'nowhere://1'"):
        dbf.factorize(matrix, cluster="nowhere://1")


def test_a_scheduler_without_workers(matrix, tmp_path):
    with (
        Cluster(tmp_path, workers=0) as empty,
        pytest.raises(ClusterError, match=r"has had no worker for 0.5 s \(option wait\); start some with: dask worker"),
    ):
        dbf.factorize(matrix, cluster=clusters.choose(empty.address, wait=0.5))
