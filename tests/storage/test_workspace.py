"""Intermediate arrays of a run: what is written comes back, and what is damaged or lost is told."""

import logging
import os
import pickle
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from dbutterfly.errors import CheckpointError, InputError, StoreError
from dbutterfly.execution.task import Output, write_outputs
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.dispatch import as_source
from dbutterfly.storage.guarded_store import GuardedStore
from dbutterfly.storage.workspace import CHECKSUM, MemoryWorkspace, ZarrWorkspace
from tests.support.comparisons import random_matrix

DTYPES = ["float32", "float64", "complex64", "complex128"]
EVERYTHING = (slice(None),)


@pytest.fixture(params=["memory", "zarr in memory", "zarr in a directory", "zarr below a group"])
def workspace(request, tmp_path):
    if request.param == "memory":
        return MemoryWorkspace()
    if request.param == "zarr in memory":
        return ZarrWorkspace(zarr.storage.MemoryStore(), "work")
    path = "work" if request.param == "zarr in a directory" else "deep/down/work"
    return ZarrWorkspace(zarr.storage.LocalStore(tmp_path / "z"), path)


@pytest.fixture
def on_disk(tmp_path):
    return ZarrWorkspace(zarr.storage.LocalStore(tmp_path / "z"), "work")


def filled(workspace, dtype="float64"):
    """An array of 2 x 3 chunks, ragged at both ends."""
    values = random_matrix((5, 8), dtype)
    workspace.create("A", values.shape, (3, 3), dtype)
    workspace.write("A", EVERYTHING, values)
    return values


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranges_are_written_and_read(workspace, dtype):
    workspace.create("A", (4, 6, 3), (2, 3, 3), dtype)
    values = random_matrix((4, 18), dtype).reshape(4, 6, 3)
    for r0 in (0, 2):
        for c0 in (0, 3):
            span = (slice(r0, r0 + 2), slice(c0, c0 + 3))
            workspace.write("A", span, values[span])
    whole = workspace.read("A", EVERYTHING)
    assert isinstance(whole, np.ndarray)
    assert whole.dtype == dtype
    np.testing.assert_array_equal(whole, values)
    np.testing.assert_array_equal(workspace.read("A", (slice(1, 3), slice(2, 6))), values[1:3, 2:6])


def test_zeros_are_kept(workspace):
    workspace.create("A", (4, 4), (2, 2), "float32")
    workspace.write("A", EVERYTHING, np.zeros((4, 4), "float32"))
    assert not workspace.read("A", EVERYTHING).any()


def test_values_are_copied(workspace):
    workspace.create("A", (3,), (3,), "f8")
    values = np.ones(3)
    workspace.write("A", EVERYTHING, values)
    values[:] = 7
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), 1)


def test_creating_again_keeps_what_is_there(workspace):
    assert workspace.create("left/0", (2, 2), (1, 2), "f8")
    workspace.write("left/0", (slice(1, 2),), np.full((1, 2), 5.0))
    assert not workspace.create("left/0", (2, 2), (1, 2), "f8")
    np.testing.assert_array_equal(workspace.read_rows("left/0"), [[np.nan, np.nan], [5, 5]])


def test_arrays_do_not_meet(workspace):
    for name in ("left/0", "left/1", "right/0"):
        workspace.create(name, (2, 1), (1, 1), "f8")
    workspace.write("left/1", EVERYTHING, np.ones((2, 1)))
    assert np.isnan(workspace.read_rows("left/0")).all()
    assert np.isnan(workspace.read_rows("right/0")).all()


def test_pickled_workspace_reaches_the_same_arrays(on_disk):
    values = filled(on_disk)
    copy = pickle.loads(pickle.dumps(on_disk))
    assert copy.shared
    np.testing.assert_array_equal(copy.read("A", EVERYTHING), values)
    copy.write("A", (slice(0, 3), slice(0, 3)), np.ones((3, 3)))
    np.testing.assert_array_equal(on_disk.read("A", (slice(0, 3), slice(0, 3))), 1)


