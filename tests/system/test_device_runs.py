"""Whole runs over a simulated device: what they give is that of the host, to the bit, and copies run ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.sparse.linalg
from distributed import Client, LocalCluster

import dbutterfly as dbf
from dbutterfly.errors import InputError, MemoryBudgetError
from dbutterfly.factorization.tasks import tiles
from dbutterfly.factorization.tasks.halves import RightTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.kernels import compilation
from dbutterfly.kernels.backend import cuda
from tests.support.comparisons import DTYPES, assert_same, noisy_butterfly
from tests.support.patience import PATIENCE

MIB = 1 << 20


@pytest.fixture(autouse=True)
def plain():
    """Runs on the host use the plain kernels, which are those of the device, to the bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation, "WORTHWHILE", 1 << 60)
        yield


@pytest.fixture
def stored(tmp_path):
    """A stored matrix."""
    path = tmp_path / "z.zarr"
    dbf.matrices.write(noisy_butterfly(2048, "float32"), path, chunks=(512, 512))
    return path


def _broken(*_):
    raise ZeroDivisionError


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("passes", [1, 2])
def test_factors_are_those_of_the_host(device, dtype, passes):
    z = noisy_butterfly(256, dtype)
    found = dbf.factorize(z, backend="cupy", passes=passes)
    assert_same(found, dbf.factorize(z, backend="numpy", passes=passes))
    assert found.record["plan"]["device_peak_bytes"] > 0


@pytest.mark.parametrize("rank", [2, 3])
def test_higher_ranks_and_rectangles(device, rank):
    chain = dbf.Chain.chainable((192, 128), rank=rank)
    z = noisy_butterfly(chain, "complex128")
    assert_same(dbf.factorize(z, chain, backend="cupy"), dbf.factorize(z, chain, backend="numpy"))


@pytest.mark.slow
def test_orderings_tolerances_sweeps_and_checks(device):
    orderings = (np.random.default_rng(1).permutation(256), "bitreversal")
    z = noisy_butterfly(256, orderings=orderings, eps=1e-3)
    for how in ({"sweeps": 2}, {"tol": 1e-2}, {"passes": 2}):
        found = dbf.factorize(z, orderings=orderings, backend="cupy", **how)
        assert_same(found, dbf.factorize(z, orderings=orderings, backend="numpy", **how))
    assert float(dbf.verify(found, z)) == pytest.approx(found.certificate.error_bound, rel=1e-9)
    assert device.MemoryPool.made[0].given_back > 0


def test_entry_functions_and_operators(device):
    known = dbf.matrices.nudft(256, seed=1)
    sampled = dbf.entries(known.f, known.shape, known.dtype, sampled=True)
    operator = scipy.sparse.linalg.aslinearoperator(noisy_butterfly(128))
    for source, chain in ((sampled, known.chain), (operator, None)):
        orderings = known.orderings if source is sampled else None
        on_device, on_host = (
            dbf.factorize(source, chain, orderings=orderings, backend=name, workers=1) for name in ("cupy", "numpy")
        )
        assert_same(on_device, on_host)


@pytest.mark.slow
def test_the_next_tile_is_copied_while_the_kernels_of_this_one_run(device, stored, monkeypatch):
    uploaded, upload, overlapped = threading.Semaphore(0), cuda.DeviceLane.upload, []

    def counting(lane, arrays):
        upload(lane, arrays)
        uploaded.release()

    low_rank_grid = tiles.low_rank_grid

    def kernel(grid, *args, **kwargs):
        if not overlapped:  # the first one ends when its own tile and the next one are there
            overlapped.append(all(uploaded.acquire(timeout=PATIENCE) for _ in range(2)))
        return low_rank_grid(grid, *args, **kwargs)

    monkeypatch.setattr(cuda.DeviceLane, "upload", counting)
    monkeypatch.setattr(tiles, "low_rank_grid", kernel)
    found = dbf.factorize(stored, backend="cupy", workers=1)
    assert overlapped == [True]
    assert found.record["stages"]["tiles"]["tasks"] > 2
    assert len(device.Stream.made) == 2
    monkeypatch.setattr(tiles, "low_rank_grid", low_rank_grid)
    assert_same(found, dbf.factorize(stored, backend="numpy"))


