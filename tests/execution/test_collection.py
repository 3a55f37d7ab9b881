"""The collection of cycles is paused, and comes back whichever thread leaves first."""

import gc
import threading

from dbutterfly.execution import collection
from dbutterfly.execution.collection import without_collection
from tests.support.patience import PATIENCE


def test_a_thread_that_leaves_while_another_enters_leaves_the_collection_on(monkeypatch):
    """The first leaves once the second has looked, before that pauses: it must wait for that."""
    inside, looked, went_on = threading.Event(), threading.Event(), threading.Event()

    class Lock:
        """A lock that tells when a thread is about to wait for it."""

        def __init__(self):
            self._lock = threading.Lock()

        def __enter__(self):
            if not self._lock.acquire(blocking=False):
                went_on.set()
                self._lock.acquire()

        def __exit__(self, *error):
            self._lock.release()

    class Collection:
        """The collection, as the second thread sees it."""

        disable = staticmethod(gc.disable)

        def isenabled(self):
            found = gc.isenabled()
            if threading.current_thread() is second:
                looked.set()
                assert went_on.wait(PATIENCE)
            return found

        def enable(self):
            gc.enable()
            went_on.set()

    def be_first():
        with without_collection():
            inside.set()
            assert looked.wait(PATIENCE)

    def be_second():
        assert inside.wait(PATIENCE)
        with without_collection():
            pass

    first, second = threading.Thread(target=be_first), threading.Thread(target=be_second)
    monkeypatch.setattr(collection, "_lock", Lock(), raising=False)
    monkeypatch.setattr(collection, "gc", Collection())
    try:
        for thread in (first, second):
            thread.start()
        for thread in (first, second):
            thread.join()
        assert gc.isenabled()
    finally:
        gc.enable()


def test_a_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
