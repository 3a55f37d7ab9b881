"""Arrays of later stages are made while the first one runs."""

from __future__ import annotations

import threading

import pytest

import dbutterfly as dbf
from dbutterfly.errors import StoreError
from dbutterfly.factorization.tasks.halves import LeftTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.storage.workspace import ZarrWorkspace
from tests.support.comparisons import assert_same, noisy_butterfly
from tests.support.patience import PATIENCE

OF_THE_TILES = {"A", "B", "stats"}


@pytest.fixture
def create():
    return ZarrWorkspace.create


def test_tiles_do_not_wait_for_what_others_fill(create, tmp_path, monkeypatch):
    z, computed, waited = noisy_butterfly(256), threading.Event(), []
    compute = TileTask.compute

    def computing(*args):
        computed.set()
        return compute(*args)

    def creating(self, name, *args):
        if name not in OF_THE_TILES and not name.startswith("done/"):
            waited.append(computed.wait(PATIENCE))
        return create(self, name, *args)

    monkeypatch.setattr(TileTask, "compute", computing)
    monkeypatch.setattr(ZarrWorkspace, "create", creating)
    found = dbf.factorize(z, store=tmp_path / "run")
    assert waited
    assert all(waited)
    monkeypatch.undo()
    assert_same(found, dbf.factorize(z))


def test_what_cannot_be_made_ends_the_run_before_it_is_needed(create, tmp_path, monkeypatch):
    def failing(self, name, *args):
        if name == "right/0":
            raise StoreError("no room for right/0")
        return create(self, name, *args)

    monkeypatch.setattr(ZarrWorkspace, "create", failing)
    monkeypatch.setattr(LeftTask, "compute", None)  # never called
    with pytest.raises(StoreError, match="no room for right/0"):
        dbf.factorize(noisy_butterfly(256), store=tmp_path / "run")
    monkeypatch.undo()
    z = noisy_butterfly(256)
    assert_same(dbf.factorize(z, store=tmp_path / "run"), dbf.factorize(z))
