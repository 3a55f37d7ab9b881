"""Runs that keep the far parts of panels at low rank: read once, certified, the same everywhere, and continued."""

import shutil

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError
from dbutterfly.factorization.hierarchical import band_pieces, compress
from dbutterfly.factorization.hierarchical.fitted import FittedBlock, Settings, zero_block
from dbutterfly.factorization.hierarchical.share import share_tolerance
from dbutterfly.factorization.hierarchical.strips import MergedBand, Strip
from dbutterfly.kernels.backend.resolve import resolve_backend
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.operator.block_factors import BlockFactors
from dbutterfly.planning import band_search, bands
from dbutterfly.planning.bands import Band, BandCopy, BandLevels
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.block_tree import Block, cluster_trees
from tests.support.comparisons import snapshot
from tests.support.hierarchical_runs import assert_same_blocks, error_of, stop_after_panels

N = 1200
ASKED = {"tol": 1e-3, "form": "hierarchical", "leaf": 25, "memory": "24 MiB"}


@pytest.fixture(scope="module", autouse=True)
def small_bands():
    """Bands of 100 rows, of which a panel has a half; plans are made in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "LEAST_ROWS", 45)
        patch.setattr(band_search, "PARTS_OF_BANDS", (1 / 24,))
        yield


def make_kernel(dtype, count=N):
    """A kernel of random points on a line, in no order: most of it is far from the diagonal."""
    points = np.random.default_rng(3).random(count)
    apart = points[:, None] - points
    matrix = 1 / (np.abs(apart) + 0.05)
    if np.dtype(dtype).kind == "c":
        matrix = matrix * np.exp(4j * apart)  # Hermitian
    return points, matrix.astype(dtype)


def write(directory, matrix, chunks=(400, 256)):
    dbf.matrices.write(matrix, directory / "z.zarr", chunks=chunks)
    return directory / "z.zarr"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    points, matrix = make_kernel("float32")
    return write(tmp_path_factory.mktemp("strips"), matrix), {"points": (points, points), **ASKED}, matrix


@pytest.fixture(scope="module")
def expected(kept, tmp_path_factory):
    place, arguments, _ = kept
    return dbf.factorize(place, store=tmp_path_factory.mktemp("run") / "run", workers=2, **arguments)


def test_the_matrix_is_read_once_and_the_certificate_holds(kept, expected, tmp_path):
    place, arguments, matrix = kept
    plan = dbf.plan(place, store=tmp_path / "run", **arguments)
    assert isinstance(plan.copy, BandCopy)
    assert plan.peak_bytes <= plan.budget.memory
    assert min(plan.tasks.values()) > 4
    assert len({tile[:2] for tile in plan.copy.panels}) == 2
    assert "bands, far from the diagonal at low rank" in str(plan)
    assert f"{len(plan.regions)} strips" in str(plan)
    assert plan._repr_html_().count("<path") == 2
    assert plan.to_json()["copy"]["bands"] == sum(map(len, plan.copy.bands))
    stages = expected.record["stages"]
    assert (stages["panels"]["bytes_read"], stages["regions"]["bytes_read"]) == (matrix.nbytes, 0)
    certificate, error = expected.certificate, error_of(expected, matrix)
    assert certificate.exact
    assert certificate.lower_bound <= error <= certificate.error_bound <= arguments["tol"]
    assert certificate.error_bound <= 1.3 * error
    energy = float(np.sum(matrix.astype(np.float64) ** 2))
    assert expected.table[:, 0].sum() == pytest.approx(energy, rel=1e-6)
    assert error * energy**0.5 <= np.sqrt(expected.table[:, 1].sum()) * (1 + 1e-4)
    whole = dbf.factorize(matrix, **{**arguments, "memory": None}, workers=1)
    assert expected.nbytes <= 1.1 * whole.nbytes
    assert dbf.plan(place, **arguments).copy is None  # nowhere to keep them


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_one_half_of_every_dtype(dtype, tmp_path):
    points, matrix = make_kernel(dtype)
    arguments = {**ASKED, "points": (points, points), "symmetric": True, "memory": "30 MiB"}
    found = dbf.factorize(write(tmp_path, matrix), store=tmp_path / "run", workers=1, **arguments)
    assert "bands" in found.record["plan"]["copy"]
    assert found.dtype == dtype
    certificate, error = found.certificate, error_of(found, matrix)
    assert certificate.lower_bound <= error <= certificate.error_bound <= ASKED["tol"]


@pytest.mark.slow
def test_clusters_give_the_same(kept, expected, client, tmp_path):
    place, arguments, _ = kept
    assert_same_blocks(dbf.factorize(place, store=tmp_path / "run", client=client, **arguments), expected)


@pytest.mark.slow
def test_a_run_goes_on_from_its_panels_by_its_own_plan(kept, expected, tmp_path, monkeypatch):
    place, arguments, _ = kept
    store = tmp_path / "run"
    stop_after_panels(monkeypatch, place, store=store, workers=1, **arguments)
    work = store / "work" / RunStore.open(str(store)).manifest.epoch
    for chunk in ("c.0.0", "c.8.0"):  # of the first strip, in two panels
        path = work / "bands" / chunk
        path.write_bytes(b"x" * path.stat().st_size)
        with pytest.raises(CheckpointError, match=r"the same call computes it again \(1 of the panels tasks\)"):
            dbf.factorize(place, store=store, workers=1, **arguments)
    shutil.rmtree(work / "table", ignore_errors=True)
    monkeypatch.setattr(bands, "LEAST_STRIPS", 16)  # another plan, were it made anew
    found = dbf.factorize(place, store=store, workers=1, **{**arguments, "memory": "32 MiB"})
    assert_same_blocks(found, expected)
    assert found.record["stages"]["panels"]["resumed"] > 0
    before = snapshot(store)
    assert_same_blocks(dbf.factorize(place, store=store, workers=1, **arguments), expected)
    assert snapshot(store) == before


@pytest.mark.slow
def test_all_entries_are_copied_where_panels_cannot_keep_what_there_is(tmp_path, monkeypatch, caplog):
    points, matrix = make_kernel("float32")
    far = np.abs(points[:, None] - points) > 0.5
    noise = np.random.default_rng(1).standard_normal(matrix.shape)
    matrix = (matrix + 3e-2 * far * noise).astype(np.float32)  # of which samples of few entries know nothing
    monkeypatch.setattr("dbutterfly.factorization.hierarchical.planning.WORTH_BANDS", 1e-3)
    monkeypatch.setattr("dbutterfly.factorization.hierarchical.planning.HIGH_RANK", np.inf)
    monkeypatch.setattr("dbutterfly.factorization.hierarchical.planning.ROOM", 0)
    arguments = {"points": (points, points), **ASKED, "check_fit": False, "store": tmp_path / "run", "workers": 1}
    place = write(tmp_path, matrix)
    with caplog.at_level("INFO", "dbutterfly"):
        found = dbf.factorize(place, **arguments)
    assert "begins again with a copy of all entries" in caplog.text
    assert "bands" not in found.record["plan"]["copy"]
    certificate, error = found.certificate, error_of(found, matrix)
    assert certificate.lower_bound <= error <= certificate.error_bound <= arguments["tol"]
    assert dbf.factorize(place, **arguments).certificate == certificate


def test_coefficients_as_many_as_rows_are_no_entries_of_a_butterfly(monkeypatch):
    """They are nearly one, and the block is none."""
    monkeypatch.setattr(compress, "SMALLEST", 64)
    monkeypatch.setattr(compress, "HIGH_RANK", 8)
    rng, at = np.random.default_rng(0), np.linspace(0, 1, 512)
    coefficients = np.exp(300j * at[:128, None] * at[256:])
    basis = np.linalg.qr(rng.standard_normal((128, 128)) + 0j)[0]
    sides = np.array([[256, 512]]), np.array([[0, 256]])
    nothing, near = np.zeros(256), np.zeros((128, 256), complex)
    band, strip = MergedBand(Band(0, 128, *sides), basis, coefficients, nothing, nothing, near), Block(2, 0, 0, 0)
    settings = Settings(level=1e-8 * 128 * 256 / 384)
    trees = cluster_trees((512, 512), 32, None)
    found = Strip([band], BandLevels(2, 2), *trees, strip, settings, resolve_backend("numpy")).fit(strip)
    (block,) = (each for each in found if each.factors.cols == (256, 512))
    error = np.linalg.norm(dense_product(block.factors.ks_values) - basis @ coefficients) ** 2
    assert error <= block.error * (1 + 1e-6)


def test_a_large_tolerance_forgets_nothing_that_was_left_out(kept, tmp_path):
    """Nor where a block loses all of its rank."""
    place, arguments, matrix = kept
    found = dbf.factorize(place, store=tmp_path / "run", workers=1, **{**arguments, "tol": 0.9})
    certificate, error = found.certificate, error_of(found, matrix)
    assert certificate.lower_bound <= error <= certificate.error_bound <= 0.9
    out = zero_block((0, 8), (8, 16), 1.0)._replace(left_out=0.5)
    ones = BlockFactors((0, 8), (8, 16), (np.ones((1, 8, 1, 1)), np.ones((1, 1, 8, 1))))
    block = FittedBlock(ones, 1.0, 0.0, 0.0, 0.0, np.array([1.0]), left_out=0.25)
    (dropped, _) = share_tolerance([block, out], 2.0, eps=0.0)
    assert (dropped.factors.kind, dropped.error, dropped.left_out) == ("zero", 1.0, 0.25)


def test_less_is_left_out_for_a_smaller_tolerance(kept):
    settings = Settings(level=1e-3)
    copy_band = bands.Band(0, 100, np.array([[0, 50]]), np.array([[50, 60]]))
    most = band_pieces.energy_to_leave_out(settings, 100, 50, copy_band)
    assert 0 < most < settings.level * 150
    assert band_pieces.energy_to_leave_out(settings, 50, 50, copy_band) == pytest.approx(most / 2)