def test_memory_is_not_shared_between_processes():
    assert not MemoryWorkspace().shared
    assert not ZarrWorkspace(zarr.storage.MemoryStore(), "work").shared


@pytest.mark.slow
def test_threads_do_not_disturb_each_other(workspace):
    """Every chunk has one writer; neighbours, readers and the first opening of the array may coincide."""
    values = random_matrix((32, 64))
    workspace.create("A", values.shape, (1, 16), "f8")
    workspace.create("done", (32, 2), (1, 2), "f8")
    wrong, start = [], threading.Barrier(8)

    def work(thread):
        start.wait()
        for row in range(thread, 32, 8):
            span = (slice(row, row + 1),)
            workspace.write("A", span, values[span])
            workspace.write("done", span, np.full((1, 2), float(row)))
            rows = workspace.read_rows("done")
            ended = np.flatnonzero(~np.isnan(rows[:, 0]))
            if not np.array_equal(workspace.read("A", span), values[span]) or row not in ended:
                wrong.append(row)
            if not np.array_equal(rows[ended], np.repeat(ended[:, None], 2, axis=1)):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), values)


# ---------------------------------------------------------------- what is damaged or lost


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def flip_checksum(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def cut_to_the_checksum(path):
    path.write_bytes(path.read_bytes()[:4])


def empty(path):
    path.write_bytes(b"")


def zero(path):
    """What a file system may leave after a loss of power."""
    path.write_bytes(bytes(len(path.read_bytes())))


def delete(path):
    path.unlink()


def swap_for_another_chunk(path):
    """A chunk of another size, whole in itself."""
    path.write_bytes((path.parents[1] / "other" / "c.0").read_bytes())


DAMAGES = [flip, flip_checksum, cut, cut_to_the_checksum, empty, zero, delete, swap_for_another_chunk]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_damaged_chunk_is_named(tmp_path, on_disk, damage, dtype, reopened):
    values = filled(on_disk, dtype)
    on_disk.create("other", (2,), (2,), dtype)
    on_disk.write("other", EVERYTHING, np.ones(2, dtype))
    damage(tmp_path / "z" / "work" / "A" / "c.1.2")
    workspace = pickle.loads(pickle.dumps(on_disk)) if reopened else on_disk
    what = "missing" if damage is delete else "damaged"
    for selection in (EVERYTHING, (slice(3, 5), slice(5, 8)), (slice(4, 5), slice(7, 8))):
        with pytest.raises(CheckpointError, match=rf"^chunk c\.1\.2 of work/A of store .*z is {what}") as caught:
            workspace.read("A", selection)
        assert caught.value.name == "A"
        assert caught.value.selection == (slice(3, 5), slice(6, 8))
    np.testing.assert_array_equal(workspace.read("A", (slice(0, 5), slice(0, 6))), values[:, :6])
    workspace.write("A", (slice(3, 5), slice(6, 8)), values[3:, 6:])
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), values)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("part", [(slice(0, 3), slice(3, 6)), (slice(0, 3),), (slice(1, 2), slice(4, 5))])
def test_a_damaged_chunk_within_is_named_and_its_writing_again_heals(tmp_path, on_disk, damage, part):
    values = filled(on_disk)
    on_disk.create("other", (2,), (2,), "f8")
    on_disk.write("other", EVERYTHING, np.ones(2))
    damage(tmp_path / "z" / "work" / "A" / "c.0.1")
    with pytest.raises(CheckpointError, match=r"^chunk c\.0\.1 of work/A ") as caught:
        on_disk.read("A", part)
    assert caught.value.selection == (slice(0, 3), slice(3, 6))
    on_disk.write("A", (slice(0, 3), slice(3, 6)), values[:3, 3:6])
    np.testing.assert_array_equal(on_disk.read("A", EVERYTHING), values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["directory", "memory"])
