import pickle
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import NonFiniteError, RangeError, SourceError
from dbutterfly.execution.task import finish_task
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.factorization.tasks.sampled_tiles import SampledTileTask
from dbutterfly.sources.block_entries import BlockEntries
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.sample_sizes import Evaluated, Sizes, count_evaluated
from dbutterfly.structure.axes import Tile
from dbutterfly.structure.chain import Chain
from tests.support.blocks import blocks_of, errors_of, job_of_source, low_rank_blocks, standard, stored
from tests.support.comparisons import random_matrix


@dataclass
class Asked:
    """Entries of an array, counted."""

    array: np.ndarray
    count: int = 0
    calls: list = field(default_factory=list)

    def __call__(self, rows, cols):
        self.count += rows.size * cols.size
        self.calls.append((rows.size, cols.size))
        return self.array[np.ix_(rows, cols)]


@dataclass
class Kernel:
    """Helmholtz kernel between two unit segments at distance 1, ten points per wavelength."""

    n: int
    count: int = 0

    def __call__(self, rows, cols):
        self.count += rows.size * cols.size
        distance = np.hypot(1, (rows[:, None] - cols) / self.n)
        return np.exp(2j * np.pi * self.n / 10 * distance) / np.sqrt(distance)


def job_of(f, shape, dtype="float64", chain=None, ranks=None, orderings=None):
    return job_of_source(as_source(dbf.entries(f, shape, dtype, sampled=True)), chain, ranks, orderings)


def results_of(job, tile=None, seed=0):
    """Arrays A, B (with the groups of rows first) and stats of a tile, in storage order."""
    task = SampledTileTask(tile or Tile(0, job.plan.split.u, 0, job.plan.split.q), seed)
    assert task.read_source(job) == {}
    outputs, _ = finish_task(job, 0, task, {})
    left, right, stats, _ = outputs
    rows, cols = slice(task.tile.r0, task.tile.r1), slice(task.tile.c0, task.tile.c1)
    assert [output.name for output in outputs] == ["A", "B", "stats", "done/tiles"]
    assert (left.selection, right.selection, stats.selection) == ((rows, cols), (cols, rows), (rows, cols))
    return left.values, right.values.swapaxes(0, 1), stats.values


MONARCH = Chain.monarch((24 * 6, 5 * 30), p=24, q=5)
SIDES = [None, (None, "bitreversal"), ("bitreversal", None), (np.arange(144)[::-1], np.roll(np.arange(150), 7))]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("orderings", SIDES, ids=["standard", "cols", "rows", "arrays"])
def test_blocks_of_the_rank_are_recovered_under_every_ordering(orderings, dtype):
    blocks = low_rank_blocks((6, 5), 24, 30, 1, dtype)
    job = job_of(Asked(stored(blocks, orderings, MONARCH)), MONARCH.shape, dtype, MONARCH, orderings=orderings)
    left, right, stats = (standard(values, job) for values in results_of(job))
    np.testing.assert_array_equal(blocks_of(job.source.entries.f.array, job, orderings), blocks)
    assert (left.shape, right.shape, stats.shape) == ((6, 5, 1, 24), (6, 5, 1, 30), (6, 5, 3))
    assert (left.dtype, right.dtype, stats.dtype) == (np.dtype(dtype), np.dtype(dtype), np.float64)
    norm = np.linalg.norm(blocks, axis=(2, 3))
    exact = np.finfo(dtype).eps < 1e-10
    assert (errors_of(blocks, left, right) <= (1e-10 if exact else 1e-4) * norm).all()
    np.testing.assert_allclose(stats[..., 0], norm**2, rtol=1e-10 if exact else 1e-4)
    assert (stats[..., 1] <= (1e-20 if exact else 1e-8) * norm**2).all()
    assert np.isposinf(stats[..., 2]).all()


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_entries_are_counted_and_few(rank):
    n = 1024
    chain = Chain.chainable((n, n), rank=rank)
    asked = Kernel(n)
    job = job_of(asked, (n, n), "complex128", chain, orderings=("bitreversal", None))
    left, right, stats = results_of(job)
    counted = count_evaluated(job.plan.split, rank, stats[..., -1])
    assert counted == Evaluated(asked.count, 0)
    assert counted.entries <= 8 * rank * n**1.5
    blocks = blocks_of(Kernel(n)(np.arange(n), np.arange(n)), job, ("bitreversal", None))
    error = np.linalg.norm(errors_of(blocks, standard(left, job), standard(right, job)))
    best = np.linalg.norm(np.linalg.svd(blocks, compute_uv=False)[..., rank:])
    assert error <= {1: 0.1, 2: 1e-2, 4: 3e-6}[rank] * np.linalg.norm(blocks)
    assert error <= 1.1 * best
    assert np.sqrt(np.sum(stats[..., 1])) == pytest.approx(error, rel=0.1)
    assert np.sum(stats[..., 0]) == pytest.approx(np.sum(np.abs(blocks) ** 2), rel=1e-2)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 8, 16])
