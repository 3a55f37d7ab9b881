"""Matrices read panel by panel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.errors import NonFiniteError
from dbutterfly.execution.choose import choose_engine
from dbutterfly.identification.panels.passes import Passes, gather, labels_of, panel_ranges
from dbutterfly.sources.dispatch import as_source


def passes_over(z, use, workers=2, panel_bytes=1 << 12):
    source = as_source(z)
    dtype = np.dtype(np.complex64 if source.dtype.kind == "c" else np.float32)
    with choose_engine(None, workers).calls(source, "passes") as calls:
        return use(Passes(calls, source.shape, source.edges, dtype, panel_bytes))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 120))
def test_panels_are_chunks_where_these_fit(chunks, height):
    edges = np.concatenate([[0], np.cumsum(chunks)])
    size = int(edges[-1])
    for grid in (edges, None):
        ranges = panel_ranges(size, grid, height)
        assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
        assert ranges[-1][1] == size
        assert all(0 < last - first <= height for first, last in ranges)
    inside = {bound for bound, _ in panel_ranges(size, edges, height)} - set(edges.tolist())
    for bound in inside:
        chunk = int(np.searchsorted(edges, bound)) - 1
        assert chunks[chunk] > height
    if max(chunks) <= height:  # no two neighbours would fit together
        joined = itertools.pairwise(panel_ranges(size, edges, height))
        for (first, _), (middle, _) in joined:
            following = edges[np.searchsorted(edges, middle) + 1]
            assert following - first > height


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int32", "bool"])
def test_a_sample_holds_rows_columns_and_moments(dtype):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((40, 30))
    z = (z + 1j * rng.standard_normal(z.shape) if np.dtype(dtype).kind == "c" else 2 * z).astype(dtype)
    rows, cols = np.array([3, 4, 39]), np.array([0, 29])
    scaled, sample = passes_over(z, lambda passes: passes.sample(rows, cols))
    assert scaled.scale == 1
    np.testing.assert_array_equal(sample.rows, z[rows].astype(sample.rows.dtype))
    np.testing.assert_array_equal(sample.cols, z[:, cols].T.astype(sample.rows.dtype))
    squares = np.abs(z.astype(np.result_type(z, np.float32))) ** 2.0
    assert sample.energy == pytest.approx(float(squares.sum()), rel=1e-6)
    assert sample.flatness == pytest.approx(float((squares**2).mean() / squares.mean() ** 2), rel=1e-6)
    assert sample.T.rows is sample.cols


@pytest.mark.parametrize("magnitude", [1e-200, 1e-30, 1e30, 1e200])
def test_entries_of_any_magnitude_are_scaled(magnitude):
    z = np.random.default_rng(0).standard_normal((16, 8))
    scaled, sample = passes_over(z * magnitude, lambda passes: passes.sample(np.arange(16), np.arange(2)))
    factor = scaled.scale * magnitude
    assert 0.1 < factor < 1
    np.testing.assert_allclose(sample.rows, z * factor, rtol=1e-6)
    assert sample.energy == pytest.approx(np.sum((z * factor) ** 2), rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("turned", [False, True])
def test_an_entry_that_is_not_finite_is_named(value, turned):
    z = np.ones((40, 30))
    z[33, 7] = value
    rows, cols = np.arange(2), np.arange(3)
    with pytest.raises(NonFiniteError, match=r"\(33, 7\)"):
        passes_over(z, lambda passes: (passes.T if turned else passes).sample(rows, cols))


def test_results_do_not_depend_on_panels():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((48, 32))
    order, basis = rng.permutation(32), rng.standard_normal((4, 8, 6)).astype(np.float32)

    def both(passes):
        landmarks = z[:5, order].astype(np.float32)
        return passes.fit(order, basis, 6), passes.similarity(order, landmarks, 4, 1.0)

    (one, alike), (other, also) = (passes_over(z, both, panel_bytes=size) for size in (1 << 20, 1 << 9))
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_allclose(one.products, other.products, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alike, also, rtol=1e-5)
    assert (np.bincount(labels_of(one.order, 6)) == 8).all()


def test_rows_are_gathered_group_by_group():
    rows = np.arange(1.0, 6)[:, None] * np.ones(3)
    even = gather(rows, np.array([2, 0, 2, 2, 0]), 3)
    np.testing.assert_array_equal(even[:, 0], [2, 5, 0, 0, 0, 0, 1, 3, 4])
