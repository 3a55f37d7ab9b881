import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from dbutterfly.errors import InputError, RangeError, SourceError
from dbutterfly.execution.task import finish_task, load_task, write_outputs
from dbutterfly.factorization.tasks import probed_tiles
from dbutterfly.factorization.tasks.probed_tiles import ProbeTask
from dbutterfly.sources import operators, probes
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.probes import ProbeSizes, normal_vectors
from dbutterfly.structure.axes import Tile
from dbutterfly.structure.chain import Chain, Cut
from tests.support.blocks import blocks_of, errors_of, job_of_source, low_rank_blocks, standard, stored
from tests.support.comparisons import DTYPES, random_matrix


class Counting(LinearOperator):
    """Counts the vectors that it and its adjoint are multiplied by, and knows how many came at a time."""

    def __init__(self, forward, backward, shape, dtype):
        super().__init__(dtype, shape)
        self.forward, self.backward = forward, backward
        self.counts, self.widest = {"matmat": 0, "rmatmat": 0}, 0

    @classmethod
    def of(cls, array):
        return cls(lambda x: array @ x, lambda y: array.conj().T @ y, array.shape, array.dtype)

    def _matmat(self, x):
        self.counts["matmat"] += x.shape[1]
        self.widest = max(self.widest, x.shape[1])
        return self.forward(x)

    def _rmatmat(self, y):
        self.counts["rmatmat"] += y.shape[1]
        self.widest = max(self.widest, y.shape[1])
        return self.backward(y)

    @property
    def count(self):
        return sum(self.counts.values())


def fourier(n, dtype="complex128"):
    """The DFT and its adjoint, by the fast Fourier transform."""
    return Counting(lambda x: np.fft.fft(x, axis=0), lambda y: n * np.fft.ifft(y, axis=0), (n, n), dtype)


def helmholtz(n):
    """Kernel between two unit segments at distance 1, ten points per wavelength."""
    distance = np.hypot(1, (np.arange(n)[:, None] - np.arange(n)) / n)
    return np.exp(2j * np.pi * n / 10 * distance) / np.sqrt(distance)


def job_of(operator, chain=None, ranks=None, orderings=None, passes=1):
    source = as_source(operator)
    if isinstance(operator, Counting):
        operator.counts = dict.fromkeys(operator.counts, 0)
    return job_of_source(source, chain, ranks, orderings, passes)


def results_of(job, tile=None, **options):
    """Arrays A, B (with the groups of rows first) and stats of a tile, in storage order."""
    task = ProbeTask(tile or Tile(0, job.plan.split.u, 0, job.plan.split.q), **options)
    outputs, _ = finish_task(job, 0, task, load_task(job, task))
    rows, cols = slice(task.tile.r0, task.tile.r1), slice(task.tile.c0, task.tile.c1)
    found = {output.name: output for output in outputs}
    assert [found[name].selection for name in ("A", "B", "stats")] == [(rows, cols), (cols, rows), (rows, cols)]
    assert outputs[-1].name == "done/tiles"
    return found["A"].values, found["B"].values.swapaxes(0, 1), found["stats"].values


