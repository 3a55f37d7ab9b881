"""Orderings that scatter both sides: the matrix is copied first, with the groups of one side laid together."""

import re

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, InputError, NonFiniteError
from dbutterfly.factorization.tasks.copies import CopyTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.planning import copies
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, least_memory, noisy_butterfly, random_matrix

SHAPE = (144, 240)


def scattered(shape, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.permutation(size) for size in shape)


def stored(matrix, directory, chunks):
    zarr.create_array(directory / "z.zarr", data=matrix, chunks=chunks, config={"write_empty_chunks": True})
    return directory / "z.zarr"


@pytest.fixture
def eager(monkeypatch):
    """Small matrices are copied too, in narrow panels."""
    monkeypatch.setattr(copies, "WRITE_COST", -100.0)
    monkeypatch.setattr(copies, "COPY_WIDTH", 1)


def some_matrix(dtype, shape=SHAPE):
    if dtype == "int16":
        return np.random.default_rng(0).integers(-99, 99, shape).astype(dtype)
    return random_matrix(shape, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "chunks", "passes"),
    [
        ("float32", (24, 40), 1),
        ("float32", (31, 57), 2),
        ("complex128", (31, 57), 1),
        ("complex128", (144, 7), 2),
        ("int16", (31, 57), 1),
        ("int16", (24, 40), 2),
        ("float32", (5, 240), 2),
        ("float32", (200, 300), 1),
    ],
    ids=str,
)
def test_a_run_through_a_copy_gives_the_same(dtype, chunks, passes, eager, tmp_path):
    matrix, orderings = some_matrix(dtype), scattered(SHAPE)
    place = stored(matrix, tmp_path, chunks)
    fact = dbf.factorize(place, orderings=orderings, passes=passes, store=tmp_path / "run", workers=2)
    assert fact.record["plan"]["copy"] is not None
    assert list(fact.record["stages"])[:2] == ["copy", "tiles"]
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree, orderings=orderings, passes=passes))
    read = sum(stage["bytes_read"] for stage in fact.record["stages"].values())
    assert read == fact.record["plan"]["bytes_read"]
    assert_same(dbf.open(tmp_path / "run"), fact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tree", "shape"), [("left", (64, 400)), ("right", (400, 64)), ("balanced", (30, 77)), ("left", (77, 30))], ids=str
)
def test_rectangles_and_every_tree(tree, shape, eager, tmp_path):
    matrix, orderings, chain = some_matrix("float64", shape), scattered(shape), Chain.chainable(shape)
    place = stored(matrix, tmp_path, (13, 17))
    fact = dbf.factorize(place, chain, tree=tree, orderings=orderings, store=tmp_path / "run")
    assert fact.record["plan"]["copy"] is not None
    assert_same(fact, dbf.factorize(matrix, chain, tree=fact.tree, orderings=orderings))


@pytest.mark.slow
def test_a_large_matrix_is_copied_by_itself(tmp_path):
    """Where memory is short: every tile would read the whole matrix."""
    matrix, orderings = noisy_butterfly((2048, 2048), "float32"), scattered((2048, 2048))
    place = stored(matrix, tmp_path, (256, 256))
    arguments, store = {"orderings": orderings, "workers": 1}, tmp_path / "run"
    least = least_memory(place, store=store, **arguments)
    plans = (dbf.plan(place, store=store, memory=least + (more << 20), **arguments) for more in range(8))
    with_copy = next(plan for plan in plans if plan.copy is not None)
    arguments["memory"] = with_copy.budget.memory
    without = dbf.plan(place, **arguments)
    assert without.copy is None
    assert without.amplification > with_copy.amplification + 1 > 3
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in str(with_copy).splitlines())
    assert re.fullmatch(r"\d+ copy, \d+ tiles, \d+ left, \d+ right", lines["tasks"])
    assert re.search(r"[\d.]+ MiB of it for a copy in another order, amplification [2-9]\.\d\d$", lines["reads"])
    assert with_copy.to_json()["copy"]["bytes_read"] == with_copy.copy.bytes_read >= matrix.nbytes
    assert with_copy.bytes_written >= matrix.nbytes
    fact = dbf.factorize(place, store=store, **arguments)
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree, orderings=orderings))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("other", [None, "bitreversal"])
def test_one_scattered_side_is_not_copied(side, other, tmp_path):
    matrix = noisy_butterfly((512, 512), "float32")
    orderings = [other, other]
    orderings[side] = scattered((512, 512))[side]
    planned = dbf.plan(stored(matrix, tmp_path, (64, 64)), orderings=tuple(orderings), store=tmp_path / "run")
    assert planned.copy is None
    assert "copy" not in planned.tasks


