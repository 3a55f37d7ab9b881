"""The manifest and its copy: which of them is used, and what is restored."""

import json
import logging
import os
import shutil

import fsspec
import fsspec.implementations.asyn_wrapper
import numpy as np
import pytest
import zarr

from dbutterfly.errors import StoreError
from dbutterfly.storage import places, retries, run_store, sealed_manifest, workspace
from dbutterfly.storage.manifest import Manifest
from dbutterfly.storage.run_store import RunStore
from tests.support.forgetful_store import Forgetful

MANIFEST = Manifest(chain=[[1, 2, 2, 2], [2, 2, 2, 1]], orderings={"rows": None, "cols": None}, dtype="float64")
FACTORS = [np.ones((1, 2, 2, 2)), np.ones((2, 2, 2, 1))]


def emptied(path):
    path.write_bytes(b"")


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def deleted(path):
    path.unlink()


def other_digit(path):
    path.write_text(path.read_text().replace('"float64"', '"float32"'))


def without_manifest(path):
    path.write_text('{"zarr_format": 3, "node_type": "group"}')


def an_array(path):
    path.unlink()
    zarr.create_array(path.parent, shape=(4,), dtype="f8")


def deep(path):
    path.write_text("[" * 100_000)


def consolidated(path):
    content = json.loads(path.read_text())
    content["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": {"factors/0": 7}}
    path.write_text(json.dumps(content))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


DAMAGES = [emptied, zeroed, deleted, other_digit, without_manifest, an_array, deep, pipe, directory]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_manifest_is_replaced_by_its_copy(tmp_path, damage, caplog):
    run = RunStore.create(tmp_path / "run", MANIFEST)
    run.put_factors(FACTORS, {})
    damage(tmp_path / "run" / "zarr.json")
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        found = RunStore.open(tmp_path / "run")
    assert "its manifest is" in caplog.text
    assert "its copy is used" in caplog.text
    assert found.manifest == run.manifest
    np.testing.assert_array_equal(found.factors()[1], 1)
    assert RunStore.open(tmp_path / "run", mode="r+").manifest == run.manifest
    shutil.rmtree(tmp_path / "run" / "manifest")  # what it was restored from is not needed any more
    assert RunStore.open(tmp_path / "run").manifest == run.manifest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_copy_is_written_anew(tmp_path, damage, caplog):
    run = RunStore.create(tmp_path / "run", MANIFEST)
    damage(tmp_path / "run" / "manifest" / "zarr.json")
    again = RunStore.open(tmp_path / "run", mode="r+")
    assert again.manifest == run.manifest
    assert "its copy is used" not in caplog.text
    again.update(passes=2)
    (tmp_path / "run" / "zarr.json").write_bytes(b"")
    assert RunStore.open(tmp_path / "run").manifest == again.manifest


def test_consolidated_metadata_are_not_looked_at(tmp_path):
    RunStore.create(tmp_path / "run", MANIFEST).put_factors(FACTORS, {})
    consolidated(tmp_path / "run" / "zarr.json")
    np.testing.assert_array_equal(RunStore.open(tmp_path / "run").factors()[0], 1)


def test_a_store_without_copy_and_digests_is_read(tmp_path):
    """As older versions wrote it; what is written next has them."""
    run = RunStore.create(tmp_path / "run", MANIFEST)
    run.put_factors(FACTORS, {})
    group = zarr.open_group(tmp_path / "run", mode="r+")
    group.attrs["dbutterfly"] = {
        name: value for name, value in run.manifest.to_json().items() if name not in ("checksums", "digest")
    }
    shutil.rmtree(tmp_path / "run" / "manifest")
    again = RunStore.open(tmp_path / "run", mode="r+")
    np.testing.assert_array_equal(again.factors()[0], 1)
    again.update(passes=1)
    (tmp_path / "run" / "zarr.json").unlink()
    assert RunStore.open(tmp_path / "run").manifest == again.manifest


def test_of_two_that_begin_at_the_same_moment_one_manifest_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(run_store, "occupant", lambda _: None)
    first = RunStore.create(tmp_path / "run", MANIFEST)
    RunStore.create(tmp_path / "run", MANIFEST)
    assert RunStore.open(tmp_path / "run").manifest == first.manifest
    (tmp_path / "run" / "zarr.json").unlink()
    assert RunStore.open(tmp_path / "run").manifest == first.manifest


def test_both_damaged_are_told_in_one_sentence(tmp_path):
    RunStore.create(tmp_path / "run", MANIFEST)
    emptied(tmp_path / "run" / "zarr.json")
    other_digit(tmp_path / "run" / "manifest" / "zarr.json")
    with pytest.raises(StoreError, match=r"its manifest is damaged \(.*\) and the copy of it damaged .*; restore"):
        RunStore.open(tmp_path / "run", mode="r+")


def test_a_factor_of_another_run_is_damage(tmp_path):
    for name, values in (("run", 1.0), ("other", 2.0)):
        RunStore.create(tmp_path / name, MANIFEST).put_factors([values * factor for factor in FACTORS], {})
    shutil.copytree(tmp_path / "other/factors/0", tmp_path / "run/factors/0", dirs_exist_ok=True)
    with pytest.raises(StoreError, match=r"factors/0 is missing or damaged: it is not what the run has stored"):
        RunStore.open(tmp_path / "run").factors()


@pytest.mark.parametrize("kind", ["memory", "directory", "fsspec"])
def test_a_run_whose_manifests_are_not_found_is_no_empty_place(tmp_path, kind):
    files = fsspec.implementations.asyn_wrapper.AsyncFileSystemWrapper(
        fsspec.filesystem("file", auto_mkdir=True), asynchronous=True
    )
    store = {
        "memory": zarr.storage.MemoryStore(),
        "directory": zarr.storage.LocalStore(tmp_path / "run"),
        "fsspec": zarr.storage.FsspecStore(files, path=str(tmp_path / "run")),
    }[kind]
    run = RunStore.create(store, MANIFEST)
    assert RunStore.open(Forgetful(store, {"zarr.json"})).manifest == run.manifest
    forgetful = Forgetful(store, {"zarr.json", "manifest/zarr.json"})
    assert RunStore.open(forgetful) is None
    with pytest.raises(StoreError, match=r"already holds something .*; nothing was changed"):
        RunStore.create(forgetful, MANIFEST)
    assert RunStore.open(store).manifest == run.manifest


def test_an_object_that_is_not_found_once_is_asked_for_again(tmp_path, monkeypatch):
    """On a remote store."""
    for module in (places, sealed_manifest, workspace):
        monkeypatch.setattr(module, "is_remote", lambda _: True)
    store, asked = zarr.storage.MemoryStore(), []

    class Moody(Forgetful):
        async def get(self, key, prototype, byte_range=None):
            asked.append(key)
            self.forgotten = () if asked.count(key) % 2 == 0 else (key,)
            return await super().get(key, prototype, byte_range)

    RunStore.create(store, MANIFEST).put_factors(FACTORS, {})
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.0)
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    run = RunStore.open(Moody(store, {"zarr.json"}))
    np.testing.assert_array_equal(run.factors()[0], 1)
    arrays = workspace.ZarrWorkspace(store, "work/0")
    arrays.create("A", (2,), (1,), "f8")
    arrays.write("A", (slice(None),), np.ones(2))
    again = workspace.ZarrWorkspace(Moody(store, ()), "work/0")
    np.testing.assert_array_equal(again.read("A", (slice(None),)), 1)
