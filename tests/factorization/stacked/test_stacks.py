"""Stacks of matrices, of every kind: the factors and certificates of single calls, in one run."""

import dask.array as da
import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import (
    FailedMatricesWarning,
    InputError,
    NonFiniteError,
    NoSuchMatrixError,
    SourceError,
    ToleranceWarning,
)
from dbutterfly.factorization.results.certificate import Certificate
from dbutterfly.factorization.stacked import planning
from dbutterfly.planning import stacked_plan
from tests.support.comparisons import DTYPES, assert_same, dense_error, random_matrix
from tests.support.parts import require
from tests.support.stacked_runs import assert_same_stacks, make_stack, memory_for_tasks, store_stack

PERMUTED = np.random.default_rng(3).permutation(32)
ORDERINGS = [None, (PERMUTED, PERMUTED), (None, "bitreversal"), ("bitreversal", None)]


@pytest.fixture(scope="module")
def stack():
    return make_stack(7)


@pytest.fixture(scope="module")
def expected(stack):
    return dbf.factorize(stack)


def assert_close(left, right):
    """Equal to rounding: blocks of noise are told apart by the least difference."""
    assert (left.chain, left.tree, left.shape, left.dtype) == (right.chain, right.tree, right.shape, right.dtype)
    assert left.certificate.error_bound == pytest.approx(right.certificate.error_bound, rel=1e-5)
    assert left.certificate.lower_bound == pytest.approx(right.certificate.lower_bound, rel=1e-5)


def helmholtz(count, n=128, dtype="complex128"):
    x = np.linspace(0, 1, n)
    distance = np.sqrt(1 + (x[:, None] - x) ** 2)
    return np.stack([np.exp(1j * (k + 1) * 80 / count * distance) for k in range(count)]).astype(dtype)


@pytest.mark.parametrize(("dtype", "orderings"), list(zip(DTYPES, ORDERINGS, strict=True)))
@pytest.mark.parametrize("passes", [1, 2])
def test_each_matrix_is_factorized_as_by_a_call_of_its_own(dtype, orderings, passes):
    stack, asked = make_stack(3, dtype=dtype), {"orderings": orderings, "passes": passes}
    found = dbf.factorize(stack, **asked)
    for number, matrix in enumerate(stack):
        single = dbf.factorize(matrix, **asked)
        assert_same(found[number], single)
        assert found[number].record["errors_by_cut"] == pytest.approx(single.record["errors_by_cut"], rel=1e-6)
        assert found[number].dtype == dtype


@pytest.mark.parametrize("asked", [{"rank": 2}, {"rank": 3, "passes": 2}, {"tree": "left"}, {"chain": "monarch"}])
@pytest.mark.parametrize("shape", [(48, 36), (31, 29)])
def test_chains_of_any_rank_and_sizes_with_gaps(asked, shape):
    stack = np.stack([random_matrix(shape, seed=seed) for seed in range(3)])
    found = dbf.factorize(stack, **asked)
    for number, matrix in enumerate(stack):
        single = dbf.factorize(matrix, **asked)
        assert found[number].certificate.error_bound == pytest.approx(single.certificate.error_bound, rel=1e-12)
        assert found[number].certificate.lower_bound == pytest.approx(single.certificate.lower_bound, rel=1e-9)
        assert dense_error(found[number], matrix) <= found[number].certificate.error_bound
    np.testing.assert_allclose(found.operator.to_dense()[1], found[1].operator.to_dense(), atol=1e-12)


