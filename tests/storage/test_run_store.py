import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, StoreError, StoreMismatchError
from dbutterfly.storage.arrays import occupant
from dbutterfly.storage.manifest import FORMAT, Manifest
from dbutterfly.storage.run_store import RunStore
from tests.support.parts import require

MANIFEST = Manifest(
    version="0.1",
    chain=[[1, 2, 2, 2], [2, 2, 2, 1]],
    orderings={"rows": None, "cols": "array"},
    matrix={"shape": [4, 4], "dtype": "float32"},
    passes=1,
)
SUMMARY = dict.fromkeys(
    ("tasks", "resumed", "bytes_read", "idle_bytes", "peak_bytes", "peak_beyond_idle"), 1
) | dict.fromkeys(("seconds", "load_seconds", "compute_seconds"), 1.25)
EVERYTHING = (slice(None),)
FACTORS = [np.arange(8, dtype="float32").reshape(1, 2, 2, 2), np.ones((2, 2, 2, 1), "complex64") * (1 + 2j)]


@pytest.fixture(params=["directory", "memory", "local store", "subgroup"])
def place(request, tmp_path):
    """Places for a run, empty at first."""
    if request.param == "subgroup":
        zarr.create_group(tmp_path / "outer.zarr")
        return str(tmp_path / "outer.zarr" / "run")
    return {
        "directory": tmp_path / "run.zarr",
        "memory": zarr.storage.MemoryStore(),
        "local store": zarr.storage.LocalStore(tmp_path / "run.zarr"),
    }[request.param]


def completed(place):
    run = RunStore.create(place, MANIFEST)
    run.put_factors(FACTORS, {"cols": np.asarray([2, 0, 3, 1])}, record={"seconds": 1.5})
    return run


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# ---------------------------------------------------------------- creating and opening


def test_run_is_created_once_and_opened_again(place):
    assert RunStore.open(place) is None
    run = RunStore.create(place, MANIFEST)
    assert not run.is_complete
    again = RunStore.open(place, mode="r+")
    assert again.manifest == run.manifest == replace(MANIFEST, epoch=run.manifest.epoch)
    with pytest.raises(StoreError, match=r"already holds something .*; nothing was changed: choose another place"):
        RunStore.create(place, MANIFEST)


def test_opening_creates_nothing(tmp_path):
    assert RunStore.open(tmp_path / "nowhere") is None
    assert RunStore.open(tmp_path / "nowhere", mode="r+") is None
    assert not (tmp_path / "nowhere").exists()


def test_empty_directory_is_a_place(tmp_path):
    (tmp_path / "empty").mkdir()
    assert occupant(tmp_path / "empty") is None
    assert not RunStore.create(tmp_path / "empty", MANIFEST).is_complete


def make_foreign_group(path):
    zarr.create_group(path, attributes={"owner": "somebody"})


def make_array(path):
    zarr.create_array(path, shape=(4, 4), chunks=(2, 2), dtype="f8")


def make_files(path):
    path.mkdir()
    (path / "thesis.tex").write_text("chapter 1")


def make_file(path):
    path.write_text("no directory")


def make_old_group(path):
    zarr.create_group(path, zarr_format=2)


@pytest.mark.parametrize(
    "make", [make_foreign_group, make_array, make_files, make_old_group], ids=lambda make: make.__name__
)
def test_what_is_there_is_left_alone(tmp_path, make):
    path = tmp_path / "place"
    make(path)
    before = contents(path)
    assert occupant(path) is not None
    assert RunStore.open(path) is None
    with pytest.raises(StoreError, match=r"store=.*place.* already holds something that is no dbutterfly run"):
        RunStore.create(path, MANIFEST)
    assert contents(path) == before


