"""What is written neither replaces what is read, nor lies in it or around it, however the places are spelled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from zarr.experimental.cache_store import CacheStore
from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ObjectStore, StorePath, ZipStore

from dbutterfly.errors import InputError
from dbutterfly.storage.destinations import check_apart, file_place, place_of
from tests.support.parts import require

obstore = require("obstore", "test-s3")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    zarr.create_array("data/z.zarr", data=np.ones((4, 4)), chunks=(2, 2))


def linked(name: str) -> str:
    if not os.path.lexists("link"):
        os.symlink("data", "link")
    return f"link/{name}"


SPELLINGS: dict[str, Any] = {
    "relative": lambda name: f"data/{name}",
    "with dots": lambda name: f"./data/../data/./{name}/",
    "absolute": lambda name: os.path.abspath(f"data/{name}"),
    "path": lambda name: Path("data", name),
    "URL": lambda name: Path("data", name).absolute().as_uri(),
    "URL of this host": lambda name: f"file://localhost{Path('data', name).absolute()}",
    "symbolic link": linked,
    "LocalStore": lambda name: LocalStore(f"data/{name}"),
    "StorePath": lambda name: StorePath(LocalStore("."), f"data/{name}"),
    "StorePath of its own": lambda name: StorePath(LocalStore("data"), name),
    "LoggingStore": lambda name: LoggingStore(LocalStore(f"data/{name}")),
    "cache": lambda name: StorePath(CacheStore(LocalStore("data"), cache_store=MemoryStore()), name),
    "fsspec": lambda name: FsspecStore.from_url(f"file://{os.path.abspath('data')}/{name}"),
    "fsspec in a directory": lambda name: FsspecStore(
        DirFileSystem(
            os.path.abspath("data"), AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=True), asynchronous=True
        ),
        path=name,
    ),
    "obstore": lambda name: StorePath(ObjectStore(obstore.store.LocalStore(os.path.abspath("data"))), name),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.filterwarnings("ignore")
def test_a_source_is_known_in_every_spelling(spell: Any) -> None:
    source = place_of(zarr.open_array("data/z.zarr", mode="r"))
    assert source is not None
    with pytest.raises(InputError, match=r"place=.* is '.*data/z\.zarr', which is read; nothing was changed"):
        check_apart(spell("z.zarr"), [source], "place")


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.filterwarnings("ignore")
def test_places_in_and_around_a_source_are_known(spell: Any) -> None:
    source = place_of("data/z.zarr")
    assert source is not None
    with pytest.raises(InputError, match=r"lies inside 'data/z\.zarr', which is read"):
        check_apart(spell("z.zarr/run"), [source])
    with pytest.raises(InputError, match=r"holds 'data/z\.zarr', which is read"):
        check_apart(spell(""), [source])
    check_apart(spell("y.zarr"), [source])
    check_apart(spell("z.zarr2/z.zarr"), [source])


def test_what_is_not_there_yet_is_known_too() -> None:
    first = file_place("new/rows.npy")
    for same in ("new/rows.npy", "./new/../new/rows.npy"):
        with pytest.raises(InputError, match="which is read"):
            check_apart(file_place(same), [first])
    check_apart(file_place("new/cols.npy"), [first])


def test_hard_links_are_the_same_file() -> None:
    np.save("z.npy", np.ones((4, 4)))
    os.link("z.npy", "other.npy")
    with pytest.raises(InputError, match="which is read"):
        check_apart(file_place("other.npy"), [file_place("z.npy")])


def test_nothing_is_put_inside_an_array_that_is_not_read() -> None:
    for place in ("data/z.zarr/run", "data/z.zarr/c/run", LocalStore("data/z.zarr/c")):
        with pytest.raises(InputError, match=r"lies inside the Zarr array '.*data/z\.zarr'"):
            check_apart(place, [])


def test_a_group_may_hold_what_is_read_and_what_is_written() -> None:
    group = zarr.create_group("g.zarr")
    source = place_of(group.create_array("z", shape=(2, 2), dtype="f4"))
    whole = place_of(group)
    assert source is not None
    assert whole is not None
    check_apart("g.zarr/run", [source, whole])
    with pytest.raises(InputError, match="which is read"):
        check_apart("g.zarr", [whole])


def test_stores_in_memory_are_known_by_what_holds_them() -> None:
    store, held = MemoryStore(), {}
    source = place_of(zarr.create_array(store, name="z", shape=(2, 2), dtype="f4"))
    for place in (
        StorePath(store, "z"),
        StorePath(LoggingStore(store), "z/run"),
        store,
        MemoryStore(store._store_dict),
    ):
        with pytest.raises(InputError, match="which is read"):
            check_apart(place, [source])
    for place in (StorePath(store, "y"), MemoryStore(), {}):
        check_apart(place, [source])
    zarr.create_array(MemoryStore(held), shape=(2, 2), dtype="f4")
    with pytest.raises(InputError, match="which is read"):
        check_apart(held, [place_of(MemoryStore(held))])
    inner = obstore.store.MemoryStore()
    with pytest.raises(InputError, match="which is read"):
        check_apart(ObjectStore(inner), [place_of(ObjectStore(inner))])
    with pytest.raises(InputError, match="which is read"):
        check_apart("memory://a/z/run", [place_of("memory://a/z")])


def s3_store(prefix: str) -> ObjectStore[Any]:
    return ObjectStore(obstore.store.S3Store("b", prefix=prefix, region="us-east-1", skip_signature=True))


@pytest.mark.parametrize(
    "same",
    [
        "s3://b/a/z", "s3a://b/a/z/", "S3://b/a/z", "simplecache::s3://b/a/z", "http://127.0.0.1:1/b/a/z",
        "https://b.s3.eu-west-1.amazonaws.com/a/z", "https://s3.amazonaws.com/b/a/z",
    ],
)  # fmt: skip
def test_objects_are_known_by_bucket_and_key(same: str) -> None:
    source = place_of(same)
    assert source is not None
    for place in ("s3://b/a/z", "s3a://b/a/z/run", "s3://b/a", s3_store("a/z"), StorePath(s3_store("a"), "z")):
        with pytest.raises(InputError, match="which is read"):
            check_apart(place, [source])
    for place in ("s3://b/a/y", "s3://c/a/z", "gs://b/a/z", s3_store("z"), "s3://b/a/zz"):
        check_apart(place, [source])


def test_archives_are_files() -> None:
    with ZipStore("z.zip", mode="w") as store:
        zarr.create_array(store, shape=(2, 2), dtype="f4")
    with pytest.raises(InputError, match="which is read"):
        check_apart(file_place("z.zip"), [place_of(ZipStore("z.zip", mode="r"))])