def test_integers_and_zeros():
    stack = np.zeros((3, 16, 16), np.int32)
    stack[1] = 2
    found = dbf.factorize(stack)
    assert found[0].certificate == Certificate(0.0, 0.0, True, 0.0, guarantee=found[1].certificate.guarantee)
    assert found[1].certificate.norm == pytest.approx(32)
    assert found[1].dtype == "float64"


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("chunks", [(1, 32, 32), (2, 16, 32), (3, 8, 16), (7, 32, 32)])
@pytest.mark.parametrize("options", [{}, {"compressors": None}, {"zarr_format": 2}])
def test_zarr_arrays_with_three_axes(stack, expected, chunks, options, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", chunks, **options)
    assert dbf.plan(place).amplification == 1
    assert_same_stacks(dbf.factorize(place), expected)


def test_shards_memory_stores_and_groups(stack, expected, tmp_path):
    sharded = store_stack(stack, tmp_path / "s.zarr", (1, 16, 16), shards=(2, 32, 32))
    held = zarr.create_array(zarr.storage.MemoryStore(), shape=stack.shape, chunks=(2, 16, 32), dtype=stack.dtype)
    held[...] = stack
    outer = zarr.open_group(tmp_path / "outer.zarr", mode="w")
    outer.create_array("frequencies", data=stack)
    outer.create_array("axis", data=np.arange(3.0))
    for source in (sharded, held, tmp_path / "outer.zarr"):
        assert_same_stacks(dbf.factorize(source), expected)


def test_other_arrays(stack, expected, tmp_path):
    np.save(tmp_path / "z.npy", stack)
    for source in (tmp_path / "z.npy", np.asfortranarray(stack), list(stack)):
        assert_same_stacks(dbf.factorize(source), expected)
    assert_same_stacks(dbf.factorize(stack.tolist()), dbf.factorize(stack.astype("complex128")))


def test_dask_and_xarray(stack, expected):
    array = da.from_array(stack, chunks=(2, 16, 32))
    assert_same_stacks(dbf.factorize(array), expected)
    xarray = require("xarray", "test")
    assert_same_stacks(dbf.factorize(xarray.DataArray(stack, dims=("frequency", "row", "col"))), expected)


def test_groups_name_their_matrices_and_leave_the_rest(stack, expected, tmp_path):
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for number, matrix in enumerate(stack):
        group.create_array(f"w{number}", data=matrix)
    group.create_array("bias", data=np.arange(3.0))
    found = dbf.factorize(tmp_path / "g.zarr")
    assert_same_stacks(found, expected)
    assert_same(found["w3"], expected[3])
    assert "left as they are: bias (3,)" in str(dbf.plan(group))
    assert "3 (w3)" in str(found)


def test_files_of_tensors(stack, expected, tmp_path):
    files = require("safetensors.numpy", "safetensors")
    tensors = {f"layer.{number}": matrix for number, matrix in enumerate(stack)} | {"bias": np.ones(3, np.float32)}
    files.save_file(tensors, tmp_path / "model.safetensors")
    found = dbf.factorize(tmp_path / "model.safetensors")
    assert_same_stacks(found, expected)
    assert_same(found["layer.2"], expected[2])
    assert "bias 3 F32" in str(dbf.plan(tmp_path / "model.safetensors"))
    files.save_file({"bias": np.ones(3, np.float32)}, tmp_path / "none.safetensors")
    with pytest.raises(SourceError, match="no matrix of a dtype that NumPy knows; it has bias"):
        dbf.factorize(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no such format")
    with pytest.raises(SourceError, match="no readable"):
        dbf.factorize(tmp_path / "bad.safetensors")


def test_packed_numbers_are_decoded(tmp_path):
    place = store_stack(np.arange(2 * 16 * 16, dtype="i2").reshape(2, 16, 16), tmp_path / "z.zarr", (1, 8, 16))
    zarr.open_array(place).attrs["scale_factor"] = 0.5
    found, plain = dbf.factorize(place), dbf.factorize(place, decode=False)
    assert found[1].certificate.norm == pytest.approx(0.5 * plain[1].certificate.norm)


# ---------------------------------------------------------------- what does not fit


def test_a_matrix_of_nan_is_named_and_the_others_kept(stack, expected):
    broken = stack.copy()
    broken[3, 5, 6] = np.nan
    with pytest.warns(FailedMatricesWarning, match=r"1 of 7 matrices have no factors \(matrix 3\)"):
        found = dbf.factorize(broken)
    assert found.failed == {3: str(NonFiniteError.at("matrix 3 of array", (5, 6)))}
    for number in (0, 1, 2, 4, 5, 6):
        assert_same(found[number], expected[number])
    with pytest.raises(InputError, match=r"fact\[3\] has no factors: matrix 3 of array holds a NaN"):
        found[3]
    assert found.certificates[3] is None
    assert len(list(found)) == 6
    product = found @ np.ones((7, 32))
    assert np.isnan(product[3]).all()
    assert np.isfinite(np.delete(product, 3, axis=0)).all()
    assert "3       failed: matrix 3" in str(found)
    assert found.table()[3]["failed"] == found.failed[3]


def test_a_norm_that_is_no_number_is_named(stack):
    broken = stack.astype("complex128")
    broken[2] *= 1.5e308 / np.abs(broken[2]).max()
    with pytest.warns(FailedMatricesWarning, match="1 of 7"):
        found = dbf.factorize(broken)
    assert "too large to be squared in complex128" in found.failed[2]


def test_a_stack_of_which_nothing_is_left_is_refused(stack):
    with pytest.raises(InputError, match=r"no matrix can be factorized; matrix 0 of array holds a NaN"):
        dbf.factorize(np.full_like(stack, np.nan))


def test_nan_where_a_chain_is_searched():
    stack = helmholtz(3)
    stack[1] = np.nan
    for shared in (True, False):
        with pytest.warns(FailedMatricesWarning):
            found = dbf.factorize(stack, tol=1e-2, orderings=("bitreversal", None), shared=shared)
        assert list(found.failed) == [1]
        assert found[2].certificate.error_bound <= 1e-2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "empty list"),
        (np.zeros((0, 4, 4)), r"is empty, shape \(0, 4, 4\)"),
        (np.zeros((3, 0, 4)), r"is empty, shape \(3, 0, 4\)"),
        (np.zeros((2, 3, 4, 5)), "has 4 dimensions"),
        ([np.zeros((4, 4)), np.zeros((4, 4, 4))], r"matrix 1 of the stack: array has 3 dimensions"),
        ([np.zeros((4, 4)), np.array([["a"]])], "matrix 1 of the stack: array has dtype <U1"),
        (np.zeros((2, 4, 4), "M8[s]"), "matrix 0 of array has dtype datetime64"),
        ("nothing.safetensors", "does not exist"),
    ],
)
def test_what_is_no_stack_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(source)
    with pytest.raises(InputError, match=message):
        dbf.plan(source)


