"""Weights as callers give them: vectors of positive numbers, or an error that names what is wrong and the remedy."""

import numpy as np
import pytest
import xarray
import zarr

from dbutterfly.errors import InputError
from dbutterfly.structure.weights import Weights, read_weights


def test_vectors_of_every_kind_are_read():
    expected = np.array([1.0, 2.0, 0.5])
    array = zarr.create_array(zarr.storage.MemoryStore(), data=expected.astype("f4"))
    for given in (expected, [1, 2, 0.5], array, xarray.DataArray(expected, dims="row"), expected.astype(np.float16)):
        found = read_weights("weights", (given, None))
        assert np.array_equal(found.rows, expected)
        assert (found.rows.dtype, found.cols) == (np.float64, None)
        assert not found.rows.flags.writeable
    assert (repr(found), str(found)) == ("Weights(rows=(3,), cols=None)", "rows by 0.5 to 2")
    assert read_weights("weights", found) is found
    assert read_weights("weights", None) is read_weights("weights", [None, None]) is None


def test_what_was_given_may_be_changed_afterwards():
    given = np.ones(3)
    found = Weights(given)
    given[0] = -1
    assert found.rows.min() == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((3, 4)), r"weights=.* is no pair \(rows, cols\) of vectors .* a side without weights is None"),
        ("rows", "is no pair"),
        ((np.ones(3),) * 3, "is no pair"),
        (([1.0, 0.0, -1.0], None), "weights: rows has 0.0 at index 1; weights are positive and finite: give a small"),
        ((None, [1.0, 2.0, -1.0]), r"weights: cols has -1.0 at index 2"),
        ((None, [np.nan, 1.0, 1.0]), "weights: cols has nan at index 0"),
        (([1.0, np.inf, 1.0], None), "weights: rows has inf at index 1"),
        (([1.0, np.longdouble("1e400")], None), "weights: rows has inf at index 1"),
        ((np.ones(3) * 1j, None), "weights: rows has dtype complex128; weights are positive real numbers, such as mod"),
        ((np.ones(3, bool), None), "weights: rows has dtype bool"),
        ((["a", "b"], None), "weights: rows has dtype <U1"),
        ((np.ones((3, 1)), None), r"weights: rows has shape \(3, 1\); give a vector"),
        ((np.diag([1.0, 2.0]), None), r"weights: rows has shape \(2, 2\); give a vector"),
        ((2.0, None), r"weights: rows has shape \(\); give a vector"),
        (([], None), r"weights: rows has shape \(0,\)"),
        ((np.ma.masked_equal([1.0, 2.0], 2.0), None), "weights: rows is a masked array"),
    ],
)
def test_anything_else_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        read_weights("weights", given)


def test_scaled_weights_are_multiples_of_a_power_of_two():
    rng = np.random.default_rng(0)
    rows, cols = np.exp(50 * rng.standard_normal(40)), np.exp(rng.standard_normal(30) - 600)
    found = Weights(rows, cols).scaled(np.dtype(np.complex128))
    for side, scaled in zip((rows, cols), found, strict=True):
        power = side / scaled
        assert np.array_equal(power, np.full(side.size, power[0]))
        assert np.frexp(power[0])[0] == 0.5
        assert 0.5 <= scaled.max() < 1
    assert Weights(rows).scaled(np.dtype(np.complex64))[0].dtype == np.float32
    norm = Weights(rows, cols).unscale(float(np.linalg.norm(np.outer(*found))))
    assert norm == pytest.approx(np.linalg.norm(rows) * np.linalg.norm(cols))
    assert Weights([1e300], [1e300]).unscale(1.0) == np.inf


def test_a_span_that_leaves_the_range_of_the_dtype_is_refused():
    shape, single, double = (2, 2), np.dtype(np.complex64), np.dtype(np.float64)
    Weights([1.0, 2.0**30], [2.0**-30, 1.0]).validate(shape, single)
    Weights([1.0, 2.0**300], [2.0**-200, 1.0]).validate(shape, double)
    with pytest.raises(InputError, match=r"rows by 1 to 1.07e\+09, columns by 4.66e-10 to 2 span so much .* complex64"):
        Weights([1.0, 2.0**30], [2.0**-31, 2.0]).validate(shape, single)
    with pytest.raises(InputError, match=r"of float32.* raise the smallest ones, or convert the matrix to double"):
        Weights([1.0, 1e19]).validate(shape, np.dtype(np.float32))
    with pytest.raises(InputError, match=r"range of float64.*; raise the smallest ones$"):
        Weights([1e-200, 1.0], [1.0, 1e200]).validate(shape, double)


@pytest.mark.parametrize(("sides", "name"), [((np.ones(4), None), "rows"), ((None, np.ones(2)), "cols")])
def test_another_length_is_refused(sides, name):
    with pytest.raises(InputError, match=f"weights: {name} has . entries and the matrix 3 {name}; give one for each"):
        Weights(*sides).validate((3, 3), np.dtype(np.float64))
