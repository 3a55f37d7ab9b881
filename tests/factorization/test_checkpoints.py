"""What a run has stored and is then damaged, lost or replaced: it is named, never used, and computed again."""

import os
import shutil
import threading

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, InputError, StoreBusyError, StoreError
from dbutterfly.execution import task
from dbutterfly.factorization import run as run_room
from dbutterfly.factorization import workspace_arrays
from dbutterfly.factorization.tasks.halves import LeftTask, RightTask
from dbutterfly.factorization.tasks.projection import ProjectTask
from dbutterfly.planning import copies
from dbutterfly.storage import lease_object
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import assert_same, memory_for, noisy_butterfly, snapshot
from tests.support.logged_sources import Counted, blocks

pytestmark = pytest.mark.slow

TREE = (((0, 1), (2, 3)), (4, (5, (6, 7))))
CLASSES = {"left": LeftTask, "project": ProjectTask, "right": RightTask}


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(256)


@pytest.fixture(scope="module")
def expected(matrix):
    return {passes: dbf.factorize(matrix, tree=TREE, passes=passes) for passes in (1, 2)}


def counted(matrix, log):
    return dbf.entries(Counted(matrix, str(log)), matrix.shape, matrix.dtype)


@pytest.fixture(scope="module")
def arguments(matrix):
    return {"tree": TREE, "memory": memory_for(16, counted(matrix, os.devnull), tree=TREE), "workers": 2}


def stop(*_):
    raise InputError("stopped here")


@pytest.fixture
def stopped(matrix, arguments, tmp_path):
    """A run that stops before a stage; the directory of its arrays."""

    def run(before, passes=1, **more):
        with pytest.MonkeyPatch.context() as patch:
            if before in CLASSES:
                patch.setattr(CLASSES[before], "compute", stop)
            else:
                patch.setattr(run_room, "assemble", stop)
            settings = arguments | {"workers": 1, "passes": passes, "store": tmp_path / "run"} | more
            with pytest.raises(InputError, match="stopped here"):
                dbf.factorize(counted(matrix, os.devnull), **settings)
        return tmp_path / "run" / "work" / RunStore.open(tmp_path / "run").manifest.epoch

    return run


@pytest.fixture
def resumed(matrix, arguments, tmp_path):
    """The same call again; also the number of tiles that it read."""

    def call(passes=1, **more):
        log = tmp_path / "again"
        log.unlink(missing_ok=True)
        fact = dbf.factorize(counted(matrix, log), store=tmp_path / "run", passes=passes, **arguments | more)
        return fact, len(blocks(log)) - 1  # one block is the sample by which the matrix is known

    return call


def chunks(array):
    return sorted(path for path in array.rglob("*") if path.is_file() and path.name != "zarr.json")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WRITERS = [
    ("A", "left", 1, "tiles"),
    ("A", "left", 2, "tiles"),
    ("B", "right", 1, "tiles"),
    ("scale", "right", 1, "left"),
    ("X", "project", 2, "left"),
    ("B", "right", 2, "project"),
    ("stats", "end", 1, "tiles"),
    ("second", "end", 2, "project"),
    ("left_error", "end", 1, "left"),
    ("right_error", "end", 2, "right"),
    ("left_missed", "end", 2, "left"),
    ("right_missed", "end", 1, "right"),
    ("left_least", "end", 1, "left"),
    ("right_least", "end", 2, "right"),
    ("left/0", "end", 1, "left"),
    ("right/3", "end", 2, "right"),
]


