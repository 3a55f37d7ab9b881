"""What replaces something is complete before the old goes, whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, LoggingStore, MemoryStore, StorePath

import dbutterfly as dbf
from dbutterfly.errors import DButterflyError, StoreError
from dbutterfly.storage import replacing
from tests.support.killed_replacements import MOMENTS, die_while_replacing, matrix, read, write

pytestmark = pytest.mark.slow


def version(what: str, place: Any) -> int:
    found = read(what, place)
    return next(seed for seed in (0, 1, 2) if np.allclose(found, matrix(seed), atol=1e-9))


@pytest.mark.parametrize(
    ("what", "moment"), [*(("array", moment) for moment in MOMENTS), ("factorization", MOMENTS[0])]
)
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path, what: str, moment: str) -> None:
    place = tmp_path / "place"
    write(what, place, 0, overwrite=False)
    die_while_replacing(what, place, moment)
    assert len(os.listdir(tmp_path)) == 2
    assert place.exists() == (moment != MOMENTS[2])
    assert version(what, place) == (0 if moment in MOMENTS[:2] else 1)
    write(what, place, 2, overwrite=True)
    assert version(what, place) == 2
    assert os.listdir(tmp_path) == ["place"]


@pytest.mark.parametrize("what", ["product", "operator"])
def test_a_kill_while_it_is_written_leaves_the_old(tmp_path: Path, what: str) -> None:
    place = tmp_path / ("op.npz" if what == "operator" else "y.zarr")
    write(what, place, 0, overwrite=False)
    die_while_replacing(what, place, MOMENTS[0])
    assert version(what, place) == 0
    write(what, place, 2, overwrite=True)
    assert version(what, place) == 2
    assert os.listdir(tmp_path) == [place.name]


def no_exchange(*_: Any) -> bool:
    return False


@pytest.mark.parametrize("exchange", [True, False])
def test_replacing_leaves_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(replacing, "_exchange", no_exchange)
    os.symlink("real", tmp_path / "link")
    for seed, place in ((0, "link"), (1, "real"), (2, "link")):
        write("array", tmp_path / place, seed, overwrite=bool(seed))
        assert version("array", tmp_path / "real") == seed
        assert sorted(os.listdir(tmp_path)) == ["link", "real"]
        assert (tmp_path / "link").is_symlink()


def test_a_rename_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("array", tmp_path / "z", 0, overwrite=False)
    rename, calls = os.rename, []

    def fail_second(*names: str) -> None:
        calls.append(names)
        if len(calls) == 3:
            raise OSError("no room")
        rename(*names)

    monkeypatch.setattr(replacing, "_exchange", no_exchange)
    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(StoreError, match="cannot be written: OSError: no room; what is there is as it was"):
        write("array", tmp_path / "z", 1, overwrite=True)
    assert version("array", tmp_path / "z") == 0
    assert os.listdir(tmp_path) == ["z"]


def test_what_comes_into_being_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def entries(rows: Any, cols: Any) -> Any:
        if not (tmp_path / "z").exists():
            write("array", tmp_path / "z", 0, overwrite=False)
        return np.ones((rows.size, cols.size))

    with pytest.raises(StoreError, match="cannot be written"):
        dbf.matrices.write(dbf.entries(entries, (4, 4), float), tmp_path / "z")
    assert version("array", tmp_path / "z") == 0
    assert os.listdir(tmp_path) == ["z"]


@pytest.mark.parametrize("what", ["array", "factorization"])
def test_stores_in_memory_are_replaced_at_the_end(what: str) -> None:
    held: dict[str, Any] = {}
    for place in (MemoryStore(), StorePath(MemoryStore(), "a/b"), MemoryStore(held)):
        write(what, place, 0, overwrite=False)
        with pytest.raises(DButterflyError, match=r"already holds .*pass overwrite=True"):
            write(what, place, 1, overwrite=False)
        write(what, place, 1, overwrite=True)
        if not isinstance(place, StorePath):
            assert version(what, place) == 1
    assert held


def test_what_cannot_be_replaced_as_a_whole_is_not(tmp_path: Path) -> None:
    inner = LocalStore(tmp_path / "z")
    dbf.matrices.write(matrix(0), LoggingStore(inner))
    with pytest.raises(StoreError, match=r"such a store has no rename.*nothing was changed: delete it first"):
        dbf.matrices.write(matrix(1), LoggingStore(inner), overwrite=True)
    assert version("array", tmp_path / "z") == 0


def test_stores_that_are_read_only_are_refused(tmp_path: Path) -> None:
    write("array", tmp_path / "z", 0, overwrite=False)
    for place in ("z", "y"):
        with pytest.raises(StoreError, match="is read-only"):
            write("array", LocalStore(tmp_path / place, read_only=True), 1, overwrite=True)
    assert version("array", tmp_path / "z") == 0


@pytest.mark.parametrize("holding", ["factorization", "operator", "group around one"])
def test_runs_and_operators_are_never_replaced_by_arrays(tmp_path: Path, holding: str) -> None:
    place = tmp_path / "place"
    if holding == "group around one":
        zarr.create_group(place)
        write("factorization", place / "deep" / "run", 0, overwrite=False)
    else:
        write(holding, place, 0, overwrite=False)
    for what in ("array", "product"):
        with pytest.raises(StoreError, match=r"holds a dbutterfly run or operator.*never replaced by an array"):
            write(what, place, 1, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_arrays_and_groups_are_never_replaced_by_factors(tmp_path: Path, overwrite: bool) -> None:
    write("array", tmp_path / "z", 0, overwrite=False)
    zarr.create_group(tmp_path / "g")
    for place in ("z", "g"):
        with pytest.raises(StoreError, match="already holds something that is no dbutterfly run"):
            write("factorization", tmp_path / place, 1, overwrite=overwrite)
    assert version("array", tmp_path / "z") == 0


def test_a_run_at_work_is_not_replaced(tmp_path: Path) -> None:
    broken = matrix(0)
    broken[0, 0] = np.nan
    with pytest.raises(DButterflyError):
        dbf.factorize(broken, store=tmp_path / "run")
    fact = dbf.factorize(matrix(0))
    with pytest.raises(StoreError, match=r"already holds a dbutterfly run that has not ended.*pass overwrite=True"):
        fact.save(tmp_path / "run")
    from dbutterfly.storage.run_store import RunStore

    stored = RunStore.open(tmp_path / "run", mode="r+")
    assert stored is not None
    with stored.lease(), pytest.raises(StoreError, match="is in use by another run"):
        fact.save(tmp_path / "run", overwrite=True)
    fact.save(tmp_path / "run", overwrite=True)
    assert version("factorization", tmp_path / "run") == 0
