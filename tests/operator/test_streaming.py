"""Products of stored matrices, by blocks of columns."""

import re

import dask.array as da
import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly import ButterflyOperator, Chain, stream_product
from dbutterfly.errors import FailedMatricesWarning, InputError, MemoryBudgetError, StoreError, TaskError
from dbutterfly.execution import resident_memory
from tests.support.hierarchical_blocks import make_operator
from tests.support.stacked_runs import make_stack


def operator(dtype="float64", shape=(24, 40)):
    rng = np.random.default_rng(2)
    factors = [rng.standard_normal(pattern).astype(dtype) for pattern in Chain.chainable(shape)]
    return ButterflyOperator(factors, (None, rng.permutation(shape[1])))


def matrix(columns=100, rows=40, dtype="float64"):
    return np.random.default_rng(3).standard_normal((rows, columns)).astype(dtype)


def memory_for(columns, op, source, **arguments):
    """Memory that just holds blocks of so many columns: what they need grows by the same for each."""
    needed = []
    for given in (matrix(1), matrix(1).astype("float64")):
        with pytest.raises(MemoryBudgetError) as caught:
            stream_product(op, given if source is None else source, None, memory=1, **arguments)
        needed.append(int(str(caught.value).split("memory=")[-1].split(" ")[0]))
    each = 2 * 40 * 8 + (2 * 40 + 2 * 24) * 8
    return needed[0] + (columns - 1) * each


@pytest.mark.parametrize("chunks", [(40, 100), (7, 10), (40, 16)])
def test_product_is_that_of_the_matrix(engine, tmp_path, chunks):
    x, op = matrix(), operator()
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=chunks)
    done = stream_product(op, tmp_path / "x.zarr", tmp_path / "y.zarr", **engine)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "y.zarr")[:], op @ x)
    assert (done.shape, done.dtype) == ((24, 100), np.float64)
    assert done.bytes_read == x.nbytes


def test_blocks_of_a_hierarchical_matrix_multiply_too(tmp_path):
    op, dense = make_operator("float64", "symmetric")
    x = matrix(10, rows=len(dense))
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(200, 5))
    stream_product(op.T, tmp_path / "x.zarr", tmp_path / "y.zarr", memory="2MiB", workers=2)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "y.zarr")[:], dense @ x, atol=1e-8)
    with pytest.raises(MemoryBudgetError, match="does not hold a block of one column"):
        stream_product(op, x, tmp_path / "z.zarr", memory=1)


def test_blocks_fit_the_memory_and_the_chunks(tmp_path):
    x, op = matrix(), operator()
    source = zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(40, 10))
    memory = memory_for(25, op, source)
    done = stream_product(op, source, tmp_path / "y.zarr", memory=memory, workers=2)
    assert (done.columns, done.tasks, done.bytes_read) == (20, 5, x.nbytes)
    assert zarr.open_array(tmp_path / "y.zarr").chunks == (24, 20)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "y.zarr")[:], op @ x)
    done = stream_product(op, source, tmp_path / "narrow.zarr", memory=memory_for(7, op, source))
    assert (done.columns, done.tasks, done.bytes_read) == (5, 20, 2 * x.nbytes)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "narrow.zarr")[:], op @ x)


def test_memory_for_no_column_is_refused(tmp_path):
    with pytest.raises(
        MemoryBudgetError, match=r"memory=1000 .* does not hold a block of one column of array"
    ) as caught:
        stream_product(operator(), matrix(), tmp_path / "y.zarr", memory=1000)
    least = int(str(caught.value).split("memory=")[-1].split(" ")[0])
    assert stream_product(operator(), matrix(3), tmp_path / "y.zarr", memory=least).columns == 1
    assert not (tmp_path / "z.zarr").exists()


@pytest.mark.parametrize("dtype", ["float32", "int16", "complex64"])
def test_dtype_is_that_of_numpy(tmp_path, dtype):
    x, op = (10 * matrix()).astype(dtype), operator("float32")
    np.save(tmp_path / "x.npy", x)
    done = stream_product(op.H.T, tmp_path / "x.npy", tmp_path / "y.zarr")
    assert done.dtype == np.result_type("float32", dtype)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "y.zarr")[:], op @ x, rtol=1e-5, atol=1e-3)


