import itertools

import numpy as np
import pytest

from dbutterfly.errors import ChainError, InputError, MemoryBudgetError
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.nested import Nested, evaluates_less, is_worth_nesting, limit_capacities, make_nested_plan
from dbutterfly.planning.nested_chains import nested_chain
from dbutterfly.planning.nested_search import least_tolerance
from dbutterfly.planning.nested_steps import NestedSteps, count_checks, count_proxies
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings

GIB = 1 << 30


def source_of(n, dtype="complex128"):
    return SourceInfo(shape=(n, n), dtype=dtype, work_dtype=dtype, sampled=True)


def steps_of(n, leaf=16, rank=9, root=None):
    chain = nested_chain((n, n), leaf, rank)
    return NestedSteps(chain, root or len(chain) // 2, limit_capacities(chain, [rank] * (len(chain) - 1)))


@pytest.mark.parametrize(
    ("shape", "leaf", "digits"),
    [
        ((256, 256), 16, ((16, 4, 4, 1), (1, 4, 4, 16))),
        ((256, 64), 8, ((8, 4, 2, 4, 1), (1, 2, 2, 2, 8))),
        ((16, 16), 16, ((16, 1), (1, 16))),
        ((512, 512), 1, ((4, 4, 4, 4, 2), (4, 4, 4, 4, 2))),
        ((180, 180), 1, ((4, 3, 3, 5), (4, 3, 3, 5))),
        ((1000, 1000), 8, ((8, 5, 5, 5, 1), (1, 5, 5, 5, 8))),
    ],
)
def test_chains_have_blocks_of_one_size(shape, leaf, digits):
    chain = nested_chain(shape, leaf)
    assert chain.shape == shape
    assert chain.is_dense
    areas = {cut.p * cut.v for cut in (chain.cut(at)[0] for at in range(1, len(chain)))}
    if shape[0] == shape[1]:
        assert (chain.row_radices, chain.col_radices) == digits
        assert len(areas) == 1


@pytest.mark.parametrize("root", [1, 2, 4])
def test_steps_have_the_shapes_of_their_factors(root):
    steps = steps_of(1024, 16, 5, root)
    assert [step.cut for step in steps.steps] == [*range(1, root + 1), *range(len(steps.chain) - 1, root - 1, -1)]
    for step in steps.steps:
        pattern = steps.chain.with_ranks(steps.capacities)[step.factor]
        b, c = (step.candidates, step.digits * step.keep)[:: 1 if step.side == "rows" else -1]
        assert (step.owners, b, c, step.fellows) == pattern
        before = steps.before(step)
        assert (before is None) == (step.cut in (1, len(steps.chain) - 1) and step.factor in (0, len(steps.chain) - 1))


@pytest.mark.parametrize("entries", [1, 1 << 14, 1 << 40])
def test_tiles_cover_every_block_once_in_whole_calls(entries):
    for step in steps_of(4096).steps:
        tiles = step.tiles(entries)
        covered = np.zeros((step.owners, step.fellows), int)
        for owners, fellows in tiles:
            covered[owners, fellows] += 1
            inner = fellows if step.side == "rows" else owners
            assert inner.start % step.per_call == 0
        assert (covered == 1).all()
        if entries == 1 << 40:
            assert len(tiles) == 1


def test_entries_grow_as_n_log_n():
    counted = [steps_of(1 << power).entries / ((1 << power) * power) for power in range(12, 21, 2)]
    assert max(counted) < 1.5 * min(counted)


def test_small_matrices_are_not_worth_it():
    assert not evaluates_less((512, 512), steps_of(512))
    assert evaluates_less((4096, 4096), steps_of(4096))
    assert all(count_proxies(number) >= number + 4 and count_checks(number) >= 2 for number in range(1, 100))


def test_crosses_are_taken_where_they_evaluate_less():
    chain = Chain.monarch((4096, 4096)).of_rank(4)
    nested = Nested.of_chain(chain, spare=True)
    worth = [is_worth_nesting((4096, 4096), chain, nested, "balanced", beside) for beside in (False, True)]
    assert worth == [True, False]
    leaves = nested_chain((4096, 4096), 16, 9)
    assert is_worth_nesting((4096, 4096), leaves, Nested.of_chain(leaves, spare=True), "balanced", True)


def test_plans_have_a_stage_for_each_step():
    chain = nested_chain((4096, 4096), 16, 9)
    planned = make_nested_plan(
        source_of(4096), chain, Nested.of_chain(chain, spare=False), orderings=Orderings(), budget=Budget(GIB)
    )
    assert list(planned.tasks) == [*(step.name for step in planned.nested_steps.steps), "core"]
    assert planned.bytes_read == 16 * planned.nested_steps.entries
    assert planned.bytes_written > 16 * chain.nnz
    assert set(planned.stage_seconds(1e9)) == set(planned.tasks)
    assert planned.to_json()["tasks"] == planned.tasks
    assert Nested.from_json(planned.nested.to_json()) == planned.nested


def test_less_memory_makes_smaller_tasks_until_there_is_too_little():
    chain = nested_chain((1 << 16, 1 << 16), 64, 17)
    nested = Nested.of_chain(chain, spare=False)._replace(task_entries=1 << 22)
    args = source_of(1 << 16), chain
    plans = [
        make_nested_plan(*args, nested, orderings=Orderings(), budget=Budget(memory)) for memory in (GIB, 22 << 20)
    ]
    assert sum(plans[1].tasks.values()) > sum(plans[0].tasks.values())
    assert all(planned.peak_bytes <= planned.budget.memory for planned in plans)
    with pytest.raises(MemoryBudgetError, match="the least that works is memory="):
        make_nested_plan(*args, nested, orderings=Orderings(), budget=Budget(1 << 20))


def test_what_cannot_be_nested_is_refused():
    chain = nested_chain((64, 64), 8, 2)
    nested, rest = Nested.of_chain(chain, spare=False), {"orderings": Orderings(), "budget": Budget(GIB)}
    with pytest.raises(InputError, match="passes=2 is not possible where entries are sampled"):
        make_nested_plan(source_of(64), chain, nested, passes=2, **rest)
    with pytest.raises(ChainError, match="chain has shape 64 x 64 but the matrix is 32 x 32"):
        make_nested_plan(source_of(32), chain, nested, **rest)


def test_least_tolerances_are_some_units_in_the_last_place():
    found = [least_tolerance(np.dtype(name)) for name in ("float64", "float32")]
    assert found == sorted(found)
    assert all(1e-14 < tol < 1e-4 for tol in found)
    assert all(a < b for a, b in itertools.pairwise(found))