def test_file_is_left_alone(tmp_path):
    make_file(tmp_path / "place")
    with pytest.raises(StoreError, match=r"store=.*place"):
        RunStore.create(tmp_path / "place", MANIFEST)
    assert (tmp_path / "place").read_text() == "no directory"


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store=.*file/run.zarr.* cannot be (written|opened): "):
        RunStore.create(tmp_path / "file" / "run.zarr", MANIFEST)


def test_format_of_a_later_version(tmp_path):
    later = MANIFEST.to_json() | {"format": FORMAT + 1, "version": "9.9"}
    zarr.create_group(tmp_path / "run", attributes={"dbutterfly": later})
    with pytest.raises(
        StoreError, match=rf"has format {FORMAT + 1}, written by dbutterfly 9.9; this version reads format {FORMAT}"
    ):
        RunStore.open(tmp_path / "run")


def test_unknown_kind_of_node_is_kept(tmp_path):
    RunStore.create(tmp_path / "run", MANIFEST)
    shutil.rmtree(tmp_path / "run" / "manifest")
    (tmp_path / "run" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "lake"}')
    assert RunStore.open(tmp_path / "run") is None
    with pytest.raises(StoreError, match="nothing was changed"):
        RunStore.create(tmp_path / "run", MANIFEST)


@pytest.mark.parametrize("damage", ["{", "", "[]"])
def test_damaged_metadata_is_reported_and_kept(tmp_path, damage):
    RunStore.create(tmp_path / "run", MANIFEST)
    shutil.rmtree(tmp_path / "run" / "manifest")
    (tmp_path / "run" / "zarr.json").write_text(damage)
    with pytest.raises(
        StoreError, match=r"store=.*run.* cannot be opened: its manifest is damaged .* restore 'zarr.json'"
    ):
        RunStore.open(tmp_path / "run")
    with pytest.raises(StoreError, match=r"store=.*run"):
        RunStore.create(tmp_path / "run", MANIFEST)
    assert (tmp_path / "run" / "zarr.json").read_text() == damage


@pytest.mark.parametrize("manifest", ["text", [1], {}, {"status": "complete"}], ids=str)
def test_manifest_of_another_kind_is_no_run(tmp_path, manifest):
    zarr.create_group(tmp_path / "run", attributes={"dbutterfly": manifest})
    assert RunStore.open(tmp_path / "run") is None


def test_reading_does_not_write(tmp_path):
    completed(tmp_path / "run")
    before = contents(tmp_path / "run")
    run = RunStore.open(tmp_path / "run")
    run.factors()
    with pytest.raises(StoreError, match=r"cannot write the manifest of store .*read-only"):
        run.update(status="running")
    assert contents(tmp_path / "run") == before


# ---------------------------------------------------------------- the manifest


def test_update_is_kept(place):
    run = RunStore.create(place, MANIFEST)
    changed = {"passes": 2, "stages": {"tiles": SUMMARY}}
    run.update(**changed)
    again = RunStore.open(place)
    assert again.manifest == run.manifest == replace(MANIFEST, epoch=run.manifest.epoch, **changed)


def test_manifest_is_plain_json_on_disk_twice(tmp_path):
    run = RunStore.create(tmp_path / "run", MANIFEST)
    for path in (tmp_path / "run", tmp_path / "run" / "manifest"):
        stored = json.loads((path / "zarr.json").read_text())["attributes"]["dbutterfly"]
        assert stored == {**run.manifest.to_json(), "digest": stored["digest"]}


def test_same_run(place):
    run = RunStore.create(place, MANIFEST)
    run.check_same(replace(MANIFEST, version="other", status="complete"), ("matrix", "chain", "passes"))
    run.check_same(replace(MANIFEST, passes=2), ("matrix", "chain"))