def test_what_was_never_written_is_missing(tmp_path, dtype, kind):
    store = zarr.storage.MemoryStore() if kind == "memory" else zarr.storage.LocalStore(tmp_path / "z")
    workspace = ZarrWorkspace(store, "work")
    workspace.create("A", (4, 4), (2, 2), dtype)
    workspace.write("A", (slice(0, 2),), np.zeros((2, 4), dtype))
    assert not workspace.read("A", (slice(0, 2),)).any()
    with pytest.raises(CheckpointError, match=r"chunk c\.1\.0 of work/A of store .* is missing") as caught:
        workspace.read("A", EVERYTHING)
    assert caught.value.selection == (slice(2, 4), slice(0, 2))


@pytest.mark.parametrize("value", [np.nan, complex(0, np.nan), complex(np.nan, 0)])
def test_nan_is_never_taken_for_a_value(on_disk, value):
    dtype = "complex64" if isinstance(value, complex) else "float32"
    values = np.ones((2, 2), dtype)
    values[1, 0] = value
    on_disk.create("A", (2, 2), (1, 2), dtype)
    on_disk.write("A", EVERYTHING, values)
    with pytest.raises(CheckpointError, match=r"chunk c\.1\.0 of work/A"):
        on_disk.read("A", EVERYTHING)


@pytest.mark.parametrize("value", [np.nan, complex(0, np.nan)])
def test_a_task_never_writes_nan(workspace, value):
    source = as_source(np.ones((4, 4)))
    job = FactorizationJob(source, make_plan(source.info, None, budget=Budget(1 << 30)), workspace, "numpy")
    for name in ("A", "done"):
        workspace.create(name, (2,), (2,), np.complex128)
        workspace.write(name, EVERYTHING, np.zeros(2))
    outputs = [Output("done", EVERYTHING, np.ones(2)), Output("A", EVERYTHING, np.asarray([1, value]))]
    with pytest.raises(InputError, match="array has entries of which A cannot be computed in float64; scale"):
        write_outputs(job, outputs)
    assert not workspace.read("done", EVERYTHING).any()


def test_infinity_is_a_value(on_disk):
    on_disk.create("A", (2,), (2,), "f8")
    on_disk.write("A", EVERYTHING, np.asarray([np.inf, -np.inf]))
    assert np.isinf(on_disk.read("A", EVERYTHING)).all()


def lose_array(path):
    shutil.rmtree(path)


def lose_metadata(path):
    (path / "zarr.json").unlink()


def cut_metadata(path):
    (path / "zarr.json").write_text((path / "zarr.json").read_text()[:100])


def empty_metadata(path):
    (path / "zarr.json").write_text("")


@pytest.mark.parametrize(
    "damage", [lose_array, lose_metadata, cut_metadata, empty_metadata], ids=lambda damage: damage.__name__
)
def test_an_array_without_its_metadata_is_named(tmp_path, on_disk, damage):
    filled(on_disk)
    damage(tmp_path / "z" / "work" / "A")
    workspace = pickle.loads(pickle.dumps(on_disk))
    with pytest.raises(CheckpointError, match=r"work/A of store .*z is missing or damaged: ") as caught:
        workspace.read("A", (slice(0, 3),))
    assert (caught.value.name, caught.value.selection) == ("A", (slice(0, 3),))


def make_another_shape(path):
    zarr.create_array(path, data=np.zeros((5, 9)), chunks=(3, 3))


def make_other_chunks(path):
    zarr.create_array(path, data=np.zeros((5, 8)), chunks=(5, 8))


def make_another_dtype(path):
    zarr.create_array(path, data=np.zeros((5, 8), "float32"), chunks=(3, 3))


def make_without_checksum(path):
    zarr.create_array(path, data=np.zeros((5, 8)), chunks=(3, 3), compressors=None, fill_value=np.nan)


FOREIGN = [make_another_shape, make_other_chunks, make_another_dtype, make_without_checksum]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_no_run_can_have_made_is_replaced(tmp_path, make, caplog):
    workspace = ZarrWorkspace(GuardedStore(tmp_path / "z"), "work")
    make(tmp_path / "z" / "work" / "A")
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        assert workspace.create("A", (5, 8), (3, 3), "float64")
    assert "work/A of store" in caplog.text
    assert "made anew as if nothing were there" in caplog.text
    assert np.isnan(zarr.open_array(tmp_path / "z" / "work" / "A", mode="r")[...]).all()