WIDE = Chain.monarch((64 * 6, 5 * 70), p=64, q=5)
SIDES = [None, (None, "bitreversal"), ("bitreversal", None), (np.arange(384)[::-1].copy(), np.roll(np.arange(350), 7))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("orderings", SIDES, ids=["standard", "cols", "rows", "arrays"])
def test_blocks_of_the_rank_are_recovered_under_every_ordering(orderings, dtype):
    blocks = low_rank_blocks((6, 5), 64, 70, 1, dtype)
    matrix = stored(blocks, orderings, WIDE)
    job = job_of(aslinearoperator(matrix), WIDE, orderings=orderings)
    assert not ProbeSizes(job.plan.split, 1).in_full
    left, right, stats = (standard(values, job) for values in results_of(job))
    np.testing.assert_array_equal(blocks_of(matrix, job, orderings), blocks)
    assert (left.shape, right.shape, stats.shape) == ((6, 5, 1, 64), (6, 5, 1, 70), (6, 5, 3))
    assert (left.dtype, right.dtype, stats.dtype) == (np.dtype(dtype), np.dtype(dtype), np.float64)
    norm = np.linalg.norm(blocks, axis=(2, 3))
    exact = np.finfo(dtype).eps < 1e-10
    assert (errors_of(blocks, left, right) <= (1e-11 if exact else 1e-4) * norm).all()
    np.testing.assert_allclose(stats[..., 0], norm**2, rtol=1e-10 if exact else 1e-4)
    assert (stats[..., 1] <= (1e-22 if exact else 1e-8) * norm**2).all()
    assert np.isposinf(stats[..., 2]).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kept", [0, 2])
def test_products_of_any_rank_are_recovered(rank, kept):
    """With ranks in reserve, which such a product does not need."""
    chain = Chain.monarch((400, 480), p=80, q=4)
    blocks = low_rank_blocks((5, 4), 80, 120, rank)
    job = job_of(aslinearoperator(stored(blocks, None, chain)), chain, ranks=tuple(range(rank, rank + kept + 1)))
    assert not ProbeSizes(job.plan.split, rank + kept).in_full
    left, right, stats = results_of(job)
    assert (errors_of(blocks, left, right) <= 1e-9 * np.linalg.norm(blocks, axis=(2, 3))).all()
    assert not left[:, :, rank:].any()
    assert not right[:, :, rank:].any()
    gram = right[:, :, :rank] @ right[:, :, :rank].swapaxes(2, 3)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(rank), gram.shape), atol=1e-12)
    assert (stats[..., 1 : 2 + kept] <= 1e-22 * stats[..., :1]).all()


@pytest.mark.parametrize("n", [256, 1024])
def test_fourier(n):
    operator = fourier(n)
    job = job_of(operator, orderings=(None, "bitreversal"))
    left, right, stats = (standard(values, job) for values in results_of(job))
    blocks = blocks_of(np.fft.fft(np.eye(n)), job, (None, "bitreversal"))
    assert np.linalg.norm(errors_of(blocks, left, right)) <= 1e-13 * n
    assert stats[..., 0].sum() == pytest.approx(n**2, rel=1e-12)
    assert np.sqrt(stats[..., 1].sum()) <= 1e-13 * n
    assert operator.count == ProbeSizes(job.plan.split, 1).products() == {256: 256, 1024: 544}[n]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "rank"), [(512, 5), (1024, 4), (1024, 8)])
def test_an_oscillatory_kernel_is_met_almost_as_well_as_it_can_be(n, rank):
    matrix, orderings = helmholtz(n), ("bitreversal", None)
    job = job_of(aslinearoperator(matrix), Chain.chainable((n, n), rank=rank), orderings=orderings)
    assert not ProbeSizes(job.plan.split, rank).in_full
    left, right, stats = (standard(values, job) for values in results_of(job))
    blocks = blocks_of(matrix, job, orderings)
    error = np.linalg.norm(errors_of(blocks, left, right))
    best = np.linalg.norm(np.linalg.svd(blocks, compute_uv=False)[..., rank:])
    assert error <= 1.05 * best
    assert best <= {4: 1e-5, 5: 1e-5, 8: 1e-10}[rank] * np.linalg.norm(matrix)
    assert stats[..., 1].sum() == pytest.approx(error**2, rel=0.5)


@pytest.mark.parametrize("rank", [1, 4])
def test_products_are_counted_and_few(rank):
    """(3 k + 14) sqrt(N) of them, where the chain is cut in the middle."""
    for n in (4096, 16384):
        side = int(n**0.5)
        sizes = ProbeSizes(Cut(side, side, side, side, rank), rank)
        assert sizes.products() == (3 * rank + 14) * side
        assert not sizes.in_full
    operator = fourier(4096)
    job = job_of(operator, Chain.chainable((4096, 4096), rank=rank))
    task = ProbeTask(Tile(0, job.plan.split.u, 0, job.plan.split.q))
    inputs = task.read_source(job)
    sizes = ProbeSizes(job.plan.split, rank)
    assert operator.count == sizes.products() <= (3 * rank + 14) * 4096**0.5 * 1.1
    assert sum(array.nbytes for array in inputs.values()) == sizes.held_bytes(16)


