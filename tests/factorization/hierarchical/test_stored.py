"""Hierarchical runs in stores: read once, on any engine, cut off and continued, damaged, refused and recognised."""

import random
import shutil

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, StoreMismatchError
from dbutterfly.factorization.hierarchical.tasks import RegionTask
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import snapshot
from tests.support.hierarchical_runs import (
    ASKED,
    CHUNKS,
    assert_same_blocks,
    count_done,
    draw_points,
    error_of,
    make_covariance,
    make_entries,
    start_run,
    stop_after_panels,
)
from tests.support.patience import wait_until

POINTS = draw_points()
ARGUMENTS = {"points": (POINTS, POINTS), **ASKED}
KILLS = 1


@pytest.fixture(scope="module")
def matrix():
    return make_covariance(POINTS)


@pytest.fixture(scope="module")
def kept(matrix, tmp_path_factory):
    directory = tmp_path_factory.mktemp("matrix")
    dbf.matrices.write(matrix, directory / "z.zarr", chunks=CHUNKS)
    return directory / "z.zarr"


@pytest.fixture(scope="module")
def expected(kept):
    return dbf.factorize(kept, **ARGUMENTS)


@pytest.fixture
def place(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "z.zarr")
    return tmp_path / "z.zarr"


def test_each_chunk_is_read_once(place, expected, matrix, tmp_path):
    plan = dbf.plan(place, store=tmp_path / "run", **ARGUMENTS)
    assert plan.copy.bytes_read == matrix.nbytes
    assert min(plan.tasks.values()) > 1
    assert plan.peak_bytes <= plan.budget.memory
    found = dbf.factorize(place, store=tmp_path / "run", **ARGUMENTS)
    stages = found.record["stages"]
    assert (stages["panels"]["bytes_read"], stages["regions"]["bytes_read"]) == (matrix.nbytes, 0)
    assert error_of(found, matrix) <= ASKED["tol"]
    again = dbf.plan(place, **ARGUMENTS)
    assert again.copy is None
    assert again.amplification > 2
    assert "a store= has room for a copy" in str(again)


def test_regions_that_are_made_of_chunks_are_read_as_they_lie(tmp_path):
    at = np.arange(256.0)  # in the order of their clusters
    dbf.matrices.write(np.exp(-np.abs(at[:, None] - at) / 64), tmp_path / "z.zarr", chunks=(64, 64))
    asked = {**ASKED, "leaf": 16, "points": (at, at), "store": tmp_path / "run"}
    plan = dbf.plan(tmp_path / "z.zarr", **asked)
    assert plan.copy is None
    assert plan.amplification == 1
    found = dbf.factorize(tmp_path / "z.zarr", **asked)
    assert found.record["stages"]["regions"]["bytes_read"] == 256 * 256 * 8
    assert found.row_order is None


@pytest.mark.slow
def test_threads_and_clusters_give_the_same(place, expected, engine, store):
    assert_same_blocks(dbf.factorize(place, store=store, **engine, **ARGUMENTS), expected)


@pytest.mark.slow
def test_sampled_entries_are_the_same_on_threads_and_clusters(engine, tmp_path):
    points = draw_points(2, 640)
    arguments = {"points": (points, points), **ASKED, "tol": 1e-2}
    found = dbf.factorize(make_entries(points, sampled=True), store=tmp_path / "run", **engine, **arguments)
    assert_same_blocks(found, dbf.factorize(make_entries(points, sampled=True), workers=1, **arguments))
    assert_same_blocks(found, dbf.factorize(make_entries(points, sampled=True), store=tmp_path / "run", **arguments))