def test_arguments_that_do_not_fit(stack):
    mixed = [stack[0], stack[1, :10], stack[2]]
    with pytest.raises(InputError, match=r"matrix 1 of list is 10 x 32 complex64, the first 32 x 32 complex64"):
        dbf.factorize(mixed, shared=True)
    with pytest.raises(InputError, match=r"matrix 1 of list: "):
        dbf.factorize(mixed, dbf.Chain.square_dyadic(32))
    with pytest.raises(InputError, match="shared='yes' is neither True nor False"):
        dbf.factorize(stack, shared="yes")
    with pytest.raises(InputError, match=r"matrix 0 of array: tol=1e-05 seems out of reach"):
        dbf.factorize(np.random.default_rng(0).standard_normal((3, 32, 32)), tol=1e-5)


@pytest.mark.parametrize("number", [7, -8, "w3", 1.5, None, slice(2)])
def test_numbers_of_no_matrix_are_refused(expected, number):
    kind = NoSuchMatrixError if isinstance(number, (int, str)) else InputError
    with pytest.raises(kind, match="number="):
        expected[number]


# ---------------------------------------------------------------- one chain, or one for each


def test_mixed_shapes_have_chains_of_their_own(stack):
    matrices = [stack[0], random_matrix((20, 31)), stack[1], stack[2].real]
    found = dbf.factorize(matrices)
    for number, matrix in enumerate(matrices):
        assert_close(found[number], dbf.factorize(matrix))
    assert [batch.numbers.tolist() for batch in found.batches] == [[0, 2], [1], [3]]
    with pytest.raises(InputError, match=r"matrix 1 has shape \(20, 31\) and matrix 0 \(32, 32\)"):
        _ = found.operator


def test_a_tolerance_holds_for_all_matrices():
    stack, asked = helmholtz(6), {"tol": 1e-4, "orderings": ("bitreversal", None)}
    shared, own = (dbf.factorize(stack, **asked, shared=shared) for shared in (True, False))
    for found in (shared, own):
        assert all(certificate.error_bound <= 1e-4 for certificate in found.certificates)
    assert len(shared.batches) == 1
    assert own.nbytes <= shared.nbytes
    np.testing.assert_allclose(own.operator @ np.ones((6, 128)), stack.sum(axis=2), rtol=1e-2, atol=2e-2)


def test_matrices_above_the_tolerance_get_a_larger_chain(monkeypatch):
    """Where the matrices that are sampled are no example of the others."""
    monkeypatch.setattr(planning, "SAMPLED", 1)
    stack, asked = helmholtz(5)[:, :, :], {"tol": 1e-5, "orderings": ("bitreversal", None)}
    found = dbf.factorize(stack, **asked)
    assert len(found.record["rounds"]) > 1
    assert all(certificate.error_bound <= 1e-5 for certificate in found.certificates)
    assert found[0].chain.nnz < found[4].chain.nnz


@pytest.mark.parametrize(("sampled", "shared"), [(1, True), (8, True), (8, False)])
def test_a_tolerance_out_of_reach_of_a_matrix_is_said_and_the_others_reach_it(monkeypatch, sampled, shared):
    monkeypatch.setattr(planning, "SAMPLED", sampled)
    stack = helmholtz(3)
    stack[2] = random_matrix((128, 128), "complex128")
    with pytest.warns(
        ToleranceWarning, match=r"tol=0.01 was not reached for 1 of 3 matrices, the worst being matrix 2"
    ):
        found = dbf.factorize(stack, tol=1e-2, orderings=("bitreversal", None), shared=shared)
    assert found[1].certificate.error_bound <= 1e-2
    assert len(found.record["rounds"]) == (2 if sampled == 1 else 1), "it is not taken through all ranks"


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_the_best_orderings_are_chosen(shared):
    found = dbf.factorize(helmholtz(3), tol=1e-4, orderings="auto", shared=shared)
    assert [each.orderings.rows for each in found] == 3 * ["bitreversal"]
    assert all(certificate.error_bound <= 1e-4 for certificate in found.certificates)