def test_another_run_is_refused_with_what_differs(place):
    run = RunStore.create(place, MANIFEST)
    other = replace(MANIFEST, passes=2, chain=[[1, 4, 4, 1]] * 40)
    with pytest.raises(
        StoreMismatchError,
        match=r"holds the run of another matrix or of other settings \(passes is 1, not 2; chain is \[\[1, 2, 2, 2\], "
        r"\[2, 2, 2, 1\]\], not \[\[1, 4, 4, 1\].*\.\.\.\); nothing was changed",
    ) as info:
        run.check_same(other, ("passes", "matrix", "chain"))
    assert isinstance(info.value, StoreError)
    assert len(str(info.value)) < 600


def test_missing_entry_differs(place):
    run = RunStore.create(place, Manifest(chain=MANIFEST.chain))
    with pytest.raises(StoreMismatchError, match="passes is None, not 1"):
        run.check_same(MANIFEST, ("chain", "passes"))


# ---------------------------------------------------------------- progress


def test_workspace_of_a_run_is_kept(place):
    run = RunStore.create(place, MANIFEST)
    run.workspace.create("A", (2, 3), (1, 3), "complex64")
    run.workspace.write("A", (slice(1, 2),), np.full((1, 3), 1 + 1j, "complex64"))
    again = RunStore.open(place, mode="r+").workspace
    np.testing.assert_array_equal(again.read("A", (slice(1, 2),)), [[1 + 1j] * 3])
    with pytest.raises(CheckpointError, match=r"chunk c\.0\.0 of .*A of store .* is missing"):
        again.read("A", EVERYTHING)


def test_restart_forgets_progress_and_result(place):
    run = completed(place)
    run.workspace.create("A", (2,), (2,), "f8")
    run.workspace.write("A", EVERYTHING, np.ones(2))
    before = run.manifest.epoch
    run.restart(replace(MANIFEST, passes=2))
    again = RunStore.open(place, mode="r+")
    assert again.manifest == run.manifest == replace(MANIFEST, passes=2, epoch=run.manifest.epoch)
    assert run.manifest.epoch != before
    assert not again.is_complete
    assert list(again.group.keys()) == ["manifest"]
    assert again.workspace.create("A", (2,), (2,), "f8")


def test_what_a_task_of_a_run_that_was_given_up_still_writes_is_not_read(place):
    run = RunStore.create(place, MANIFEST)
    late = run.workspace
    late.create("A", (2,), (2,), "f8")
    late.write("A", EVERYTHING, np.ones(2))
    run.restart(MANIFEST)
    late.write("A", EVERYTHING, np.full(2, 7.0))
    workspace = RunStore.open(place, mode="r+").workspace
    assert workspace.create("A", (2,), (2,), "f8")
    with pytest.raises(CheckpointError, match="is missing"):
        workspace.read("A", EVERYTHING)
    workspace.write("A", EVERYTHING, np.zeros(2))
    late.write("A", EVERYTHING, np.full(2, 7.0))
    np.testing.assert_array_equal(workspace.read("A", EVERYTHING), 0)


# ---------------------------------------------------------------- the result


def test_result_is_read_back_and_the_work_dropped(place):
    run = RunStore.create(place, MANIFEST)
    run.workspace.create("done/tiles", (3, 6), (1, 6), "f8")
    run.put_factors(FACTORS, {"cols": np.asarray([2, 0, 3, 1])}, record={"seconds": 1.5})
    again = RunStore.open(place)
    assert run.is_complete
    assert again.is_complete
    assert again.manifest.record == {"seconds": 1.5}
    assert "work" not in again.group
    for stored, values in zip(again.factors(), FACTORS, strict=True):
        assert stored.dtype == values.dtype
        np.testing.assert_array_equal(stored, values)
    np.testing.assert_array_equal(again.side("cols"), [2, 0, 3, 1])
    assert "orderings/rows" not in again.group


def test_result_without_index_arrays(place):
    run = RunStore.create(place, MANIFEST)
    run.put_factors(FACTORS, {})
    assert sorted(RunStore.open(place).group.keys()) == ["factors", "manifest"]
    with pytest.raises(StoreError, match="orderings/rows is missing or damaged"):
        run.side("rows")


