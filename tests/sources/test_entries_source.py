import itertools

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.entries import Entries
from dbutterfly.sources.entries_source import check_reproducible


def waves(rows, cols):
    return np.exp(1j * (rows[:, None] * 1e-3 * cols))


def random_numbers():
    rng = np.random.default_rng(0)
    return lambda rows, cols: rng.standard_normal((rows.size, cols.size))


def a_clock():
    ticks = itertools.count()
    return lambda rows, cols: rows[:, None] + cols + 1e-6 * next(ticks)


def shape_dependent(rows, cols):
    return (rows[:, None] + cols) / rows.size


def width_dependent(rows, cols):
    return rows[:, None] + cols - cols.mean()


def order_dependent(rows, cols):
    return rows[:, None] + cols + np.arange(cols.size)


def sometimes_nan():
    ticks = itertools.count()
    return lambda rows, cols: np.where(rows[:, None] == rows[0], np.nan if next(ticks) else 1.0, cols)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (8, 8), (1 << 40, 1 << 20)])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_a_function_of_its_indices_passes(shape, dtype):
    check_reproducible(Entries(waves, shape, dtype))


def test_rounding_of_a_product_passes():
    left, right = np.random.default_rng(0).standard_normal((2, 50, 300))
    for dtype in ("float32", "float64"):
        factors = left.astype(dtype), right.astype(dtype)
        check_reproducible(Entries(lambda i, j, f=factors: f[0][i] @ f[1][j].T, (50, 50), dtype))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e308, 1e-320])
def test_values_of_every_kind_pass_if_they_stay(value):
    check_reproducible(Entries(lambda i, j: np.full((i.size, j.size), value), (20, 20), np.float64))


@pytest.mark.parametrize(
    "f",
    [random_numbers(), a_clock(), shape_dependent, width_dependent, order_dependent, sometimes_nan()],
    ids=["random", "time", "height", "width", "order", "nan"],
)
def test_what_changes_is_named(f):
    with pytest.raises(SourceError, match="same value for the same indices each time") as caught:
        check_reproducible(Entries(f, (100, 100), np.float64))
    message = str(caught.value)
    assert "gave" in message
    assert "entry at index (" in message
    assert "asked for it again" in message


def test_both_values_are_told():
    values = iter([1.5, 2.5])
    with pytest.raises(SourceError, match=r"gave 1\.5 for the entry at index \(0, 0\) and 2\.5 when"):
        check_reproducible(Entries(lambda *_: np.array([[next(values)]]), (1, 1), np.float64))


def test_few_entries_are_asked_for():
    asked = []

    def f(rows, cols):
        asked.append(rows.size * cols.size)
        return rows[:, None] + cols

    check_reproducible(Entries(f, (1000, 1000), np.float64))
    assert sum(asked) == 4 * 64


def test_sources_offer_it():
    as_source(np.zeros((4, 4))).check_reproducible()
    as_source(dbf.entries(waves, (64, 64), "complex128")).check_reproducible()
    with pytest.raises(SourceError, match="same value"):
        as_source(dbf.entries(random_numbers(), (64, 64), "float64", sampled=True)).check_reproducible()


def test_function_that_returns_one_array_each_time_is_found_out():
    buffer = np.empty((64, 64))

    def into_buffer(i, j):
        out = buffer[: i.size, : j.size]
        np.cos(i[:, None] * j, out=out)
        return out

    with pytest.raises(SourceError, match="let it return a copy"):
        dbf.factorize(dbf.entries(into_buffer, (64, 64), np.float64))
    stored = np.cos(np.outer(np.arange(64), np.arange(64)))
    views = dbf.entries(lambda i, j: stored[np.ix_(i, j)], (64, 64), np.float64)
    assert dbf.factorize(views).certificate.error_bound > 0
