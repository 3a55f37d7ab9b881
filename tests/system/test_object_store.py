"""Arrays and groups on a real S3 server, whole, flaky, refusing and gone."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from dbutterfly.sources.stamps import stamp_zarr
from dbutterfly.storage.places import as_store, holds_objects
from dbutterfly.storage.remote import RemoteStore
from dbutterfly.storage.retries import may_pass, reason, retry
from tests.support.dask_processes import InBackground
from tests.support.flaky_proxy import FlakyProxy
from tests.support.parts import require
from tests.support.patience import wait_until
from tests.support.s3_server import SECRET, ObjectServer, free_ports

pytestmark = pytest.mark.slow

obstore = require("obstore", "test-s3")

VALUES = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)


def stored(s3: ObjectServer, name: str = "z.zarr") -> zarr.Array[Any]:
    array = zarr.create_array(
        as_store(s3.url(name)), shape=VALUES.shape, dtype=VALUES.dtype, chunks=(8, 8), compressors=None
    )
    array[...] = VALUES
    return array


def test_arrays_come_back(s3: ObjectServer) -> None:
    url = s3.url("z.zarr")
    array = zarr.create_array(as_store(url), shape=(64, 48), dtype="f4", chunks=(8, 8), compressors=None)
    assert (array.nchunks_initialized, array.nchunks) == (0, 48)
    array[:32] = VALUES[:32]
    assert array.nchunks_initialized == 24
    array[32:] = VALUES[32:]
    again = zarr.open(as_store(url), mode="r")
    assert isinstance(again, zarr.Array)
    assert str(again.store_path) == url
    assert str(zarr.open_array(as_store(s3.url("")), path="z.zarr", mode="r").store_path) == url
    assert again.read_only
    np.testing.assert_array_equal(again[...], VALUES)
    np.testing.assert_array_equal(again[3:21, 40:], VALUES[3:21, 40:])


@pytest.mark.parametrize("name", ["stamped.zarr", "deep/stamped.zarr"])
def test_an_object_that_is_written_has_another_stamp(s3: ObjectServer, name: str) -> None:
    array = stored(s3, name)
    before = stamp_zarr(array)
    assert before is not None
    assert before.kind_of_storage == "objects"
    assert before.values.all()
    array[20, 45] = 4.0
    after = stamp_zarr(array)
    assert after is not None
    assert np.argwhere(after.values != before.values).tolist() == [[2, 5]]
    inner = zarr.open_group(as_store(s3.url("in-a-group")), mode="a").create_array("x", data=VALUES, chunks=(8, 8))
    found = stamp_zarr(inner)
    assert found is not None
    assert found.values.all()


def test_groups_come_back(s3: ObjectServer) -> None:
    store = as_store(s3.url("run.zarr"))
    group = zarr.open_group(store, mode="a", attributes={"n": 1})
    group.create_array("work/a", shape=(4,), dtype="f4", chunks=(2,))[:] = 1
    group.create_array("b", shape=(4,), dtype="f4")
    again = zarr.open_group(as_store(s3.url("run.zarr")), mode="a")
    assert again.attrs.asdict() == {"n": 1}
    assert sorted(again.keys()) == ["b", "work"]
    del again["work"]
    assert "work" not in zarr.open_group(store, mode="r")  # its keys() would meet a folder that the server keeps
    assert not [meta for batch in obstore.list(store.store, "work") for meta in batch]


def test_what_is_not_there_is_not_found(s3: ObjectServer) -> None:
    store = as_store(s3.url("nothing"))
    for opening in (zarr.open, zarr.open_array, zarr.open_group):
        with pytest.raises(FileNotFoundError):
            opening(store, mode="r")
    assert not holds_objects(store)


def test_foreign_objects_are_seen(s3: ObjectServer) -> None:
    obstore.put(as_store(s3.url("place")).store, "notes/today.txt", b"keep me")
    assert holds_objects(as_store(s3.url("place")))
    assert not holds_objects(as_store(s3.url("pla")))


def test_a_listing_that_breaks_off_is_tried_again(s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(s3)
    whole, calls = obstore.list, []

    def broken(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise obstore.exceptions.GenericError("Generic S3 error: Error getting list response body")
        return whole(*arguments, **options)

    monkeypatch.setattr(obstore, "list", broken)
    assert holds_objects(as_store(s3.url("z.zarr")))
    assert len(calls) == 2


def test_read_only_stores_are_not_written(s3: ObjectServer) -> None:
    with pytest.raises(ValueError, match="read-only"):
        zarr.create_array(as_store(s3.url("z.zarr"), read_only=True), shape=(4,), dtype="f4")


def test_the_first_writer_wins(s3: ObjectServer) -> None:
    store = as_store(s3.url("lock"))
    new = default_buffer_prototype().buffer.from_bytes
    sync(store.set_if_not_exists("owner", new(b"first")))
    sync(store.set_if_not_exists("owner", new(b"second")))
    assert obstore.get(store.store, "owner").bytes().to_bytes() == b"first"
    with pytest.raises(obstore.exceptions.AlreadyExistsError) as caught:
        obstore.put(store.store, "owner", b"third", mode="create")
    assert not may_pass(caught.value)


def test_another_process_connects_with_its_own_environment(s3: ObjectServer) -> None:
    pickled = pickle.dumps(stored(s3))
    assert SECRET.encode() not in pickled
    code = "import pickle, sys; print(float(pickle.load(sys.stdin.buffer)[3, 4]))"

    def run(env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run([sys.executable, "-c", code], input=pickled, env=bare | env, capture_output=True)

    assert float(run(s3.env).stdout) == VALUES[3, 4]
    assert b"SignatureDoesNotMatch" in run(s3.env | {"AWS_SECRET_ACCESS_KEY": "another"}).stderr


def test_workers_of_a_cluster_connect(s3: ObjectServer, client: Client) -> None:
    s3.on_workers(client)
    array = stored(s3)
    sums = client.gather([client.submit(lambda a, i: a[i].sum(), array, i, pure=False) for i in range(4)])
    np.testing.assert_array_equal(sums, VALUES[:4].sum(axis=1))


def test_the_compiled_pipeline_leaves_urls_to_zarr(s3: ObjectServer) -> None:
    stored(s3)
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        array = zarr.open_array(as_store(s3.url("z.zarr")), mode="r")
        np.testing.assert_array_equal(array[...], VALUES)


@pytest.mark.parametrize("fault", ["errors", "resets", "delays"])
def test_reads_and_writes_survive_a_flaky_server(
    fault: str, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored(s3)
    with FlakyProxy(s3.endpoint, seed=1, delay=0.05) as proxy:
        setattr(proxy, fault, 0.2)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        store = as_store(s3.url("z.zarr"))
        with caplog.at_level(logging.WARNING, logger="dbutterfly"):
            options: dict[str, Any] = {"attempts": 8, "first_wait": 0.02}
            array = retry(lambda: zarr.open_array(store, mode="r+"), describe="opening", **options)
            np.testing.assert_array_equal(retry(lambda: array[...], describe="reading", **options), VALUES)
            retry(lambda: array.__setitem__(..., 2 * VALUES), describe="writing", **options)
        assert proxy.counts["requests"] > 96
        assert proxy.counts[fault] > 10
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    np.testing.assert_array_equal(zarr.open_array(as_store(s3.url("z.zarr")), mode="r")[...], 2 * VALUES)


def test_a_server_that_is_away_for_a_moment_is_waited_for(s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(s3)
    with FlakyProxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        array = zarr.open_array(as_store(s3.url("z.zarr")), mode="r")
        proxy.die()
        reading = InBackground(lambda: array[...])
        wait_until(lambda: proxy.counts["unanswered"] > 0, what="the server is asked, and does not answer")
        proxy.revive()
        np.testing.assert_array_equal(reading.result(), VALUES)


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_a_dead_server_is_given_up(how: str, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUTTERFLY_STORAGE_TIMEOUT", "1")
    with FlakyProxy(s3.endpoint) as proxy:
        proxy.die()
        endpoint = proxy.endpoint if how == "silent" else f"http://127.0.0.1:{free_ports(1)[0]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(obstore.exceptions.GenericError, match=endpoint) as caught:
            retry(lambda: zarr.open(as_store(s3.url("z.zarr")), mode="r"), describe="opening")
    assert may_pass(caught.value)


def lasting(store: RemoteStore, call: Any) -> str:
    """Reason of an error that is raised by the first call."""
    calls = []
    with pytest.raises(Exception) as caught:  # noqa: PT011
        retry(lambda: calls.append(1) or call(store), describe="calling")
    assert len(calls) == 1
    assert not may_pass(caught.value)
    return reason(caught.value)


def test_wrong_credentials_are_told_at_once(s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = as_store(s3.url("z.zarr"))
    for call in (lambda s: zarr.open(s, mode="r"), lambda s: zarr.open_group(s, mode="a"), holds_objects):
        told = lasting(store, call)
        assert "403 Forbidden: SignatureDoesNotMatch" in told
        assert SECRET not in told
        assert "\n" not in told


def test_missing_buckets_are_told_at_once(s3: ObjectServer) -> None:
    store = as_store("s3://no-such-bucket/z.zarr")
    assert "s3://no-such-bucket/z.zarr" in lasting(store, lambda s: zarr.open(s, mode="r"))
    assert "NoSuchBucket" in lasting(store, lambda s: zarr.open_group(s, mode="a"))
    assert "NoSuchBucket" in lasting(store, holds_objects)
