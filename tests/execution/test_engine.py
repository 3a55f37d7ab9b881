import asyncio
import os
import re
import signal
import threading
import time
from dataclasses import dataclass

import dask.array as da
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client, LocalCluster
from threadpoolctl import threadpool_info, threadpool_limits

import dbutterfly as dbf
from dbutterfly.errors import InputError, MissingChunksWarning, NonFiniteError, SourceError, TaskError
from dbutterfly.execution import dask_engine, task
from dbutterfly.execution.backlog import ATTEMPTS, IN_A_ROW
from dbutterfly.execution.choose import choose_engine
from dbutterfly.execution.dask_engine import DaskEngine
from dbutterfly.execution.dask_stage import IN_FLIGHT_PER_WORKER, DaskStage
from dbutterfly.execution.thread_engine import ThreadEngine
from dbutterfly.factorization import stages
from dbutterfly.factorization.tasks import halves
from dbutterfly.kernels.backend.blas import single_threaded_blas
from dbutterfly.planning.sizes import parse_memory
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import assert_same, least_memory, memory_for, noisy_butterfly, random_matrix
from tests.support.logged_sources import Counted, Failing, Signalling, blocks, is_asked_twice, is_sampled
from tests.support.patience import PATIENCE, wait_until

TREE = ((((0, 1), 2), 3), (4, (5, (6, 7))))


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(256)


def sources(matrix, directory):
    np.save(directory / "z.npy", matrix)
    dbf.matrices.write(matrix, directory / "z.zarr", chunks=(100, 70))
    in_memory = zarr.create_array(zarr.storage.MemoryStore(), data=matrix, chunks=(64, 32))
    return {
        "array": matrix,
        "transposed": np.asfortranarray(matrix),
        "memmap": np.load(directory / "z.npy", mmap_mode="r"),
        "view of a memmap": np.load(directory / "z.npy", mmap_mode="r")[:, :],
        ".npy": directory / "z.npy",
        "zarr": directory / "z.zarr",
        "zarr in memory": in_memory,
        "dask": da.from_array(matrix, chunks=(60, 90)),
        "entries": dbf.entries(Counted(matrix, os.devnull), matrix.shape, matrix.dtype),
        "known": dbf.entries(lambda rows, cols: matrix[np.ix_(rows, cols)], matrix.shape, matrix.dtype),
    }


@pytest.mark.slow
@pytest.mark.parametrize("tree", [TREE, "right"])
@pytest.mark.parametrize("orderings", [None, (None, "bitreversal"), "permuted"])
def test_every_source_gives_the_same_on_threads(matrix, tree, orderings, tmp_path):
    if orderings == "permuted":
        orderings = tuple(np.random.default_rng(0).permutation(256) for _ in range(2))
    expected = dbf.factorize(matrix, tree=tree, orderings=orderings, passes=2)
    for source in sources(matrix, tmp_path).values():
        assert_same(dbf.factorize(source, tree=tree, orderings=orderings, passes=2), expected)


@pytest.mark.slow
@pytest.mark.parametrize("names", [["array", "zarr", "dask"], ["transposed", ".npy", "zarr in memory", "entries"]])
def test_every_source_and_store_gives_the_same_on_a_cluster(matrix, names, store, client, tmp_path):
    expected = dbf.factorize(matrix, tree=TREE, passes=2)
    found = sources(matrix, tmp_path)
    for name in names:
        place = zarr.storage.MemoryStore() if isinstance(store, zarr.storage.MemoryStore) else store and store / name
        assert_same(dbf.factorize(found[name], tree=TREE, passes=2, client=client, store=place), expected)


@pytest.mark.slow
@pytest.mark.parametrize("tree", ["left", "right"])
@pytest.mark.parametrize("orderings", [None, (None, "bitreversal"), ("bitreversal", None)])
def test_threads_and_cluster_agree_for_every_layout(tree, orderings, client):
    matrix = noisy_butterfly(1024, "float32")
    expected = dbf.factorize(matrix, tree=tree, orderings=orderings)
    assert_same(dbf.factorize(matrix, tree=tree, orderings=orderings, client=client), expected)


@pytest.mark.slow
def test_many_tiles_on_a_cluster_do_not_mix(matrix, client):
    fact = dbf.factorize(matrix, tree=TREE, client=client, memory=memory_for(64, matrix, tree=TREE))
    assert fact.record["stages"]["tiles"]["tasks"] > 16
    assert_same(fact, dbf.factorize(matrix, tree=TREE))


