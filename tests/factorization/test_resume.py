"""Runs that are cut off, in every way that can be arranged, and continued."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import SourceError, StoreBusyError, StoreError, StoreMismatchError
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, memory_for, noisy_butterfly, random_matrix, snapshot
from tests.support.logged_sources import Counted, Failing, Signalling, blocks, held
from tests.support.patience import PATIENCE, wait_until

TREE = (((0, 1), (2, 3)), (4, (5, (6, 7))))


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(256)


@pytest.fixture(scope="module")
def expected(matrix):
    return {passes: dbf.factorize(matrix, tree=TREE, passes=passes) for passes in (1, 2)}


def entries(kind, matrix, *arguments, **options):
    return dbf.entries(kind(matrix, *map(str, arguments), **options), matrix.shape, matrix.dtype)


@pytest.fixture(scope="module")
def many_tiles(matrix):
    return {"tree": TREE, "memory": memory_for(64, entries(Counted, matrix, os.devnull), tree=TREE)}


def flags(store, stage):
    """Which tasks have ended."""
    return ~np.isnan(RunStore.open(store, mode="r+").workspace.read_rows(f"done/{stage}")).any(axis=1)


def resumed(matrix, store, log, **arguments):
    """Continue a run; also the number of tiles that were read."""
    fact = dbf.factorize(entries(Counted, matrix, log), store=store, **arguments)
    return fact, len(blocks(log)) - 1  # one block is the sample by which the matrix is known


RUNNING = ("ready", "executing", "long-running", "cancelled", "resumed")


def until_idle(client=None, workers=None):
    """Wait for the tasks that workers had begun: they run to their end."""
    if client is None:
        return
    # A task takes the same way as those before it: when it has ended, its worker knows of all of them.
    client.gather([client.submit(int, workers=[worker], pure=False) for worker in client.nthreads()])
    wait_until(lambda: not any(client.run(is_busy).values()), what="no worker has a task")


def is_busy(dask_worker):
    return any(
        ts.state in RUNNING and str(ts.key).startswith(("copy-", "tiles-", "left-", "project-", "right-"))
        for ts in dask_worker.state.tasks.values()
    )


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
def test_ctrl_c_keeps_what_is_finished(matrix, expected, many_tiles, passes, engine, tmp_path):
    store, log = tmp_path / "run", tmp_path / "log"
    arguments = many_tiles | {"passes": passes} | engine
    slow = Signalling(matrix, str(log), 0.01, pid=os.getpid(), signal=signal.SIGINT, after=10)
    with pytest.raises(KeyboardInterrupt):
        dbf.factorize(dbf.entries(slow, matrix.shape, matrix.dtype), store=store, **arguments)
    until_idle(**engine)
    begun, done = len(blocks(log)) - 1, int(flags(store, "tiles").sum())
    tiles = flags(store, "tiles").size
    assert 0 < done <= begun < tiles
    if "client" not in engine:
        assert done == begun
    fact, read = resumed(matrix, store, tmp_path / "again", **arguments)
    assert read == passes * tiles - done
    assert fact.record["stages"]["tiles"]["resumed"] == done
    assert_same(fact, expected[passes])


@pytest.mark.slow
def test_an_interrupted_second_read_does_not_repeat_the_first(matrix, expected, many_tiles, engine, tmp_path):
    store, log = tmp_path / "run", tmp_path / "log"
    arguments = many_tiles | {"passes": 2} | engine
    tiles = dbf.plan(entries(Counted, matrix, log), **many_tiles).tasks["tiles"]
    slow = Signalling(matrix, str(log), 0.01, pid=os.getpid(), signal=signal.SIGINT, after=tiles + 8)
    with pytest.raises(KeyboardInterrupt):
        dbf.factorize(dbf.entries(slow, matrix.shape, matrix.dtype), store=store, **arguments)
    until_idle(**engine)
    assert flags(store, "tiles").all()
    assert flags(store, "left").all()
    done = int(flags(store, "project").sum())
    assert 0 < done < tiles
    fact, read = resumed(matrix, store, tmp_path / "again", **arguments)
    assert read == tiles - done
    assert_same(fact, expected[2])


KILLED = """
import signal
import numpy as np
import dbutterfly as dbf
from tests.support.logged_sources import Counted, Gated, Signalling
array = np.load("matrix.npy")
source = dbf.entries({source}, array.shape, array.dtype)
dbf.factorize(source, tree={tree!r}, memory={memory}, passes={passes}, store="run", workers=2)
"""


def run_elsewhere(source, directory, matrix, passes=1, **arguments):
    """The same run in a process that may be killed; how it ended, once it has."""
    np.save(directory / "matrix.npy", matrix)
    return subprocess.Popen(
        [sys.executable, "-c", KILLED.format(source=source, passes=passes, **arguments)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_repeats_nothing_that_had_ended(matrix, expected, many_tiles, tmp_path):
    store, ended, begun = tmp_path / "run", np.zeros(64, bool), 0
    for kill, after in enumerate((5, 12, 3)):
        source = f"Signalling(array, 'log{kill}', 0.02, signal=signal.SIGKILL, after={after})"
        with run_elsewhere(source, tmp_path, matrix, **many_tiles) as killed:
            _, told = killed.communicate(timeout=PATIENCE)
        assert killed.returncode == -signal.SIGKILL, told
        read, now = len(blocks(tmp_path / f"log{kill}")) - 1, flags(store, "tiles")
        assert (now | ~ended).all()
        assert now.sum() - ended.sum() <= read
        ended, begun = now, begun + read
    assert begun - 3 * 5 <= ended.sum() < 64  # lost is no more than what two workers had in hand, and the next tasks
    assert ended.any()
    fact, read = resumed(matrix, store, tmp_path / "again", **many_tiles)
    assert read == 64 - ended.sum()
    assert fact.record["stages"]["tiles"]["resumed"] == ended.sum()
    assert_same(fact, expected[1])
    assert_same(dbf.open(store), fact)


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
def test_a_run_that_is_killed_at_any_moment_ends_the_same(matrix, expected, many_tiles, passes, tmp_path):
    rng = np.random.default_rng(passes)
    for _ in range(5):
        source = "Counted(array, 'log', 0.002)"
        with run_elsewhere(source, tmp_path, matrix, passes, **many_tiles) as killed:
            wait_until(lambda: killed.poll() is not None or (tmp_path / "log").exists(), what="the run has begun")
            time.sleep(rng.uniform(0, 0.3))
            killed.kill()
            killed.communicate()
        (tmp_path / "log").unlink(missing_ok=True)
    fact, _ = resumed(matrix, tmp_path / "run", tmp_path / "again", passes=passes, **many_tiles)
    assert_same(fact, expected[passes])


@pytest.mark.slow
def test_a_second_call_is_refused_while_the_first_one_works(matrix, expected, many_tiles, tmp_path):
    source, gate = entries(Counted, matrix, tmp_path / "mine"), tmp_path / "gate"
    gate.touch()
    with run_elsewhere("Gated(array, 'log', gate='gate', after=4)", tmp_path, matrix, **many_tiles) as other:
        wait_until(lambda: held(gate), what="the first one is held in its middle")
        for resume in (True, False):
            with pytest.raises(StoreBusyError, match=rf"in use by another run \(process {other.pid} on "):
                dbf.factorize(source, store=tmp_path / "run", resume=resume, **many_tiles)
        gate.unlink()
        _, told = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, told
    assert len(blocks(tmp_path / "log")) - 1 == 64
    fact, read = resumed(matrix, tmp_path / "run", tmp_path / "again", **many_tiles)
    assert read == 0
    assert_same(fact, expected[1])


@pytest.mark.slow
def test_of_calls_at_the_same_moment_one_works(matrix, expected, many_tiles, tmp_path):
    source = "Counted(array, 'log', 0.01)"
    others = [run_elsewhere(source, tmp_path, matrix, **many_tiles) for _ in range(2)]
    told = [other.communicate(timeout=PATIENCE)[1] for other in others]
    codes = [other.returncode for other in others]
    assert 0 in codes, told
    assert all(code == 0 or "StoreBusyError" in text for code, text in zip(codes, told, strict=True)), told
    fact, read = resumed(matrix, tmp_path / "run", tmp_path / "again", **many_tiles)
    assert read == 0
    assert_same(fact, expected[1])


@pytest.mark.slow
def test_calls_in_two_threads_take_turns_or_are_refused(matrix, expected, many_tiles, tmp_path):
    def call(number):
        source = entries(Counted, matrix, tmp_path / f"log{number}", seconds=0.002)
        try:
            return dbf.factorize(source, store=tmp_path / "run", **many_tiles)
        except StoreBusyError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, range(4)))
    ended = [fact for fact in found if not isinstance(fact, StoreBusyError)]
    assert ended
    for fact in ended:
        assert_same(fact, expected[1])
    logs = [tmp_path / f"log{number}" for number in range(4)]  # a call that finds the run begun looks at it again
    assert sum(len(blocks(log)) - len(blocks(f"{log}.samples")) for log in logs) == 64


@pytest.mark.slow
def test_a_run_may_be_continued_elsewhere(matrix, expected, many_tiles, client, tmp_path):
    """Begun on threads, continued on a cluster with other memory, from another kind of source of the same numbers."""
    store = tmp_path / "run"
    failing = entries(Failing, matrix, tmp_path / "log", seconds=0.002, row=0, col=255)
    with pytest.raises(SourceError, match="no such entry"):
        dbf.factorize(failing, store=store, **many_tiles)
    done = int(flags(store, "tiles").sum())
    fact = dbf.factorize(entries(Counted, matrix, os.devnull), tree=TREE, store=store, client=client)
    assert fact.record["stages"]["tiles"]["resumed"] == done
    assert fact.record["plan"]["tasks"]["tiles"] == dbf.plan(failing, **many_tiles).tasks["tiles"]
    assert_same(fact, expected[1])


@pytest.mark.slow
def test_a_free_root_cut_is_kept_when_a_run_is_continued(tmp_path):
    matrix = noisy_butterfly((1024, 1024), "float32")
    slow = entries(Signalling, matrix, tmp_path / "log", seconds=0.002, signal=signal.SIGINT, after=1)
    with pytest.raises(KeyboardInterrupt):
        dbf.factorize(slow, store=tmp_path / "run", memory=memory_for(64, slow))
    root = zarr.open_group(tmp_path / "run").attrs["dbutterfly"]["layout"][0]
    fact = dbf.factorize(entries(Counted, matrix, os.devnull), store=tmp_path / "run", workers=7)
    assert dbf.plan(matrix, tree=fact.tree).layout.root == root
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree))


# ---------------------------------------------------------------- complete runs


@pytest.mark.slow
def test_a_complete_run_is_not_run_again(matrix, expected, many_tiles, engine, tmp_path):
    store = tmp_path / "run"
    assert_same(dbf.factorize(entries(Counted, matrix, os.devnull), store=store, **many_tiles, **engine), expected[1])
    before = snapshot(store)
    again, read = resumed(matrix, store, tmp_path / "again", **many_tiles, **engine)
    assert read == 0
    assert_same(again, expected[1])
    assert snapshot(store) == before


@pytest.mark.slow
def test_a_complete_run_is_opened_without_its_matrix_and_not_returned_for_what_is_left_of_it(matrix, tmp_path):
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(64, 64))
    source = zarr.open_array(tmp_path / "z.zarr", mode="r")
    fact = dbf.factorize(source, store=tmp_path / "run")
    shutil.rmtree(tmp_path / "z.zarr" / "c")
    with pytest.raises(StoreMismatchError, match=r"16 of its 16 pieces are gone, .* \(dbutterfly\.open opens the run"):
        dbf.factorize(source, store=tmp_path / "run")
    assert_same(dbf.open(tmp_path / "run"), fact)


def test_a_complete_run_needs_no_memory(matrix, tmp_path):
    fact = dbf.factorize(matrix, store=tmp_path / "run", workers=2)
    assert_same(dbf.factorize(matrix, store=tmp_path / "run", workers=5), fact)


@pytest.mark.slow
def test_it_can_be_computed_anew(matrix, expected, many_tiles, tmp_path):
    store = tmp_path / "run"
    resumed(matrix, store, tmp_path / "first", **many_tiles)
    fact, read = resumed(matrix, store, tmp_path / "again", resume=False, **many_tiles)
    assert read == dbf.plan(entries(Counted, matrix, os.devnull), **many_tiles).tasks["tiles"]
    assert_same(fact, expected[1])
    assert_same(dbf.open(store), fact)


@pytest.mark.slow
def test_a_run_anew_may_be_laid_out_otherwise(matrix, expected, many_tiles, tmp_path):
    store = tmp_path / "run"
    failing = entries(Failing, matrix, tmp_path / "log", row=0, col=255)
    with pytest.raises(SourceError, match="no such entry"):
        dbf.factorize(failing, store=store, **many_tiles)
    source = entries(Counted, matrix, os.devnull)
    assert_same(dbf.factorize(source, tree=TREE, store=store, resume=False), expected[1])


@pytest.mark.slow
def test_a_damaged_result_is_told_and_computed_anew(matrix, expected, tmp_path):
    dbf.factorize(matrix, tree=TREE, store=tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "factors" / "2")
    with pytest.raises(StoreError, match="factors/2 is missing or damaged"):
        dbf.factorize(matrix, tree=TREE, store=tmp_path / "run")
    assert_same(dbf.factorize(matrix, tree=TREE, store=tmp_path / "run", resume=False), expected[1])


# ---------------------------------------------------------------- other runs in the same place

OTHERS = {
    "dtype": {"source": noisy_butterfly(256, "float32")},
    "chain": {"chain": Chain.monarch((256, 256)), "tree": "balanced"},
    "tree": {"tree": "left"},
    "passes": {"passes": 2},
    "orderings": {"orderings": (None, "bitreversal")},
}


@pytest.mark.slow
@pytest.mark.parametrize(("complete", "resume"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_not_mixed_with_the_stored_one(matrix, what, complete, resume, tmp_path):
    store, first = tmp_path / "run", matrix
    if complete:
        dbf.factorize(first, tree=TREE, store=store)
    else:
        failing = entries(Failing, matrix, tmp_path / "log", row=0, col=255)
        with pytest.raises(SourceError, match="no such entry"):
            dbf.factorize(failing, tree=TREE, store=store)
        first = entries(Counted, matrix, os.devnull)
    before = snapshot(store)
    arguments = {"source": first, "tree": TREE, "store": store, "resume": resume} | OTHERS[what]
    with pytest.raises(StoreMismatchError, match=rf"\(.*{what}[.a-z]* is .*, not .*\); nothing was changed"):
        dbf.factorize(**arguments)
    assert snapshot(store) == before


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["left", "right", TREE])
def test_a_default_tree_does_not_stand_for_another(matrix, stored, tmp_path):
    dbf.factorize(matrix, tree=stored, store=tmp_path / "run")
    with pytest.raises(StoreMismatchError, match="tree is"):
        dbf.factorize(matrix, store=tmp_path / "run")


def test_other_index_arrays_are_told_apart(tmp_path):
    matrix = random_matrix((16, 16))
    dbf.factorize(matrix, orderings=(np.arange(16)[::-1], None), store=tmp_path / "run")
    with pytest.raises(StoreMismatchError, match=r"matrix\.orderings\.rows is"):
        dbf.factorize(matrix, orderings=(np.roll(np.arange(16), 1), None), store=tmp_path / "run")


@pytest.mark.parametrize("occupant", ["files", "file", "array", "group"])
@pytest.mark.parametrize("resume", [True, False])
def test_what_is_no_run_is_left_alone(occupant, resume, tmp_path):
    place = tmp_path / "place"
    if occupant == "files":
        place.mkdir()
        (place / "precious.txt").write_text("keep me")
    elif occupant == "file":
        place.write_text("keep me")
    elif occupant == "array":
        zarr.create_array(place, data=np.arange(5.0))
    else:
        zarr.create_group(place).create_array("precious", data=np.arange(5.0))
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"place"):
        dbf.factorize(random_matrix((16, 16)), store=place, resume=resume)
    assert snapshot(tmp_path) == before


# ---------------------------------------------------------------- a full disk


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", place):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_and_freed_space_is_used(small_disk, engine, tmp_path):
    matrix = noisy_butterfly((1024, 1024), "float32")
    tree = dbf.plan(matrix).tree
    arguments = {"tree": tree, "store": small_disk / "run", "memory": memory_for(32, matrix, tree=tree), **engine}
    source = entries(Counted, matrix, tmp_path / "log")
    with pytest.raises(StoreError, match="No space left"):
        dbf.factorize(source, **arguments)
    done = int(flags(small_disk / "run", "tiles").sum())
    with pytest.raises(StoreError, match="No space left"):
        dbf.factorize(source, **arguments)
    assert flags(small_disk / "run", "tiles").sum() >= done
    assert mount("-o", "remount,size=64m", small_disk)
    fact = dbf.factorize(source, **arguments)
    assert fact.record["stages"]["left"]["tasks"] > 0
    assert_same(fact, dbf.factorize(matrix, tree=tree))
    assert_same(dbf.open(small_disk / "run"), fact)


def test_a_run_is_neither_in_its_matrix_nor_around_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
    zarr.create_array("data/z.zarr", data=z, chunks=(4, 4))
    fact = dbf.factorize(z, store="run")
    before = sorted(path for path in tmp_path.rglob("*"))
    for source, store in [
        ("data/z.zarr", "data/z.zarr"),
        ("data/z.zarr", "data/z.zarr/run"),
        ("data/z.zarr", "data"),
        (zarr.open_array("data/z.zarr"), zarr.storage.LocalStore("data/z.zarr/c")),
        ("run/trace/residuals", "run"),
        (np.eye(16), "data/z.zarr/run"),
    ]:
        for resume in (True, False):
            with pytest.raises(
                dbf.errors.InputError, match=r"store=.* nothing was changed: name a place apart from it"
            ):
                dbf.factorize(source, store=store, resume=resume)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert dbf.open("run").certificate.error_bound == fact.certificate.error_bound