def test_several_tiles_take_more_products_and_find_the_same():
    blocks = low_rank_blocks((6, 5), 64, 70, 2) + 0.1 * random_matrix((64 * 30, 70)).reshape(6, 5, 64, 70)
    operator = Counting.of(stored(blocks, None, WIDE))
    job = job_of(operator, WIDE)
    whole, sizes = results_of(job), ProbeSizes(job.plan.split, 1)
    assert operator.count == sizes.products() == 5 * 7 + 6 * 10
    for tile in (Tile(0, 6, 0, 5), Tile(1, 3, 2, 5), Tile(5, 6, 4, 5)):
        operator.counts = dict.fromkeys(operator.counts, 0)
        part = results_of(job, tile)
        assert operator.counts == {"matmat": 7 * (tile.c1 - tile.c0), "rmatmat": 10 * (tile.r1 - tile.r0)}
        assert operator.count == sizes.products(tile)
        for all_, some in zip(whole, part, strict=True):
            np.testing.assert_allclose(all_[tile.r0 : tile.r1, tile.c0 : tile.c1], some, rtol=1e-9, atol=1e-11)


def test_vectors_are_multiplied_in_bounded_batches(monkeypatch):
    monkeypatch.setattr(operators, "PRODUCT_BYTES", 24 * (384 + 350) * 8)
    operator = Counting.of(stored(low_rank_blocks((6, 5), 64, 70, 1), None, WIDE))
    few = results_of(job_of(operator, WIDE))
    assert operator.widest == 21
    monkeypatch.setattr(operators, "PRODUCT_BYTES", 1)
    one = results_of(job_of(operator, WIDE))
    for a, b in zip(few, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_another_seed_draws_other_vectors():
    matrix = random_matrix(WIDE.shape)
    job = job_of(aslinearoperator(matrix), WIDE)
    first, same, other = (results_of(job, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)
    assert not np.allclose(normal_vectors(0, 1, 2, (4,), "float64"), normal_vectors(0, 2, 1, (4,), "float64"))


def test_more_vectors_come_closer_to_the_best():
    blocks = low_rank_blocks((6, 5), 64, 70, 1) + 0.1 * random_matrix((64 * 30, 70)).reshape(6, 5, 64, 70)
    job = job_of(aslinearoperator(stored(blocks, None, WIDE)), WIDE)
    best = np.linalg.norm(np.linalg.svd(blocks, compute_uv=False)[..., 1:])
    errors = [np.linalg.norm(errors_of(blocks, *results_of(job, oversampling=o)[:2])) / best for o in (2, 4, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1.15


def test_energies_are_estimated_without_bias():
    blocks = low_rank_blocks((6, 5), 64, 70, 2) + 0.1 * random_matrix((64 * 30, 70)).reshape(6, 5, 64, 70)
    blocks[:, 1] *= 3
    job = job_of(aslinearoperator(stored(blocks, None, WIDE)), WIDE, ranks=(1, 2, 3))
    scaled = []
    for seed in range(40):
        left, right, stats = results_of(job, seed=seed)
        exact = [np.sum(blocks**2)]
        exact += [np.sum(errors_of(blocks, left[:, :, :r], right[:, :, :r]) ** 2) for r in (1, 2, 3)]
        scaled.append(stats[..., :4].sum(axis=(0, 1)) / exact)
    scatter = np.std(scaled, axis=0)
    assert (np.abs(np.mean(scaled, axis=0) - 1) <= 4 * scatter / 40**0.5).all()
    assert (scatter < 0.2).all()


def test_small_operators_are_found_in_full():
    matrix = random_matrix((64, 64))
    operator = Counting.of(matrix)
    job = job_of(operator)
    left, right, stats = results_of(job)
    assert operator.count == 64
    blocks = blocks_of(matrix, job)
    best = np.sum(np.linalg.svd(blocks, compute_uv=False)[..., 1:] ** 2, axis=-1)
    np.testing.assert_allclose(stats[..., 1], errors_of(blocks, left, right) ** 2)
    assert (stats[..., 1] - stats[..., 2] <= best * (1 + 1e-12)).all()
    assert (stats[..., 1] <= best * 1.01 + 1e-12).all()


def test_flat_operators_are_found_by_their_shorter_side():
    operator = Counting.of(random_matrix((8, 4096)))
    results_of(job_of(operator, Chain.monarch((8, 4096), p=4, q=64)))
    assert operator.counts == {"matmat": 0, "rmatmat": 8}


@pytest.mark.parametrize("shape", [WIDE.shape, (16, 16)])
def test_zero(shape):
    job = job_of(scipy.sparse.csr_array(shape), WIDE if shape == WIDE.shape else None)
    left, right, stats = results_of(job)
    assert not left.any()
    assert not right.any()
    assert not stats[..., :2].any()
    assert not np.isnan(stats).any()


def test_blocks_of_a_sparse_matrix():
    """A few blocks that are not zero, one entry or one row of which is there."""
    blocks = np.zeros((6, 5, 64, 70))
    blocks[2, 3, 10, 20] = 7
    blocks[4, 1, :, 9] = np.arange(64)
    job = job_of(scipy.sparse.csr_array(stored(blocks, None, WIDE)), WIDE)
    left, right, stats = results_of(job)
    np.testing.assert_allclose(left.swapaxes(2, 3) @ right, blocks, atol=1e-12)
    np.testing.assert_allclose(stats[..., 0], np.sum(blocks**2, axis=(2, 3)), atol=1e-12)
    assert np.count_nonzero(stats[..., 0]) == 2


def test_where_the_matrix_is_read_twice_the_second_read_gives_the_right_parts():
    job = job_of(aslinearoperator(random_matrix(WIDE.shape)), WIDE, passes=2)
    task = ProbeTask(Tile(0, 6, 0, 5))
    assert [output.name for output in task.compute(job, task.read_source(job))] == ["A", "stats"]


def test_outputs_can_be_written():
    job = job_of(aslinearoperator(random_matrix(WIDE.shape)), WIDE)
    for name, shape in (("A", (6, 5, 1, 64)), ("B", (5, 6, 1, 70)), ("stats", (6, 5, 3))):
        job.workspace.create(name, shape, shape, "float64")
    task = ProbeTask(Tile(0, 6, 0, 5))
    write_outputs(job, task.compute(job, task.read_source(job)))
    np.testing.assert_array_equal(job.workspace.read("A", (slice(None),)), results_of(job)[0])


def test_memory_is_that_of_products_and_results():
    n = 2048
    job = job_of(fourier(n), orderings=(None, "bitreversal"))
    results_of(job, Tile(0, 1, 0, 1))
    tracemalloc.start()
    try:
        results = results_of(job)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    known = ProbeSizes(job.plan.split, 1).held_bytes(16) + sum(values.nbytes for values in results)
    assert peak < known + 4 * probes.PRODUCT_BYTES


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_product_that_is_not_finite_is_named(bad):
    forward, backward = random_matrix(WIDE.shape), random_matrix(WIDE.shape)
    backward[...] = forward
    operator = Counting(lambda x: forward @ x, lambda y: backward.T @ y, WIDE.shape, "float64")
    job = job_of(operator, WIDE)
    forward[100, 3] = bad
    message = (
        r"matmat of vector 0 of normal numbers on column group 0 \(70 columns, the first one 0\) holds .* row 100;"
    )
    with pytest.raises(SourceError, match=f"operator Counting: {message}"):
        results_of(job)
    forward[100, 3], backward[100, 3] = 0, bad
    with pytest.raises(
        SourceError, match=r"rmatmat of vector 0 .* row group 4 \(64 rows, the first one 4\) .* column 3;"
    ):
        results_of(job, Tile(4, 5, 1, 5))


def test_entries_too_large_ask_for_another_power_of_two():
    job = job_of(aslinearoperator(1e200 * random_matrix(WIDE.shape)), WIDE)
    with pytest.raises(RangeError, match="of which squares leave the range of float64") as caught:
        results_of(job)
    assert caught.value.exponent == 512
    job = job_of(aslinearoperator((1e37 * random_matrix(WIDE.shape)).astype("float32")), WIDE)
    with pytest.raises(InputError, match="too large to be multiplied in float32"):
        results_of(job)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tiny_entries_are_not_zero(dtype):
    size = 1e-170 if dtype == "float64" else 1e-30
    matrix = (size * stored(low_rank_blocks((6, 5), 64, 70, 1), None, WIDE)).astype(dtype)
    *_, stats = results_of(job_of(aslinearoperator(matrix), WIDE))
    assert (stats[..., 0] > 0).all()


def test_only_operators_can_be_probed():
    job = job_of(random_matrix((64, 64)))
    with pytest.raises(SourceError, match="array is no operator, and cannot be multiplied by vectors"):
        results_of(job)


def test_a_task_travels_and_says_what_it_does():
    task = pickle.loads(pickle.dumps(ProbeTask(Tile(0, 4, 2, 8), 3)))
    assert task == ProbeTask(Tile(0, 4, 2, 8), 3)
    assert task.stage == "tiles"
    assert task.label == "products of tile (row groups 0..3, column groups 2..7)"
    assert probed_tiles.__doc__