@pytest.mark.parametrize("damage", [flip, delete, cut], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(("name", "before", "passes", "stage"), WRITERS)
def test_a_damaged_piece_is_named_and_computed_again(stopped, resumed, expected, damage, name, before, passes, stage):
    work = stopped(before, passes)
    found = chunks(work / name)
    chunk = found[len(found) // 2]
    damage(chunk)
    what = rf"chunk {chunk.relative_to(work / name)} of work/\w+/{name} of store .*run is (missing|damaged)"
    with pytest.raises(CheckpointError, match=rf"{what}.*; it was not used, and .* \(1 of the {stage} tasks\)"):
        resumed(passes)
    fact, read = resumed(passes)
    counts = fact.record["stages"][stage]
    assert (counts["tasks"], counts["tasks"] + counts["resumed"]) == (1, fact.record["plan"]["tasks"][stage])
    ahead = fact.record["stages"]["project"]["tasks"] if passes == 2 and before in ("left", "project") else 0
    assert read == (stage in ("tiles", "project")) + ahead
    assert_same(fact, expected[passes])


def test_several_damaged_pieces_are_named_one_by_one(stopped, resumed, expected):
    work = stopped("end")
    for name in ("left/1", "A", "right/0", "B"):
        flip(chunks(work / name)[-1])
    for name in ("left/1", "A", "right/0"):  # the tile that is done again writes B too
        with pytest.raises(CheckpointError, match=rf"work/\w+/{name} of store"):
            resumed()
    fact, read = resumed()
    assert read <= 2
    assert_same(fact, expected[1])


@pytest.mark.parametrize("stage", ["tiles", "left", "project"])
@pytest.mark.parametrize("damage", [flip, delete], ids=lambda damage: damage.__name__)
def test_a_damaged_row_costs_its_task_only(stopped, resumed, expected, stage, damage):
    """Also where a tile of the first read is done again after the second: it does not touch what that one has found."""
    work = stopped("right", 2)
    damage(work / "done" / stage / "c.3.0" if stage != "left" else chunks(work / "done" / stage)[0])
    fact, read = resumed(2)
    assert fact.record["stages"][stage]["tasks"] == 1
    assert read == (stage != "left")
    assert_same(fact, expected[2])


def test_a_lost_array_is_computed_again(stopped, resumed, expected):
    work = stopped("right")
    shutil.rmtree(work / "B")
    fact, read = resumed()
    assert read == fact.record["plan"]["tasks"]["tiles"]
    assert_same(fact, expected[1])


@pytest.mark.parametrize("passes", [1, 2])
def test_a_run_of_a_version_that_measured_less_is_continued(stopped, resumed, expected, passes, caplog):
    """What the nodes of the halves miss is found by their tasks, which are done again; nothing is read again."""
    work = stopped("end", passes)
    for name in ("left_missed", "right_missed"):
        shutil.rmtree(work / name)
    with caplog.at_level("WARNING", "dbutterfly"):
        fact, read = resumed(passes)
    assert read == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"the run that is continued has left no array {side}_missed: its {side} tasks are done again"
        for side in ("left", "right")
    ]
    assert fact.record["errors_by_cut"] == expected[passes].record["errors_by_cut"]
    assert_same(fact, expected[passes])


@pytest.mark.parametrize("name", ["A", "done/tiles", "left/0"])
@pytest.mark.parametrize("what", ["array", "garbage", "group"])
def test_what_the_run_did_not_make_is_named_and_replaced(stopped, resumed, expected, name, what, caplog):
    work = stopped("right")
    shutil.rmtree(work / name)
    if what == "array":
        zarr.create_array(work / name, data=np.zeros((3, 5)))
    elif what == "group":
        zarr.create_group(work / name)
    else:
        (work / name).mkdir()
        (work / name / "zarr.json").write_text("{")
    with caplog.at_level("WARNING", "dbutterfly"):
        assert_same(resumed()[0], expected[1])
    assert f"{work.name}/{name} of store" in caplog.text
    assert "not made by this run" in caplog.text


def test_a_run_whose_arrays_are_damaged_can_begin_anew(stopped, resumed, expected):
    work = stopped("right")
    (work / "A" / "zarr.json").write_text("{")
    fact, read = resumed(resume=False)
    assert read == fact.record["plan"]["tasks"]["tiles"]
    assert_same(fact, expected[1])


def test_a_damaged_factor_is_told_and_computed_again(resumed, expected, tmp_path):
    resumed()
    flip(chunks(tmp_path / "run" / "factors" / "3")[0])
    before = snapshot(tmp_path / "run" / "factors")
    for call in (lambda: dbf.open(tmp_path / "run"), resumed, lambda: dbf.open(tmp_path / "run")):
        with pytest.raises(CheckpointError, match=r"factors/3 is missing or damaged: .* computes it again, or restore"):
            call()
        assert snapshot(tmp_path / "run" / "factors") == before
    fact, read = resumed()
    assert read == fact.record["plan"]["tasks"]["tiles"]
    assert_same(fact, expected[1])
    assert_same(dbf.open(tmp_path / "run"), fact)


def test_a_factor_that_was_told_damaged_and_is_restored_is_used(resumed, tmp_path):
    fact, _ = resumed()
    chunk = chunks(tmp_path / "run" / "factors" / "3")[0]
    content = chunk.read_bytes()
    delete(chunk)
    with pytest.raises(CheckpointError, match="factors/3 is missing"):
        resumed()
    chunk.write_bytes(content)
    again, read = resumed()
    assert read == 0
    assert_same(again, fact)


def test_late_writers_of_a_run_that_was_given_up_disturb_nobody(stopped, resumed, expected, tmp_path):
    stopped("right")
    late, end = RunStore.open(tmp_path / "run", mode="r+").workspace, threading.Event()
    garbage = np.full_like(late.read("A", (slice(None),)), 7.0)

    def write():
        while not end.is_set():
            try:
                late.write("A", (slice(None),), garbage)
                late.write("done/left", (slice(0, 1),), np.ones((1, len(task.Record._fields))))
            except StoreError:  # its directory was deleted between two steps
                pass

    thread = threading.Thread(target=write)
    thread.start()
    try:
        fact, _ = resumed(resume=False)
    finally:
        end.set()
        thread.join()
    assert_same(fact, expected[1])
    assert_same(dbf.open(tmp_path / "run"), fact)
    assert resumed()[1] == 0


def test_a_run_that_was_taken_over_writes_no_result(stopped, resumed, expected, tmp_path, monkeypatch):
    stopped("end")
    assembled = run_room.assemble
    store = zarr.storage.LocalStore(tmp_path / "run")

    def taken_over(*args):
        found = lease_object.object_of(store, "")
        found.write(found.read() | {"token": "theirs", "started": 1.0})
        return assembled(*args)

    with monkeypatch.context() as patch:
        patch.setattr(run_room, "assemble", taken_over)
        with pytest.raises(StoreBusyError, match="another run has taken over store"):
            resumed()
    assert not RunStore.open(tmp_path / "run").is_complete
    assert lease_object.object_of(store, "").read()["token"] == "theirs"
    monkeypatch.setattr(lease_object, "SETTLE_SECONDS", 0.1)
    assert_same(resumed()[0], expected[1])


# ---------------------------------------------------------------- what a task writes, it writes alone


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("orderings", [None, (None, "bitreversal"), "copied"])
def test_every_chunk_has_one_writer_who_can_be_found(matrix, orderings, passes, tmp_path, monkeypatch):
    """The essence of writing without locks; and of forgetting the right task."""
    copied = orderings == "copied"
    if copied:
        orderings = tuple(np.random.default_rng(0).permutation(256) for _ in range(2))
        monkeypatch.setattr(copies, "WRITE_COST", -100.0)
        monkeypatch.setattr(copies, "COPY_WIDTH", 1)
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(60, 100))
    written, plans = [], []
    finish = task.finish_task

    def recorded(job, number, task, *args):
        outputs, record = finish(job, number, task, *args)
        plans.append(job.plan)
        written.extend((task.stage, number, output.name, output.selection) for output in outputs)
        return outputs, record

    monkeypatch.setattr("dbutterfly.execution.thread_engine.finish_task", recorded)
    monkeypatch.setattr(RunStore, "clean", lambda _: None)
    dbf.factorize(
        tmp_path / "z.zarr", tree=TREE, orderings=orderings, passes=passes, store=tmp_path / "run", memory="8 MiB"
    )
    work = zarr.open_group(tmp_path / "run")[f"work/{RunStore.open(tmp_path / 'run').manifest.epoch}"]
    covered = {name: np.zeros(array.shape, int) for name, array in work.members(None) if isinstance(array, zarr.Array)}
    for stage, number, name, selection in written:
        covered[name][selection] += 1
        assert workspace_arrays.writers(plans[0], name, selection) == (stage, [number])
        spans = zip(selection, work[name].shape, work[name].chunks, strict=False)
        for part, size, chunk in spans:
            assert part.start % chunk == 0
            assert part.stop % chunk == 0 or part.stop == size
    assert {name for name, counts in covered.items() if not (counts == 1).all()} == set()
    assert ("copy" in covered) == copied
    assert {stage for stage, *_ in written} == set(plans[0].tasks)
