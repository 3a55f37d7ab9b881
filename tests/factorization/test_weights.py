"""Rows and columns with weights: factors of the matrix, fitted and certified in the weighted norm, in all modes."""

import dataclasses
import pickle

import dask.array
import numpy as np
import pytest
import xarray
import zarr
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.cli import main
from dbutterfly.errors import CheckpointError, InputError, StoreMismatchError, ToleranceWarning
from dbutterfly.factorization.results.report.page import page
from dbutterfly.factorization.results.verdict import verdict_on
from dbutterfly.factorization.weighted_factors import divide_by_weights
from dbutterfly.structure.weights import Weights
from tests.support.comparisons import DTYPES, assert_same, memory_for, random_matrix
from tests.support.odd_sizes import BY_DISTANCE, entries_of, kernel

ROUNDING = {"float32": 1e-6, "complex64": 1e-6, "float64": 1e-14, "complex128": 1e-14}


def log_normal(shape, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    return tuple(np.exp(spread * rng.standard_normal(size)) for size in shape)


def weigh(matrix, weights):
    """D1 Z D2 in double precision."""
    rows, cols = (1.0 if side is None else np.asarray(side, np.float64) for side in weights)
    return np.reshape(rows, (-1, 1)) * np.asarray(matrix, np.result_type(matrix, np.float64)) * cols


def weighted_error(fact, matrix, weights):
    """Relative weighted error of a dense product in double precision."""
    product = fact.operator.astype(np.result_type(fact.dtype, np.float64)).to_dense()
    return float(np.linalg.norm(weigh(matrix - product, weights)) / np.linalg.norm(weigh(matrix, weights)))


def sources(matrix, directory):
    place = directory / "z.zarr"
    zarr.create_array(place, data=matrix, chunks=(16, 32))
    return {
        "array": matrix,
        "columns first": np.asfortranarray(matrix),
        "xarray": xarray.DataArray(matrix),
        "zarr": str(place),
        "dask": dask.array.from_array(matrix, chunks=(20, 50)),
        "entries": dbf.entries(entries_of(matrix), matrix.shape, matrix.dtype),
    }


@pytest.mark.slow
@pytest.mark.parametrize("orderings", [BY_DISTANCE, (None, "bitreversal"), "arrays"])
@pytest.mark.parametrize("shape", [(64, 128), (61, 127)])
def test_every_source_gives_the_factors_of_the_weighted_matrix_divided(shape, orderings, tmp_path):
    matrix, weights = kernel(shape), log_normal(shape)
    if orderings == "arrays":
        orderings = tuple(np.random.default_rng(1).permutation(size) for size in shape)
    by_hand = dbf.factorize(weigh(matrix, weights), rank=2, orderings=orderings)
    expected = by_hand.operator.to_dense() / np.outer(*weights)
    for name, source in sources(matrix, tmp_path).items():
        fact = dbf.factorize(source, rank=2, orderings=orderings, weights=weights, workers=2)
        assert fact.shape == fact.operator.shape == shape, name
        assert np.allclose(fact.operator.to_dense(), expected, rtol=1e-8, atol=1e-8), name
        assert fact.certificate.error_bound == pytest.approx(by_hand.certificate.error_bound, rel=1e-9), name
        assert fact.certificate.lower_bound == pytest.approx(by_hand.certificate.lower_bound, rel=1e-9), name
        assert fact.certificate.norm == pytest.approx(by_hand.certificate.norm, rel=1e-12), name
        assert fact.record["errors_by_cut"] == pytest.approx(by_hand.record["errors_by_cut"], rel=1e-6), name
        verified = dbf.verify(fact, source)
        assert verified == pytest.approx(weighted_error(fact, matrix, weights), rel=1e-9), name
        assert verified.weighted
        assert np.array_equal(fact.weights.rows, weights[0]), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 64), (1, 13), (13, 13), (37, 96)])
