"""Proofs of stored runs whose matrix memory does not hold once for every cut."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, MemoryBudgetError, TaskError
from dbutterfly.factorization.proof import streamed, tile_tasks, ways
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import dense_error, noisy_butterfly, random_matrix

FOURIER = (None, "bitreversal")


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """Memory holds no matrix as often as there are cuts."""
    monkeypatch.setattr(ways, "_bytes_needed", lambda *_: 1 << 50)


def store_run(matrix, tmp_path, chunks=(4, 8), **job):
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=chunks)
    return dbf.factorize(tmp_path / "z.zarr", store=tmp_path / "run", passes=2, **job)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("orderings", "dtype", "eps"),
    [(FOURIER, "complex128", 1e-3), (("bitreversal", None), "float32", 0.1)],
)
def test_targets_are_nearly_those_in_memory(tmp_path, monkeypatch, orderings, dtype, eps):
    known = dbf.matrices.orthogonal_butterfly(16, dtype=dtype, seed=0)
    standard, matrix = np.asarray(dbf.matrices.noisy(known, eps, seed=1)), np.empty((16, 16), dtype)
    sides = dbf.Orderings.from_any(orderings).permutations(known.chain)
    matrix[np.ix_(*(np.arange(16) if side is None else side for side in sides))] = standard
    fact = store_run(matrix, tmp_path, orderings=orderings)
    proven = dbf.prove(tmp_path / "run", tmp_path / "z.zarr", ratio=1.01)
    assert proven.record["proof"]["ended"] == "ratio"
    assert proven.certificate == dbf.open(tmp_path / "run").certificate
    assert not (tmp_path / "run" / "work").exists()
    assert fact.certificate.ratio > 1.03
    assert proven.certificate.lower_bound < dense_error(fact, matrix)
    monkeypatch.undo()
    beside = fact.prove(matrix).certificate
    assert beside.lower_bound * (1 - 1e-2) < proven.certificate.lower_bound <= beside.lower_bound * (1 + 1e-5)


@pytest.mark.slow
def test_workers_come_to_the_same(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(streamed, "ROUNDS", 1)
    matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.dft(16), 0.1, seed=0))
    store_run(matrix, tmp_path, orderings=FOURIER)
    proven = dbf.prove(tmp_path / "run", tmp_path / "z.zarr", **engine)
    assert proven.certificate.ratio < 1.05
    assert proven.certificate.lower_bound_from == "all cuts, by the residual"


@pytest.mark.slow
def test_higher_ranks_and_arrays_without_chunks(tmp_path):
    known = dbf.matrices.helmholtz(32)
    matrix = np.asarray(known)
    np.save(tmp_path / "z.npy", matrix)
    chain = Chain.chainable((32, 32), 2)
    fact = dbf.factorize(
        tmp_path / "z.npy", chain, orderings=known.orderings, store=tmp_path / "run", sweeps="converged", prove=True
    )
    assert "out of core; the matrix is read" in fact.record["plan_text"]
    assert fact.certificate.ratio < 1.05
    assert fact.certificate.lower_bound <= dense_error(fact, matrix) <= fact.certificate.error_bound


@pytest.mark.slow
def test_a_proof_that_failed_goes_on(tmp_path, monkeypatch):
    matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.dft(16), 0.1, seed=0))
    store_run(matrix, tmp_path, orderings=FOURIER)
    computed, plain = [], tile_tasks.SumTask.compute

    def compute(self, job, inputs):
        computed.append(self.stage)
        if self.stage == "sum/2/2" and len(computed) < 60:
            raise RuntimeError("no")
        return plain(self, job, inputs)

    monkeypatch.setattr(tile_tasks.SumTask, "compute", compute)
    with pytest.raises(TaskError, match="no"):
        dbf.prove(tmp_path / "run", tmp_path / "z.zarr", workers=1)
    before = [stage for stage in computed if stage != "sum/2/2"]
    computed[:] = ["again"] * 100
    dbf.prove(tmp_path / "run", tmp_path / "z.zarr", workers=1)
    assert set(computed[100:]).isdisjoint(before)


@pytest.mark.slow
def test_what_was_done_after_a_gap_is_done_again(tmp_path, monkeypatch):
    """Sums take turns in two arrays: a sum that is made anew would be mistaken for a later one."""
    matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.dft(16), 0.1, seed=0))
    store_run(matrix, tmp_path, orderings=FOURIER)
    monkeypatch.setattr(RunStore, "clean", lambda _: None)
    first = dbf.prove(tmp_path / "run", tmp_path / "z.zarr", workers=1)
    (rows,) = (tmp_path / "run" / "work").glob("*/proof/*/done/sum/0/2")
    for chunk in rows.glob("c.*"):
        chunk.unlink()
    computed, plain = [], tile_tasks.SumTask.compute

    def compute(self, job, inputs):
        computed.append(self.stage)
        return plain(self, job, inputs)

    monkeypatch.setattr(tile_tasks.SumTask, "compute", compute)
    second = dbf.prove(tmp_path / "run", tmp_path / "z.zarr", workers=1)
    assert computed[0] == "sum/0/2"
    assert computed[-1] == "sum/4/3"
    assert set(computed) == {f"sum/{i}/{k}" for i in range(5) for k in (1, 2, 3)} - {"sum/0/1"}
    assert second.certificate.lower_bound == pytest.approx(first.certificate.lower_bound, rel=1e-12)


@pytest.mark.slow
def test_outer_cuts_of_large_matrices_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "PRODUCT_BYTES", 0)
    monkeypatch.setattr(ways, "PRODUCT_SHARE", 0.5)
    matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.orthogonal_butterfly(32, seed=0), 0.1, seed=1))
    fact = store_run(matrix, tmp_path)
    proven = dbf.prove(tmp_path / "run", tmp_path / "z.zarr").certificate
    assert proven.lower_bound_from == "2 of 4 cuts, by the residual"
    assert fact.certificate.lower_bound < proven.lower_bound <= dense_error(fact, matrix)


def test_what_cannot_be_proven_out_of_core(tmp_path):
    matrix = noisy_butterfly(64)
    with pytest.raises(MemoryBudgetError, match="prove a stored run, which is done out of core"):
        dbf.factorize(matrix).prove(matrix)
    with pytest.raises(InputError, match="out of core is not possible: the chain is longer than the matrix"):
        dbf.factorize(random_matrix((61, 64)), store=tmp_path / "odd", prove=True)
    dbf.matrices.write(matrix, tmp_path / "z.zarr", chunks=(12, 20))
    with pytest.raises(InputError, match="tiles of the cut after factor 1 share chunks"):
        dbf.factorize(tmp_path / "z.zarr", store=tmp_path / "run", prove=True, memory=25_200_000)
    assert not (tmp_path / "run").exists()
    with pytest.raises(MemoryBudgetError, match="a proof out of core holds 4 times as much"):
        dbf.factorize(matrix, store=tmp_path / "run", prove=True, memory="8 MiB")
