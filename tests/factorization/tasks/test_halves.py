import pickle

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.execution.task import LoadRecord, Record, finish_task, load_task, write_outputs
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.factorization.stages import stage_tasks
from dbutterfly.factorization.tasks.halves import LeftTask, RightTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.factorization.tasks.verification import VerifyTask
from dbutterfly.kernels.factors.hierarchy import multiply_stack
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.dispatch import as_source
from dbutterfly.storage.workspace import MemoryWorkspace
from dbutterfly.structure.axes import Tile
from dbutterfly.structure.chain import Chain
from tests.support.blocks import blocks_of
from tests.support.comparisons import noisy_butterfly, random_matrix

ORDERINGS = [None, (None, "bitreversal"), ("bitreversal", None), (np.arange(36)[::-1], np.roll(np.arange(30), 7))]


def job_of(matrix, chain=None, **arguments):
    source = as_source(matrix)
    arguments["orderings"] = dbf.Orderings.from_any(arguments.get("orderings"))
    planned = make_plan(source.info, chain, budget=Budget(1 << 30), **arguments)
    return FactorizationJob(source, planned, MemoryWorkspace(), "numpy")


def outputs_of(job, task):
    inputs = load_task(job, task)
    outputs, _ = finish_task(job, 0, task, inputs)
    return {output.name: output for output in outputs}


def in_standard_order(values, *axes):
    """Groups renumbered from storage to standard order, one axis of the plan for each axis of the array."""
    for number, axis in enumerate(axes):
        if axis.group_order is not None:
            values = np.take(values, axis.group_order, axis=number)
    return values


@pytest.mark.parametrize("orderings", ORDERINGS)
@pytest.mark.parametrize("rank", [1, 2])
def test_a_tile_splits_every_block(orderings, rank):
    matrix = random_matrix((36, 30))
    job = job_of(matrix, Chain.chainable((36, 30), rank=rank), orderings=orderings)
    _, u, q, _, _ = job.plan.split
    found = outputs_of(job, TileTask(Tile(0, u, 0, q)))
    left = in_standard_order(found["A"].values, job.plan.rows, job.plan.cols)
    right = in_standard_order(found["B"].values, job.plan.cols, job.plan.rows).swapaxes(0, 1)
    stats = in_standard_order(found["stats"].values, job.plan.rows, job.plan.cols)
    blocks = blocks_of(matrix, job, job.plan.orderings)
    residual = blocks - np.einsum("uqkp,uqkv->uqpv", left, right)
    energy, discarded, slack = np.moveaxis(stats, -1, 0)
    np.testing.assert_allclose(energy, np.sum(blocks**2, axis=(2, 3)))
    np.testing.assert_allclose(discarded, np.sum(residual**2, axis=(2, 3)))
    np.testing.assert_allclose(np.linalg.norm(right, axis=-1), 1)
    best = np.sum(np.linalg.svd(blocks, compute_uv=False)[..., rank:] ** 2, axis=-1)
    assert (discarded - slack <= best * (1 + 1e-12)).all()
    assert (best <= discarded * (1 + 1e-12)).all()


