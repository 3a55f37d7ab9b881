"""Runs on a real cluster that is hurt in every way: nothing that was finished is lost, and the result is the same."""

import os
import re
import signal

import pytest
import zarr
from tornado.iostream import IOStream

import dbutterfly as dbf
from dbutterfly.errors import SourceError, TaskError
from dbutterfly.execution import dask_client, dask_engine
from tests.support.comparisons import assert_same, memory_for, noisy_butterfly, random_matrix
from tests.support.dask_processes import Cluster, InBackground, make_hasty
from tests.support.disturbed_runs import Poisonous, Trial, finished, hold_on_workers, read, read_in_vain, readers
from tests.support.logged_sources import held
from tests.support.patience import PATIENCE, wait_until
from tests.support.run_processes import attempt

pytestmark = pytest.mark.slow

TILES = 64
MIDDLE = TILES // 4
"""Tiles that have ended when a run is held."""


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """A cluster for the faults from which a cluster recovers, and a client of it."""
    with Cluster(tmp_path_factory.mktemp("cluster"), memory="600MiB") as cluster, cluster.client() as client:
        yield cluster, client


@pytest.fixture
def cluster(lasting):
    """Two workers with a nanny each."""
    cluster, client = lasting
    cluster.restore(client)
    return cluster


@pytest.fixture
def client(lasting, cluster):
    return lasting[1]


@pytest.fixture
def doomed(tmp_path):
    """A cluster whose scheduler may be killed."""
    with Cluster(tmp_path / "cluster", nanny=False) as cluster:
        yield cluster


class Running(InBackground):
    """A run in the background."""

    def __init__(self, source, **arguments):
        super().__init__(lambda: dbf.factorize(source, **arguments))


def until_held(run, gate, workers=2):
    """Wait until so many workers are held at the gate, in the middle of the run."""
    wait_until(lambda: len(held(gate)) >= workers, what=f"{workers} workers are held")
    assert 0 < len(finished(run)) < TILES


def check(trial, fact, run):
    """The result is the one of an undisturbed run, it is stored, and nothing was read that was there."""
    assert_same(fact, trial.expected)
    assert_same(dbf.open(run), trial.expected)
    assert read_in_vain(run) == []


# ---------------------------------------------------------------- workers


@pytest.mark.parametrize("nanny", [True, False], ids=["with nanny", "without"])
@pytest.mark.parametrize("kind", ["zarr", "watched"])
def test_a_killed_worker_costs_time_only(kind, nanny, trial, cluster, client, gate, tmp_path):
    run, source = tmp_path / "run", trial.place
    if kind == "watched":
        source = trial.watched(run, gate=str(gate), after=8)
    else:
        hold_on_workers(client, run, gate, 8)
    running = Running(source, store=run, client=client, **trial.arguments(TILES, kind))
    until_held(run, gate)
    (cluster.kill_under_nanny if nanny else cluster.kill_worker)(cluster.here[0])
    gate.unlink()
    check(trial, running.result(), run)
    if kind == "watched":
        assert set(read(run)) == set(range(TILES))
        assert len(read(run)) <= TILES + 4  # of a worker are lost the tile that it computes, and the one it reads


def test_a_worker_that_joins_gets_work(trial, cluster, client, gate, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_client, "SECONDS_BETWEEN_LOOKS", 0.2)
    cluster.restore(client, 1)
    run = tmp_path / "run"
    seen, look = [], dask_client.ClusterWatch.look
    monkeypatch.setattr(dask_client.ClusterWatch, "look", lambda self: seen.append(look(self)) or seen[-1])
    source = trial.watched(run, gate=str(gate), after=MIDDLE)
    running = Running(source, store=run, client=client, **trial.arguments())
    until_held(run, gate, workers=1)
    assert set(seen) <= {1}
    [newcomer] = cluster.add_workers()
    until_held(run, gate, workers=2)
    gate.unlink()
    check(trial, running.result(), run)
    assert seen[-1] == 2
    assert readers(run) == {cluster.worker_pid(worker) for worker in cluster.here}
    assert newcomer in cluster.here


def test_a_stopped_worker_is_replaced_and_may_wake_up(trial, gate, tmp_path):
    run = tmp_path / "run"
    environment = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s"}  # a busy machine may hold up the others' heartbeats
    with Cluster(tmp_path / "cluster", environment=environment) as cluster, cluster.client() as client:
        source = trial.watched(run, gate=str(gate), after=MIDDLE)
        running = Running(source, store=run, client=client, **trial.arguments())
        until_held(run, gate)
        stopped = cluster.here[0]
        cluster.stop_worker(stopped)
        wait_until(lambda: len(client.nthreads()) == 1, what="the scheduler misses the worker")
        cluster.continue_worker(stopped)
        gate.unlink()
        check(trial, running.result(), run)