@pytest.mark.slow
def test_no_kill_loses_anything(place, expected, tmp_path):
    chance = random.Random(0)
    tasks = dbf.plan(place, store=tmp_path / "run", **ARGUMENTS).tasks["regions"]
    for number in range(KILLS):
        store, wanted = tmp_path / f"run{number}", chance.randrange(1, tasks // 2)
        process = start_run(place, store)
        wait_until(lambda s=store, n=wanted: count_done(s) >= n, what=f"{wanted} regions have ended")
        process.kill()
        ended = count_done(store)
        found = dbf.factorize(place, store=store, **ARGUMENTS)
        assert_same_blocks(found, expected)
        assert found.record["stages"]["regions"]["resumed"] >= min(ended, tasks) > 0


def test_a_run_that_was_cut_off_goes_on_with_its_plan(place, expected, tmp_path, monkeypatch):
    cut_off(place, tmp_path / "run", monkeypatch)
    ended = count_done(tmp_path / "run")
    monkeypatch.setattr(RegionTask, "compute", None)  # no region is computed again
    found = dbf.factorize(place, store=tmp_path / "run", **{**ARGUMENTS, "memory": "64 MiB"})
    assert_same_blocks(found, expected)
    assert found.record["plan"]["regions"]["count"] == ended > 1


def cut_off(place, store, monkeypatch):
    """Begin a run, and stop it when its tasks have ended."""

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dbutterfly.factorization.hierarchical.run._assemble", stop)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(place, store=store, **ARGUMENTS)


@pytest.mark.slow
def test_damage_of_a_run_under_way_costs_the_tasks_concerned(place, expected, tmp_path, monkeypatch):
    store = tmp_path / "run"
    cut_off(place, store, monkeypatch)
    work = store / "work" / RunStore.open(str(store)).manifest.epoch / "values"
    chunk = sorted(path for path in work.rglob("*") if path.is_file() and path.name != "zarr.json")[0]
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    with pytest.raises(CheckpointError, match=r"the same call computes it again \(1 of the regions tasks\)"):
        dbf.factorize(place, store=store, **ARGUMENTS)
    shutil.rmtree(work)
    assert_same_blocks(dbf.factorize(place, store=store, **ARGUMENTS), expected)


@pytest.mark.slow
def test_a_damaged_piece_is_copied_again(place, expected, tmp_path, monkeypatch):
    store = tmp_path / "run"
    stop_after_panels(monkeypatch, place, store=store, **ARGUMENTS)
    work = store / "work" / RunStore.open(str(store)).manifest.epoch / "pieces"
    chunk = sorted(path for path in work.rglob("*") if path.is_file() and path.name != "zarr.json")[0]
    chunk.unlink()
    with pytest.raises(CheckpointError, match=r"the same call computes it again \(1 of the panels tasks\)"):
        dbf.factorize(place, store=store, **ARGUMENTS)
    assert_same_blocks(dbf.factorize(place, store=store, **ARGUMENTS), expected)


def test_a_result_is_returned_and_opened(place, matrix, expected, tmp_path):
    store = tmp_path / "run"
    assert_same_blocks(dbf.factorize(place, store=store, **ARGUMENTS), expected)
    before = snapshot(store)
    again = dbf.factorize(place, store=store, **ARGUMENTS)
    assert_same_blocks(again, expected)
    assert again.record["matrix_check"] == "nothing in its storage has changed since the run began"
    shutil.copytree(place, tmp_path / "copy.zarr")
    moved = dbf.factorize(tmp_path / "copy.zarr", store=store, **ARGUMENTS)
    assert "had read of them are the same" in moved.record["matrix_check"]
    assert "known again by" in dbf.factorize(matrix, store=store, **ARGUMENTS).record["matrix_check"]
    assert snapshot(store) == before
    assert_same_blocks(dbf.open(store), expected)


def test_stores_of_other_runs_are_refused_before_any_work(place, matrix, tmp_path, monkeypatch):
    store = tmp_path / "run"
    dbf.factorize(place, store=store, **ARGUMENTS)
    monkeypatch.setattr("dbutterfly.factorization.hierarchical.planning.look_at_blocks", None)  # nothing may be sampled
    before = snapshot(store)
    cases = [
        ({"tol": 0.5}, "tol is 0.001, not 0.5"),
        ({"leaf": 30}, "asked.leaf is 20, not 30"),
        ({"eta": 2}, "asked.eta"),
        ({"symmetric": True}, "asked.symmetric"),
        ({"points": (POINTS[::-1], POINTS)}, "asked.points"),
        ({"form": "butterfly", "leaf": None}, "kind|dtype|chain"),
    ]
    for arguments, message in cases:
        with pytest.raises(StoreMismatchError, match=message):
            dbf.factorize(place, store=store, **{**ARGUMENTS, **arguments})
    with pytest.raises(StoreMismatchError, match="is not the matrix of the run"):
        dbf.factorize(2 * matrix, store=store, **ARGUMENTS)
    assert snapshot(store) == before


@pytest.mark.slow
def test_a_matrix_that_has_changed_is_recognised(place, matrix, tmp_path):
    store = tmp_path / "run"
    dbf.factorize(place, store=store, **ARGUMENTS)
    array = zarr.open_array(place)
    array[:10, :10] = matrix[:10, :10]  # the same again, in a file with another time
    assert "1 of 9 pieces" in dbf.factorize(place, store=store, **ARGUMENTS).record["matrix_check"]
    array[:10, :10] = 2 * matrix[:10, :10]
    with pytest.raises(StoreMismatchError, match="have other entries than were read"):
        dbf.factorize(place, store=store, **ARGUMENTS)
    found = dbf.factorize(place, store=store, resume=False, **ARGUMENTS)
    assert error_of(found, np.asarray(array)) <= ASKED["tol"]


@pytest.mark.slow
def test_a_lost_chunk_is_told(place, tmp_path):
    shutil.rmtree(place / "c/1")
    with pytest.warns(dbf.errors.MissingChunksWarning, match="of 9 chunks are not stored"):
        found = dbf.factorize(place, store=tmp_path / "run", **ARGUMENTS)
    assert error_of(found, np.asarray(zarr.open_array(place))) <= ASKED["tol"]
    with pytest.raises(dbf.errors.MissingChunksError):
        dbf.factorize(place, missing="error", **ARGUMENTS)


def test_blocks_near_the_diagonal_are_looked_at_where_chunks_are_few_of_many(tmp_path, monkeypatch):
    from dbutterfly.factorization.hierarchical import promise

    monkeypatch.setattr(promise, "LEAST_READ", 1)
    at = np.arange(512.0)
    dbf.matrices.write(np.exp(-np.abs(at[:, None] - at) / 64), tmp_path / "z.zarr", chunks=(64, 64))
    plan = dbf.plan(tmp_path / "z.zarr", points=(at, at), **{**ASKED, "leaf": 16, "memory": "64 MiB"})
    assert plan.looked_at > 0
    energy = float(np.sum(np.asarray(zarr.open_array(tmp_path / "z.zarr")) ** 2))
    positions = plan.level and ASKED["tol"] ** 2 * energy / plan.level
    assert 512 < positions < 512 * 512  # rows and columns of the blocks, each of which is in several
