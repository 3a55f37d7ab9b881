import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.execution.task import Record
from dbutterfly.factorization import run
from dbutterfly.factorization.results.trace import Trace, residual_map
from dbutterfly.structure.tree import tree_leaves
from tests.support.comparisons import noisy_butterfly


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (100, 130), (257, 2)])
def test_a_map_keeps_energies_whatever_its_cells(shape):
    rng = np.random.default_rng(0)
    energy, discarded = rng.random(shape) + 1, rng.random(shape)
    found = residual_map(energy, discarded, cells=64)
    assert found.shape == tuple(min(64, size) for size in shape)
    edges = [np.append(np.arange(min(64, size)) * size // min(64, size), size) for size in shape]
    cell = tuple(slice(*edge[-2:]) for edge in edges)
    assert found[-1, -1] == pytest.approx(np.sqrt(discarded[cell].sum() / energy[cell].sum()))


def test_a_map_of_nothing_is_zero():
    assert residual_map(np.zeros((4, 4)), np.zeros((4, 4))).tolist() == np.zeros((4, 4)).tolist()


def test_the_map_shows_where_the_error_lies():
    matrix = np.asarray(dbf.matrices.orthogonal_butterfly(256, seed=1)).copy()
    spoiled = np.random.default_rng(0).standard_normal((256, 16)) / 16
    matrix[:, 32:48] += spoiled
    fact = dbf.factorize(matrix)
    columns = fact.trace.residuals.max(axis=0)
    hit = np.flatnonzero(columns > 0.05) * 256 // len(columns)
    assert hit.size > 0
    assert ((hit >= 32) & (hit < 48)).all()
    root = len(tree_leaves(fact.tree[0]))
    assert fact.record["errors_by_cut"][root - 1] == pytest.approx(fact.certificate.lower_bound, rel=1e-3)


@pytest.mark.parametrize("passes", [1, 2])
def test_errors_by_level_add_up_to_the_certificate(passes):
    fact = dbf.factorize(noisy_butterfly(256), passes=passes)
    errors, root = fact.record["errors_by_cut"], len(tree_leaves(fact.tree[0]))
    if passes == 2:
        assert np.linalg.norm(errors) == pytest.approx(fact.certificate.error_bound, rel=1e-6)
    else:
        parts = np.linalg.norm(errors[: root - 1]), errors[root - 1], np.linalg.norm(errors[root:])
        assert np.linalg.norm(parts) <= fact.certificate.error_bound <= sum(parts)


def test_the_trace_tells_every_task(engine, tmp_path):
    fact = dbf.factorize(noisy_butterfly(256), store=tmp_path / "run", **engine)
    counts = {stage: done["tasks"] for stage, done in fact.record["stages"].items()}
    assert {stage: len(fact.trace.of_stage(stage)) for stage in fact.trace.stages} == counts
    tasks = {name: fact.trace.tasks[:, 1 + index] for index, name in enumerate(Record._fields)}
    spent = tasks["load_seconds"] + tasks["compute_seconds"]
    assert (tasks["ended"] - tasks["started"] >= spent - 0.05).all()
    assert np.isfinite(fact.trace.tasks).all()
    again = dbf.open(tmp_path / "run").trace
    assert again.stages == fact.trace.stages
    assert (again.tasks == fact.trace.tasks).all()
    assert (again.residuals == fact.trace.residuals).all()


@pytest.mark.slow
def test_a_resumed_run_traces_all_sittings(tmp_path, monkeypatch):
    matrix = noisy_butterfly(256)
    expected = dbf.factorize(matrix, store=tmp_path / "whole").trace
    with monkeypatch.context() as patch:
        patch.setattr(run, "assemble", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dbf.factorize(matrix, store=tmp_path / "run")
    resumed = dbf.factorize(matrix, store=tmp_path / "run").trace
    assert resumed.tasks.shape == expected.tasks.shape
    assert (resumed.residuals == expected.residuals).all()


def test_a_store_without_a_trace_is_opened(tmp_path):
    fact = dbf.factorize(noisy_butterfly(64), store=tmp_path / "run")
    del zarr.open_group(tmp_path / "run")["trace"]
    assert dbf.open(tmp_path / "run").trace is None
    assert Trace.from_arrays(fact.trace.stages, {"tasks": np.zeros((3, 2)), "residuals": np.zeros((1, 1))}) is None
