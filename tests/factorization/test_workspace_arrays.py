"""The table of the arrays of a run: in code, in its docstring, and as the tasks fill them."""

import re

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.execution.task import Record
from dbutterfly.factorization import workspace_arrays as table
from dbutterfly.factorization.stages import stage_tasks
from dbutterfly.factorization.workspace_arrays import shared_names, workspace_arrays, writers
from dbutterfly.planning import copies
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.chain import Chain


def plan_of(shape=(96, 64), rank=2, passes=1, spare=0, chain=None, **options):
    source = as_source(np.zeros(shape, "float32")).info
    chain = Chain.chainable(shape, rank) if chain is None else chain
    return make_plan(source, chain, passes=passes, budget=Budget(1 << 26, 2), spare=spare, **options)


PLANS = {
    "one read": lambda: plan_of(),
    "two reads": lambda: plan_of(passes=2),
    "spare ranks": lambda: plan_of(spare=2),
    "peeled": lambda: plan_of(tree="left"),
    "one factor": lambda: plan_of((13, 17), 1),
    "two factors": lambda: plan_of((16, 16), chain=Chain.monarch((16, 16))),
}


@pytest.fixture(params=PLANS.values(), ids=PLANS)
def plan(request):
    return request.param()


def test_the_docstring_names_the_arrays_of_the_code(plan):
    listed = set(re.findall(r"^    (\w[\w/]*) +\(", table.__doc__, re.M))
    named = {re.sub(r"/.*", "", name) for name in workspace_arrays(plan)}
    assert named <= {re.sub(r"/.*", "", name) for name in listed}
    assert {"A", "B", "stats", "X", "copy", "done/STAGE", "left/l", "right/l", "right_missed"} <= listed
    assert re.search(r"done/STAGE +\(tasks, (\d+)\)", table.__doc__)[1] == str(len(Record._fields))


def test_the_tasks_of_a_stage_cover_each_of_its_arrays_once(plan):
    for array in workspace_arrays(plan).values():
        written = np.zeros(array.shape, int)
        spans = list(array.spans(plan))
        assert len(spans) == plan.tasks[array.stage]
        for span in spans:
            written[span] += 1
        assert (written == 1).all(), array.name


def test_tasks_write_whole_chunks(plan):
    for array in workspace_arrays(plan).values():
        for span in array.spans(plan):
            for part, size, chunk in zip(span, array.shape, array.chunks, strict=False):
                assert part.start % chunk == 0
                assert part.stop % chunk == 0 or part.stop == size, array.name


def test_every_array_is_written_by_a_stage_of_the_plan(plan):
    arrays = workspace_arrays(plan)
    assert all(array.name == name for name, array in arrays.items())
    assert {array.stage for array in arrays.values()} == set(plan.tasks) == set(stage_tasks(plan))


@pytest.mark.parametrize("passes", [1, 2])
def test_ranks_share_what_the_tiles_write(passes):
    plan = plan_of(passes=passes)
    shared = {array.name for array in workspace_arrays(plan).values() if not array.per_rank}
    by_tiles = {array.name for array in workspace_arrays(plan).values() if array.stage in ("copy", "tiles")}
    assert shared == by_tiles
    assert shared <= shared_names(passes)
    assert ("B" in shared) == (passes == 1)


def test_writers_are_the_tasks_whose_ranges_are_met(plan):
    for array in workspace_arrays(plan).values():
        spans = list(array.spans(plan))
        assert writers(plan, array.name, (slice(None),)) == (array.stage, list(range(len(spans))))
        for number, span in enumerate(spans):
            assert writers(plan, array.name, span) == (array.stage, [number])


def test_a_chunk_of_b_is_found_by_its_groups_the_other_way_round():
    plan = plan_of((256, 256), 1)
    tile = plan.tiles[-1]
    assert writers(plan, "B", (slice(tile.c0, tile.c1), slice(tile.r0, tile.r1))) == ("tiles", [len(plan.tiles) - 1])


def test_a_copy_is_written_by_its_panels(monkeypatch):
    monkeypatch.setattr(copies, "WRITE_COST", -100.0)
    monkeypatch.setattr(copies, "COPY_WIDTH", 1)
    rng = np.random.default_rng(0)
    info = as_source(zarr.zeros((64, 64), chunks=(8, 8), store=zarr.storage.MemoryStore())).info
    orderings = dbf.Orderings(rng.permutation(64), rng.permutation(64))
    plan = make_plan(info, None, orderings=orderings, budget=Budget(1 << 26, 2), can_copy=True)
    array = workspace_arrays(plan)["copy"]
    written = np.zeros(array.shape, int)
    for span in array.spans(plan):
        written[span] += 1
    assert (written == 1).all()
    assert (array.stage, array.per_rank) == ("copy", False)
