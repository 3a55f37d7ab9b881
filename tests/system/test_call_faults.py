"""Searches for orderings on a real cluster that is hurt while calls run: the result is that of an undisturbed search.

The entry function holds the workers at a gate, so that a kill hits calls that run, after others have ended.
"""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import TaskError
from dbutterfly.execution import dask_client, dask_engine
from dbutterfly.execution.choose import choose_engine
from tests.support.dask_processes import Cluster, InBackground, make_hasty
from tests.support.logged_sources import Gated, hold_and_say
from tests.support.logged_sources import held as held_at
from tests.support.patience import wait_until

pytestmark = pytest.mark.slow

SIDE = 512
"""Large enough to be read panel by panel: by the workers."""

MEMORY = "6 MiB"
"""Memory of a worker, so small that the matrix is read in several panels."""

BLOCKS_BEFORE = 10
"""Blocks of entries that workers have read when they are held: the search is in its middle."""


@pytest.fixture(scope="module")
def matrix():
    return np.asarray(dbf.matrices.noisy(dbf.matrices.shuffled(dbf.matrices.hadamard(SIDE), seed=1), 0.1, seed=2))


@pytest.fixture(scope="module")
def expected(matrix, tmp_path_factory):
    return search(matrix, tmp_path_factory.mktemp("undisturbed"), workers=2)


def search(matrix, directory, **where):
    entries = Gated(matrix, str(directory / "log"), gate=str(directory / "gate"), after=BLOCKS_BEFORE)
    return dbf.identify(dbf.entries(entries, matrix.shape, matrix.dtype), memory=MEMORY, **where)


@pytest.fixture
def cluster(tmp_path):
    """Two workers, that nobody starts again; a cluster of which all may be killed."""
    with Cluster(tmp_path / "cluster", nanny=False) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        yield client


def check(found, expected):
    """Orderings and residuals are equal to the bit."""
    for name in ("rows", "cols", "residuals", "floors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    assert (found.found, found.confidence, found.attempts) == (expected.found, expected.confidence, expected.attempts)


def held(cluster, gate, count):
    """Wait until so many workers are held in calls that run; these workers."""
    return wait_until(
        lambda: len(found := [w for w in cluster.here if cluster.worker_pid(w) in held_at(gate)]) >= count and found,
        what=f"{count} workers are held",
    )


def test_the_search_goes_on_when_a_worker_is_killed(matrix, expected, cluster, client, gate, tmp_path):
    running = InBackground(lambda: search(matrix, tmp_path, client=client))
    cluster.kill_worker(held(cluster, gate, 2)[0])
    wait_until(lambda: len(client.nthreads()) == 1, what="the worker is missed")
    gate.unlink()
    check(running.result(), expected)


def test_the_search_outlives_all_workers(matrix, expected, cluster, client, gate, tmp_path, monkeypatch, caplog):
    """The matrix, and what calls share, is lost with the workers, and sent to the new ones."""
    monkeypatch.setattr(dask_client, "SECONDS_BETWEEN_LOOKS", 0.2)
    running = InBackground(lambda: search(matrix, tmp_path, client=client))
    held(cluster, gate, 2)
    cluster.kill_workers()
    wait_until(lambda: "waiting for one" in caplog.text, what="it is said that no worker is there")
    gate.unlink()
    cluster.add_workers(2)
    check(running.result(), expected)


def test_a_worker_that_joins_takes_over_when_the_others_are_killed(matrix, expected, cluster, client, gate, tmp_path):
    running = InBackground(lambda: search(matrix, tmp_path, client=client))
    first = held(cluster, gate, 2)
    cluster.add_workers(1)
    wait_until(lambda: len(client.nthreads()) == 3, what="the new worker is there")
    for worker in first:
        cluster.kill_worker(worker)
    wait_until(lambda: len(client.nthreads()) == 1, what="the workers are missed")
    gate.unlink()
    check(running.result(), expected)


def test_a_lost_scheduler_ends_the_search(matrix, cluster, gate, tmp_path):
    with make_hasty(cluster.client()) as client:
        running = InBackground(lambda: search(matrix, tmp_path, client=client))
        held(cluster, gate, 2)
        cluster.kill_all()
        with pytest.raises(
            TaskError,
            match=r"^the search for orderings \(\w+ \d+\) was not finished: the scheduler is gone; connect a new client"
            ": nothing of it is kept: make the same call again$",
        ):
            running.result()


def test_workers_that_never_come_back_end_the_search(matrix, cluster, client, gate, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_client, "SECONDS_BETWEEN_LOOKS", 0.2)
    monkeypatch.setattr(dask_engine, "SECONDS_WITHOUT_WORKERS", 1.0)
    running = InBackground(lambda: search(matrix, tmp_path, client=client))
    held(cluster, gate, 2)
    cluster.kill_workers()
    with pytest.raises(TaskError, match=r"^the search .* was not finished: there has been no worker for \d+ s; no"):
        running.result()


# ---------------------------------------------------------------- calls of an array in memory


def held_sum(matrix, number, shared, gate_text):
    """A call that is held at a gate, unless it is one of the first two."""
    if number >= 2:
        hold_and_say(bytes(gate_text).decode())
    return number, float(matrix[number].sum()), float(shared[number])


def test_an_array_that_is_lost_with_its_holders_is_sent_again(cluster, client, gate):
    matrix = np.arange(4096.0).reshape(8, 512)
    text = np.frombuffer(str(gate).encode(), np.uint8)
    expected = [(number, matrix[number].sum(), matrix[number, 1]) for number in range(8)]
    with choose_engine(client).calls(matrix, "sums") as calls:

        def in_order():
            return list(calls.in_order(held_sum, range(8), np.ascontiguousarray(matrix[:, 1]), text))

        running = InBackground(in_order)
        held(cluster, gate, 2)
        cluster.add_workers(2)
        wait_until(lambda: len(client.nthreads()) == 4, what="the new workers are there")
        for worker in cluster.here[:2]:
            cluster.kill_worker(worker)
        gate.unlink()
        assert running.result() == expected
        assert in_order() == expected
