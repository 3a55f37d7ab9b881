"""Zarr's configuration belongs to the process, and decides nothing about what is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import StoreError
from dbutterfly.storage import codecs
from dbutterfly.storage.workspace import ZarrWorkspace
from tests.support.patience import PATIENCE

SETTINGS: dict[str, dict[str, Any]] = {
    "format 2": {"default_zarr_format": 2},
    "order F": {"array.order": "F"},
    "empty chunks": {"array.write_empty_chunks": True},
    "compiled codecs": {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"},
    "batches": {"codec_pipeline.batch_size": 3, "async.concurrency": 1, "threading.max_workers": 1},
    "short JSON": {"json_indent": None},
    "all of format 2 and order F": {"default_zarr_format": 2, "array.order": "F", "array.write_empty_chunks": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_do_not_reach_what_is_stored(tmp_path: Path, settings: dict[str, Any]) -> None:
    matrix = dbf.matrices.orthogonal_butterfly(16, seed=0)
    usual = dbf.factorize(np.asarray(matrix))
    with zarr.config.set(settings):
        dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(4, 4))
        fact = dbf.factorize(tmp_path / "z.zarr", store=tmp_path / "run")
        for _ in range(2):
            again = dbf.factorize(tmp_path / "z.zarr", store=tmp_path / "run")
            for ours, theirs in zip(again.ks_values, fact.ks_values, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        fact.save(tmp_path / "saved")
        fact.operator.save(tmp_path / "operator")
        dbf.stream_product(fact.operator, tmp_path / "z.zarr", tmp_path / "y.zarr")
        dbf.open(tmp_path / "saved")
    np.testing.assert_allclose(dbf.open(tmp_path / "run").operator.to_dense(), usual.operator.to_dense(), atol=1e-12)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "y.zarr")[:], fact.operator @ np.asarray(matrix), atol=1e-12)
    assert list(tmp_path.rglob("zarr.json"))
    assert not [path for name in (".zarray", ".zgroup", ".zattrs") for path in tmp_path.rglob(name)]


MEET = """
import asyncio, sys, threading
import zarr.core.sync
from dbutterfly.sources.dispatch import as_source

source, meeting = as_source(sys.argv[1]), threading.Barrier(2, timeout=float(sys.argv[2]))

async def meet():
    await asyncio.gather(*(asyncio.to_thread(meeting.wait) for _ in range(2)))

source.read_block(slice(0, 4), slice(0, 4))
zarr.core.sync.sync(meet())
"""


def test_workers_read_side_by_side(tmp_path: Path) -> None:
    dbf.matrices.write(dbf.matrices.dft(16), tmp_path / "z.zarr", chunks=(4, 4))
    arguments = [str(tmp_path / "z.zarr"), str(PATIENCE)]
    done = subprocess.run(
        [sys.executable, "-c", MEET, *arguments], capture_output=True, text=True, timeout=2 * PATIENCE
    )
    assert done.returncode == 0, done.stderr


def test_matrices_in_order_f_are_read(tmp_path: Path) -> None:
    z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
    for zarr_format in (2, 3):
        place = tmp_path / f"z{zarr_format}.zarr"
        zarr.create_array(
            place, data=z, chunks=(4, 4), order="F" if zarr_format == 2 else None, zarr_format=zarr_format
        )
        with zarr.config.set({"array.order": "F"}):
            assert dbf.factorize(place).certificate.error_bound < 1e-12


def test_an_error_of_a_library_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = zarr.storage.LocalStore(tmp_path)
    workspace, selection = ZarrWorkspace(store, "work"), (slice(0, 2), slice(0, 2))
    workspace.create("X", (4, 4), (2, 2), np.dtype("f8"))
    workspace.write("X", selection, np.ones((2, 2)))

    def refuse(*_: Any) -> Any:
        raise ValueError("must be a C contiguous array")

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Array, "__getitem__", refuse)
        with pytest.raises(StoreError, match=r"cannot read .*C contiguous") as caught:
            workspace.read("X", selection)
    assert type(caught.value) is StoreError
    chunk = tmp_path / "work" / "X" / "c.0.0"
    for content in (chunk.read_bytes()[:-1], b"", bytes(36), chunk.read_bytes()[::-1]):
        chunk.write_bytes(content)
        with pytest.raises(dbf.errors.CheckpointError, match="is damaged"):
            workspace.read("X", selection)


def run_optimised(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    here = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONOPTIMIZE": "1", "PYTHONPATH": here}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


OPTIMISED = """
import numpy as np, dbutterfly as dbf, os
z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
dbf.matrices.write(z, "z.zarr")
fact = dbf.factorize("z.zarr")
for call in (
    lambda: dbf.factorize(z, orderings="identify", store="run"),
    lambda: fact.save("saved"),
    lambda: fact.operator.save("operator"),
    lambda: dbf.open("old"),
):
    try:
        call()
    except dbf.errors.DButterflyError as error:
        print(error)
print(__debug__, sorted(os.listdir()))
"""


@pytest.mark.slow
def test_without_assertions_it_works_or_is_refused_at_once(tmp_path: Path) -> None:
    dbf.factorize(np.eye(16)).save(tmp_path / "old")
    done = run_optimised("-c", OPTIMISED, cwd=tmp_path)
    *refusals, last = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    if refusals:
        assert len(refusals) == 4
        assert all("cannot open groups under python -O" in line for line in refusals)
        assert last == "False ['old', 'z.zarr']"
    else:
        assert last == "False ['old', 'operator', 'run', 'saved', 'z.zarr']"


def test_with_assertions_nothing_is_refused() -> None:
    codecs.check_groups_open()
    assert codecs._can_open_groups()
