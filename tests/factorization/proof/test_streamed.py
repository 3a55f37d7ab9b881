"""Proofs of stored runs whose matrix memory does not hold once for every cut."""

import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, InputError, MemoryBudgetError, NonFiniteError, TaskError
from dbutterfly.execution.thread_engine import ThreadEngine
from dbutterfly.factorization.proof import ascent_tasks, climb, streamed, streamed_targets, tile_tasks, ways
from dbutterfly.factorization.proof.ascent import Targets
from dbutterfly.factorization.proof.cut_work import CutWork
from dbutterfly.factorization.proof.subject import cuts_of
from dbutterfly.sources.dispatch import as_source
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.chain import Chain
from tests.support.calls import CallsHere
from tests.support.comparisons import dense_error, noisy_butterfly, random_matrix

FOURIER = (None, "bitreversal")


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """Memory holds no matrix once for every cut."""
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
@pytest.mark.parametrize(
    ("chain", "dtype", "orderings"),
    [
        (Chain.square_dyadic(32), "float32", (None, None)),
        (Chain.chainable((32, 32), 2), "complex128", ("bitreversal", None)),
    ],
    ids=["float32", "complex128"],
)
@pytest.mark.usefixtures("more_tiles")
def test_the_ascent_is_that_in_memory(tmp_path, monkeypatch, chain, dtype, orderings):
    """From the same targets, steps come to the same but for rounding, with shares that move."""
    bounds, measure = [], streamed._measure_residual
    monkeypatch.setattr(streamed, "_measure_residual", lambda *given: measure(*given)._replace(bound=0.0))
    monkeypatch.setattr(streamed, "say_how_far", lambda _, steps, *found: bounds.append((steps, found[1])))
    monkeypatch.setattr(climb.Climb, "is_out_of_time", lambda _: bounds[-1][0] == 8)
    stored = noisy_butterfly(chain, dtype, orderings=orderings)
    fact = store_run(stored, tmp_path, chunks=(8, 16), chain=chain, orderings=orderings)
    prove_run(tmp_path, workers=1, ratio=1.0)
    matrix = noisy_butterfly(chain, dtype).astype(np.result_type(dtype, np.float64))
    product = dbf.ButterflyOperator([np.asarray(values, matrix.dtype) for values in fact.ks_values]).to_dense()
    cuts, work, norm = cuts_of(chain), CutWork(CallsHere()), np.linalg.norm(matrix)
    targets = Targets(matrix, cuts, [matrix.copy() for _ in cuts], product)
    expected = [(0, 0.0)]
    for step in range(1, 9):
        targets.ascend(work)
        if step % 4 == 0:
            expected.append((step, targets.bound(work)[0] / norm))
    assert max(np.ptp(share) for share in targets.shares) > 1e-3
    np.testing.assert_allclose(bounds, expected, rtol=1e-5 if dtype == "float32" else 1e-10)


