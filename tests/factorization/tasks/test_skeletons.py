"""Nested skeletons, task by task, on matrices so small that a plan would evaluate them in full."""

import pickle
import tracemalloc

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError, SourceError
from dbutterfly.execution.task import finish_task, load_task
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.factorization.nested_result import count_entries, wanted_ranks
from dbutterfly.factorization.stages import nested_tasks
from dbutterfly.factorization.tasks.skeletons import CoreTask, StepTask
from dbutterfly.planning.nested import Nested
from dbutterfly.planning.nested_chains import nested_chain
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from tests.support.comparisons import random_matrix
from tests.support.nested_runs import run_nested

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = {
    "three factors": Chain.of_digits((3, 2, 4), (2, 4, 3), (2, 2)),
    "other radices": Chain.of_digits((4, 2, 2, 3), (2, 3, 2, 4), (2, 3, 2)),
    "nested leaves": Chain.of_digits((8, 2, 2, 1), (1, 2, 2, 8), (3, 3, 3)),
    "low rank": Chain.of_digits((6, 1), (1, 5), (3,)),
    "dyadic": Chain.square_dyadic(64),
}


class Asked:
    """Entries of an array, counted."""

    def __init__(self, array):
        self.array, self.count = array, 0

    def __call__(self, rows, cols):
        self.count += rows.size * cols.size
        return self.array[np.ix_(rows, cols)]


def asked(matrix):
    return dbf.entries(Asked(matrix), matrix.shape, matrix.dtype, sampled=True)


def butterfly(chain, dtype="float64"):
    factors = [random_matrix((pattern.nnz, 1), dtype, seed).reshape(pattern) for seed, pattern in enumerate(chain)]
    return dbf.ButterflyOperator(factors).to_dense()


def waves(rows, cols, number=20.0):
    """Waves between points of two parallel segments, in their order."""
    x, y = np.linspace(0, 1, rows), np.linspace(0, 1, cols)
    distance = np.hypot(1, x[:, None] - y)
    return np.exp(1j * number * distance) / distance