@pytest.mark.slow
def test_runs_at_the_same_time_do_not_mix(matrix, client):
    others = [random_matrix((64, 64), seed=seed) for seed in range(4)]
    found = {}

    def run(index):
        found[index] = dbf.factorize(others[index], tree="left", client=client)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, other in enumerate(others):
        assert_same(found[index], dbf.factorize(other, tree="left"))


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("error", [ZeroDivisionError("no such entry"), MemoryError("too much")])
def test_a_failing_source_is_named(error, engine, tmp_path):
    matrix = noisy_butterfly(128)
    source = dbf.entries(Failing(matrix, str(tmp_path / "log"), error=error, row=9, col=40), matrix.shape, matrix.dtype)
    with pytest.raises(
        SourceError, match=rf"failed at rows 0\.\.\d+, cols .*{type(error).__name__}: {error}"
    ) as caught:
        dbf.factorize(source, **engine)
    assert isinstance(caught.value.__cause__, type(error))


class Unlucky(halves.LeftTask):
    """A task that fails for a reason of its own."""

    def compute(self, job, inputs):  # noqa: ARG002
        raise RuntimeError("out of luck")


def test_an_error_of_any_kind_names_the_task_and_its_cause(engine, monkeypatch):
    monkeypatch.setattr(stages, "LeftTask", Unlucky)
    with pytest.raises(
        TaskError, match=r"left factors of row groups \d+\.\.\d+ failed 3 times: RuntimeError: out of luck"
    ) as caught:
        dbf.factorize(noisy_butterfly(64), **engine)
    assert isinstance(caught.value.__cause__, RuntimeError)


def ended(store, stage):
    return ~np.isnan(RunStore.open(store, mode="r+").workspace.read_rows(f"done/{stage}")).any(axis=1)


@pytest.fixture
def trying(matrix, engine, tmp_path):
    """Factorize a source that fails at an entry, and then one that does not; how many tiles each has read."""

    def attempt(kind, **options):
        log = tmp_path / kind.__name__
        source = dbf.entries(kind(matrix, str(log), **options), matrix.shape, matrix.dtype)
        memory = memory_for(64, source, tree=TREE)
        try:
            fact = dbf.factorize(source, tree=TREE, memory=memory, store=tmp_path / "run", **engine)
        except Exception as error:
            fact = error
        return fact, len(blocks(log)) - 1  # one block is the sample by which the matrix is known

    return attempt


@pytest.mark.slow
def test_a_task_that_fails_each_time_is_reported_when_the_others_have_ended(trying, matrix, engine, tmp_path, caplog):
    error, read = trying(Failing, row=0, col=255)
    where = r" \(on worker tcp://[\d.:]+\)" if "client" in engine else ""
    assert isinstance(error, SourceError)
    assert re.fullmatch(
        r"tile \(row groups 0\.\.\d+, column groups \d+\.\.\d+\) failed 3 times: the entry function failed at rows "
        rf"0\.\..*no such entry.*{where} \(this task failed; the rest of the stage is kept\)",
        str(error),
    )
    assert sum("it will be tried again" in message for message in caplog.messages) == ATTEMPTS - 1
    done = ended(tmp_path / "run", "tiles")
    assert (done.size, done.sum(), read) == (64, 63, 63 + ATTEMPTS)
    fact, read = trying(Counted)
    assert read == 1
    assert fact.record["stages"]["tiles"]["resumed"] == 63
    assert_same(fact, dbf.factorize(matrix, tree=TREE))


@pytest.mark.slow
def test_of_several_failing_tasks_the_first_is_named_and_the_others_counted(trying, matrix, tmp_path):
    error, read = trying(Failing, row=200, col=10, more=((0, 255), (100, 100)))
    assert isinstance(error, SourceError)
    assert str(error).startswith("tile (row groups 0..")
    assert "(this task, and 2 others, failed; the rest of the stage is kept)" in str(error)
    assert (ended(tmp_path / "run", "tiles").sum(), read) == (61, 61 + 3 * ATTEMPTS)
    fact, read = trying(Counted)
    assert read == 3
    assert_same(fact, dbf.factorize(matrix, tree=TREE))


@pytest.mark.slow
def test_a_failure_that_passes_is_only_logged(trying, matrix, caplog):
    fact, read = trying(Failing, row=200, col=10, times=ATTEMPTS - 1)
    assert read == 64 + ATTEMPTS - 1
    assert sum("it will be tried again" in message for message in caplog.messages) == ATTEMPTS - 1
    assert_same(fact, dbf.factorize(matrix, tree=TREE))


@dataclass(frozen=True, eq=False)
class Broken(Failing):
    """Fails for every tile."""

    def __call__(self, rows, cols):
        block = Counted.__call__(self, rows, cols)
        if not self.is_sample(rows):
            raise self.error
        return block


def test_failures_in_a_row_end_a_stage(trying):
    error, read = trying(Broken)
    assert isinstance(error, SourceError)
    assert "no such entry" in str(error)
    assert IN_A_ROW * 2 < read <= IN_A_ROW * 2 + 1 + 2 * IN_FLIGHT_PER_WORKER


