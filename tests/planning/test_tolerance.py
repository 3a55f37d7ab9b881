"""A tolerance in place of a rank: chosen from sampled blocks, confirmed by the certificate, raised where it is not."""

import warnings

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError, StoreMismatchError, ToleranceWarning
from dbutterfly.factorization import request
from dbutterfly.factorization.reach import Reach
from dbutterfly.factorization.tasks.halves import LeftTask, RightTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.planning.tolerance import Estimate, chain_for_tolerance
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from tests.support.comparisons import assert_same, dense_error, noisy_butterfly, random_matrix

ORDERINGS = ("bitreversal", None)


def kernel(n=512):
    return np.asarray(dbf.matrices.helmholtz(n))


@pytest.fixture
def low_guess(monkeypatch):
    """Start every run with rank 3, whatever its tolerance."""

    def guess(source, tol, orderings, **kwargs):
        return Estimate(Chain.chainable(source.shape, 3), 0.0, 1)

    monkeypatch.setattr(request, "chain_for_tolerance", guess)


@pytest.mark.slow
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-7, 1e-10])
def test_the_tolerance_is_reached_with_fewer_values_than_by_one_rank(tol):
    matrix = kernel(256)
    fact = dbf.factorize(matrix, tol=tol, orderings=ORDERINGS)
    assert dense_error(fact, matrix) <= fact.certificate.error_bound <= tol
    for rank in range(1, 17):
        for balanced in (False, True):
            plain = Chain.chainable(matrix.shape, rank, balanced=balanced)
            if plain.nnz < fact.chain.nnz:
                assert dbf.factorize(matrix, plain, orderings=ORDERINGS).certificate.error_bound > tol


KERNELS = ("helmholtz", "nudft", "hankel")


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_values_never_grow_with_the_tolerance(name):
    matrix = np.asarray(getattr(dbf.matrices, name)(128))
    values = []
    for tol in np.logspace(-1, -6, 6):
        try:
            fact = dbf.factorize(matrix, tol=tol, orderings=ORDERINGS)
        except InputError:  # out of reach
            values.append(matrix.size)
        else:
            assert fact.certificate.error_bound <= tol
            values.append(fact.chain.nnz)
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_low_rank_is_among_the_chains():
    matrix = np.asarray(dbf.matrices.cauchy(256))
    fact = dbf.factorize(matrix, tol=1e-6, orderings=ORDERINGS)
    rank = fact.chain.rank
    assert list(fact.chain) == [(1, 256, rank, 1), (1, rank, 256, 1)]
    assert dense_error(fact, matrix) <= fact.certificate.error_bound <= 1e-6


@pytest.mark.slow
def test_blocks_that_memory_does_not_hold_are_left_out(tmp_path):
    array = zarr.create_array(tmp_path / "z", data=np.asarray(dbf.matrices.cauchy(1024)), chunks=(128, 128))
    fact = dbf.factorize(array, tol=1e-4, orderings=ORDERINGS, memory="18 MiB", store=tmp_path / "run")
    assert len(fact.chain) > 2
    assert fact.certificate.error_bound <= 1e-4
    assert dbf.factorize(array, tol=1e-4, orderings=ORDERINGS).chain.nnz < fact.chain.nnz