def test_orderings_are_identified_once_or_for_each():
    known = dbf.matrices.dft(32)
    rows = np.random.default_rng(0).permutation(32)
    stack = np.stack([(k + 1) * np.asarray(known)[rows] for k in range(3)])
    for shared in (True, False):
        found = dbf.factorize(stack, orderings="identify", shared=shared)
        assert all(certificate.error_bound < 1e-12 for certificate in found.certificates)
    with pytest.raises(InputError, match="not known yet"):
        dbf.plan(stack, orderings="identify")


# ---------------------------------------------------------------- tasks


def test_tasks_take_whole_chunks_and_fit_the_memory(stack, expected, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", (2, 16, 32))
    memory = memory_for_tasks(place, 3)
    plan = dbf.plan(place, memory=memory)
    assert plan.batches[0].per_task % 2 == 0
    assert plan.peak_bytes <= memory
    assert plan.bytes_read == plan.source_bytes == stack.nbytes
    assert_same_stacks(dbf.factorize(place, memory=memory), expected)


@pytest.mark.slow
def test_a_large_matrix_is_a_run_by_itself(stack, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(stacked_plan, "LARGEST_TOGETHER", stack[0].nbytes - 1)
    small = random_matrix((16, 16), "complex64")
    matrices = [stack[0], small, stack[3]]
    plan = dbf.plan(matrices)
    assert (plan.tasks["matrices"], len(plan.alone)) == (1, 2)
    for store in (None, tmp_path / "run.zarr", tmp_path / "run.zarr"):
        found = dbf.factorize(matrices, store=store)
        assert_same(found[0], expected[0])
        assert_same(found[2], expected[3])
        assert_close(found[1], dbf.factorize(small))
        assert set(found.alone) == {0, 2}
    assert_same_stacks(dbf.open(tmp_path / "run.zarr"), found)
    product = dbf.factorize(stack)
    assert_same_stacks(product, expected)
    np.testing.assert_array_equal(product @ np.ones((7, 32)), expected @ np.ones((7, 32)))


def test_functions_and_operators_in_a_list(stack):
    def entry(rows, cols):
        return 1.0 / (rows[:, None] + cols + 1)

    sparse = require("scipy.sparse", "test")
    sources = [
        dbf.entries(entry, (32, 32), "float64"),
        dbf.entries(entry, (32, 32), "float64", sampled=True),
        sparse.random_array((32, 32), density=0.2, rng=np.random.default_rng(0), format="csr"),
    ]
    found = dbf.factorize(sources, rank=2)
    assert found[0].certificate.proven
    assert not found[1].certificate.proven
    assert len(found.alone) == 2


@pytest.mark.slow
def test_threads_and_clusters_give_the_same(stack, expected, engine, store, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", (1, 32, 32))
    memory = memory_for_tasks(place, 4)
    for source in (place, stack, list(stack)):
        kept = None if store is None else tmp_path / f"run{id(source)}"
        assert_same_stacks(dbf.factorize(source, memory=memory, store=kept, **engine), expected)


def test_a_table_and_a_summary(expected):
    rows = expected.table()
    assert [row["matrix"] for row in rows] == list(range(7))
    assert rows[2]["error_bound"] == expected[2].certificate.error_bound
    lines = str(expected).splitlines()
    assert lines[1].split()[0] == "6"
    assert lines[-1] == repr(expected).removeprefix("<StackedFactorization of ").removesuffix(">")
    useless = dbf.factorize(np.stack([random_matrix((32, 32)), np.ones((32, 32))]))
    assert "1 of 2 are useless; matrix 0: Useless" in str(useless)


@pytest.mark.parametrize(
    "asked", [{}, {"passes": 2, "orderings": ("bitreversal", PERMUTED)}, {"rank": 3}, {"sweeps": 1, "prove": True}]
)
def test_a_device_gives_what_the_host_gives(device, stack, asked):
    broken = stack.copy()
    broken[2, 0, 0] = np.nan
    with pytest.warns(FailedMatricesWarning):
        found = dbf.factorize(broken, backend="cupy", **asked)
    with pytest.warns(FailedMatricesWarning):
        assert_same_stacks(found, dbf.factorize(broken, backend="numpy", **asked))