def test_result_may_be_written_again(place):
    run = completed(place)
    run.put_factors([2 * values for values in FACTORS], {})
    np.testing.assert_array_equal(RunStore.open(place).factors()[0], 2 * FACTORS[0])


def test_zero_factors_are_a_result(place):
    run = RunStore.create(place, MANIFEST)
    run.put_factors([np.zeros_like(values) for values in FACTORS], {})
    assert not any(values.any() for values in RunStore.open(place).factors())


def damage_array(path):
    shutil.rmtree(path)


def lose_chunk(path):
    shutil.rmtree(path / "c")


def damage_metadata(path):
    (path / "zarr.json").write_text("{")


def chunk_of(path):
    (chunk,) = (file for file in (path / "c").rglob("*") if file.is_file())
    return chunk


def cut_chunk(path):
    chunk_of(path).write_bytes(chunk_of(path).read_bytes()[:5])


def flip_bit(path):
    content = bytearray(chunk_of(path).read_bytes())
    content[3] ^= 1
    chunk_of(path).write_bytes(content)


@pytest.mark.parametrize(
    "damage", [damage_array, lose_chunk, damage_metadata, cut_chunk, flip_bit], ids=lambda damage: damage.__name__
)
def test_damaged_factor_is_named(tmp_path, damage):
    completed(tmp_path / "run")
    damage(tmp_path / "run" / "factors" / "1")
    run = RunStore.open(tmp_path / "run")
    with pytest.raises(StoreError, match=r"store=.*run: factors/1 is missing or damaged: "):
        run.factors()


def test_what_a_killed_process_left_of_its_first_file_is_no_obstacle(tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    (place / "zarr.0123456789abcdef.partial").write_text('{"zarr_fo')
    assert occupant(place) is None
    assert RunStore.create(place, Manifest()).manifest.to_json()["format"] == FORMAT
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("keep me")
    assert occupant(tmp_path / "other") == "other files"


@pytest.mark.slow
@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", ".nfs000123", "._run", ".directory"])
def test_what_systems_leave_in_an_empty_directory_is_nothing(tmp_path, name):
    fact = dbf.factorize(np.eye(8))
    for place, write in (("run", lambda p: dbf.factorize(np.eye(8), store=p)), ("saved", fact.save)):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_bytes(b"\0\1")
        write(tmp_path / place)
        assert dbf.open(tmp_path / place).shape == (8, 8)
    dbf.matrices.write(np.eye(4), tmp_path / "saved2")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "draft.tex").write_text("x")
    with pytest.raises(StoreError, match="already holds something that is no dbutterfly run"):
        fact.save(tmp_path / "kept", overwrite=True)


def test_xarray_opens_what_is_stored(tmp_path):
    xarray = require("xarray", "test-core")
    z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
    orderings = (np.arange(16)[::-1], None)
    fact = dbf.factorize(z[::-1], orderings=orderings, store=tmp_path / "run")
    zarr.create_group(tmp_path / "data")
    dbf.matrices.write(z, tmp_path / "data" / "z")
    dbf.stream_product(fact.operator, z[:, :5], tmp_path / "data" / "y")
    with xarray.open_zarr(tmp_path / "run", group="factors", consolidated=False) as factors:
        for index, values in enumerate(fact.ks_values):
            np.testing.assert_array_equal(factors[str(index)].values, values)
    with xarray.open_zarr(tmp_path / "data", consolidated=False) as data:
        np.testing.assert_array_equal(data["z"].values, z)
        np.testing.assert_allclose(data["y"].values, fact.operator @ z[:, :5])
    for group, names in (("orderings", {"rows"}), ("trace", {"tasks", "residuals"})):
        with xarray.open_zarr(tmp_path / "run", group=group, consolidated=False) as found:
            assert set(found.data_vars) | set(found.coords) == names