def directory_for_metadata(path):
    (path / "zarr.json").unlink()
    (path / "zarr.json" / "deep").mkdir(parents=True)


def pipe_for_metadata(path):
    (path / "zarr.json").unlink()
    os.mkfifo(path / "zarr.json")


def loop_for_metadata(path):
    (path / "zarr.json").unlink()
    (path / "zarr.json").symlink_to("zarr.json")


def group_metadata(path):
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')


def other_json(path):
    (path / "zarr.json").write_text("[1, 2]")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize(
    "damage",
    [
        cut_metadata,
        empty_metadata,
        group_metadata,
        other_json,
        directory_for_metadata,
        pipe_for_metadata,
        loop_for_metadata,
    ],
    ids=lambda damage: damage.__name__,
)
def test_damaged_metadata_are_made_anew_for_the_chunks_that_are_there(tmp_path, damage, caplog):
    workspace = ZarrWorkspace(GuardedStore(tmp_path / "z"), "work")
    values = filled(workspace)
    damage(tmp_path / "z" / "work" / "A")
    again = pickle.loads(pickle.dumps(workspace))
    with pytest.raises(CheckpointError, match="work/A of store"):
        again.read("A", EVERYTHING)
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        assert not again.create("A", (5, 8), (3, 3), "float64")
    assert "made anew for the chunks that are there" in caplog.text
    np.testing.assert_array_equal(again.read("A", EVERYTHING), values)


@pytest.mark.parametrize("of", ["work/B", "other/A"])
def test_a_chunk_of_another_array_is_damage(tmp_path, of):
    store = GuardedStore(tmp_path / "z")
    path, name = of.split("/")
    for place, called in (("work", "A"), (path, name)):
        workspace = ZarrWorkspace(store, place)
        workspace.create(called, (2, 2), (1, 2), "f8")
        workspace.write(called, EVERYTHING, np.ones((2, 2)))
    shutil.copy(tmp_path / "z" / of / "c.1.0", tmp_path / "z" / "work" / "A" / "c.1.0")
    with pytest.raises(CheckpointError, match=r"chunk c\.1\.0 of work/A of store .* is damaged"):
        ZarrWorkspace(store, "work").read("A", EVERYTHING)


def mkfifo(path):
    os.mkfifo(path)


def link_to_itself(path):
    path.symlink_to(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["A", "done/tiles"])
@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)], ids=["dir", "pipe", "loop"]
)
def test_what_has_the_place_of_a_chunk_is_damage_and_put_out_of_the_way(tmp_path, name, make):
    workspace = ZarrWorkspace(GuardedStore(tmp_path / "z"), "work")
    workspace.create(name, (2, 2), (1, 2), "f8")
    workspace.write(name, EVERYTHING, np.ones((2, 2)))
    chunk = tmp_path / "z" / "work" / name / "c.1.0"
    chunk.unlink()
    make(chunk)
    with pytest.raises(CheckpointError, match=r"chunk c\.1\.0 of work/"):
        workspace.read(name, EVERYTHING)
    np.testing.assert_array_equal(np.isnan(workspace.read_rows(name)), [[False] * 2, [True] * 2])
    workspace.write(name, (slice(1, 2),), np.ones((1, 2)))
    np.testing.assert_array_equal(workspace.read(name, EVERYTHING), 1)


def test_an_array_of_an_older_version_is_read(tmp_path):
    """It has a checksum that does not tell arrays apart."""
    store = GuardedStore(tmp_path / "z")
    array = zarr.create_array(
        store, name="work/A", shape=(2,), chunks=(1,), dtype="f8", compressors=CHECKSUM, fill_value=np.nan
    )
    array[...] = 1
    workspace = ZarrWorkspace(store, "work")
    assert not workspace.create("A", (2,), (1,), "f8")
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), 1)


