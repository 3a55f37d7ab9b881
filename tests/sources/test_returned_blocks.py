"""What blocks and products must be: no masks, and the shapes and dtypes that were declared."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.axes import Axis, Tile

N = 16
VALUES = np.random.default_rng(0).standard_normal((N, N))
PERMUTED = tuple(np.random.default_rng(seed).permutation(N) for seed in (1, 2))


def dask_of(block, dtype, meta=None):
    plain = da.from_array(VALUES, chunks=4)
    return plain.map_blocks(block, dtype=dtype, meta=np.empty((0, 0), dtype) if meta is None else meta)


def only_first(block, other):
    return other if block[0, 0] == VALUES[0, 0] else block


LIES = {
    "masked block": (lambda b: np.ma.masked_less(b, 0), "f8", "a masked array; return filled"),
    "one masked block": (lambda b: only_first(b, np.ma.masked_less(b, 0)), "f8", "a masked array"),
    "float for bool": (lambda b: b, "?", "dtype float64, which does not cast to dtype=bool"),
    "negative for unsigned": (lambda b: (100 * b).astype("i8"), "u1", "dtype int64, which does not cast"),
    "too large for its size": (lambda b: (1e6 * b).astype("i8"), "i1", "dtype int64 and entries such as"),
    "float for integer": (lambda b: b, "i8", "dtype float64, which does not cast"),
    "complex for real": (lambda b: b + 1j, "f8", "dtype complex128, which does not cast"),
    "double for half": (lambda b: b, "f2", r"dtype float64 and entries such as .* dtype=float16 does not hold"),
    "too large for single": (
        lambda b: b * 1e300,
        "f4",
        r"dtype float64 and entries such as .*e\+\d+, which dtype=float32",
    ),
    "sparse": (scipy.sparse.csr_array, "f8", "a sparse array; return a dense one"),
    "text": (lambda b: b.astype("U8"), "f8", "dtype <U8, which does not cast"),
    "times": (lambda b: b.astype("M8[s]"), "f8", "dtype datetime64.*, which does not cast"),
    "one block of another dtype": (lambda b: only_first(b, (9 * b).astype("i4")), "i4", "dtype float64"),
    "first block that would cut others": (lambda b: only_first(b, b.astype("i1")), "i1", "dtype float64"),
    "block too small": (lambda b: only_first(b, b[:1]), "f8", r"shape \(1, 4\); \(4, 4\) is needed"),
    "block too large": (lambda b: only_first(b, np.tile(b, 2)), "f8", r"shape \(4, 8\); \(4, 4\) is needed"),
}


@pytest.mark.parametrize("orderings", [None, PERMUTED, (None, PERMUTED[1])], ids=["in order", "permuted", "columns"])
@pytest.mark.parametrize("lie", LIES)
def test_blocks_of_dask_arrays_that_are_not_as_declared_are_refused(lie, orderings):
    block, dtype, named = LIES[lie]
    source = as_source(dask_of(block, dtype))
    rows, cols = (None, None) if orderings is None else orderings
    axes = Axis(N, 4, False, index=rows, edges=source.edges[0]), Axis(N, 4, False, index=cols, edges=source.edges[1])
    with pytest.raises(SourceError, match=rf"dask array .*block .* came back with {named}"):
        source.read(*axes, Tile(0, 4, 0, 4))
    with pytest.raises(SourceError, match=named):
        source.read_range(slice(0, N), slice(0, N))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "dtype"),
    [
        (lambda b: b.astype("f4"), "f8"),
        (lambda b: (9 * b).astype("i1"), "i8"),
        (lambda b: b > 0, "f4"),
        (lambda b: (b > 0).astype("i8"), "i1"),
        (lambda b: b.astype(">f8"), "f8"),
        (lambda b: b, "c16"),
        (lambda b: only_first(b, b.astype("f4")), "f8"),
    ],
)
def test_blocks_that_cast_keep_their_entries_in_any_order(block, dtype):
    expected = np.block([[block(VALUES[i : i + 4, j : j + 4]) for j in range(0, N, 4)] for i in range(0, N, 4)])
    source = as_source(dask_of(block, dtype))
    found = source.read_range(slice(0, N), slice(0, N))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, expected)
    for orderings in (None, PERMUTED):
        fact = dbf.factorize(dask_of(block, dtype), orderings=orderings, passes=2)
        error = np.linalg.norm(fact.operator.to_dense() - expected) / np.linalg.norm(expected)
        assert error <= fact.certificate.error_bound * (1 + 1e-5)


def test_dask_arrays_that_say_they_are_masked_are_refused_at_once():
    with pytest.raises(SourceError, match=r"Dask array is masked; pass dask\.array\.ma\.filled"):
        as_source(da.ma.masked_less(da.from_array(VALUES, chunks=4), 0))


class Declared(MatrixSource):
    """Any source: what it returns is checked by the one place that all of them share."""

    name, shape, dtype = "mine", (N, N), np.dtype("u1")

    def __init__(self, give):
        self.give = give

    def fingerprint(self):
        return {}

    def read_block(self, rows, cols):
        return self.give(VALUES[rows, cols])


@pytest.mark.parametrize("tile", [Tile(0, 4, 0, 4), Tile(1, 2, 0, 4)])
def test_any_source_is_held_to_what_it_declares(tile):
    orders = [Axis(N, 4, False), Axis(N, 4, False, index=PERMUTED[0])]
    for give, named in (
        (lambda b: np.ma.masked_less(b.astype("u1"), 3), "a masked array"),
        (lambda b: b, "dtype float64, which does not cast to dtype=uint8"),
        (lambda b: b[:, :-1].astype("u1"), "shape"),
    ):
        for rows in orders:
            for cols in orders:
                with pytest.raises(SourceError, match=rf"mine: rows .* came back with {named}"):
                    Declared(give).read(rows, cols, tile)
