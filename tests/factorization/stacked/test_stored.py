"""Runs for stacks in stores: cut off and continued, refused, damaged, recognised, and opened again."""

import random
import shutil

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, InputError, StoreError, StoreMismatchError
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import snapshot
from tests.support.patience import wait_until
from tests.support.stacked_runs import (
    assert_same_stacks,
    count_done,
    counted_reads,
    make_stack,
    memory_for_tasks,
    start_run,
    store_stack,
)

TASKS = 12
KILLS = 2


@pytest.fixture(scope="module")
def stack():
    return make_stack(24)


@pytest.fixture(scope="module")
def expected(stack):
    return dbf.factorize(stack)


@pytest.fixture
def place(stack, tmp_path):
    return store_stack(stack, tmp_path / "z.zarr", (1, 32, 32))


@pytest.mark.slow
def test_no_kill_loses_anything(place, expected, tmp_path):
    """The process is killed after some of its tasks; ``python -m benchmarks stacks`` does this thirty times."""
    memory, chance = memory_for_tasks(place, TASKS), random.Random(0)
    for number in range(KILLS):
        store, wanted = tmp_path / f"run{number}", chance.randrange(1, TASKS)
        process = start_run(place, store, memory)
        wait_until(lambda s=store, n=wanted: count_done(s) >= n, what=f"{wanted} tasks have ended")
        process.kill()
        ended = count_done(store)
        with counted_reads() as reads:
            found = dbf.factorize(place, store=store, memory=memory)
        assert_same_stacks(found, expected)
        assert len(reads) <= found.record["plan"]["tasks"]["matrices"] - ended


@pytest.mark.slow
def test_tasks_that_have_ended_are_not_done_again(place, stack, expected, tmp_path, monkeypatch):
    from dbutterfly.sources.stacks.zarr_arrays import ZarrStack

    memory, read, reads = memory_for_tasks(place, TASKS), ZarrStack.read_matrices, []

    def fail_later(source, numbers):
        reads.append(numbers)
        if len(reads) > TASKS // 2:
            raise KeyboardInterrupt
        return read(source, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStack, "read_matrices", fail_later)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(place, store=tmp_path / "run", memory=memory, workers=1)
    with pytest.raises(StoreError, match=r"has not ended \(\d+ of \d+ matrices done\)"):
        dbf.open(tmp_path / "run")
    ended = count_done(tmp_path / "run")
    assert ended > 0
    found = dbf.factorize(place, store=tmp_path / "run", memory=4 * memory)  # the tasks stay what they were
    assert_same_stacks(found, expected)
    assert found.record["rounds"][0]["resumed"] == ended


def test_a_result_is_returned_and_opened(place, stack, expected, tmp_path):
    store = tmp_path / "run"
    assert_same_stacks(dbf.factorize(place, store=store), expected)
    before = snapshot(store)
    again = dbf.factorize(place, store=store)
    assert_same_stacks(again, expected)
    assert again.record["matrix_check"] == "nothing in its storage has changed since the run began"
    shutil.copytree(place, tmp_path / "copy.zarr")
    moved = dbf.factorize(tmp_path / "copy.zarr", store=store)
    assert "would read the same" in moved.record["matrix_check"]
    assert "known again by" in dbf.factorize(stack, store=store).record["matrix_check"]
    assert snapshot(store) == before
    opened = dbf.open(store)
    assert_same_stacks(opened, expected)
    x = np.ones((24, 32))
    np.testing.assert_array_equal(opened @ x, expected @ x)


def test_stores_of_other_runs_are_refused_before_any_work(place, stack, tmp_path, monkeypatch):
    store = tmp_path / "run"
    dbf.factorize(place, store=store)
    monkeypatch.setattr("dbutterfly.factorization.request.chain_for_tolerance", None)  # nothing may be sampled
    before = snapshot(store)
    cases = [
        ({"rank": 2}, "asked.rank is 1, not 2"),
        ({"tol": 0.5}, "tol is None, not 0.5"),
        ({"passes": 2}, "passes is 1, not 2"),
        ({"orderings": ("bitreversal", None)}, "asked.orderings is None"),
        ({"shared": False}, "asked.shared is None, not False"),
    ]
    for arguments, message in cases:
        with pytest.raises(StoreMismatchError, match=message):
            dbf.factorize(place, store=store, **arguments)
    with pytest.raises(StoreMismatchError, match="kinds"):
        dbf.factorize(stack[:3], store=store)
    with pytest.raises(StoreMismatchError):
        dbf.factorize(stack[0], store=store)
    with pytest.raises(StoreMismatchError, match="is not the stack of the run"):
        dbf.factorize(2 * stack, store=store)
    with pytest.raises(InputError, match="which is read"):
        dbf.factorize(place, store=f"{place}/run")
    assert snapshot(store) == before
    with pytest.raises(StoreError, match="holds a stack"):
        dbf.prove(store, stack[0])
    with pytest.raises(StoreError, match="holds a stack"):
        dbf.ButterflyOperator.load(store)


