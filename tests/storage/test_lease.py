"""Who may write into a run's store: one run at a time, and the next one once it is dead."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import fsspec
import psutil
import pytest
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from dbutterfly.errors import StoreBusyError, StoreError
from dbutterfly.storage import lease, lease_object
from dbutterfly.storage.guarded_store import GuardedStore
from dbutterfly.storage.lease import Lease
from tests.support.comparisons import snapshot
from tests.support.patience import PATIENCE, wait_until

HOLDING = """
import sys, zarr
from dbutterfly.errors import StoreBusyError
from dbutterfly.storage.guarded_store import GuardedStore
from dbutterfly.storage.lease import Lease
store = zarr.storage.LocalStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    lease = Lease(store, "run")
except StoreBusyError as error:
    print("refused", flush=True)
else:
    print("taken", flush=True)
    sys.stdin.readline()
    lease.release()
"""


def prepared(directory):
    """Another process that at a line tries to take the lease, and holds it until the next line or its death."""
    command = [sys.executable, "-c", HOLDING, str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process):
    return process.stdout.readline().strip()


def tell(process):
    process.stdin.write("\n")
    process.stdin.flush()


@contextlib.contextmanager
def holding(directory):
    with prepared(directory) as other:
        tell(other)
        assert (said(other), said(other)) == ("ready", "taken")
        yield other


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(lease_object, "SETTLE_SECONDS", 0.1)


@pytest.fixture
def elsewhere(monkeypatch, quick):
    """Call it before a lease is taken: that is then of another host."""

    def move(name="far"):
        monkeypatch.setattr(lease, "_host", lambda: {"host": name, "host_id": f"{name} boot pid"})

    return move


def through(files):
    return AsyncFileSystemWrapper(files, asynchronous=True)


@pytest.fixture(params=["directory", "memory", "fsspec"])
def store(request, tmp_path):
    place = {
        "memory": zarr.storage.MemoryStore(),
        "directory": zarr.storage.LocalStore(tmp_path / "z"),
        "fsspec": zarr.storage.FsspecStore(through(fsspec.filesystem("memory")), path=str(tmp_path / "z")),
    }[request.param]
    zarr.create_group(place, path="run")
    return place


def held(store, path="run"):
    return lease_object.object_of(store, path).read()


# ---------------------------------------------------------------- one at a time


def test_it_is_held_by_one_and_given_back(store, quick):
    first = Lease(store, "run")
    mine = held(store)
    assert (mine["pid"], mine["token"] != "") == (os.getpid(), True)
    with pytest.raises(StoreBusyError, match=rf"in use by another run \(process {os.getpid()} on .*wait for it to end"):
        Lease(store, "run")
    with Lease(store, "other"):
        pass
    first.check()
    first.confirm()
    first.release()
    assert held(store) is None
    with Lease(store, "run"):
        assert held(store)["token"] != mine["token"]
    assert held(store) is None


def test_it_is_given_back_after_an_error(store, quick):
    def fail():
        with Lease(store, "run"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert held(store) is None


def test_the_heart_beats(store, quick):
    with Lease(store, "run"):
        before = held(store)
        after = wait_until(lambda: beaten(store, before["beat"] + 1), what="two beats")
    assert after | {"beat": 0} == before | {"beat": 0}


def beaten(store, beat):
    """The lease, once it is past a beat."""
    now = held(store)
    return now if now["beat"] > beat else None


def test_nothing_else_is_touched(tmp_path, quick):
    zarr.create_group(tmp_path / "z" / "run", attributes={"a": 1}).create_array("x", shape=(2,), dtype="f8")
    before = snapshot(tmp_path)
    with Lease(zarr.storage.LocalStore(tmp_path / "z"), "run"):
        assert set(snapshot(tmp_path)) - set(before) == {"z/run/lease"}
    assert snapshot(tmp_path) == before


def test_a_living_process_is_let_be_and_a_dead_one_is_not(tmp_path, quick, caplog):
    store = zarr.storage.LocalStore(tmp_path)
    with holding(tmp_path) as other:
        for _ in range(2):
            with pytest.raises(StoreBusyError, match=f"process {other.pid} on"):
                Lease(store, "run")
        other.kill()  # and not yet waited for: it is a zombie now
        wait_until(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE, what="it is dead")
        with Lease(store, "run"):
            assert held(store)["pid"] == os.getpid()
    assert "waiting to see" not in caplog.text
    assert held(store) is None


@pytest.mark.slow
def test_a_process_that_was_only_stopped_holds_it(tmp_path, quick):
    with holding(tmp_path) as other:
        other.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreBusyError):
            Lease(zarr.storage.LocalStore(tmp_path), "run")
        other.send_signal(signal.SIGCONT)
        other.communicate("\n", timeout=PATIENCE)
    assert held(zarr.storage.LocalStore(tmp_path)) is None


def test_a_new_process_of_the_same_number_is_not_the_holder(store, quick):
    mine = {"token": "t", "beat": 1, "pid": os.getpid(), "started": 1.0, **lease._host()}
    lease_object.object_of(store, "run").write(mine)
    with Lease(store, "run"):
        assert held(store)["started"] == lease._start_time(os.getpid()) != 1.0


def test_when_a_process_started_does_not_depend_on_the_clock(monkeypatch):
    before = lease._start_time(os.getpid())
    monkeypatch.setattr("psutil.boot_time", lambda: 12345.0)
    monkeypatch.setattr("psutil._pslinux.BOOT_TIME", 12345.0, raising=False)
    assert lease._start_time(os.getpid()) == before


@pytest.mark.slow
def test_of_many_at_once_one_gets_it(tmp_path):
    others = [prepared(tmp_path) for _ in range(4)]
    assert {said(other) for other in others} == {"ready"}
    for other in others:
        tell(other)
    assert sorted(said(other) for other in others) == ["refused"] * 3 + ["taken"]
    for other in others:
        other.communicate("\n", timeout=PATIENCE)
    assert held(zarr.storage.LocalStore(tmp_path)) is None


class Settling:
    """A clock by which nobody wakes up before all others sleep too, or have ended: however busy the machine is.

    Parameters
    ----------
    count : int
        Threads that go by it.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, count):
        self._awake, self._changed = count, threading.Condition()

    def sleep(self, _):
        with self._changed:
            self._fall_asleep()
            assert self._changed.wait_for(lambda: self._awake == 0, PATIENCE)
            self._awake += 1

    def end(self):
        with self._changed:
            self._fall_asleep()

    def _fall_asleep(self):
        self._awake -= 1
        self._changed.notify_all()


