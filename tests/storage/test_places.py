"""Places: what becomes of paths, URLs and stores. No server is needed here."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.dirfs import DirFileSystem
from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ObjectStore, StorePath, WrapperStore

from dbutterfly.errors import InputError, how_to_install
from dbutterfly.storage.places import as_store, holds_objects, is_remote, is_shared
from dbutterfly.storage.remote import RemoteStore
from tests.support.parts import require

obstore = require("obstore", "test-s3")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody-may-see-this")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name in ("AWS_PROFILE", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_local_places_become_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path / "z.zarr")
    assert [as_store(place) for place in ("z.zarr", "./z.zarr", Path("z.zarr"), f"file://{here}")] == [here] * 4


@pytest.mark.parametrize(
    "place",
    ["memory://z.zarr", "simplecache::s3://b/z", MemoryStore(), {}, None],
    ids=lambda place: type(place).__name__,
)
def test_what_zarr_opens_by_itself_stays(place: Any) -> None:
    assert as_store(place) is place


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://b/run/z.zarr", "s3://b/run/z.zarr"),
        ("s3://b", "s3://b"),
        ("S3A://b/z/", "s3://b/z"),
        ("s3://b/a 50% ü/z", "s3://b/a 50% ü/z"),
        ("gcs://b/z", "gs://b/z"),
        ("https://host:8080/z.zarr", "https://host:8080/z.zarr"),
        ("abfss://c@account.dfs.core.windows.net/z", "abfs://c@account.dfs.core.windows.net/z"),
    ],
)
def test_urls_become_stores(place: str, url: str) -> None:
    store = as_store(place)
    assert isinstance(store, RemoteStore)
    assert str(store) == url
    assert repr(store) == f"RemoteStore({url!r})"
    assert is_remote(store)
    assert is_remote(place)


def test_azure_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"store='az://c/z' .*Account must be specified.*AZURE_STORAGE_ACCOUNT_NAME"):
        as_store("az://c/z", argument="store")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert str(as_store("azure://c/z")) == "az://c/z"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://", "names no bucket; write s3://bucket/path"),
        ("gs:///z", "names no bucket"),
        ("az://", "names no container"),
        ("s3://b//z", "empty name"),
        ("s3://b/../z", r"'\.\.'"),
        ("s3://b/z#1", "'#'"),
        ("https://h/z?version=2", r"'\?'"),
        ("s4://b/z", "unknown scheme; use a local path or one of s3://"),
        ("sftp://h/z", "cannot be opened"),
    ],
)
def test_bad_urls_are_refused(place: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        as_store(place, argument="source")
    assert f"source={place!r}" in str(caught.value)


def test_keys_in_urls_are_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID") as caught:
        as_store("s3://somebody:hush@b/z")
    assert "hush" not in str(caught.value)


def test_without_obstore(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"s3fs"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    assert as_store("s3://b/z") == "s3://b/z"
    there.clear()
    with pytest.raises(
        InputError, match=re.escape(f"needs the package obstore; install it with: {how_to_install('s3')}")
    ):
        as_store("s3://b/z")


def test_profiles_need_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert str(as_store("s3://b/z")) == "s3://b/z"  # keys of the environment come first
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "boto3" else find_spec(name))
    with pytest.raises(InputError, match="AWS_PROFILE='lab' in the environment needs the package boto3"):
        as_store("s3://b/z")


def test_stores_are_the_same_for_the_same_url() -> None:
    store = as_store("s3://b/z")
    assert store == as_store("s3://b/z/", read_only=True) == store.with_read_only(True)
    assert store != as_store("s3://b/y")
    assert store != MemoryStore()
    assert len({store, as_store("s3://b/z")}) == 1
    assert store.store is as_store("s3://b/z", read_only=True).store  # and share its connections


def test_secrets_are_not_in_pickles() -> None:
    store = as_store("s3://b/z", read_only=True)
    pickled = pickle.dumps(store)
    assert b"nobody-may-see-this" not in pickled
    assert b"somebody" not in pickled
    again = pickle.loads(pickled)
    assert again == store
    assert again.read_only
    assert not pickle.loads(pickle.dumps(as_store("s3://b/z"))).read_only


def test_another_environment_is_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    before = as_store("s3://b/z")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "changed")
    assert as_store("s3://b/z").store is not before.store


class Distant(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A file system that pretends to be far away."""

    protocol = "distant"
    cachable = False


def test_what_is_remote(tmp_path: Path) -> None:
    array = zarr.create_array(LocalStore(tmp_path / "z.zarr"), shape=(2,), dtype="f4")
    near = [MemoryStore(), LocalStore(tmp_path), array, StorePath(MemoryStore()), str(tmp_path), tmp_path, None, {}]
    near += [FsspecStore.from_url("memory://z"), FsspecStore.from_url(f"file://{tmp_path}"), "memory://z", "file:///z"]
    near += [ObjectStore(obstore.store.MemoryStore()), ObjectStore(obstore.store.LocalStore(tmp_path))]
    assert not any(is_remote(store) for store in near)
    far = [as_store("s3://b/z"), StorePath(as_store("s3://b/z"), "x"), ObjectStore(obstore.store.S3Store("b"))]
    far += [FsspecStore(AsyncFileSystemWrapper(Distant(), asynchronous=True)), "s3://b/z", "simplecache::s3://b/z"]
    assert all(is_remote(store) for store in far)


def test_only_what_can_be_listed_holds_objects(tmp_path: Path) -> None:
    store = ObjectStore(obstore.store.MemoryStore())
    assert not holds_objects(store)
    zarr.create_group(store)
    assert holds_objects(store)
    assert not holds_objects(str(tmp_path))
    assert not holds_objects(as_store("http://127.0.0.1:1/z"))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over a directory."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_arrays_on_web_servers_can_be_read(web: str, tmp_path: Path) -> None:
    values = np.arange(64.0).reshape(8, 8)
    zarr.create_array(tmp_path / "z.zarr", data=values, chunks=(4, 4))
    array = zarr.open(as_store(f"{web}/z.zarr"), mode="r")
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(array[...], values)
    with pytest.raises(FileNotFoundError):
        zarr.open(as_store(f"{web}/y.zarr"), mode="r")


def test_what_lies_in_the_memory_of_a_process_is_not_shared(tmp_path):
    memory = fsspec.filesystem("memory")
    near = [
        MemoryStore(),
        LoggingStore(MemoryStore()),
        WrapperStore(LoggingStore(MemoryStore())),
        StorePath(MemoryStore(), "a"),
        zarr.create_array(MemoryStore(), shape=(2, 2), dtype="f8"),
        zarr.create_group(LoggingStore(MemoryStore())),
        FsspecStore.from_url("memory://a"),
        FsspecStore(AsyncFileSystemWrapper(DirFileSystem("a", memory), asynchronous=True), path="b"),
        ObjectStore(obstore.store.MemoryStore()),
        "memory://a",
        "simplecache::memory://a",
        {},
    ]
    far = [
        LocalStore(tmp_path),
        WrapperStore(LocalStore(tmp_path)),
        ObjectStore(obstore.store.LocalStore(tmp_path)),
        FsspecStore.from_url(f"file://{tmp_path}"),
        zarr.create_array(LocalStore(tmp_path), shape=(2, 2), dtype="f8"),
        tmp_path,
        "memory",
        "s3://memory/a",
    ]
    assert [is_shared(store) for store in near] == [False] * len(near)
    assert [is_shared(store) for store in far] == [True] * len(far)