@pytest.mark.slow
def test_matrices_that_have_changed_are_recognised(place, stack, tmp_path):
    store = tmp_path / "run"
    dbf.factorize(place, store=store)
    array = zarr.open_array(place)
    array[5] = stack[5]  # the same again, in files with another time
    assert (
        "1 of 24 matrices were changed in their storage (files)"
        in dbf.factorize(place, store=store).record["matrix_check"]
    )
    array[5] = 2 * stack[5]
    with pytest.raises(StoreMismatchError, match="have other entries than were read"):
        dbf.factorize(place, store=store)
    found = dbf.factorize(place, store=store, resume=False)
    assert found[5].certificate.norm == pytest.approx(2 * np.linalg.norm(stack[5]))


@pytest.mark.slow
def test_what_is_damaged_is_computed_again(place, expected, tmp_path):
    store = tmp_path / "run"
    dbf.factorize(place, store=store)
    path = store / "batches/0/certificates/c/0/0"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(CheckpointError, match="batches/0/certificates is missing or damaged"):
        dbf.open(store)
    with pytest.raises(CheckpointError):
        dbf.factorize(place, store=store)
    assert_same_stacks(dbf.factorize(place, store=store), expected)


@pytest.mark.slow
def test_damage_of_a_run_under_way_costs_the_tasks_concerned(place, expected, tmp_path, monkeypatch):
    memory, store = memory_for_tasks(place, TASKS), tmp_path / "run"

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dbutterfly.factorization.stacked.run._assemble", stop)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(place, store=store, memory=memory)
    run = RunStore.open(str(store))
    work = store / "work" / run.manifest.epoch / "0/factors/1"
    chunk = sorted(path for path in work.rglob("*") if path.is_file() and path.name != "zarr.json")[0]
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    with pytest.raises(CheckpointError, match="the same call computes it again \\(1 of the matrices tasks\\)"):
        dbf.factorize(place, store=store)
    shutil.rmtree(work)
    found = dbf.factorize(place, store=store)
    assert_same_stacks(found, expected)


@pytest.mark.slow
def test_rounds_of_higher_ranks_are_continued(tmp_path, monkeypatch):
    from dbutterfly.factorization.stacked import planning, run

    monkeypatch.setattr(planning, "SAMPLED", 1)
    x = np.linspace(0, 1, 128)
    distance = np.sqrt(1 + (x[:, None] - x) ** 2)
    stack = np.stack([np.exp(1j * k * distance) for k in (10.0, 40.0, 80.0)])
    asked = {"tol": 1e-5, "orderings": ("bitreversal", None)}
    expected = dbf.factorize(stack, **asked)
    assert len(expected.record["rounds"]) > 1

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_assemble", stop)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(stack, **asked, store=tmp_path / "run")
    found = dbf.factorize(stack, **asked, store=tmp_path / "run")
    assert_same_stacks(found, expected)
    assert all(each["tasks"] == 0 for each in found.record["rounds"][1:])
    assert_same_stacks(dbf.open(tmp_path / "run"), expected)
    assert_same_stacks(dbf.factorize(stack, **asked, store=tmp_path / "run"), expected)


def test_index_arrays_and_gaps_are_kept(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.standard_normal((3, 29, 31))
    orderings = (rng.permutation(29), rng.permutation(31))
    found = dbf.factorize(stack, orderings=orderings, rank=2, store=tmp_path / "run")
    assert_same_stacks(dbf.open(tmp_path / "run"), found)
    assert_same_stacks(dbf.factorize(stack, orderings=orderings, rank=2, store=tmp_path / "run"), found)
    with pytest.raises(StoreMismatchError, match=r"asked\.orderings"):
        dbf.factorize(stack, orderings=(orderings[0], None), rank=2, store=tmp_path / "run")


def test_a_result_is_saved(stack, expected, tmp_path):
    mixed = dbf.factorize([stack[0], stack[1].real, stack[2, :20]])
    for found in (expected, mixed):
        found.save(tmp_path / "saved", overwrite=True)
        assert_same_stacks(dbf.open(tmp_path / "saved"), found)
    with pytest.raises(StoreError, match="already holds a dbutterfly stack"):
        mixed.save(tmp_path / "saved")
    with pytest.raises(StoreMismatchError):
        dbf.factorize(stack, store=tmp_path / "saved")


def test_failed_matrices_are_kept_as_failed(stack, tmp_path):
    broken = stack.copy()
    broken[3] = np.nan
    with pytest.warns(dbf.errors.FailedMatricesWarning):
        found = dbf.factorize(broken, store=tmp_path / "run")
    assert_same_stacks(dbf.open(tmp_path / "run"), found)
    assert list(found.failed) == [3]


def test_a_lost_chunk_is_told(place, tmp_path):
    shutil.rmtree(f"{place}/c/7")
    with pytest.warns(dbf.errors.MissingChunksWarning, match="1 of 24 chunks are not stored"):
        found = dbf.factorize(place)
    assert found.certificates[7].norm == 0
    with pytest.raises(dbf.errors.MissingChunksError, match="c/7/0/0"):
        dbf.factorize(place, missing="error")


def test_a_damaged_chunk_is_named(place):
    with open(f"{place}/c/5/0/0", "wb") as file:
        file.write(b"no chunk")
    with pytest.raises(dbf.errors.SourceError, match=r"cannot read matrices .*chunk c/5/0/0"):
        dbf.factorize(place)