@pytest.fixture
def more_tiles(monkeypatch):
    """Tiles are of half of the columns."""

    def make_more(*args, **kwargs):
        found = plain(*args, **kwargs)
        return replace(found, layout=found.layout._replace(tile_cols=found.layout.tile_cols // 2))

    plain = ways.make_plan
    monkeypatch.setattr(ways, "make_plan", make_more)


@pytest.fixture
def ascending(tmp_path, monkeypatch, more_tiles):
    """A run whose proof ascends: the residual is hardly split among the cuts."""
    monkeypatch.setattr(streamed, "ROUNDS", 0)
    store_run(np.asarray(dbf.matrices.noisy(dbf.matrices.orthogonal_butterfly(16, seed=0), 0.1, seed=1)), tmp_path)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")


def prove_run(tmp_path, name="run", **how):
    return dbf.prove(tmp_path / name, tmp_path / "z.zarr", **how)


@pytest.mark.slow
@pytest.mark.usefixtures("ascending")
def test_workers_come_to_the_same(tmp_path, client):
    proven = prove_run(tmp_path, workers=2)
    assert prove_run(tmp_path, "copy", client=client).certificate == proven.certificate
    assert proven.certificate.lower_bound_from == "all cuts, by ascent"
    assert (proven.record["proof"]["ended"], proven.record["proof"]["steps"]) == ("ratio", 4)
    assert not (tmp_path / "run" / "work").exists()


@contextlib.contextmanager
def noting(monkeypatch, computed, fails=lambda _: False):
    """Note the tasks of steps; some may fail."""
    plain = ascent_tasks.MoveTask.compute

    def compute(self, job, inputs):
        if fails(self):
            raise RuntimeError("no")
        computed.append((self.step, self.cut, self.tile))
        return plain(self, job, inputs)

    with monkeypatch.context() as patched:
        patched.setattr(ascent_tasks.MoveTask, "compute", compute)
        yield patched


@pytest.mark.slow
@pytest.mark.usefixtures("ascending")
def test_an_ascent_goes_on_in_the_middle_of_a_step(tmp_path, monkeypatch):
    whole, computed = prove_run(tmp_path, workers=1), []
    fails = noting(monkeypatch, computed, lambda task: task.step == 1 and task.cut == 2 and task.tile.c0 > 0)
    with fails, pytest.raises(TaskError, match="no"):
        prove_run(tmp_path, "copy", workers=1)
    assert computed[-1][:2] == (1, 2)
    with noting(monkeypatch, computed) as patched:
        patched.setattr(climb.Climb, "is_out_of_time", lambda _: computed[-1][:2] == (2, 1))
        record = prove_run(tmp_path, "copy", workers=1).record["proof"]
    assert (record["ended"], record["steps"]) == ("budget", 2)
    with noting(monkeypatch, computed):
        proven = prove_run(tmp_path, "copy", workers=1)
    assert len(set(computed)) == len(computed)
    assert proven.certificate == whole.certificate


@pytest.mark.slow
@pytest.mark.usefixtures("ascending")
def test_a_damaged_ascent_begins_anew(tmp_path, monkeypatch, caplog):
    computed = []
    with noting(monkeypatch, computed, lambda task: task.step == 1 and task.cut == 3), pytest.raises(TaskError):
        prove_run(tmp_path, workers=1)
    (pull,) = (tmp_path / "run" / "work").glob("*/proof/*/pull/1")
    work = pull.parent.parent
    for chunk in (work / "done" / "step" / "1" / "1").glob("c.*"):
        chunk.unlink()
    with noting(monkeypatch, computed, lambda task: task.step == 1), pytest.raises(TaskError):
        prove_run(tmp_path, workers=1)
    assert "the ascent of the proof begins anew" in caplog.text
    assert computed[-1][:2] == (0, 3)
    (chunk, *_) = pull.glob("c.*")
    chunk.write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match="pull/1"):
        prove_run(tmp_path, workers=1)
    assert prove_run(tmp_path, workers=1).record["proof"]["steps"] == 4


@pytest.mark.slow
@pytest.mark.usefixtures("ascending")
def test_targets_of_another_step_are_told(tmp_path, monkeypatch):
    """As of a store that was copied in the middle of a step: its checksums are right."""
    plain = streamed_targets.StreamedTargets.bound

    def bound(self):
        everything, name = (slice(None),), ascent_tasks.target_name(1, self.steps, len(self._jobs))
        self._workspace.write(name, everything, self._workspace.read(name, everything) * (1 + 1e-6))
        return plain(self)

    with monkeypatch.context() as patched:
        patched.setattr(streamed_targets.StreamedTargets, "bound", bound)
        with pytest.raises(CheckpointError, match="are of different steps"):
            prove_run(tmp_path, workers=1)
    assert prove_run(tmp_path, workers=1).record["proof"]["steps"] == 4


@pytest.mark.slow
@pytest.mark.usefixtures("ascending")
def test_entries_that_are_no_numbers_any_more(tmp_path, monkeypatch):
    with noting(monkeypatch, [], lambda task: task.step == 1), pytest.raises(TaskError):
        prove_run(tmp_path, workers=1)
    matrix = zarr.open_array(tmp_path / "z.zarr", mode="r+")
    matrix[5, 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"index \(5, 3\)"):
        prove_run(tmp_path, workers=1)


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
    proven = prove_run(tmp_path, ratio=1.01).certificate
    assert proven.lower_bound_from == "2 of 4 cuts, by ascent"
    assert fact.certificate.lower_bound < proven.lower_bound <= dense_error(fact, matrix)


@pytest.mark.slow
def test_an_error_that_is_rounding_is_not_proven(tmp_path):
    known = dbf.matrices.orthogonal_butterfly(16, dtype="float32", seed=0)
    store_run(np.asarray(known), tmp_path)
    proven = prove_run(tmp_path, workers=1)
    assert proven.record["proof"]["ended"] == "rounding"
    assert proven.certificate.exact


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-160, 1e153])
def test_squares_that_leave_the_range(tmp_path, size):
    matrix = noisy_butterfly(16)
    store_run(matrix * size, tmp_path)
    scaled = prove_run(tmp_path, workers=1).certificate
    assert scaled.norm == pytest.approx(np.linalg.norm(matrix) * size)
    assert scaled.error_bound == pytest.approx(dense_error(dbf.factorize(matrix, passes=2), matrix))
    assert 1.0 < scaled.ratio < 1.01


@pytest.mark.parametrize(("n", "chunks", "memory"), [(16384, None, 700 << 20), (8192, 1024, 600 << 20)])
def test_memory_holds_the_tiles_of_a_step(tmp_path, n, chunks, memory):
    matrix = np.broadcast_to(np.float32(1), (n, n))
    if chunks is not None:
        matrix = zarr.create_array(tmp_path / "z.zarr", shape=(n, n), chunks=(chunks, chunks), dtype="f4")
    chain, source = Chain.square_dyadic(n), as_source(matrix)
    plans = ways.choose_way(chain, dbf.Orderings(), source, ThreadEngine(1), memory, has_store=True)
    for plan in plans:
        tile = max(r1 - r0 for r0, r1, _, _ in plan.tiles) * plan.split.p
        tile *= max(c1 - c0 for _, _, c0, c1 in plan.tiles) * plan.split.v * 4
        assert tile * (11 if plan.layout.prefetch else 7) <= memory


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