def test_dask_arrays_and_nan_go_through(tmp_path):
    x, op = matrix(), operator()
    x[3, 5] = np.nan
    stream_product(op, da.from_array(x, chunks=(13, 30)), tmp_path / "y.zarr")
    found = zarr.open_array(tmp_path / "y.zarr")[:]
    assert np.isnan(found[:, 5]).all()
    np.testing.assert_array_equal(np.delete(found, 5, axis=1), op @ np.delete(x, 5, axis=1))


def test_destination_is_replaced_only_if_asked_to(tmp_path):
    x, op = matrix(), operator()
    stream_product(op, x, tmp_path / "y.zarr")
    with pytest.raises(StoreError, match="already holds a Zarr array; pass overwrite=True"):
        stream_product(op, x, tmp_path / "y.zarr")
    stream_product(2 * op, x, tmp_path / "y.zarr", overwrite=True)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "y.zarr")[:], 2 * (op @ x))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"array has shape \(24, 5\); a 24 x 40 operator takes 40 rows"):
        stream_product(operator(), matrix(5, rows=24), tmp_path / "y.zarr")
    with pytest.raises(InputError, match="is an operator; compose the two by @ instead"):
        stream_product(operator(), operator(shape=(40, 40)), tmp_path / "y.zarr")
    with pytest.raises(InputError, match="1 dimension"):
        stream_product(operator(), np.ones(40), tmp_path / "y.zarr")


def test_failures_name_the_columns(tmp_path):
    def broken(rows, cols):
        if 37 in cols:
            raise RuntimeError("no such column")
        return np.ones((len(rows), len(cols)))

    source = dbf.entries(broken, (40, 100), "float64")
    with pytest.raises((TaskError, InputError), match=r"product of columns 0\.\.99 failed"):
        stream_product(operator(), source, tmp_path / "y.zarr")


@pytest.mark.slow
def test_memory_beyond_the_idle_size_is_bounded(tmp_path):
    op = operator("float64", shape=(2048, 2048))
    source = zarr.create_array(
        tmp_path / "x.zarr", shape=(2048, 4000), chunks=(1024, 250), dtype="float64", compressors=None
    )
    for first in range(0, 4000, 500):
        source[:, first : first + 500] = matrix(500, rows=2048)
    stream_product(op, source, tmp_path / "first.zarr", memory="48 MiB", workers=1)  # loads what a process needs once
    resident_memory.reset_peak()
    before = resident_memory.size()
    done = stream_product(op, source, tmp_path / "y.zarr", memory="96 MiB", workers=1)
    assert done.columns * 2048 * 8 > 2**23
    assert resident_memory.peak() - before < 96 * 2**20


def test_a_product_over_its_input_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    op, x = operator(shape=(40, 40)), matrix()
    zarr.create_group("g.zarr").create_array("x", data=x, chunks=(40, 100))
    np.save("x.npy", x)
    for source, place in [
        ("g.zarr/x", "g.zarr/x"),
        (zarr.open_array("g.zarr/x"), tmp_path / "g.zarr" / "x"),
        (da.from_zarr("g.zarr/x") + 1, "g.zarr/x/product"),
        (zarr.open_group("g.zarr")["x"], "g.zarr"),
        (zarr.open_array("g.zarr/x"), zarr.storage.LocalStore("g.zarr/x")),
        ("x.npy", "x.npy"),
        (np.load("x.npy", mmap_mode="r")[:, ::2], "x.npy"),
    ]:
        with pytest.raises(InputError, match=r"destination=.* which is read; nothing was changed"):
            stream_product(op, source, place, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array("g.zarr/x")[:], x)
    np.testing.assert_array_equal(np.load("x.npy"), x)
    stream_product(op, "g.zarr/x", "g.zarr/y")
    np.testing.assert_allclose(zarr.open_array("g.zarr/y")[:], op @ x)


def test_a_product_over_its_input_in_memory_is_refused():
    op, x, store = operator(shape=(40, 40)), matrix(), zarr.storage.MemoryStore()
    zarr.create_array(store, data=x, chunks=(40, 100))
    with pytest.raises(InputError, match="which is read"):
        stream_product(op, zarr.open_array(store), store, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(store)[:], x)


def test_a_product_that_fails_leaves_what_was_there(tmp_path):
    def broken(rows, cols):
        raise RuntimeError("no such column")

    stream_product(operator(), matrix(), tmp_path / "y.zarr")
    before = zarr.open_array(tmp_path / "y.zarr")[:]
    for place in ("y.zarr", "new.zarr"):
        with pytest.raises((TaskError, InputError), match="no such column"):
            stream_product(operator(), dbf.entries(broken, (40, 9), "f8"), tmp_path / place, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "y.zarr")[:], before)
    assert [path.name for path in tmp_path.iterdir()] == ["y.zarr"]