def test_ranks_differ_from_cut_to_cut():
    matrix = kernel(256)
    fact = dbf.factorize(matrix, tol=1e-4, orderings=ORDERINGS)
    assert len(set(fact.chain.ranks)) > 1
    assert fact.certificate.error_bound <= 1e-4
    uniform = [fact.chain.of_rank(rank) for rank in range(1, 9)]
    errors = [dbf.factorize(matrix, chain, orderings=ORDERINGS).certificate.error_bound for chain in uniform]
    assert all(chain.nnz > fact.chain.nnz for chain, error in zip(uniform, errors, strict=True) if error <= 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nudft", "hankel", "fourier_integral", "legendre", "cauchy"])
def test_the_estimate_is_near_the_error(name):
    matrix = np.asarray(getattr(dbf.matrices, name)(512))
    found = chain_for_tolerance(as_source(matrix), 1e-3, Orderings.from_any(ORDERINGS))
    error = dense_error(dbf.factorize(matrix, found.chain, orderings=ORDERINGS), matrix)
    assert found.error / 1.3 <= error <= 1.3 * found.error
    assert found.chain.nnz < matrix.size


def test_a_butterfly_needs_rank_one():
    matrix = noisy_butterfly((128, 128), eps=1e-3)
    planned = dbf.plan(matrix, tol=2e-3)
    assert set(planned.chain.ranks) == {1}
    assert planned.chain.nnz == Chain.square_dyadic(128).nnz


def test_the_plan_says_what_the_tolerance_led_to():
    planned = dbf.plan(kernel(), tol=1e-4, orderings=ORDERINGS)
    assert f"ranks {', '.join(map(str, planned.chain.ranks))} for tol=0.0001: " in str(planned)
    assert "sampled blocks predict" in str(planned)
    rank = planned.split.rank
    assert planned.ranks == (rank, rank + 1, rank + 2)


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(("tol", "rank"), [(1e-5, 4), (1e-7, 5)])
def test_a_rank_that_was_too_small_is_raised_without_reading_again(low_guess, engine, tmp_path, tol, rank, passes):
    matrix = kernel()
    array = zarr.create_array(tmp_path / "z", data=matrix, chunks=(128, 128))
    fact = dbf.factorize(array, tol=tol, orderings=ORDERINGS, passes=passes, store=tmp_path / "run", **engine)
    assert fact.chain.rank == rank
    assert fact.record["plan"]["ranks"] == [3, 4, 5]
    assert any(f"for tol={tol:g}: 1 sampled blocks predict" in note for note in fact.record["plan"]["notes"])
    assert fact.record["stages"]["tiles"]["bytes_read"] == matrix.nbytes
    assert dense_error(fact, matrix) <= fact.certificate.error_bound <= tol
    assert_same(fact, dbf.open(tmp_path / "run"))
    again = dbf.factorize(array, tol=tol, orderings=ORDERINGS, passes=passes, store=tmp_path / "run", **engine)
    assert_same(fact, again)
    plain = dbf.factorize(matrix, Chain.chainable((512, 512), 3).of_rank(rank), tree=fact.tree, orderings=ORDERINGS)
    assert dense_error(fact, matrix) <= 1.1 * dense_error(plain, matrix)


@pytest.mark.slow
def test_a_rank_beyond_what_was_kept_reads_again(low_guess, tmp_path):
    matrix = kernel()
    for store in (None, tmp_path / "run"):
        fact = dbf.factorize(matrix, tol=1e-11, orderings=ORDERINGS, store=store)
        assert fact.chain.rank > 5
        assert fact.record["plan"]["ranks"][0] > 5
        assert dense_error(fact, matrix) <= fact.certificate.error_bound <= 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["left", "right"])
def test_a_run_cut_off_after_it_was_raised_goes_on_there(low_guess, monkeypatch, tmp_path, stage):
    matrix = kernel(256)
    arguments = {"tol": 1e-7, "orderings": ORDERINGS, "store": tmp_path / "run", "workers": 1}
    whole = dbf.factorize(matrix, **arguments | {"store": None})
    task = {"left": LeftTask, "right": RightTask}[stage]
    compute = task.compute

    def failing(self, job, inputs):
        if job.rank > 3:
            raise KeyboardInterrupt
        return compute(self, job, inputs)

    with monkeypatch.context() as patched:
        patched.setattr(task, "compute", failing)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(matrix, **arguments)
    with pytest.raises(StoreMismatchError, match="tol is"):
        dbf.factorize(matrix, **arguments | {"tol": 1e-6})
    seen = []
    split = TileTask.compute
    monkeypatch.setattr(TileTask, "compute", lambda *a: seen.append(a) or split(*a))
    fact = dbf.factorize(matrix, **arguments)
    assert not seen
    assert_same(fact, whole)