@pytest.mark.slow
def test_tiles_are_read_into_pinned_memory_which_serves_again(device, stored):
    found = dbf.factorize(stored, backend="cupy", workers=1)
    tiles = found.record["stages"]["tiles"]["tasks"]
    assert tiles > 3
    assert 0 < len(device.PinnedMemory.made) <= 3  # one is computed with, one read, and one may be on its way back


def test_the_plan_keeps_to_the_device(device, stored):
    plan = dbf.plan(stored, backend="cupy", workers=1)
    assert plan.budget.device_memory == int(0.8 * device.FREE)
    small = dbf.plan(stored, backend="cupy", workers=1, device_memory="14MiB")
    assert small.device_peak_bytes <= 14 * MIB < plan.device_peak_bytes
    assert "of its memory at the peak (14.00 MiB allowed)" in str(small)
    found = dbf.factorize(stored, backend="cupy", workers=1, device_memory="14MiB")
    (pool,) = device.MemoryPool.made
    assert pool.limit == 14 * MIB
    assert 0 < pool.peak <= small.device_peak_bytes
    assert_same(found, dbf.factorize(stored, backend="numpy"))


def test_too_little_memory_names_what_is_enough(device, stored):
    with pytest.raises(
        MemoryBudgetError, match=r"device_memory=64.00 KiB is too small .* enough is device_memory=\d+"
    ) as e:
        dbf.plan(stored, backend="cupy", device_memory="64KiB")
    enough = int(str(e.value).split("enough is device_memory=")[1].split()[0])
    assert dbf.plan(stored, backend="cupy", device_memory=enough).device_peak_bytes <= enough


def test_more_memory_than_there_is_is_refused(device, stored):
    with pytest.raises(InputError, match=r"device_memory=\d+ for each of 2 tasks at a time is more than"):
        dbf.factorize(stored, backend="cupy", workers=2, device_memory="600MiB")
    with pytest.raises(InputError, match="device_memory='much' is not a positive number of bytes"):
        dbf.factorize(stored, backend="cupy", device_memory="much")


@pytest.mark.slow
def test_a_run_is_continued_where_less_is_free_than_before(device, stored, tmp_path, monkeypatch):
    run = tmp_path / "run.zarr"
    job = {"backend": "cupy", "workers": 1, "store": run}
    right = RightTask.compute
    monkeypatch.setattr(RightTask, "compute", _broken)
    with pytest.raises(dbf.errors.TaskError):
        dbf.factorize(stored, **job)
    monkeypatch.setattr(RightTask, "compute", right)
    monkeypatch.setattr(TileTask, "compute", _broken)  # all done already
    monkeypatch.setattr(device, "FREE", 24 * MIB)
    cuda.free_memory.cache_clear()
    found = dbf.factorize(stored, **job)
    monkeypatch.undo()
    assert_same(found, dbf.factorize(stored, backend="numpy"))


@pytest.mark.slow
def test_on_the_threads_of_a_dask_worker(device, stored, tmp_path):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        found = dbf.factorize(stored, backend="cupy", client=client, store=tmp_path / "run.zarr", device_memory="14MiB")
    assert_same(found, dbf.factorize(stored, backend="numpy"))
    (pool,) = device.MemoryPool.made
    assert pool.limit == 28 * MIB
    assert pool.held == 0


@pytest.mark.slow
def test_orderings_are_found_on_the_device(device):
    hidden = dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(8, seed=5), seed=6)
    z = np.asarray(dbf.matrices.noisy(hidden, 0.01, seed=7))
    found = dbf.identify(z, backend="cupy", workers=1)
    assert found.found
    errors = [float(dbf.verify(dbf.factorize(z, orderings=o, backend="numpy"), z)) for o in (found, hidden.orderings)]
    assert errors[0] <= 1.001 * errors[1]