@pytest.mark.parametrize("sides", ["both", "rows", "cols"])
def test_bounds_hold_and_dtypes_stay(shape, dtype, sides):
    matrix, (rows, cols) = kernel(shape, dtype), log_normal(shape, spread=2.0)
    weights = {"both": (rows, cols), "rows": (rows, None), "cols": (None, cols)}[sides]
    for passes in (1, 2):
        fact = dbf.factorize(matrix, orderings=BY_DISTANCE, weights=weights, passes=passes)
        error = weighted_error(fact, matrix, weights)
        assert fact.dtype == fact.operator.dtype == matrix.dtype
        assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound
        if fact.certificate.exact:
            assert error == pytest.approx(fact.certificate.error_bound, rel=1e-3, abs=20 * ROUNDING[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_powers_of_two_change_no_bit(dtype):
    """Nothing is rounded then: the factors are those of the matrix that was multiplied by hand, divided."""
    matrix, rng = random_matrix((60, 70), dtype), np.random.default_rng(0)
    rows, cols = (2.0 ** rng.integers(-5, 6, size) for size in matrix.shape)
    by_hand = dbf.factorize((np.outer(rows, cols) * matrix).astype(dtype), rank=2)
    fact = dbf.factorize(matrix, rank=2, weights=(rows, cols))
    dense = (by_hand.operator.to_dense() / np.outer(rows, cols)).astype(dtype)
    assert np.allclose(fact.operator.to_dense(), dense, rtol=20 * ROUNDING[dtype], atol=20 * ROUNDING[dtype])
    assert fact.certificate.norm == by_hand.certificate.norm
    again = dbf.factorize(matrix, rank=2, weights=(2.0**9 * rows, cols / 2.0**40))
    for one, other in zip(fact.ks_values, again.ks_values, strict=True):
        assert np.array_equal(one, other), "only ratios of weights count"
    assert again.certificate.error_bound == fact.certificate.error_bound


def test_a_weighted_error_is_lower_than_without_weights():
    """Helmholtz kernel, rank 2, weights with a deviation of one in the logarithm."""
    known = dbf.matrices.helmholtz(256)
    matrix, weights = np.asarray(known), log_normal((256, 256), spread=2.0)
    plain = dbf.factorize(matrix, known.chain, orderings=known.orderings)
    fact = dbf.factorize(matrix, known.chain, orderings=known.orderings, weights=weights)
    assert fact.nbytes == plain.nbytes
    assert weighted_error(fact, matrix, weights) < 0.5 * weighted_error(plain, matrix, weights)


@pytest.mark.slow
def test_a_tolerance_is_that_of_the_weighted_error():
    matrix, weights = kernel((256, 256)), log_normal((256, 256), spread=3.0)
    plain = dbf.factorize(matrix, tol=1e-4, orderings=BY_DISTANCE)
    fact = dbf.factorize(matrix, tol=1e-4, orderings=BY_DISTANCE, weights=weights)
    assert weighted_error(fact, matrix, weights) <= fact.certificate.error_bound <= 1e-4
    assert fact.nbytes < plain.nbytes
    points = tuple(np.sort(np.random.default_rng(0).random(256)) for _ in "xy")
    assert dbf.factorize(matrix, tol=1e-3, points=points, weights=weights).certificate.error_bound <= 1e-3


def test_a_tolerance_below_rounding_is_told_to_be_missed():
    with pytest.warns(ToleranceWarning, match="relative weighted Frobenius norm"):
        dbf.factorize(kernel((64, 64), "float32"), tol=3e-7, orderings=BY_DISTANCE, weights=log_normal((64, 64)))


def test_sweeps_lower_the_weighted_error():
    matrix, weights = random_matrix((32, 32)), log_normal((32, 32))
    before = dbf.factorize(matrix, weights=weights)
    after = dbf.factorize(matrix, weights=weights, sweeps=5)
    assert after.certificate.error_bound < before.certificate.error_bound
    assert weighted_error(after, matrix, weights) == pytest.approx(after.certificate.error_bound, rel=1e-9)


def test_sampled_entries_and_operators_are_weighted():
    matrix, weights = kernel((512, 512), "float64"), log_normal((512, 512))
    sampled = dbf.entries(entries_of(matrix), matrix.shape, matrix.dtype, sampled=True)
    for source, counted in ((sampled, "entries"), (aslinearoperator(matrix), "products")):
        chain = dbf.Chain.chainable((512, 512), rank=4)
        fact = dbf.factorize(source, chain, orderings=BY_DISTANCE, weights=weights)
        assert fact.record["evaluated"][counted] < (matrix.size if counted == "entries" else 512)
        error = weighted_error(fact, matrix, weights)
        assert not fact.certificate.proven
        assert error == pytest.approx(fact.certificate.error_bound, rel=0.5)
        assert str(fact.certificate).endswith("estimated (relative weighted Frobenius norm)")
        assert dbf.verify(fact, source) == pytest.approx(error, rel=1e-6)
        estimate = dbf.verify(fact, source, samples=64)
        assert estimate == pytest.approx(error, rel=0.5)
        assert str(estimate).endswith("weighted)")
        assert not estimate.exact


@pytest.mark.slow
def test_hidden_orderings_are_found_in_a_weighted_matrix():
    matrix = np.asarray(dbf.matrices.shuffled(dbf.matrices.dft(64), seed=1))
    weights = log_normal((64, 64), spread=0.5)
    fact = dbf.factorize(matrix, orderings="identify", weights=weights)
    assert weighted_error(fact, matrix, weights) <= fact.certificate.error_bound < 1e-12


@pytest.mark.slow
def test_tiles_are_weighted_out_of_core(engine, tmp_path):
    shape = 127, 125
    matrix, weights = kernel(shape, "complex64"), log_normal(shape)
    place = str(tmp_path / "z.zarr")
    zarr.create_array(place, data=matrix, chunks=(30, 40))
    rng = np.random.default_rng(2)
    scattered = tuple(rng.permutation(size) for size in shape)
    for number, orderings in enumerate((BY_DISTANCE, scattered)):
        arguments = {"orderings": orderings, "weights": weights, "passes": 2}
        memory = memory_for(16, place, store="somewhere", **arguments)
        fact = dbf.factorize(place, store=tmp_path / f"{number}.zarr", memory=memory, **arguments, **engine)
        assert fact.record["plan"]["tasks"]["tiles"] > 4
        expected = dbf.factorize(matrix, tree=fact.tree, **arguments)
        assert np.allclose(fact.operator.to_dense(), expected.operator.to_dense(), atol=2e-5)
        assert weighted_error(fact, matrix, weights) <= fact.certificate.error_bound
        found = dbf.verify(tmp_path / f"{number}.zarr", place, memory=memory, **engine)
        assert found == pytest.approx(weighted_error(fact, matrix, weights), rel=1e-3)


class Failing:
    """Entry function that fails after so many blocks, unless it is mended."""

    def __init__(self, matrix, blocks):
        self.matrix, self.left = matrix, blocks

    def __repr__(self):
        return "kernel"

    def __call__(self, rows, cols):
        if rows.size * cols.size > 2048:  # a tile, and no sample
            self.left -= 1
        if self.left < 0:
            raise OSError("it is broken")
        return self.matrix[np.ix_(rows, cols)]


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_with_the_same_weights_only(tmp_path):
    matrix, weights = kernel((256, 256)), log_normal((256, 256))
    entry_function = Failing(matrix, 1)
    source = dbf.entries(entry_function, matrix.shape, matrix.dtype)
    memory = memory_for(16, source, orderings=BY_DISTANCE, weights=weights)
    arguments = {"orderings": BY_DISTANCE, "store": tmp_path / "run.zarr", "memory": memory, "workers": 1}
    with pytest.raises(dbf.errors.DButterflyError, match="it is broken"):
        dbf.factorize(source, weights=weights, **arguments)
    entry_function.left = 10**6
    for other, name in (
        (None, "weights.cols is [0-9a-f]{32}, not None; weights.rows is [0-9a-f]{32}, not None"),
        ((weights[0], None), "weights.cols is [0-9a-f]{32}, not None"),
        ((weights[0], weights[1][::-1]), "weights.cols is [0-9a-f]{32}, not [0-9a-f]{32}"),
    ):
        with pytest.raises(StoreMismatchError, match=rf"\({name}\); nothing was changed"):
            dbf.factorize(source, weights=other, **arguments)
    fact = dbf.factorize(source, weights=weights, **arguments)
    assert fact.record["stages"]["tiles"]["resumed"] > 0
    assert_same(fact, dbf.factorize(source, weights=weights, **{**arguments, "store": None}))
    again = dbf.factorize(source, weights=[side.tolist() for side in weights], **arguments)
    assert again.record["matrix_check"]
    assert_same(again, fact)
    with pytest.raises(StoreMismatchError, match=r"weights.cols is .*, not None"):
        dbf.factorize(source, weights=(weights[0], None), **arguments)


def test_a_run_without_weights_is_refused_to_one_with(tmp_path):
    matrix = random_matrix((16, 16))
    dbf.factorize(matrix, store=tmp_path / "run.zarr")
    with pytest.raises(StoreMismatchError, match=r"\(weights.rows is None, not [0-9a-f]{32}\)"):
        dbf.factorize(matrix, store=tmp_path / "run.zarr", weights=(np.arange(1, 17), None))


@pytest.mark.slow
def test_a_changed_matrix_is_recognised_under_weights(tmp_path):
    matrix, weights = kernel((64, 64)), log_normal((64, 64))
    place = str(tmp_path / "z.zarr")
    array = zarr.create_array(place, data=matrix, chunks=(16, 16))
    arguments = {"orderings": BY_DISTANCE, "store": tmp_path / "run.zarr", "weights": weights}
    fact = dbf.factorize(place, **arguments)
    again = dbf.factorize(place, **arguments)
    assert again.record["matrix_check"].startswith("nothing in its storage has changed")
    array[:16, :16] = array[:16, :16]
    again = dbf.factorize(place, **arguments)
    assert "are the same" in again.record["matrix_check"]
    assert_same(again, fact)
    array[3, 5] += 1
    with pytest.raises(StoreMismatchError, match="have other entries than were read"):
        dbf.factorize(place, **arguments)


@pytest.mark.slow
def test_weights_are_kept_with_the_factors(tmp_path):
    matrix, (rows, cols) = kernel((61, 64)), log_normal((61, 64))
    for name, weights in {"both": (rows, cols), "rows": (rows, None), "cols": (None, cols)}.items():
        fact = dbf.factorize(matrix, weights=weights, orderings=BY_DISTANCE, store=tmp_path / name)
        fact.save(tmp_path / f"{name} saved")
        others = [dbf.open(tmp_path / name), dbf.open(tmp_path / f"{name} saved"), pickle.loads(pickle.dumps(fact))]
        for other in others:
            assert_same(other, fact)
            for given, kept in zip(weights, other.weights.sides.values(), strict=True):
                assert given is kept is None or np.array_equal(given, kept)
            assert dbf.verify(other, matrix) == dbf.verify(fact, matrix)
        assert np.array_equal(dbf.ButterflyOperator.load(tmp_path / name).to_dense(), fact.operator.to_dense())
    plain = dbf.factorize(matrix, orderings=BY_DISTANCE)
    assert plain.weights is None
    assert dbf.verify(plain, matrix).weighted is False


@pytest.mark.slow
def test_damaged_weights_are_named(tmp_path):
    matrix, store = random_matrix((16, 16)), tmp_path / "run.zarr"
    dbf.factorize(matrix, store=store, weights=(np.arange(1, 17), None))
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        zarr.open_array(store / "weights" / "rows", mode="r+")[3] = 9.0
    with pytest.raises(CheckpointError, match="weights/rows is missing or damaged: it is not what the run has stored"):
        dbf.open(store)
    with pytest.raises(CheckpointError, match="weights/rows"):
        dbf.factorize(matrix, store=store, weights=(np.arange(1, 17), None))
    healed = dbf.factorize(matrix, store=store, weights=(np.arange(1, 17), None))
    assert np.array_equal(dbf.open(store).weights.rows, healed.weights.rows)


def test_every_account_of_a_result_says_that_it_is_weighted():
    matrix, weights = random_matrix((64, 64)), log_normal((64, 64))
    fact = dbf.factorize(matrix, rank=4, weights=weights, passes=2)
    certificate = fact.certificate
    assert certificate.weighted
    assert certificate.to_json()["weighted"] is True
    assert type(certificate).from_json(certificate.to_json()) == certificate
    assert str(certificate).endswith("(relative weighted Frobenius norm)")
    assert "weighted" in repr(fact)
    assert "of its weighted norm" in verdict_on(certificate).text
    assert "weighted Frobenius norm" in fact._repr_html_()
    assert str(fact.weights) in fact._repr_html_()
    assert "weighted error" in page(fact)
    assert "weights=Weights(rows=(64,), cols=(64,))" in fact.record["provenance"]["call"]
    assert "errors are those of the weighted matrix" in fact.record["plan_text"]
    assert fact.record["plan"]["weights"].startswith("rows by ")
    plain = dbf.factorize(matrix, rank=4)
    assert not plain.certificate.weighted
    assert "weighted" not in f"{plain} {plain.record['plan_text']} {verdict_on(plain.certificate)} {page(plain)}"


def test_a_zero_matrix_has_a_zero_weighted_error():
    fact = dbf.factorize(np.zeros((8, 8)), weights=(np.arange(1, 9), None))
    assert fact.certificate.error_bound == fact.certificate.norm == 0


@pytest.mark.slow
def test_commands_take_places_of_weights(tmp_path, monkeypatch, capsys):
    matrix, (rows, cols) = kernel((61, 64), "float64"), log_normal((61, 64))
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", matrix)
    np.save("rows.npy", rows)
    zarr.create_array("cols.zarr", data=cols)
    weights = ["--row-weights", "rows.npy", "--col-weights", "cols.zarr"]
    assert main(["plan", "z.npy", *weights]) == 0
    assert "errors are those of the weighted matrix" in capsys.readouterr().out
    assert main(["factorize", "z.npy", "run.zarr", "--tol", "0.01", "--quiet", *weights]) == 0
    assert "weighted Frobenius norm" in capsys.readouterr().out
    found = dbf.open("run.zarr")
    assert np.array_equal(found.weights.cols, cols)
    assert found.certificate.error_bound <= 0.01
    assert main(["verify", "run.zarr", "z.npy", "--json"]) == 0
    assert '"weighted": true' in capsys.readouterr().out
    assert main(["info", "run.zarr"]) == 0
    assert f"weights       {found.weights}" in capsys.readouterr().out
    for more, message in (
        (["--row-weights", "cols.zarr"], "weights: rows has 64 entries and the matrix 61 rows"),
        (["--col-weights", "z.npy"], "weights: cols has shape (61, 64); give a vector"),
        (["--col-weights", "nowhere.npy"], "'nowhere.npy' does not exist"),
    ):
        assert main(["factorize", "z.npy", "other.zarr", *more]) == 2
        assert message in capsys.readouterr().err


def test_bad_weights_are_refused_before_anything_is_read():
    def never(rows, cols):
        raise AssertionError("it was read")

    source = dbf.entries(never, (4, 4), np.float32)
    for weights, message in (
        ((np.ones(5), None), "weights: rows has 5 entries and the matrix 4 rows"),
        (([1, 1, 0, 1], None), "weights: rows has 0.0 at index 2"),
        ((None, [1, 1e30, 1, 1]), "columns by 1 to 1e\\+30 span so much that products with them leave the range of"),
    ):
        for function in (dbf.factorize, dbf.plan):
            with pytest.raises(InputError, match=message):
                function(source, weights=weights, tol=0.1)


def test_factors_that_leave_the_range_are_refused():
    found = dbf.factorize(np.ones((4, 4), np.float32))
    large = dataclasses.replace(found, ks_values=(found.ks_values[0] * np.float32(1e30), *found.ks_values[1:]))
    with pytest.raises(InputError, match="take the factors of this matrix out of the range of float32; raise the"):
        divide_by_weights(large, Weights([1, 1, 1, 1e-15]))