@pytest.mark.parametrize("dead", [False, True])
def test_of_many_threads_one_gets_it(store, dead, quick, monkeypatch):
    if dead:
        lease_object.object_of(store, "run").write({"token": "t", "beat": 1, "pid": 0, "started": 1.0, **lease._host()})
    clock = Settling(8)
    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr(lease_object, "time", clock)

    def attempt(_):
        try:
            return Lease(store, "run")
        except StoreBusyError:
            return None
        finally:
            clock.end()

    with ThreadPoolExecutor(8) as pool:
        taken = [found for found in pool.map(attempt, range(8)) if found is not None]
    assert len(taken) == 1
    assert held(store)["token"] == taken[0]._mine["token"]
    taken[0].confirm()
    taken[0].release()


@pytest.fixture
def left_behind(tmp_path, quick):
    """A store with the lease of a dead process, and the lease of another that lives."""
    store = zarr.storage.LocalStore(tmp_path)
    zarr.create_group(store, path="run")
    dead = {"token": "t", "beat": 1, "pid": 0, "started": 1.0, **lease._host()}
    lease_object.object_of(store, "run").write(dead)
    return store, dead | {"token": "theirs", "pid": os.getppid(), "started": lease._start_time(os.getppid())}


def test_of_two_that_take_over_at_once_the_last_one_stays(left_behind, monkeypatch):
    store, theirs = left_behind
    meanwhile = SimpleNamespace(
        sleep=lambda _: lease_object.object_of(store, "run").write(theirs), monotonic=time.monotonic
    )
    monkeypatch.setattr(lease, "time", meanwhile)
    with pytest.raises(StoreBusyError, match="taken by another run that started at the same moment"):
        Lease(store, "run")
    assert held(store) == theirs


def test_a_lease_that_changes_while_it_is_judged_is_judged_again(left_behind, monkeypatch):
    store, theirs = left_behind
    is_dead = Lease._is_dead

    def slow(self, held):
        if held["token"] != "theirs":
            lease_object.object_of(store, "run").write(theirs)
        return is_dead(self, held)

    monkeypatch.setattr(Lease, "_is_dead", slow)
    with pytest.raises(StoreBusyError, match=f"in use by another run \\(process {os.getppid()} on"):
        Lease(store, "run")
    assert held(store) == theirs


# ---------------------------------------------------------------- other hosts


