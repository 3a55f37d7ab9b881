"""Sweeps over the matrices of a stack, and proofs of them: those of single calls, kept like everything else."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import FailedMatricesWarning, InputError, MemoryBudgetError, StoreMismatchError
from dbutterfly.factorization.stacked import improvement
from dbutterfly.planning import stacked_plan
from tests.support.comparisons import assert_same
from tests.support.stacked_runs import assert_same_stacks, make_stack, store_stack

WEIGHTS = (np.linspace(1, 9, 32), None)
ASKED = [
    {"sweeps": 2},
    {"sweeps": "converged", "prove": True},
    {"prove": True, "weights": WEIGHTS},
    {"sweeps": 1, "prove": True, "weights": WEIGHTS},
]


@pytest.fixture(scope="module")
def stack():
    return make_stack(4)


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKED)
def test_each_matrix_is_improved_as_by_a_call_of_its_own(stack, asked, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", (3, 16, 32))
    found = dbf.factorize(place, **asked, store=tmp_path / "run.zarr", workers=2)
    again = dbf.open(tmp_path / "run.zarr")
    for number, matrix in enumerate(stack):
        single = dbf.factorize(matrix, **asked)
        for one in (found[number], again[number]):
            assert_same(one, single)
            assert one.certificate == single.certificate
            assert one.record.get("sweeps") == single.record.get("sweeps")
            assert one.record.get("gradient") == single.record.get("gradient")
            assert ("proof" in one.record) == ("prove" in asked)
    again.save(tmp_path / "saved.zarr")
    assert_same_stacks(dbf.open(tmp_path / "saved.zarr"), found)
    assert dbf.open(tmp_path / "saved.zarr").certificates == found.certificates


def test_threads_and_clusters_give_the_same(stack, engine, tmp_path):
    place, asked = store_stack(stack, tmp_path / "z.zarr", (1, 32, 32)), {"sweeps": 2, "prove": True}
    found = dbf.factorize(place, **asked, **engine)
    assert_same_stacks(found, dbf.factorize(stack, **asked))


def test_a_run_that_was_cut_off_goes_on_with_the_matrices_that_are_left(stack, tmp_path, monkeypatch):
    place, store = store_stack(stack, tmp_path / "z.zarr", (1, 32, 32)), tmp_path / "run.zarr"
    asked, expected = {"sweeps": 2, "prove": True}, dbf.factorize(stack, sweeps=2, prove=True)
    swept, sweep = [], improvement.run_sweeps

    def sweep_and_stop(found, job, sweeps):
        if len(swept) == 2:
            raise KeyboardInterrupt
        swept.append(job.source.name)
        return sweep(found, job, sweeps)

    monkeypatch.setattr(improvement, "run_sweeps", sweep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        dbf.factorize(place, store=store, workers=1, **asked)
    monkeypatch.setattr(improvement, "run_sweeps", lambda *given: swept.append(given[1].source.name) or sweep(*given))
    found = dbf.factorize(place, store=store, workers=1, **asked)
    assert sorted(swept) == sorted({*swept}), "none was swept twice"
    assert len(swept) == 4
    assert_same_stacks(found, expected)
    with pytest.raises(StoreMismatchError, match="sweeps is 2, not 3"):
        dbf.factorize(place, store=store, sweeps=3, prove=True)


def test_matrices_without_factors_large_ones_and_scaled_ones(stack, monkeypatch):
    broken = stack.copy()
    broken[1, 0, 0] = np.nan
    broken[3] *= 1e30
    with pytest.warns(FailedMatricesWarning):
        found = dbf.factorize(broken, sweeps=1, prove=True)
    assert list(found.failed) == [1]
    exact = dbf.factorize(broken[3], sweeps=1, prove=True).certificate
    assert found[3].certificate.error_bound == pytest.approx(exact.error_bound, rel=1e-5)
    assert found[3].certificate.lower_bound == pytest.approx(exact.lower_bound, rel=1e-4)
    monkeypatch.setattr(stacked_plan, "LARGEST_TOGETHER", stack[0].nbytes - 1)
    alone = dbf.factorize(list(stack[:2]), sweeps=1, prove=True)
    assert set(alone.alone) == {0, 1}
    assert alone[0].certificate == found[0].certificate


def test_what_a_worker_cannot_hold_is_refused_before_any_work(stack):
    least = dbf.plan(stack).peak_bytes
    with pytest.raises(MemoryBudgetError, match="a proof in memory needs"):
        dbf.factorize([*np.zeros((3, 1024, 1024))], prove=True, memory=max(least, 64 << 20))
    sampled = dbf.entries(lambda rows, cols: 1.0 / (rows[:, None] + cols + 1), (32, 32), "float64", sampled=True)
    with pytest.raises(InputError, match="sweeps fit the factors to all entries"):
        dbf.factorize([sampled, sampled], sweeps=1)
    assert "of each matrix, proof: all cuts together (4)" in str(dbf.plan(stack, prove=True))
