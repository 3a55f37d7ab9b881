"""Who works on a run's store: a lease with a heartbeat, so that two runs never write the same place.

The lease is one small object beside the run. It is taken by put-if-absent where the store has it, renewed every few
seconds, and given back at the end. A run that finds a lease tells whether its holder is alive: at once on the same
host, by watching whether the heartbeat goes on elsewhere. Of a dead holder it takes the lease over, by writing its own
over it and looking, a moment later, whether it is still there: of two that try, one stays.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from typing import Any, Self

from ..errors import StoreBusyError, StoreError
from . import lease_object, processes
from .lease_object import NOBODY, object_of
from .retries import as_store_error, reason

__all__ = ["Lease"]

BEAT_SECONDS = 5.0
"""Time between two heartbeats. Not tuned."""

PATIENCE_SECONDS = 45.0
"""Time for which the heartbeat of a holder on another host must have stopped for it to be taken as dead.
Not tuned: nine beats."""

_of_this_process: set[Any] = set()
"""Tokens of the leases that runs of this process hold."""

_host, _start_time = processes.host, processes.start_time

_log = logging.getLogger("dbutterfly")


class Lease:
    """The right to write into a run's store, held until :meth:`release` or the end of this process.

    Parameters
    ----------
    store : Zarr store
        Where the run is.
    path : str
        Path of its group in the store.

    Raises
    ------
    StoreBusyError
        If another run holds the lease and is alive.
    StoreError
        If the store cannot be written.
    """

    def __init__(self, store: Any, path: str) -> None:
        self._object = object_of(store, path)
        self._name = f"{store}/{path}".rstrip("/")
        self._mine = {"token": uuid.uuid4().hex, "pid": os.getpid(), "started": _start_time(os.getpid()), **_host()}
        self._beats = 0
        self._lost = threading.Event()
        self._ended = threading.Event()
        _of_this_process.add(self._mine["token"])
        with as_store_error(f"store {self._name} cannot be written"):
            try:
                self._acquire()
            except StoreError:
                _of_this_process.discard(self._mine["token"])
                raise
        self._thread = threading.Thread(target=self._keep, name="dbutterfly-lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise StoreBusyError if another run has taken the lease over."""
        if self._lost.is_set():
            raise StoreBusyError(
                f"another run has taken over store {self._name}, since this one gave no sign of life for "
                f"{PATIENCE_SECONDS:.0f} s; what was finished is kept, and the other run goes on with it"
            )

    def confirm(self) -> None:
        """Look whether the lease is still there, and raise as :meth:`check` does if it is not.

        It comes before what cannot be undone: after a long sleep, this may run before the heart beats again.
        """
        with as_store_error(f"store {self._name} cannot be read"):
            held = self._object.read()
        if held is None or held["token"] != self._mine["token"]:
            self._lost.set()
        self.check()

    def release(self) -> None:
        """Give the lease back."""
        _of_this_process.discard(self._mine["token"])
        self._ended.set()
        self._thread.join()
        if self._lost.is_set():
            return
        try:
            held = self._object.read()
            if held is not None and held["token"] == self._mine["token"]:
                self._object.delete()
        except Exception as error:
            _log.warning("the lease of store %s could not be given back: %s", self._name, reason(error))

    def _acquire(self) -> None:
        if self._object.create(self._value()):
            return
        held = self._object.read()
        while held is not None:
            if not self._is_dead(held):
                raise StoreBusyError(
                    f"store {self._name} is in use by another run (process {held['pid']} on {held['host']}); wait for "
                    "it to end or stop it, or name another store"
                )
            judged, held = held, self._object.read()
            if held == judged:
                break
        self._object.write(self._value())
        time.sleep(lease_object.SETTLE_SECONDS)
        held = self._object.read()
        if held is None or held["token"] != self._mine["token"]:
            raise StoreBusyError(f"store {self._name} was taken by another run that started at the same moment")

    def _is_dead(self, held: dict[str, Any]) -> bool:
        if held["host_id"] == self._mine["host_id"]:
            if (held["pid"], held["started"]) == (self._mine["pid"], self._mine["started"]):
                return held["token"] not in _of_this_process  # the store was out of reach when it was to be given back
            return bool(_start_time(held["pid"]) != held["started"])
        _log.warning("store %s: waiting to see whether the run on %s is alive", self._name, held["host"])
        # A lease that cannot be read is written again by the next beat of its holder, if there is one.
        until = time.monotonic() + (1.5 * BEAT_SECONDS if held == NOBODY else PATIENCE_SECONDS)
        while time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 2)
            now = self._object.read()
            if now is None:
                return True
            if (now["token"], now["beat"]) != (held["token"], held["beat"]):
                return False
        return True

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                held = self._object.read()
                if held is None or held["token"] != self._mine["token"]:
                    self._lost.set()
                    return
                self._object.write(self._value())
            except Exception as error:  # a store may be out of reach for a while: the next beat tries again
                _log.warning("the lease of store %s could not be renewed: %s", self._name, reason(error))

    def _value(self) -> dict[str, Any]:
        self._beats += 1
        return {**self._mine, "beat": self._beats}