@pytest.mark.parametrize("orderings", ORDERINGS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("r", [1, 2])
def test_the_stages_fill_the_workspace(orderings, passes, r):
    matrix, chain = noisy_butterfly((36, 30), eps=0.2), Chain.chainable((36, 30), rank=r)
    fact = dbf.factorize(matrix, chain, orderings=orderings, passes=passes)
    job = job_of(matrix, chain, orderings=orderings, passes=passes, tree=fact.tree)
    p, u, q, v, _ = job.plan.split
    filled = {}
    shapes = {"A": (u, q, r, p), "B": (q, u, r, v), "X": (u, q, r, p), "scale": (u, q, r, r), "stats": (u, q, 3)}
    for name, shape in shapes.items():
        job.workspace.create(name, shape, shape, np.float64)
    for stage, todo in stage_tasks(job.plan).items():
        for task in todo:
            for output in outputs_of(job, task).values():
                if output.name in shapes:
                    job.workspace.write(*output)
                filled.setdefault(output.name, []).append(output)
        assert filled, stage
    basis = in_standard_order(job.workspace.read("X", (slice(None),)), job.plan.rows, job.plan.cols)
    np.testing.assert_allclose(np.linalg.norm(basis, axis=-1), 1)
    left = np.concatenate([output.values for output in filled["left_error"]])
    right = np.concatenate([output.values for output in filled["right_error"]])
    assert (left.shape, right.shape) == ((u, q, 1 + r), (q, u, 2 * r))
    for error, side, half in ((left[..., 0], "left", job.halves[0]), (right[..., :r], "right", job.halves[1])):
        missed = sum(np.sum(output.values, axis=0) for output in filled.get(f"{side}_missed", []))
        assert np.size(missed) == max(len(half) - 1, 1)
        if len(half) > 1:
            assert np.max(missed) == pytest.approx(np.sum(error), rel=1e-12)  # the top node is given all
    written = sum(output.values.nbytes for name, outputs in filled.items() if name[:4] != "done" for output in outputs)
    assert written == job.plan.bytes_written
    if passes == 2:
        wanted = np.einsum("uqkp,uqpv->uqkv", basis, blocks_of(matrix, job, job.plan.orderings))
        stored = in_standard_order(job.workspace.read("B", (slice(None),)), job.plan.cols, job.plan.rows)
        np.testing.assert_allclose(stored.swapaxes(0, 1), wanted, atol=1e-14)
        second = sum(np.sum(output.values) for output in filled["second"])
        bound = np.sqrt((second + right[..., :r].sum()) / np.sum(matrix**2))
        assert fact.certificate.error_bound == pytest.approx(bound, rel=1e-10)


@pytest.mark.parametrize("r", [1, 2])
def test_factors_of_a_group_multiply_to_what_the_errors_say(r):
    matrix = random_matrix((36, 30))
    job = job_of(matrix, Chain.chainable((36, 30), rank=r))
    p, u, q, v, _ = job.plan.split
    for name, shape in {"A": (u, q, r, p), "B": (q, u, r, v), "scale": (u, q, r, r)}.items():
        job.workspace.create(name, shape, shape, np.float64)
        job.workspace.write(name, (slice(None),), random_matrix((shape[0], int(np.prod(shape[1:])))).reshape(shape))
    job.workspace.create("stats", (u, q, 3), (u, q, 3), np.float64)
    job.workspace.write("stats", (slice(None),), np.zeros((u, q, 3)))
    for side, task, name in ((0, LeftTask(0, u), "A"), (1, RightTask(0, q), "B")):
        chain, tree = job.halves[side], job.trees[side]
        found = outputs_of(job, task)
        factors = [found[f"{('left', 'right')[side]}/{index}"].values for index in range(len(chain))]
        product = multiply_stack(factors, chain, tree)
        given = job.workspace.read(name, (slice(None),))
        scale = job.workspace.read("scale", (slice(None),))
        if side == 0:
            columns = product.swapaxes(1, 2).reshape(u, q, r, p)
            np.testing.assert_allclose(columns, found["X"].values, atol=1e-13)
            product = np.einsum("uqjk,uqjp->uqkp", found["scale"].values, columns)
            error = np.sum((given - product) ** 2, axis=(2, 3))
            np.testing.assert_allclose(found["left_error"].values[..., 0], error, atol=1e-12)
            range_ = np.linalg.qr(given.swapaxes(2, 3))[0]
            cosines = np.linalg.norm(np.einsum("uqpi,uqjp->uqij", range_, columns), axis=2)
            np.testing.assert_allclose(found["left_error"].values[..., 1:], 1 - cosines**2, atol=1e-12)
        else:
            given = np.einsum("uqjk,qukv->qujv", scale, given)
            product = product.reshape(q, r, u, v).swapaxes(1, 2)
            error = np.sum((given - product) ** 2, axis=-1)
            np.testing.assert_allclose(found["right_error"].values[..., :r], error, atol=1e-12)
            np.testing.assert_allclose(found["right_error"].values[..., r:], np.sum(product**2, axis=-1), atol=1e-12)


def test_the_record_of_a_task_is_what_it_writes_last():
    matrix = random_matrix((16, 16))
    job = job_of(matrix)
    (task,) = (TileTask(tile) for tile in job.plan.tiles)
    p, u, q, v, _ = job.plan.split
    for name, shape in {"A": (u, q, 1, p), "B": (q, u, 1, v), "stats": (u, q, 3)}.items():
        job.workspace.create(name, shape, shape, np.float64)
    job.workspace.create("done/tiles", (1, len(Record._fields)), (1, len(Record._fields)), np.float64)
    loaded = LoadRecord(bytes_read=matrix.nbytes, seconds=1.5, started=1e9, idle_bytes=7, worker=3)
    outputs, record = finish_task(job, 0, task, load_task(job, task), loaded)
    write_outputs(job, outputs)
    assert (record.load_seconds, record.bytes_read, record.idle_bytes) == (1.5, matrix.nbytes, 7)
    assert (record.started, record.worker) == (1e9, 3)
    assert outputs[-1].name == "done/tiles"
    assert job.workspace.read_rows("done/tiles").tolist() == [list(record)]
    assert np.sum(job.workspace.read("stats", (slice(None),))[..., 0]) == pytest.approx(np.sum(matrix**2))


def test_tasks_have_names_and_can_be_pickled():
    job = job_of(random_matrix((16, 16)), passes=2)
    labels = set()
    for todo in stage_tasks(job.plan).values():
        for task in todo:
            assert pickle.loads(pickle.dumps(task)) == task
            labels.add(task.label)
    labels.add(VerifyTask(job.plan.tiles[0]).label)
    assert len(labels) == sum(job.plan.tasks.values()) + 1
    assert "tile (row groups 0..3, column groups 0..3)" in labels
    assert "verification of tile (row groups 0..3, column groups 0..3)" in labels


def test_a_single_pattern_is_a_copy():
    matrix = np.arange(35).reshape(7, 5)
    job = job_of(matrix, Chain([(1, 7, 5, 1)]), orderings=(np.arange(7)[::-1], None))
    assert list(job.plan.tasks) == list(stage_tasks(job.plan)) == ["tiles"]
    (task,) = stage_tasks(job.plan)["tiles"]
    assert task.label == "copy of the matrix"
    found = outputs_of(job, task)
    assert np.array_equal(found["left/0"].values[0, 0, :, :, 0], matrix[::-1])
    assert found["stats"].values.tolist() == [[[np.sum(matrix**2), 0, 0]]]