def test_no_square_costs_more_than_its_bound(rank):
    for digits in range(1, 12):
        side = 2**digits
        sizes = Sizes(side, side, rank)
        assert sizes.entries <= min(8 * rank * side, side**2)
        assert sizes.in_full == (sizes.entries == side**2)


def test_every_rank_is_told_its_discarded_energy():
    blocks = low_rank_blocks((4, 4), 64, 64, 3) * np.linspace(1, 2, 64) + 1e-2 * random_matrix((1024, 64)).reshape(
        4, 4, 64, 64
    )
    chain = Chain.monarch((256, 256), p=64, q=4)
    job = job_of(Asked(stored(blocks, None, chain)), (256, 256), chain=chain, ranks=(1, 2, 4))
    left, right, stats = results_of(job)
    assert stats.shape == (4, 4, 7)
    for number, rank in enumerate((1, 2, 4)):
        error = errors_of(blocks, left[:, :, :rank], right[:, :, :rank])
        np.testing.assert_allclose(stats[..., 1 + number].sum(), (error**2).sum(), rtol=0.25)


def test_the_estimate_has_no_bias():
    blocks = low_rank_blocks((4, 4), 32, 32, 1) + 0.1 * random_matrix((512, 32), seed=5).reshape(4, 4, 32, 32)
    blocks[:, :, :, 20:] *= 3
    chain = Chain.monarch((128, 128), p=32, q=4)
    job = job_of(Asked(stored(blocks, None, chain)), (128, 128), chain=chain)
    ratios = []
    for seed in range(60):
        left, right, stats = results_of(job, seed=seed)
        sampled = np.isinf(stats[..., 2])
        assert sampled.sum() >= 15
        ratios.append(stats[..., 1].sum() / (errors_of(blocks, left, right) ** 2).sum())
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / np.sqrt(len(ratios)))
    assert np.std(ratios) < 0.3


def test_the_estimate_knows_of_what_detection_cannot_see():
    """One entry in a thousand differs from all about it: few are met, and those that are not still count."""
    blocks = low_rank_blocks((16, 16), 32, 32, 1)
    rng = np.random.default_rng(3)
    for block in blocks.reshape(-1, 32, 32):
        block[tuple(rng.integers(0, 32, 2))] += 1000
    chain = Chain.monarch((512, 512), p=32, q=16)
    job = job_of(Asked(stored(blocks, None, chain)), chain.shape, chain=chain)
    stated, true = 0.0, 0.0
    for seed in range(8):
        left, right, stats = results_of(job, seed=seed)
        assert 0 < np.isfinite(stats[..., 2]).sum() < 32
        stated, true = stated + stats[..., 1].sum(), true + (errors_of(blocks, left, right) ** 2).sum()
    assert stated == pytest.approx(true, rel=0.3)


def test_results_do_not_depend_on_the_tiles(monkeypatch):
    blocks = low_rank_blocks((6, 5), 24, 30, 2, "complex128") + 0.1 * random_matrix((720, 30)).reshape(6, 5, 24, 30)
    chain = Chain([(1, 24, 10, 6), (5, 12, 30, 1)])
    job = job_of(Asked(stored(blocks, None, chain)), chain.shape, "complex128", chain)
    whole = results_of(job)
    monkeypatch.setattr("dbutterfly.factorization.tasks.sampled_tiles.WORK_BYTES", 1)
    for tile in (Tile(0, 6, 0, 5), Tile(1, 3, 2, 5), Tile(5, 6, 4, 5)):
        for all_, part in zip(whole, results_of(job, tile), strict=True):
            np.testing.assert_allclose(all_[tile.r0 : tile.r1, tile.c0 : tile.c1], part, rtol=1e-12, atol=1e-14)