def test_what_no_task_would_escape_ends_a_stage_at_once(matrix, engine, tmp_path):
    bad = matrix.copy()
    bad[0, 0] = np.nan
    log = tmp_path / "log"
    source = dbf.entries(Counted(bad, str(log), 0.01), matrix.shape, matrix.dtype)
    with pytest.raises(NonFiniteError, match=r"^tile \(.*\) failed: .*NaN or an infinity at index \(0, 0\)"):
        dbf.factorize(source, tree=TREE, memory=memory_for(64, source, tree=TREE), store=tmp_path / "run", **engine)
    assert len(blocks(log)) - 1 < 32
    assert ended(tmp_path / "run", "tiles").sum() < len(blocks(log)) - 1


@pytest.mark.slow
def test_the_record_of_a_stage_tells_of_all_its_tasks(trying, matrix, engine, tmp_path):
    """Those of the run that was cut off, too."""
    trying(Failing, row=0, col=255)
    rows = RunStore.open(tmp_path / "run", mode="r+").workspace.read_rows("done/tiles")
    before = dict(zip(task.Record._fields, np.delete(rows, np.flatnonzero(np.isnan(rows[:, 0])), 0).T, strict=True))
    fact, _ = trying(Counted)
    assert list(fact.record["stages"]) == ["tiles", "left", "right"]
    for name, stage in fact.record["stages"].items():
        assert stage["tasks"] + stage["resumed"] == fact.record["plan"]["tasks"][name]
        assert stage["seconds"] > 0
        assert stage["bytes_read"] == (fact.record["plan"]["bytes_read"] if name == "tiles" else 0)
        assert 1 << 20 < stage["idle_bytes"] <= stage["peak_bytes"] < 1 << 34
        assert 0 <= stage["peak_beyond_idle"] <= stage["peak_bytes"]
    tiles = fact.record["stages"]["tiles"]
    assert before["bytes_read"].sum() == matrix.nbytes * 63 // 64
    for field in ("load_seconds", "compute_seconds"):
        assert tiles[field] > before[field].sum() > 0
    assert tiles["peak_bytes"] >= before["peak_bytes"].max()


def test_the_first_bad_tile_is_the_one_that_is_reported(engine):
    matrix = noisy_butterfly(64)
    matrix[0, 63] = matrix[40, 7] = np.nan
    with pytest.raises(NonFiniteError, match=r"index \((0, 63|40, 7)\)"):
        dbf.factorize(matrix, **engine)


@pytest.mark.slow
def test_no_more_tasks_are_in_flight_than_workers_take(tmp_path):
    matrix = noisy_butterfly(256)
    held, most, lock, both = 0, 0, threading.Lock(), threading.Event()

    def entries(rows, cols):
        nonlocal held, most
        if not (is_asked_twice(rows) or is_sampled(rows, 256)):
            with lock:
                held += 1
                most = max(most, held)
                if held == 2:
                    both.set()
            assert both.wait(PATIENCE)  # the first one for the second
            time.sleep(0.005)  # in which a third one would come
            with lock:
                held -= 1
        return matrix[np.ix_(rows, cols)]

    source = dbf.entries(entries, matrix.shape, matrix.dtype)
    dbf.factorize(source, workers=2, memory=least_memory(source, tree=TREE), tree=TREE)
    assert most == 2


@pytest.mark.slow
def test_a_cluster_is_sent_a_bounded_number_of_tasks(client, matrix, monkeypatch):
    most = 0
    submit = DaskStage._submit

    def counting(self, tasks):
        nonlocal most
        submit(self, tasks)
        most = max(most, sum(not future.done() for future in self._backlog.running))

    monkeypatch.setattr(DaskStage, "_submit", counting)
    memory = memory_for(64, matrix, tree=TREE)
    fact = dbf.factorize(matrix, tree=TREE, client=client, memory=memory)
    assert fact.record["stages"]["tiles"]["tasks"] > 16
    assert 2 <= most <= 8


# ---------------------------------------------------------------- BLAS


def blas_threads():
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_and_given_back():
    matrix = noisy_butterfly(64)
    seen = []

    def entries(rows, cols):
        if rows.size > 8:  # not before the run, to see whether this is reproducible
            seen.append(blas_threads())
        return matrix[np.ix_(rows, cols)]

    with threadpool_limits(limits=2):
        before = blas_threads()
        dbf.factorize(dbf.entries(entries, matrix.shape, matrix.dtype))
        assert blas_threads() == before
        with pytest.raises(NonFiniteError):
            dbf.factorize(matrix * np.nan)
        assert blas_threads() == before
    assert before
    assert set(before) == {2}
    assert all(set(counts) == {1} for counts in seen[1:])


