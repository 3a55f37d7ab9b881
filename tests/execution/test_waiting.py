"""Calls inside of tasks of a Dask cluster: they leave their thread to the tasks that they wait for."""

import dask.array as da
import pytest
from distributed import Client, LocalCluster, get_client, wait, worker_client

import dbutterfly as dbf
from dbutterfly.execution.choose import choose_engine
from dbutterfly.execution.waiting import leave_thread_for
from tests.support.comparisons import noisy_butterfly
from tests.support.patience import PATIENCE

MATRIX = noisy_butterfly(64)


@pytest.fixture(scope="module")
def one_thread():
    """Client of one worker with one thread."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def bound():
    return dbf.factorize(MATRIX).certificate.error_bound


def factorize(_=None):
    return dbf.factorize(MATRIX, client=get_client()).certificate.error_bound


def factorize_out_of_the_pool(_=None):
    with worker_client() as client:
        return dbf.factorize(MATRIX, client=client).certificate.error_bound


@pytest.mark.parametrize("call", [factorize, factorize_out_of_the_pool])
def test_a_call_in_a_task_that_takes_the_only_thread_ends(call, one_thread, bound):
    assert one_thread.submit(call, pure=False).result(timeout=PATIENCE) == bound


@pytest.mark.slow
def test_calls_in_as_many_tasks_as_there_are_threads_end(client, bound):
    futures = client.map(factorize, range(6), pure=False)
    assert client.gather(futures) == [bound] * 6


def test_a_task_waits_for_a_thread_again_after_its_call(one_thread):
    def leave():
        with leave_thread_for(get_client()), leave_thread_for(get_client()):
            return get_client().submit(str, "reached", pure=False).result(timeout=PATIENCE)

    assert one_thread.gather(one_thread.map(lambda _: leave(), range(3), pure=False)) == ["reached"] * 3
    assert one_thread.submit(leave, pure=False).result(timeout=PATIENCE) == "reached"


@pytest.mark.parametrize("threads", [True, False])
def test_a_persisted_array_is_read_in_a_task_that_takes_the_only_thread(threads, one_thread, bound):
    x = one_thread.persist(da.from_array(MATRIX, chunks=16))
    wait(x)

    def call():
        where = {"workers": 2} if threads else {"client": get_client()}
        return dbf.factorize(x, **where).certificate.error_bound

    assert one_thread.submit(call, pure=False).result(timeout=PATIENCE) == bound


def total(source, row):
    return float(source[row].sum())


def test_calls_and_a_verification_in_a_task_end(one_thread):
    def call():
        with choose_engine(get_client()).calls(MATRIX, "sums") as calls:
            sums = list(calls.in_order(total, range(8)))
        fact = dbf.factorize(MATRIX)
        return sums, float(dbf.verify(fact, MATRIX, client=get_client()))

    sums, error = one_thread.submit(call, pure=False).result(timeout=PATIENCE)
    assert sums == [row.sum() for row in MATRIX[:8]]
    assert error == pytest.approx(float(dbf.verify(dbf.factorize(MATRIX), MATRIX)))