def test_a_run_outlives_all_its_workers(trial, cluster, client, gate, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(dask_client, "SECONDS_BETWEEN_LOOKS", 0.2)
    run = tmp_path / "run"
    source = trial.watched(run, gate=str(gate), after=MIDDLE)
    running = Running(source, store=run, client=client, **trial.arguments())
    until_held(run, gate)
    cluster.kill_workers()
    wait_until(lambda: "waiting for one" in caplog.text, what="it is said that no worker is there")
    gate.unlink()
    cluster.add_workers(2)
    check(trial, running.result(), run)


def test_workers_that_never_come_back_end_a_run(trial, cluster, client, gate, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "SECONDS_WITHOUT_WORKERS", 2.0)
    monkeypatch.setattr(dask_client, "SECONDS_BETWEEN_LOOKS", 0.2)
    run = tmp_path / "run"
    source = trial.watched(run, gate=str(gate), after=MIDDLE)
    running = Running(source, store=run, client=client, **trial.arguments())
    until_held(run, gate)
    cluster.kill_workers()
    with pytest.raises(
        TaskError, match=r"tile \(.*\) was not finished: there has been no worker for \d+ s; .*the same"
    ):
        running.result()
    before = finished(run)
    cluster.restore(client)
    fact = dbf.factorize(trial.watched(run), store=run, client=client, **trial.arguments())
    assert fact.record["stages"]["tiles"]["resumed"] == len(before)
    check(trial, fact, run)


# ---------------------------------------------------------------- tasks that cannot be done


def test_a_tile_beyond_the_memory_of_a_worker_is_named(trial, cluster, client, tmp_path):
    run, does, poison = tmp_path / "run", tmp_path / "does", 20
    does.write_text("hoard")
    source = trial.watched(run, Poisonous, poison=poison, does=str(does))
    tile = trial.plan().tiles[poison]
    name = re.escape(f"tile (row groups {tile.r0}..{tile.r1 - 1}, column groups {tile.c0}..{tile.c1 - 1})")
    with pytest.raises(
        TaskError,
        match=rf"^{name} failed: .* workers .*died, the last one tcp://127.0.0.1:\d+, .*memory=.*continues it",
    ):
        dbf.factorize(source, store=run, client=client, **trial.arguments())
    assert finished(run) == set(range(TILES)) - {poison}
    does.write_text("")
    wait_until(client.nthreads, what="a worker is back")
    fact = dbf.factorize(source, store=run, client=client, **trial.arguments())
    assert fact.record["stages"]["tiles"]["tasks"] == 1
    check(trial, fact, run)


def test_a_tile_that_always_fails_is_named_and_the_rest_is_kept(trial, cluster, client, tmp_path):
    run, does, poison = tmp_path / "run", tmp_path / "does", 20
    does.write_text("raise")
    source = trial.watched(run, Poisonous, poison=poison, does=str(does))
    with pytest.raises(
        SourceError,
        match=r"^tile .* failed 3 times: .*ZeroDivisionError: no such entry.*\(on worker tcp://127.0.0.1:\d+\)",
    ):
        dbf.factorize(source, store=run, client=client, **trial.arguments())
    assert finished(run) == set(range(TILES)) - {poison}
    assert read(run).count(poison) == 3
    does.write_text("")
    check(trial, dbf.factorize(source, store=run, client=client, **trial.arguments()), run)
    assert len(read(run)) == TILES + 3
    wait_until(lambda: not client.run_on_scheduler(all_tasks), what="the scheduler holds nothing any more")


# ---------------------------------------------------------------- the scheduler


def test_a_restarted_scheduler_is_found_again(trial, doomed, gate, tmp_path):
    """The client tries to reach it for as long as its connection may take, and sends all again."""
    run = tmp_path / "run"
    with doomed.client() as client:
        source = trial.watched(run, gate=str(gate), after=MIDDLE)
        running = Running(source, store=run, client=client, **trial.arguments())
        until_held(run, gate)
        doomed.kill_scheduler()
        doomed.kill_workers()  # they would end by themselves, in their time
        gate.unlink()
        doomed.start_scheduler()
        doomed.add_workers(2)
        check(trial, running.result(), run)


@pytest.mark.parametrize("kind", ["watched", "array"])
def test_a_lost_scheduler_ends_a_run_that_can_be_continued(kind, trial, doomed, gate, tmp_path):
    run = tmp_path / "run"
    source = trial.watched(run) if kind == "watched" else noisy_butterfly((trial.side, trial.side))
    arguments = trial.arguments(TILES if kind == "watched" else 8 * TILES)  # of an array, that many give TILES too
    with make_hasty(doomed.client()) as client:
        hold_on_workers(client, run, gate, MIDDLE)
        running = Running(source, store=run, client=client, **arguments)
        until_held(run, gate)
        doomed.kill_all()
        with pytest.raises(TaskError, match=r"was not finished: the scheduler is gone; .*the same call continues it"):
            running.result()
    doomed.start_scheduler()
    doomed.add_workers(2)
    before = finished(run)
    with doomed.client() as client:
        fact = dbf.factorize(source, store=run, client=client, **arguments)
    assert fact.record["stages"]["tiles"]["resumed"] == len(before)
    check(trial, fact, run)


# ---------------------------------------------------------------- the client


def test_a_killed_client_is_followed_by_another(trial, cluster, client, gate, tmp_path):
    run = tmp_path / "run"
    first = attempt(trial, run, cluster.address, gate=str(gate), after=MIDDLE)
    try:
        until_held(run, gate)
        first.kill()
        before = finished(run)
        gate.unlink()
        second = attempt(trial, run, cluster.address)
        assert second.popen.wait(PATIENCE) == 0, second.said()
        assert "waiting to see whether" not in second.said()  # the process that held the lease is known to be dead
    finally:
        first.kill()
    fact = dbf.open(run)
    assert len(before) <= fact.record["stages"]["tiles"]["resumed"] < TILES
    check(trial, fact, run)


def test_what_a_client_has_not_heard_of_is_not_done_again(trial, cluster, client, gate, tmp_path):
    """While the client is held, tiles end that it does not fetch; the workers die, and all is sent to others again."""
    run = tmp_path / "run"
    process = attempt(trial, run, cluster.address, gate=str(gate), after=8)
    try:
        until_held(run, gate)
        os.kill(process.pid, signal.SIGSTOP)
        gate.unlink()
        wait_until(lambda: not client.run_on_scheduler(unfinished), what="the tasks in flight have ended")
        before = finished(run)
        for worker in cluster.here:
            cluster.kill_under_nanny(worker)
        wait_until(lambda: client.run_on_scheduler(unfinished), what="their results are missed")
        os.kill(process.pid, signal.SIGCONT)
        assert process.popen.wait(PATIENCE) == 0, process.said()
    finally:
        process.kill()
    assert len(before) < TILES
    check(trial, dbf.open(run), run)
    assert len(read(run)) == TILES


def unfinished(dask_scheduler):
    return [key for key, task in dask_scheduler.tasks.items() if task.state not in ("memory", "erred")]


def all_tasks(dask_scheduler):
    return list(dask_scheduler.tasks)


def test_everything_may_be_killed_at_once(trial, gate, tmp_path):
    run = tmp_path / "run"
    with Cluster(tmp_path / "first") as first:
        process = attempt(trial, run, first.address, gate=str(gate), after=MIDDLE)
        until_held(run, gate)
        process.kill()
    gate.unlink()
    before = finished(run)
    with Cluster(tmp_path / "second") as second, second.client() as client:
        fact = dbf.factorize(trial.watched(run), store=run, client=client, **trial.arguments())
    assert len(before) <= fact.record["stages"]["tiles"]["resumed"] < TILES
    check(trial, fact, run)


# ---------------------------------------------------------------- what goes through the scheduler


def test_the_matrix_does_not_go_through_the_scheduler(cluster, client, tmp_path):
    matrix = random_matrix((2048, 2048))
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(256, 256))
    place = zarr.open_array(tmp_path / "z.zarr", mode="r")
    before = client.run_on_scheduler(bytes_moved)
    fact = dbf.factorize(place, store=tmp_path / "run", client=client, memory=memory_for(64, place))
    assert client.run_on_scheduler(bytes_moved) - before < matrix.nbytes / 8
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree))


def bytes_moved():
    """Bytes that this process has sent and received, from the first call on."""
    if not hasattr(IOStream, "moved"):
        IOStream.moved = 0
        IOStream.read_from_fd, IOStream.write_to_fd = map(counting, (IOStream.read_from_fd, IOStream.write_to_fd))
    return IOStream.moved


def counting(method):
    def counted(self, data):
        count = method(self, data)
        IOStream.moved += count or 0
        return count

    return counted