def test_the_least_memory_that_reads_twice_is_named_too(tmp_path):
    source = zarr.create_array(tmp_path / "x.zarr", data=matrix(), chunks=(40, 20))
    with pytest.raises(MemoryBudgetError) as caught:
        stream_product(operator(), source, None, memory=1)
    twice = int(re.search(r"with (\d+) .* it is read at most twice", str(caught.value)).group(1))
    done = stream_product(operator(), source, tmp_path / "twice.zarr", memory=twice)
    assert (done.columns, done.bytes_read) == (10, 2 * source.nbytes)
    done = stream_product(operator(), source, tmp_path / "more.zarr", memory=twice - 1)
    assert done.bytes_read > 2 * source.nbytes


def test_kernels_are_loaded_before_the_first_task(tmp_path):
    """They are no part of what a task may hold: Numba alone takes 100 MiB."""
    op, held = operator(), []

    def entry(rows, cols):
        held.append(op.nbytes_prepared)
        return np.ones((rows.size, cols.size))

    stream_product(op, dbf.entries(entry, (40, 8), float), tmp_path / "y.zarr")
    assert held
    assert min(held) > 0


@pytest.mark.parametrize("given", ["run", None, np.eye(4), 3], ids=repr)
def test_what_is_no_operator_is_refused(given):
    with pytest.raises(InputError, match=r"operator=.* pass a ButterflyOperator"):
        stream_product(given, matrix(), None)


# ---------------------------------------------------------------- stacks


@pytest.fixture(scope="module")
def stacked():
    """A stack of two chains, one matrix of which is not known."""
    stack = make_stack(6, dtype="float64")
    stack[4] = np.nan
    with pytest.warns(FailedMatricesWarning):
        return dbf.factorize([*stack[:3], *stack[3:]], orderings=("bitreversal", None)).operator


@pytest.mark.parametrize("chunks", [(1, 32, 4), (4, 16, 3), (6, 32, 4)])
def test_every_matrix_of_a_stack_multiplies_its_own_columns(stacked, chunks, engine, tmp_path):
    x = np.random.default_rng(0).standard_normal((6, 32, 4))
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=chunks)
    done = stream_product(stacked.H, tmp_path / "x.zarr", tmp_path / "y.zarr", **engine)
    product = zarr.open_array(tmp_path / "y.zarr")
    np.testing.assert_allclose(product[:], stacked.H @ x, rtol=1e-6, atol=1e-6)
    assert (done.shape, done.dtype, done.columns, done.bytes_read) == ((6, 32, 4), product.dtype, 4, x.nbytes)
    with pytest.raises(MemoryBudgetError, match="does not hold the 4 columns of one matrix") as caught:
        stream_product(stacked, x, tmp_path / "z.zarr", memory=1)
    least = int(str(caught.value).split("memory=")[-1].split(" ")[0])
    assert stream_product(stacked, x, tmp_path / "z.zarr", memory=least).tasks == 6
    np.testing.assert_allclose(zarr.open_array(tmp_path / "z.zarr")[:], stacked @ x, rtol=1e-6, atol=1e-6)


def test_a_vector_for_each_matrix_of_a_stack(stacked, tmp_path):
    done = stream_product(stacked, np.ones((6, 32), np.float32), tmp_path / "y.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "y.zarr")[:], stacked @ np.ones((6, 32), np.float32))
    assert (done.shape, done.dtype) == ((6, 32), np.float64)
    for x in (np.ones((6, 31)), np.ones((5, 32, 2))):
        with pytest.raises(InputError, match=r"6 operators of 32 x 32 take \(6, 32\), or \(6, 32, columns\)"):
            stream_product(stacked, x, tmp_path / "no.zarr")
    with pytest.raises(InputError, match=r"matrix 1 of list has shape \(32, 3\).*give columns of one shape and dtype"):
        stream_product(stacked, [np.ones((32, 2)), np.ones((32, 3))], tmp_path / "no.zarr")
    with pytest.raises(MemoryBudgetError, match=r"memory=10 .* does not hold 6 vectors of array"):
        stream_product(stacked, np.ones((6, 32)), tmp_path / "no.zarr", memory=10)