def test_another_seed_picks_others():
    job = job_of(Asked(random_matrix((256, 256))), (256, 256))
    first, same, other = (results_of(job, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("fraction", [4, 8])
def test_a_patch_that_no_picked_column_meets_is_redone(fraction):
    """Blocks that are zero but for a patch: columns that begin beside it, and rows beside it, see nothing."""
    blocks = np.zeros((4, 4, 64, 64))
    patch = 64 // fraction
    blocks[:, :, 10 : 10 + patch, 40 : 40 + patch] = low_rank_blocks((4, 4), patch, patch, 1)
    blocks[0] = 0
    chain = Chain.monarch((256, 256), p=64, q=4)
    asked = Asked(stored(blocks, None, chain))
    job = job_of(asked, (256, 256), chain=chain)
    found, redone = 0, 0
    for seed in range(8):
        left, right, stats = results_of(job, seed=seed)
        assert not np.isnan(stats).any()
        good = errors_of(blocks, left, right) <= 1e-10
        again = np.isfinite(stats[..., 2])
        assert good[again].all()
        assert good[0].all()
        assert not again[0].any()
        found, redone = found + np.mean(good[1:]) / 8, redone + again.sum()
    assert redone > 0
    assert found > {4: 0.6, 8: 0.2}[fraction]


def test_blocks_that_are_redone_are_the_best_ones():
    """A second direction that lives beside the first one's rows and columns."""
    blocks = np.zeros((2, 8, 64, 64))
    blocks[:, :, :32, :32] = low_rank_blocks((2, 8), 32, 32, 1)
    blocks[1, 3, 32:, 32:] = 100 * random_matrix((32, 32), seed=3)
    chain = Chain.monarch((128, 512), p=64, q=8)
    asked = Asked(stored(blocks, None, chain))
    job = job_of(asked, chain.shape, chain=chain)
    left, right, stats = results_of(job)
    best = np.linalg.norm(np.linalg.svd(blocks, compute_uv=False)[..., 1:], axis=-1)
    assert (errors_of(blocks, left, right) <= 3 * best + 1e-10).all()
    again = np.isfinite(stats[..., 2])
    assert count_evaluated(job.plan.split, 1, stats[..., -1]) == Evaluated(asked.count, again.sum())
    assert (stats[again][:, 1] - stats[again][:, 2] <= best[again] ** 2 + 1e-9).all()


def test_noise_is_no_reason_to_evaluate_all():
    asked = Asked(random_matrix((1024, 1024)))
    job = job_of(asked, (1024, 1024))
    *_, stats = results_of(job)
    assert count_evaluated(job.plan.split, 1, stats[..., -1]).redone <= 10


def test_small_blocks_are_evaluated_in_full():
    matrix = random_matrix((64, 64))
    asked = Asked(matrix)
    job = job_of(asked, (64, 64))
    left, right, stats = results_of(job)
    assert asked.count == 64 * 64
    assert count_evaluated(job.plan.split, 1, stats[..., -1]) == Evaluated(64 * 64, 0)
    best = np.sum(np.linalg.svd(blocks_of(matrix, job), compute_uv=False)[..., 1:] ** 2, axis=-1)
    np.testing.assert_allclose(stats[..., 1], errors_of(blocks_of(matrix, job), left, right) ** 2)
    assert (stats[..., 1] - stats[..., 2] <= best * (1 + 1e-12)).all()


@pytest.mark.parametrize("shape", [(256, 256), (16, 16)])
def test_zero(shape):
    job = job_of(Asked(np.zeros(shape)), shape)
    left, right, stats = results_of(job)
    assert not left.any()
    assert not right.any()
    assert not stats[..., :2].any()


def test_few_calls_are_made():
    asked = Asked(random_matrix((1024, 1024)))
    job = job_of(asked, (1024, 1024))
    results_of(job)
    assert len(asked.calls) <= 5 * 32


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "work"), [(1, 1 << 19), (4, 1 << 20)])
def test_memory_is_that_of_the_results_and_the_work(monkeypatch, rank, work):
    monkeypatch.setattr("dbutterfly.factorization.tasks.sampled_tiles.WORK_BYTES", work)
    chain = Chain.chainable((1024, 1024), rank=rank)
    job = job_of(Kernel(1024), (1024, 1024), "complex128", chain, orderings=("bitreversal", None))
    results_of(job, Tile(0, 1, 0, 1))
    peaks = []
    for _ in range(3):  # other threads of this process, such as those of a Dask client, may allocate meanwhile
        tracemalloc.start()
        try:
            results = results_of(job)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    peak = min(peaks)
    assert 0.5 * work < peak - sum(values.nbytes for values in results) < 1.25 * work


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_entry_is_named(bad):
    matrix = random_matrix((256, 256))
    matrix[100] = bad
    job = job_of(Asked(matrix), (256, 256))
    with pytest.raises(NonFiniteError, match=r"holds a NaN or an infinity at index \(100, \d+\); mask") as caught:
        results_of(job)
    assert caught.value.index[0] == 100