def test_a_tolerance_out_of_reach_is_said_before_the_run():
    with pytest.raises(InputError, match=r"tol=1e-05 seems out of reach: sampled blocks leave 0\.\d+ at least"):
        dbf.factorize(noisy_butterfly((128, 128), eps=0.1), tol=1e-5)


@pytest.mark.slow
def test_high_ranks_are_not_judged_by_samples_for_low_ones():
    """Of 64 x 64 entries of a block, rank 44 leaves little, whatever the block is."""

    def noise(rows, cols):
        return np.float32(np.sin(12.9898 * rows[:, None] + 78.233 * cols) * 43758.5453 % 1)

    with pytest.raises(InputError, match=r"tol=0\.1 seems out of reach"):
        dbf.plan(dbf.entries(noise, (4096, 4096), np.float32), tol=0.1)


def test_a_tolerance_that_was_not_reached_is_said_after_the_run(low_guess, monkeypatch):
    monkeypatch.setattr(Reach, "look_at", lambda *_: None)  # which would stop it
    matrix = random_matrix((128, 128))
    with pytest.warns(ToleranceWarning, match=r"tol=0\.1 was not reached: error bound 0\.\d+") as warned:
        fact = dbf.factorize(matrix, tol=0.1)
    assert [warning.filename for warning in warned] == [__file__]
    assert dense_error(fact, matrix) <= fact.certificate.error_bound


def test_sampling_meets_bad_entries():
    matrix = random_matrix((64, 64))
    matrix[:, 17] = np.nan
    with pytest.raises(NonFiniteError, match="holds a NaN or an infinity at index"):
        dbf.plan(matrix, tol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tol": 0}, "tol=0 is no relative error; use a positive number such as 1e-6"),
        ({"tol": -1e-3}, "tol=-0.001 is no relative error"),
        ({"tol": float("nan")}, "tol=nan is no relative error"),
        ({"tol": "small"}, "tol='small' is no relative error"),
        ({"tol": 1e-3, "rank": 2}, "tol=0.001 finds chain and rank; leave rank out"),
        ({"tol": 1e-3, "chain": Chain.square_dyadic(64)}, "tol=0.001 finds chain and rank; leave chain out"),
    ],
)
def test_bad_tolerances(arguments, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(random_matrix((64, 64)), **arguments)


def test_sampling_reads_a_bounded_part_of_a_chunked_matrix(tmp_path, monkeypatch):
    array = zarr.create_array(tmp_path / "z", data=kernel(1024), chunks=(256, 256))
    monkeypatch.setattr("dbutterfly.planning.tolerance.READ_LEAST", 1 << 20)
    source = as_source(array)
    read, plain = [], source.read

    def counted(rows, cols, tile):
        read.append(source.bytes_touched(rows, cols, tile))
        return plain(rows, cols, tile)

    monkeypatch.setattr(source, "read", counted)
    few = chain_for_tolerance(source, 1e-2, Orderings.from_any(ORDERINGS))
    assert few.blocks <= 12
    assert sum(read) < 24 << 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dbf.factorize(array, tol=1e-2, orderings=ORDERINGS).certificate.error_bound <= 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"tol": 1e-4}, {"passes": 2}, {"sweeps": 1}, {"matrix": kernel(64)}])
def test_the_store_of_another_run_is_refused_before_sampling(tmp_path, monkeypatch, changed):
    arguments = {"matrix": kernel(128), "tol": 1e-2, "orderings": ORDERINGS, "store": tmp_path / "run"}

    def factorize(matrix, **others):
        return dbf.factorize(matrix, **others)

    factorize(**arguments)
    monkeypatch.setattr(request, "chain_for_tolerance", pytest.fail)
    with pytest.raises(StoreMismatchError, match="nothing was changed"):
        factorize(**arguments | changed)
    factorize(**arguments)