def test_blas_is_held_until_the_last_run_has_ended():
    with threadpool_limits(limits=2):
        with single_threaded_blas():
            with single_threaded_blas():
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}


# ---------------------------------------------------------------- choosing


def test_threads_are_the_default():
    chosen = choose_engine(None)
    assert isinstance(chosen, ThreadEngine)
    assert chosen.workers == len(os.sched_getaffinity(0))


def test_a_client_is_a_cluster(client):
    chosen = choose_engine(client)
    assert isinstance(chosen, DaskEngine)
    assert chosen.workers == 2
    assert chosen.budget(None).memory < 2 << 30
    assert chosen.budget(123).memory == 123


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two"])
def test_workers_must_be_a_positive_number(workers):
    with pytest.raises(InputError, match=f"workers={workers!r} is not a positive number"):
        dbf.factorize(np.eye(4), workers=workers)


@pytest.mark.parametrize("client", ["tcp://127.0.0.1:8786", 3, object()])
def test_a_client_must_be_a_client(client):
    with pytest.raises(InputError, match=f"is a {type(client).__name__}; pass a distributed.Client"):
        dbf.factorize(np.eye(4), client=client)


def test_a_cluster_without_workers_is_refused(monkeypatch):
    monkeypatch.setattr(dask_engine, "SECONDS_FOR_WORKERS", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        pytest.raises(InputError, match="has no workers yet"),
    ):
        dbf.factorize(np.eye(4), client=client)


def test_an_asynchronous_client_is_refused(client):
    async def attempt():
        async with Client(client.scheduler.address, asynchronous=True) as other:
            with pytest.raises(InputError, match="asynchronous"):
                dbf.factorize(np.eye(4), client=other)

    asyncio.run(attempt())


@pytest.mark.parametrize(
    ("text", "count"), [("2 GiB", 2 << 30), ("1.5kB", 1500), (4096, 4096), (4e3, 4000), (None, None)]
)
def test_memory_is_a_number_or_a_text(text, count):
    assert parse_memory(text) == count


@pytest.mark.parametrize("memory", ["lots", "2 elephants", 0, -1, float("nan"), float("inf"), [], object()])
def test_memory_that_is_neither_is_refused(memory):
    with pytest.raises(InputError, match="is not a positive number of bytes"):
        dbf.factorize(np.eye(4), memory=memory)


# ---------------------------------------------------------------- losing workers


@pytest.fixture(scope="module")
def doomed():
    """A cluster of its own, whose workers may be killed."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit="2GiB"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "entries"])
@pytest.mark.parametrize("victim", [0, 1], ids=["first", "second"])
def test_a_killed_worker_costs_time_only(kind, victim, doomed, matrix, tmp_path, monkeypatch):
    pid = sorted(wait_until(lambda: processes(doomed, 2), what="two workers"))[victim]
    if kind == "array":
        source, write, written = matrix, dask_engine.write_outputs, []

        def write_and_kill(job, outputs):
            write(job, outputs)
            written.append(outputs)
            if len(written) == 6:
                os.kill(pid, signal.SIGKILL)

        monkeypatch.setattr(dask_engine, "write_outputs", write_and_kill)
    else:
        killing = Signalling(matrix, str(tmp_path / "log"), 0.02, pid=pid, signal=signal.SIGKILL, after=6)
        source = dbf.entries(killing, matrix.shape, matrix.dtype)
    fact = dbf.factorize(source, tree=TREE, client=doomed, memory=memory_for(32, source, tree=TREE))
    assert_same(fact, dbf.factorize(matrix, tree=TREE))
    assert not psutil.pid_exists(pid)
    wait_until(lambda: processes(doomed, 2), what="another worker in its place")


def processes(client, count):
    """Processes of so many workers, once they all answer."""
    found = [pid for pid in client.run(os.getpid, on_error="return").values() if isinstance(pid, int)]
    return found if len(found) == count and all(map(psutil.pid_exists, found)) else None


def test_workers_that_cannot_see_the_matrix_say_so(client, tmp_path):
    matrix = random_matrix((16, 16))
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(8, 8))
    array = zarr.open_array(tmp_path / "z.zarr", mode="r")
    (tmp_path / "z.zarr").rename(tmp_path / "elsewhere.zarr")
    with (
        pytest.warns(MissingChunksWarning, match="cannot be listed"),
        pytest.raises(SourceError, match="a worker cannot open the matrix or the store"),
    ):
        dbf.factorize(array, client=client)


@pytest.mark.slow
def test_a_relative_store_is_found_by_workers_elsewhere(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matrix = random_matrix((16, 16))
    fact = dbf.factorize(matrix, store="run.zarr", client=client)
    assert_same(fact, dbf.open("run.zarr"))
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree))