def test_what_is_not_in_chunks_is_not_copied(eager, tmp_path):
    planned = dbf.plan(random_matrix((64, 64)), orderings=scattered((64, 64)), store=tmp_path / "run")
    assert planned.copy is None


@pytest.mark.slow
def test_a_copy_on_a_cluster(client, eager, tmp_path):
    matrix, orderings = some_matrix("complex64"), scattered(SHAPE)
    place = stored(matrix, tmp_path, (31, 57))
    for name, store in (("directory", tmp_path / "run"), ("memory", zarr.storage.MemoryStore())):
        fact = dbf.factorize(place, orderings=orderings, passes=2, store=store, client=client)
        assert fact.record["plan"]["tasks"]["copy"] > 1, name
        assert_same(fact, dbf.factorize(matrix, tree=fact.tree, orderings=orderings, passes=2))


@pytest.mark.parametrize("at", [(0, 0), (100, 239), (143, 5)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_entry_is_reported_where_it_is_stored(at, value, eager, tmp_path):
    matrix = some_matrix("float32")
    matrix[at] = value
    place = stored(matrix, tmp_path, (31, 57))
    with pytest.raises(NonFiniteError, match=rf"copy of panel \(row .*index \({at[0]}, {at[1]}\)") as found:
        dbf.factorize(place, orderings=scattered(SHAPE), store=tmp_path / "run")
    assert found.value.index == at


# ---------------------------------------------------------------- interrupted and damaged


@pytest.fixture
def half_done(eager, tmp_path, monkeypatch):
    """A run that stops when some of the matrix is copied, or all of it; and its arguments."""
    matrix, orderings = some_matrix("float32"), scattered(SHAPE)
    place = stored(matrix, tmp_path, (31, 57))
    arguments = {"source": place, "orderings": orderings, "store": tmp_path / "run", "workers": 1}
    plan = dbf.plan(**arguments)
    assert plan.tasks["copy"] > 3
    expected = dbf.factorize(matrix, tree=plan.tree, orderings=orderings)

    def stop(panels):
        def compute(self, job, inputs, *, compute=CopyTask.compute):
            if self.panel in plan.panels[panels:]:
                raise InputError("stopped here")
            return compute(self, job, inputs)

        def refuse(self, job, inputs):
            raise InputError("stopped here")

        with monkeypatch.context() as patch:
            patch.setattr(CopyTask, "compute", compute)
            patch.setattr(TileTask, "compute", refuse)
            with pytest.raises(InputError, match="stopped here"):
                dbf.factorize(**arguments)
        return tmp_path / "run" / "work" / RunStore.open(tmp_path / "run").manifest.epoch

    return stop, arguments, plan, expected


@pytest.mark.slow
def test_a_copy_that_was_cut_off_is_continued(half_done):
    stop, arguments, plan, expected = half_done
    stop(2)
    fact = dbf.factorize(**arguments)
    counts = fact.record["stages"]["copy"]
    assert (counts["tasks"], counts["resumed"]) == (plan.tasks["copy"] - 2, 2)
    assert counts["bytes_read"] == plan.copy.bytes_read
    assert_same(fact, expected)


@pytest.mark.slow
def test_a_copy_is_continued_as_it_was_planned(half_done, monkeypatch):
    """Also where a plan made today would copy nothing."""
    stop, arguments, plan, expected = half_done
    stop(2)
    monkeypatch.setattr(copies, "WRITE_COST", 100.0)
    assert dbf.plan(**arguments).copy is None
    fact = dbf.factorize(**arguments)
    assert fact.record["plan"]["tasks"] == plan.tasks
    assert_same(fact, expected)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_chunk_of_the_copy_is_made_again(half_done, damage, which):
    stop, arguments, plan, expected = half_done
    work = stop(plan.tasks["copy"])
    chunks = sorted((work / "copy").glob("c.*"))
    chunk = max(chunks) if which else min(chunks)
    content = bytearray(chunk.read_bytes())
    if damage == "delete":
        chunk.unlink()
    else:
        content[9] ^= 2
        chunk.write_bytes(content if damage == "flip" else content[:20])
    what = rf"chunk {chunk.relative_to(work / 'copy')} of work/\w+/copy of store .* is (missing|damaged)"
    with pytest.raises(CheckpointError, match=rf"{what}.*\(1 of the copy tasks\)"):
        dbf.factorize(**arguments)
    fact = dbf.factorize(**arguments)
    assert fact.record["stages"]["copy"]["tasks"] == 1
    assert fact.record["stages"]["copy"]["resumed"] == plan.tasks["copy"] - 1
    assert_same(fact, expected)
