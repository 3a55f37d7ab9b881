"""Stores of runs with one thing wrong: it is healed within three calls, or one sentence says what to do."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.buffer import default_buffer_prototype

import dbutterfly as dbf
from dbutterfly import ButterflyOperator
from dbutterfly.errors import DButterflyError, InputError, StoreError
from dbutterfly.factorization import run as run_room
from tests.support.comparisons import noisy_butterfly
from tests.support.store_faults import outcomes, same

ARGUMENTS: dict[str, Any] = {
    "orderings": (None, np.random.default_rng(0).permutation(16)),
    "tree": ((0, 1), (2, 3)),
    "workers": 1,
}
MATRICES = {"run": noisy_butterfly(16), "twin": noisy_butterfly(16)[::-1] + 0.1}

pytestmark = [pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes"), pytest.mark.slow]


def stop(*_: Any) -> None:
    raise InputError("stopped here")


@pytest.fixture(scope="module")
def expected() -> dbf.Factorization:
    return dbf.factorize(MATRICES["run"], **ARGUMENTS)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of matrices of one shape, stopped at their end and finished."""
    place = tmp_path_factory.mktemp("stores")
    for name, matrix in MATRICES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_room, "assemble", stop)
            with pytest.raises(InputError, match="stopped here"):
                dbf.factorize(matrix, store=place / "stopped" / name, **ARGUMENTS)
        dbf.factorize(matrix, store=place / "finished" / name, **ARGUMENTS)
    return place


@pytest.mark.parametrize("state", ["stopped", "finished"])
def test_single_faults_are_healed_or_told(stores: Path, expected: dbf.Factorization, state: str) -> None:
    run, twin = stores / state / "run", stores / state / "twin"
    drawn = list(outcomes(run, twin, MATRICES["run"], ARGUMENTS, expected, seed=0, count=25))
    assert [outcome for outcome in drawn if outcome.problem] == []
    assert [outcome for outcome in drawn if outcome.sentence and "manifest" not in outcome.file] == []


@pytest.mark.parametrize("state", ["stopped", "finished"])
@pytest.mark.parametrize("lost", ["deleted", "emptied"])
def test_a_run_without_its_manifests_says_what_to_do(stores: Path, tmp_path: Path, state: str, lost: str) -> None:
    shutil.copytree(stores / state / "run", tmp_path / "run")
    for path in (tmp_path / "run", tmp_path / "run" / "manifest"):
        (path / "zarr.json").unlink() if lost == "deleted" else (path / "zarr.json").write_bytes(b"")
    with pytest.raises(StoreError, match=r"holds no dbutterfly factorization|restore 'zarr.json' there from a backup"):
        dbf.open(tmp_path / "run")
    with pytest.raises(StoreError, match=r"choose another place or remove it yourself|restore 'zarr.json' there"):
        dbf.factorize(MATRICES["run"], store=tmp_path / "run", **ARGUMENTS)


# ---------------------------------------------------------------- manifests of somebody else

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "x", "../../..", "\ud800", "x" * 10_000, "array", "bitreversal"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
) | st.sampled_from([100, 400, 900]).map(lambda depth: json.loads("[" * depth + "]" * depth))


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of all entries of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in paths_of(item, (*path, key)))]


def forged(manifest: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Manifest with one entry replaced."""
    if not path:
        return value
    changed = inner = copy.deepcopy(manifest)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def in_memory(stores: Path) -> dict[str, dict[str, Any]]:
    """Contents of the stores as what a store in memory holds."""
    new = default_buffer_prototype().buffer.from_bytes
    return {
        state: {
            path.relative_to(stores / state / "run").as_posix(): new(path.read_bytes())
            for path in (stores / state / "run").rglob("*")
            if path.is_file() and path.parent.name != "manifest"
        }
        for state in ("stopped", "finished")
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("state", ["stopped", "finished"])
def test_forged_manifests_are_errors_of_ours(
    in_memory: dict[str, dict[str, Any]], tmp_path: Path, state: str, data: st.DataObject
) -> None:
    contents = dict(in_memory[state])
    root = json.loads(contents["zarr.json"].to_bytes())
    manifest = root["attributes"]["dbutterfly"]
    del manifest["digest"]  # a manifest without one is taken as it is
    root["attributes"]["dbutterfly"] = forged(
        manifest, data.draw(st.sampled_from(paths_of(manifest))), data.draw(VALUES)
    )
    buffer = type(contents["zarr.json"])
    contents["zarr.json"] = buffer.from_bytes(json.dumps(root).encode())
    for call in (
        lambda store: dbf.open(store).report(tmp_path / "page.html"),
        ButterflyOperator.load,
        lambda store: dbf.factorize(MATRICES["run"], store=store, **ARGUMENTS),
    ):
        with contextlib.suppress(DButterflyError):
            call(zarr.storage.MemoryStore(dict(contents)))


def test_the_twin_is_another_matrix(stores: Path, expected: dbf.Factorization) -> None:
    """Or swapping files would show nothing."""
    assert same(dbf.open(stores / "finished" / "run"), expected)
    assert not same(dbf.open(stores / "finished" / "twin"), expected)