@pytest.mark.parametrize(("dtype", "size"), [("float64", 1e200), ("complex64", 1e38)])
def test_entries_too_large_ask_for_another_power_of_two(dtype, size):
    job = job_of(Asked((size * random_matrix((256, 256)).clip(-1, 1)).astype(dtype)), (256, 256), dtype)
    with pytest.raises(RangeError, match=f"of which squares leave the range of {dtype}") as caught:
        results_of(job)
    assert caught.value.exponent == np.finfo(dtype).maxexp // 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tiny_entries_are_not_zero(dtype):
    size = 1e-170 if dtype == "float64" else 1e-30
    blocks = low_rank_blocks((16, 16), 16, 16, 1) * size
    job = job_of(Asked(stored(blocks, None, Chain.square_dyadic(256)).astype(dtype)), (256, 256), dtype)
    *_, stats = results_of(job)
    assert (stats[..., 0] > 0).all()


def test_the_function_must_be_where_the_task_runs():
    job = job_of(Asked(random_matrix((64, 64))), (64, 64))
    with pytest.raises(SourceError, match=r"array cannot be sampled where this task runs; .* top level of a module"):
        results_of(FactorizationJob(as_source(random_matrix((64, 64))), job.plan, job.workspace, "numpy"))


def test_the_task_has_a_name_and_can_be_pickled():
    task = SampledTileTask(Tile(0, 4, 2, 3))
    assert pickle.loads(pickle.dumps(task)) == task
    assert task.label == "sampled tile (row groups 0..3, column groups 2..2)"
    assert task.stage == "tiles"


@pytest.mark.parametrize("orderings", SIDES, ids=["standard", "cols", "rows", "arrays"])
def test_columns_rows_and_crossings_of_blocks(orderings):
    blocks = random_matrix((6 * 5 * 24, 30)).reshape(6, 5, 24, 30)
    job = job_of(Asked(stored(blocks, orderings, MONARCH)), MONARCH.shape, chain=MONARCH, orderings=orderings)
    rows, cols = job.plan.rows, job.plan.cols
    for values, axis in ((0, rows), (1, cols)):
        if axis.group_order is not None:
            blocks = np.take(blocks, np.argsort(axis.group_order), axis=values)
    part = blocks[1:4, 2:5]
    found = BlockEntries.of_tile(job.source.entries, rows, cols, Tile(1, 4, 2, 5))
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, 24, (3, 3, 2)), rng.integers(0, 30, (3, 3, 4))
    g, h = np.ogrid[:3, :3]
    np.testing.assert_array_equal(found.columns(j), part[g[..., None], h[..., None], :, j])
    np.testing.assert_array_equal(found.rows(i), part[g[..., None], h[..., None], i])
    wanted = part[g[..., None, None], h[..., None, None], i[:, :1, :, None], j[:, :, None]]
    np.testing.assert_array_equal(found.crossings(i[:, 0], j), wanted)
    np.testing.assert_array_equal(found.whole(np.array([0, 2]), np.array([1, 1])), part[[0, 2], [1, 1]])