def test_a_checkpoint_error_survives_pickling():
    error = pickle.loads(pickle.dumps(CheckpointError("chunk c/0", "A", (slice(1, 2),))))
    assert (str(error), error.name, error.selection) == ("chunk c/0", "A", (slice(1, 2),))


# ---------------------------------------------------------------- rows of finished tasks


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage is not swap_for_another_chunk])
def test_a_damaged_row_is_said_and_read_as_missing(tmp_path, on_disk, damage, caplog):
    on_disk.create("done/tiles", (4, 2), (1, 2), "f8")
    rows = random_matrix((4, 2))
    on_disk.write("done/tiles", EVERYTHING, rows)
    damage(tmp_path / "z" / "work" / "done" / "tiles" / "c.2.0")
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        found = on_disk.read_rows("done/tiles")
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(np.delete(found, 2, axis=0), np.delete(rows, 2, axis=0))
    told = [message for message in caplog.messages if "row 2 of work/done/tiles of store" in message]
    assert len(told) == len(caplog.messages) == (damage is not delete)


def test_rows_that_were_not_written_are_nan(workspace):
    workspace.create("done/tiles", (3, 2), (1, 2), "f8")
    workspace.write("done/tiles", (slice(1, 2),), np.ones((1, 2)))
    np.testing.assert_array_equal(workspace.read_rows("done/tiles"), [[np.nan] * 2, [1, 1], [np.nan] * 2])
    workspace.write("done/tiles", (slice(1, 2),), np.full((1, 2), np.nan))
    assert np.isnan(workspace.read_rows("done/tiles")).all()


# ---------------------------------------------------------------- stores that fail


def test_write_that_fails_names_the_array(tmp_path, on_disk):
    filled(on_disk)
    shutil.rmtree(tmp_path / "z" / "work" / "A")
    (tmp_path / "z" / "work" / "A").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write work/A of store .*z: .*what was finished is kept"):
        on_disk.write("A", (slice(0, 3), slice(0, 3)), np.ones((3, 3)))


def test_create_that_fails_names_the_array(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "work").write_text("in the way")
    workspace = ZarrWorkspace(zarr.storage.LocalStore(tmp_path / "z"), "work")
    with pytest.raises(StoreError, match=r"work/A of store .*z"):
        workspace.create("A", (4,), (2,), "f8")


class Broken(zarr.storage.MemoryStore):
    """A store whose disk fails."""

    broken = False

    async def get(self, key, prototype, byte_range=None):
        if self.broken:
            raise OSError(5, "Input/output error")
        return await super().get(key, prototype, byte_range)


@pytest.mark.parametrize("ask", ["read", "read_rows"])
def test_a_store_that_is_out_of_reach_is_not_taken_for_damage(ask):
    store = Broken()
    workspace = ZarrWorkspace(store, "work")
    workspace.create("A", (2, 2), (1, 2), "f8")
    workspace.write("A", EVERYTHING, np.ones((2, 2)))
    store.broken = True
    with pytest.raises(StoreError, match=re.escape("Input/output error")) as caught:
        workspace.read("A", EVERYTHING) if ask == "read" else workspace.read_rows("A")
    assert not isinstance(caught.value, CheckpointError)
    store.broken = False
    assert workspace.read("A", EVERYTHING).all()


def test_reading_while_a_chunk_is_replaced_gives_the_one_or_the_other(on_disk):
    on_disk.create("A", (1, 50_000), (1, 50_000), "f8")
    on_disk.write("A", EVERYTHING, np.zeros((1, 50_000)))

    def write():
        for value in [1.0, 2.0] * 50:
            on_disk.write("A", EVERYTHING, np.full((1, 50_000), value))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive():
            assert np.unique(on_disk.read("A", EVERYTHING)).size == 1
    finally:
        thread.join()


def test_a_read_only_store_can_be_read(tmp_path, on_disk):
    values = filled(on_disk)
    workspace = ZarrWorkspace(zarr.storage.LocalStore(tmp_path / "z", read_only=True), "work")
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), values)
    with pytest.raises(StoreError, match="cannot write work/A"):
        workspace.write("A", EVERYTHING, values)
