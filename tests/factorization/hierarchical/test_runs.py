"""Hierarchical runs from the caller's side: sources, tolerances, symmetry, the choice of the form, and bad input."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import FitWarning, InputError, MemoryBudgetError, NonFiniteError, ToleranceWarning
from dbutterfly.sources import magnitude
from tests.support.comparisons import least_memory
from tests.support.hierarchical_runs import (
    ASKED,
    assert_same_blocks,
    draw_points,
    error_of,
    make_covariance,
    make_entries,
)

POINTS = draw_points()
BOTH = (POINTS, POINTS)


@pytest.fixture(scope="module")
def matrix():
    return make_covariance(POINTS)


@pytest.mark.parametrize("shape", [(1, 300), (5, 5), (30, 3)])
@pytest.mark.parametrize("has_points", [False, True])
def test_no_cluster_is_empty_however_small_leaves_are(shape, has_points):
    matrix = np.random.default_rng(0).random(shape)
    points = tuple(np.sort(np.random.default_rng(1).random(size)) for size in shape) if has_points else None
    found = dbf.factorize(matrix, tol=1e-3, form="hierarchical", leaf=1, points=points)
    assert np.linalg.norm(found.operator.to_dense() - matrix) <= 1e-3 * np.linalg.norm(matrix)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_a_tolerance_is_kept_and_used(dimension, tol):
    points = draw_points(dimension)
    matrix = make_covariance(points)
    found = dbf.factorize(matrix, points=(points, points), **{**ASKED, "tol": tol})
    error = error_of(found, matrix)
    assert error <= found.certificate.error_bound <= tol
    assert found.certificate.lower_bound <= error * (1 + 1e-6) + 1e-14
    assert found.certificate.norm == pytest.approx(np.linalg.norm(matrix))
    assert dimension == 1 or error > tol / 3
    assert sum(block.nnz for block in found.blocks) < matrix.size
    energies, errors = found.table[:, 0].sum(), found.table[:, 1].sum()
    assert energies == pytest.approx(np.linalg.norm(matrix) ** 2)
    assert np.sqrt(errors / energies) == pytest.approx(error, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_one_half_of_a_symmetric_matrix_is_kept(dtype):
    matrix = make_covariance(POINTS, dtype)
    asked = {**ASKED, "memory": "1 MiB"}
    whole = dbf.factorize(matrix, points=BOTH, **asked)
    found = dbf.factorize(matrix, points=BOTH, symmetric=True, **asked)
    assert found.symmetry == ("hermitian" if dtype == "complex128" else "symmetric")
    assert found.dtype == np.dtype(dtype)
    assert error_of(found, matrix) <= found.certificate.error_bound <= ASKED["tol"]
    assert found.certificate.norm == pytest.approx(whole.certificate.norm, rel=1e-6)
    assert all(block.rows[0] >= block.cols[0] for block in found.blocks)
    assert found.record["plan"]["bytes_read"] < 0.7 * whole.record["plan"]["bytes_read"]
    assert sum(block.nnz for block in found.blocks) < 0.75 * sum(block.nnz for block in whole.blocks)
    twice = np.array([1 + (block.rows != block.cols) for block in found.blocks])
    assert np.sqrt(twice @ found.table[:, 0]) == pytest.approx(found.certificate.norm)
    assert np.sqrt(twice @ found.table[:, 1]) <= found.certificate.error_bound * found.certificate.norm


def test_what_is_not_symmetric_is_refused(matrix):
    with pytest.raises(InputError, match=r"symmetric=True: array has .* leave symmetric out"):
        dbf.factorize(np.triu(matrix), points=BOTH, symmetric=True, **ASKED)
    with pytest.raises(InputError, match="the same points"):
        dbf.factorize(matrix, points=(POINTS, POINTS + 1), symmetric=True, **ASKED)
    with pytest.raises(InputError, match="square"):
        dbf.factorize(matrix[:200], points=(POINTS[:200], POINTS), symmetric=True, **ASKED)


def test_entry_functions_are_evaluated_in_full(matrix):
    expected = dbf.factorize(matrix, points=BOTH, **ASKED)
    assert_same_blocks(dbf.factorize(make_entries(POINTS), points=BOTH, **ASKED), expected)
    found = dbf.factorize(make_entries(POINTS, sampled=True), points=BOTH, **ASKED)  # samples would be no fewer
    assert "samples would be no fewer entries" in found.record["plan_text"]
    assert found.certificate.proven
    assert error_of(found, matrix) <= ASKED["tol"]


@pytest.mark.slow
def test_entry_functions_are_evaluated_in_part():
    points, asked = draw_points(2, 1100), {**ASKED, "tol": 1e-2}
    matrix, evaluated = make_covariance(points), []
    for symmetric in (False, True):
        source = make_entries(points, sampled=True)
        found = dbf.factorize(source, points=(points, points), symmetric=symmetric, **asked)
        assert found.certificate.lower_bound == 0
        error = error_of(found, matrix)
        assert abs(error - found.certificate.error_bound) <= 4 * found.certificate.deviation
        assert error <= 1.02 * asked["tol"]
        evaluated.append(found.record["evaluated"]["entries"])
    assert 0 < evaluated[1] < evaluated[0] < matrix.size


def test_without_points_clusters_are_those_of_the_order_as_stored():
    at = np.linspace(0, 1, 300)
    matrix = 1 / (np.abs(at[:, None] - at) + 0.01)
    found = dbf.factorize(matrix, tol=1e-6, form="hierarchical", leaf=20)
    assert found.row_order is None
    assert error_of(found, matrix) <= 1e-6
    assert sum(block.nnz for block in found.blocks) < matrix.size / 3
    by_rank = dbf.factorize(matrix, rank=3, form="hierarchical", leaf=20)
    assert {block.rank for block in by_rank.blocks if block.kind == "low rank"} == {3}
    assert by_rank.certificate.error_bound == pytest.approx(error_of(by_rank, matrix), rel=1e-6)


def test_a_rectangular_matrix_of_two_sets_of_points_with_a_coordinate_that_wraps():
    rng = np.random.default_rng(0)
    angles, others = rng.random(230) * 360, rng.random(310) * 360
    apart = np.radians(angles[:, None] - others)
    matrix = np.exp(-np.abs(np.sin(apart / 2)))
    points = dbf.Points(angles, others, period=360)
    found = dbf.factorize(matrix, points=points, **ASKED)
    assert error_of(found, matrix) <= ASKED["tol"]
    assert sum(block.nnz for block in found.blocks) < matrix.size / 3


def test_points_that_coincide_are_no_hindrance():
    points = np.repeat(POINTS[:40], 8, axis=0)
    matrix = make_covariance(points)
    found = dbf.factorize(matrix, points=(points, points), **ASKED)
    assert error_of(found, matrix) <= ASKED["tol"]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_matrix_whose_squares_leave_the_range_is_scaled(scale):
    matrix = make_covariance(POINTS, "float32")
    found = dbf.factorize(matrix * np.float32(scale), points=BOTH, **ASKED)
    plain = dbf.factorize(matrix, points=BOTH, **ASKED)
    assert found.certificate.error_bound == pytest.approx(plain.certificate.error_bound, rel=0.2)
    assert found.certificate.norm == pytest.approx(scale * plain.certificate.norm, rel=1e-5)
    assert np.abs(dense_error(found, matrix, scale)) <= 1.01 * ASKED["tol"]


def test_bounds_hold_where_entries_of_products_are_subnormal():
    matrix = make_covariance(POINTS, "float32") * np.float32(2e-43)
    with pytest.warns(ToleranceWarning, match="was not reached"):
        found = dbf.factorize(matrix, points=BOTH, check_fit=False, **{**ASKED, "tol": 1e-2})
    certificate, error = found.certificate, error_of(found, matrix)
    assert 1e-2 < error <= certificate.error_bound
    assert certificate.lower_bound <= error
    assert np.sqrt(found.table[:, 1].sum()) == pytest.approx(certificate.error_bound * certificate.norm, rel=1e-3)


@pytest.mark.parametrize("chunks", [None, (32, 64)])
def test_a_run_that_meets_a_huge_entry_begins_again(tmp_path, monkeypatch, chunks):
    """Samples have missed it, before the run and in its plan."""
    monkeypatch.setattr(magnitude, "exponent_of", lambda _: 0)
    matrix = make_covariance(POINTS, "float32")
    matrix[101, 17] = 1e30
    source, store = matrix, None
    if chunks is not None:
        source, store = tmp_path / "z.zarr", tmp_path / "run"
        dbf.matrices.write(matrix, source, chunks=chunks)
    found = dbf.factorize(source, points=BOTH, store=store, **ASKED)
    assert found.record["exponent"] == 100
    assert found.certificate.norm == pytest.approx(1e30)
    vector = np.zeros(matrix.shape[1], np.float32)
    vector[17] = 1
    assert (found.operator @ vector)[101] == np.float32(1e30)
    if store is not None:
        assert dbf.factorize(source, points=BOTH, store=store, **ASKED).certificate == found.certificate


def dense_error(found, matrix, scale):
    """Relative error of a result for a matrix that was multiplied by a number."""
    shrunk = type(found)(**{**vars_of(found), "blocks": tuple(shrink(block, scale) for block in found.blocks)})
    return error_of(shrunk, matrix)


def vars_of(found):
    names = ("blocks", "shape", "dtype", "row_order", "col_order", "symmetry", "certificate", "table", "record")
    return {name: getattr(found, name) for name in names}


def shrink(block, scale):
    """Block in double precision, divided by a number."""
    values = [each.astype(np.float64) for each in block.ks_values]
    return type(block)(block.rows, block.cols, tuple([values[0] / scale, *values[1:]] if values else ()))


# ---------------------------------------------------------------- which form


def test_the_form_with_fewer_values_is_taken():
    points = draw_points(2, 192)
    matrix, both = make_covariance(points), (points, points)
    assert isinstance(dbf.plan(matrix, points=both, tol=1e-3, leaf=16), dbf.HierarchicalPlan)
    assert isinstance(dbf.plan(matrix, points=both, tol=1e-2), dbf.Plan)  # all of it is of low rank
    assert isinstance(dbf.plan(matrix, points=both, tol=1e-2, form="hierarchical"), dbf.HierarchicalPlan)
    assert isinstance(dbf.plan(matrix, points=both, rank=2), dbf.Plan)  # without a tolerance, there is no choice
    assert isinstance(dbf.plan(matrix, points=(points, None), tol=0.5), dbf.Plan)


def test_an_oscillatory_kernel_stays_a_butterfly():
    rng = np.random.default_rng(0)
    times, frequencies = rng.random(128), 128 * rng.random(128)
    waves = np.exp(-2j * np.pi * np.outer(times, frequencies))
    found = dbf.factorize(waves, points=(times, frequencies), tol=1e-2)
    assert isinstance(found, dbf.Factorization)
    assert found.certificate.error_bound <= 1e-2


def test_a_store_keeps_the_form_that_was_chosen(tmp_path, monkeypatch):
    points = draw_points(2, 192)
    matrix, asked = make_covariance(points), {"points": (points, points), "tol": 1e-3, "store": tmp_path / "run"}
    found = dbf.factorize(matrix, leaf=16, **asked)
    monkeypatch.setattr("dbutterfly.factorization.hierarchical.planning.look_at_blocks", None)  # nothing is compared
    assert_same_blocks(found, dbf.factorize(matrix, leaf=16, **asked))
    with pytest.raises(dbf.errors.StoreMismatchError):
        dbf.factorize(matrix, form="butterfly", **asked)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"passes": 2}, "passes=2 is not for"),
        ({"chain": "monarch"}, "chain='monarch' is not for"),
        ({"tree": "left"}, "tree='left' is not for"),
        ({"sweeps": 1}, "sweeps=1 is not for"),
        ({"prove": True}, "prove=True is not for"),
        ({"confirm": "full"}, "confirm='full' is not for"),
        ({"orderings": ("bitreversal", None), "points": None}, "is not for"),
        ({"weights": (np.ones(320), None)}, "weights=.* is not for"),
        ({"rank": 2}, "finds the ranks; leave rank out"),
        ({"eta": 0}, "eta=0 is no ratio"),
        ({"leaf": 0}, "leaf=0"),
        ({"form": "tree"}, "form='tree' is unknown"),
        ({"form": "butterfly", "eta": 2}, "eta=2.0 is for form="),
        ({"form": None, "leaf": None, "points": None, "symmetric": True}, "symmetric=True is for form="),
        ({"points": (POINTS[:-1], POINTS)}, "319 points"),
        ({"points": (np.full((320, 2), np.nan), POINTS)}, "has nan in point 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(matrix, arguments, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(matrix, **{"points": BOTH, **ASKED, **arguments})


def test_what_has_no_entries_or_is_several_is_refused(matrix):
    from scipy.sparse.linalg import aslinearoperator

    with pytest.raises(InputError, match="needs entries"):
        dbf.factorize(aslinearoperator(matrix), points=BOTH, **ASKED)
    with pytest.raises(InputError, match="for one matrix"):
        dbf.factorize(np.stack([matrix, matrix]), form="hierarchical", tol=1e-3)


def test_what_is_not_finite_is_named(matrix):
    broken = matrix.copy()
    broken[7, 300] = np.inf
    with pytest.raises(NonFiniteError, match=r"\(7, 300\)"):
        dbf.factorize(broken, points=BOTH, **ASKED)


def test_too_little_memory_is_said_with_what_would_do(matrix):
    asked = {name: value for name, value in ASKED.items() if name != "memory"}
    enough = least_memory(matrix, points=BOTH, **asked)
    with pytest.raises(MemoryBudgetError, match="smaller leaf"):
        dbf.factorize(matrix, points=BOTH, memory=enough - 1, **asked)
    assert dbf.plan(matrix, points=BOTH, **{**ASKED, "memory": enough}).peak_bytes <= enough


def test_a_matrix_without_structure_is_said_to_be_no_smaller_than_dense():
    noise = np.random.default_rng(0).standard_normal((320, 320))
    with pytest.warns(FitWarning, match="no smaller than dense"):
        found = dbf.factorize(noise, points=BOTH, **ASKED)
    assert error_of(found, noise) == 0