def test_a_beating_heart_elsewhere_is_let_be(store, elsewhere, caplog, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", PATIENCE)
    elsewhere("far")
    far = Lease(store, "run")
    elsewhere("near")
    with pytest.raises(StoreBusyError, match="on far"):
        Lease(store, "run")
    assert "waiting to see whether the run on far is alive" in caplog.text
    far.check()
    far.release()


@pytest.mark.slow
def test_a_stopped_heart_elsewhere_is_taken_as_dead(store, elsewhere):
    elsewhere("far")
    far = Lease(store, "run")
    far._ended.set()
    far._thread.join()
    elsewhere("near")
    started = time.monotonic()
    near = Lease(store, "run")
    assert time.monotonic() - started >= lease.PATIENCE_SECONDS
    far.check()  # it does not know yet
    with pytest.raises(StoreBusyError, match="another run has taken over store"):
        far.confirm()
    far.release()
    assert held(store)["token"] == near._mine["token"]
    near.release()


@pytest.mark.slow
def test_a_holder_that_was_taken_over_notices_and_leaves_the_new_one_alone(store, elsewhere):
    far = Lease(store, "run")
    theirs = held(store) | {"token": "theirs", "host_id": "another"}

    def is_lost():
        lease_object.object_of(store, "run").write(theirs)  # again, where a beat came between its look and its write
        return far._lost.is_set()

    wait_until(is_lost, what="the holder notices")
    with pytest.raises(StoreBusyError, match=r"another run has taken over store .*the other run goes on with it"):
        far.check()
    far.release()
    assert held(store)["token"] == "theirs"


def test_a_lease_that_is_given_back_while_another_waits_is_taken(store, elsewhere, caplog, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", PATIENCE)
    elsewhere("far")
    far = Lease(store, "run")
    far._ended.set()
    far._thread.join()
    elsewhere("near")
    with ThreadPoolExecutor(1) as pool:
        near = pool.submit(Lease, store, "run")
        wait_until(lambda: "waiting to see" in caplog.text, what="it waits")
        far.release()
        near.result().release()
    assert held(store) is None


# ---------------------------------------------------------------- what cannot be read or written


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '"text"',
        "{}",
        '{"pid": 7}',
        "[" * 100_000,
        '{"token": "a", "pid": "seven", "beat": 1}',
        '{"token": "a", "pid": 7, "beat": 1, "started": [], "host": 3}',
        '{"token": "a", "pid": 7, "beat": 1, "host_id": "another", "digest": "00"}',
    ],
)
def test_a_lease_that_cannot_be_read_is_that_of_nobody(tmp_path, content, quick):
    store = zarr.storage.LocalStore(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lease").write_text(content)
    with Lease(store, "run"):
        assert json.loads((tmp_path / "run" / "lease").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / "lease").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_has_the_place_of_a_lease_is_put_out_of_the_way(tmp_path, make, quick):
    make(tmp_path / "lease")
    with Lease(GuardedStore(tmp_path), ""):
        assert json.loads((tmp_path / "lease").read_text())["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("lease.damaged-")] == []


def test_attributes_that_cannot_be_read_are_those_of_nobody(tmp_path, quick):
    store = zarr.storage.FsspecStore(through(fsspec.filesystem("file", auto_mkdir=True)), path=str(tmp_path))
    Lease(store, "run").release()
    (tmp_path / "run" / "lease" / "zarr.json").write_text("{")
    with Lease(store, "run"):
        assert held(store)["pid"] == os.getpid()


def test_a_store_that_cannot_be_written_is_named(tmp_path, quick):
    store = zarr.storage.LocalStore(tmp_path, read_only=True)
    with pytest.raises(StoreError, match=r"store .*run cannot be written: ") as caught:
        Lease(store, "run")
    assert not isinstance(caught.value, StoreBusyError)


class Moody(zarr.storage.MemoryStore):
    """A store that cannot be reached at times."""

    away = False

    async def set(self, key, value, byte_range=None):  # noqa: ARG002
        if self.away:
            raise ConnectionError("away")
        return await super().set(key, value)


def test_a_store_that_is_away_for_a_moment_loses_nothing(quick, caplog):
    store = Moody()
    with Lease(store, "run") as mine:
        store.away = True
        wait_until(lambda: "could not be renewed" in caplog.text, what="a beat fails")
        store.away = False
        before = held(store)["beat"]
        wait_until(lambda: beaten(store, before), what="the heart beats again")
        mine.confirm()
    assert held(store) is None