def error_of(fact, matrix):
    return np.linalg.norm(fact.operator.to_dense() - matrix) / np.linalg.norm(matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_butterflies_are_recovered(name, dtype):
    chain = CHAINS[name]
    matrix = butterfly(chain, dtype)
    fact, job = run_nested(asked(matrix), chain)
    assert (fact.chain, fact.dtype) == (chain, np.dtype(dtype))
    assert error_of(fact, matrix) < (1e-11 if dtype in ("float64", "complex128") else 1e-3)
    evaluated = count_entries(job).entries
    assert evaluated == job.source.entries.f.count


@pytest.mark.parametrize("tree", ["left", "right", ((0, (1, 2)), 3)])
def test_the_sides_meet_at_any_cut(tree):
    matrix = butterfly(CHAINS["other radices"])
    fact, _ = run_nested(asked(matrix), CHAINS["other radices"], tree=tree)
    assert error_of(fact, matrix) < 1e-11


def test_results_do_not_depend_on_the_tasks(monkeypatch):
    for module in ("planning.nested_steps", "factorization.tasks.skeletons"):
        monkeypatch.setattr(f"dbutterfly.{module}.CALL_ENTRIES", 700)
    matrix, chain = waves(128, 96), nested_chain((128, 96), 4, rank=5)
    runs = [
        run_nested(asked(matrix), chain, orderings=("bitreversal", None), task_entries=many)
        for many in (1 << 21, 3000, 1)
    ]
    tasks = [sum(run.job.plan.tasks.values()) for run in runs]
    assert tasks[0] == 6
    assert tasks[2] > tasks[1] > 2 * tasks[0]
    for run in runs[1:]:
        for one, other in zip(runs[0].fact.ks_values, run.fact.ks_values, strict=True):
            np.testing.assert_array_equal(one, other)


def test_orderings_and_gaps():
    matrix, chain = waves(100, 110), nested_chain((108, 112), 6, rank=8)
    fact, _ = run_nested(asked(matrix), chain, orderings=("bitreversal", None))
    assert error_of(fact, matrix) < 1e-9
    square = nested_chain((100, 100), 5, rank=8)
    shuffled, order = matrix[:, :100], np.random.default_rng(0).permutation(100)
    orderings = order[digit_reversal(square.row_radices)], np.roll(np.arange(100), 0)
    mixed = np.empty_like(shuffled)
    mixed[order] = shuffled
    fact, _ = run_nested(asked(mixed), square, orderings=orderings)
    assert error_of(fact, mixed) < 1e-9


def test_skeletons_are_as_large_as_the_floor_asks_for():
    matrix, chain = waves(256, 256), nested_chain((256, 256), 8)
    energy, errors, values = np.mean(np.abs(matrix) ** 2), [], []
    for floor in (1e-3, 1e-6, 1e-9):
        nested = Nested(floor, energy, (8, *[16] * (len(chain) - 3), 8))
        fact, job = run_nested(asked(matrix), chain, nested, orderings=("bitreversal", None))
        assert all(want <= room for want, room in zip(wanted_ranks(job), nested.capacities, strict=True))
        errors.append(error_of(fact, matrix) / (floor * np.sqrt(len(chain))))
        values.append(fact.chain.nnz)
    assert all(0.05 < error < 2 for error in errors)
    assert values == sorted(set(values))


def test_blocks_say_which_rank_they_want():
    matrix, chain = waves(256, 256), nested_chain((256, 256), 16)
    wide = Nested(1e-6, np.mean(np.abs(matrix) ** 2), (16,) * (len(chain) - 1))
    tight = wide._replace(capacities=(3,) * (len(chain) - 1))
    wanted = []
    for nested in (wide, tight):
        _, job = run_nested(asked(matrix), chain, nested, orderings=("bitreversal", None))
        wanted.append(wanted_ranks(job))
    assert min(wanted[1]) > 3
    assert wanted[1][0] == wanted[0][0]  # at a leaf, of all its lines


def test_blocks_that_a_check_rejects_are_chosen_again():
    """One row in ten has a part of its own, which no proxy of some groups meets, but a check."""
    chain, rng = nested_chain((512, 512), 8, rank=2), np.random.default_rng(3)
    x, y = np.linspace(0, 1, 512), np.linspace(0, 1, 512)
    matrix = 1.0 + x[:, None] * y
    matrix[rng.random(512) < 0.1] += 5 * np.cos(7 * y)
    errors, entries = [], []
    for extra in (0, 1 << 20):
        fact, job = run_nested(asked(matrix), chain, orderings=("bitreversal", None), extra=extra)
        errors.append(error_of(fact, matrix))
        entries.append(count_entries(job).entries)
        assert entries[-1] == job.source.entries.f.count
    assert errors[1] < 0.95 * errors[0]
    assert entries[0] < entries[1] < 2 * entries[0]


def test_zero_and_tiny_entries():
    chain = CHAINS["nested leaves"]
    for matrix in (np.zeros(chain.shape), 1e-170 * butterfly(chain)):
        fact, _ = run_nested(asked(matrix), chain)
        missed = fact.operator.to_dense() - matrix
        assert np.abs(missed).max() <= 1e-11 * np.abs(matrix).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_entry_is_named(bad):
    matrix = waves(128, 128)
    matrix[:, 77] = bad
    with pytest.raises(NonFiniteError, match=r"holds a NaN or an infinity at index \(\d+, 77\); mask"):
        run_nested(asked(matrix), nested_chain((128, 128), 8, rank=4))


def test_entries_too_large_are_refused():
    matrix = 1e300 * np.real(waves(64, 64))
    with pytest.raises(InputError, match="squares leave the range of float64"):
        run_nested(asked(matrix), nested_chain((64, 64), 8, rank=4))


def test_the_function_must_be_where_the_task_runs():
    matrix = butterfly(CHAINS["dyadic"])
    job = run_nested(asked(matrix), CHAINS["dyadic"]).job
    elsewhere = FactorizationJob(as_source(matrix), job.plan, job.workspace)
    task = nested_tasks(job.plan)["rows_1"][0]
    with pytest.raises(SourceError, match=r"array cannot be sampled where this task runs; .* top level of a module"):
        finish_task(elsewhere, 0, task, load_task(elsewhere, task))


def test_tasks_have_names_and_can_be_pickled():
    for task in (StepTask("rows_3", slice(0, 4), slice(2, 3), 5), CoreTask("core", slice(0, 4), slice(2, 3))):
        assert pickle.loads(pickle.dumps(task)) == task
    assert task.label == "skeletons core (groups 0..3 and 2..2)"
    assert task.stage == "core"


def test_memory_is_within_the_plan():
    matrix = waves(1024, 1024, 600.0)
    chain = nested_chain(matrix.shape, 16, rank=8)
    job = run_nested(asked(matrix), chain, orderings=("bitreversal", None)).job
    steps = nested_tasks(job.plan)
    assert steps.pop("core")  # which needs what the result has released
    for tasks in steps.values():
        tracemalloc.start()
        try:
            finish_task(job, 0, tasks[0], load_task(job, tasks[0]))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= job.plan.peak_bytes
