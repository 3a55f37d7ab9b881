"""Matrices whose sides no short digits divide, from every source: the chain is longer, and nothing else changes."""

import dask.array
import numpy as np
import pytest
import zarr
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import ChainError, InputError, NonFiniteError
from tests.support.comparisons import DTYPES, assert_same, dense_error
from tests.support.odd_sizes import BY_DISTANCE, entries_of, kernel

SHAPE = (61, 127)


def in_zarr(matrix, directory, chunks=(16, 32)):
    array = zarr.create_array(directory / "z.zarr", shape=matrix.shape, chunks=chunks, dtype=matrix.dtype)
    array[...] = matrix
    return str(directory / "z.zarr")


def sources(matrix, directory):
    return {
        "array": matrix,
        "columns first": np.asfortranarray(matrix),
        "zarr": in_zarr(matrix, directory),
        "dask": dask.array.from_array(matrix, chunks=(20, 50)),
        "entries": dbf.entries(entries_of(matrix), matrix.shape, matrix.dtype),
        "operator": aslinearoperator(matrix),
    }


@pytest.mark.slow
@pytest.mark.parametrize("orderings", [(None, None), BY_DISTANCE, (None, "bitreversal"), ("bitreversal",) * 2])
def test_every_source_gives_the_factors_of_the_padded_matrix(orderings, tmp_path):
    """Which are also those of an array into which the zeros were put by hand."""
    matrix = kernel(SHAPE)
    chain = dbf.Chain.chainable(SHAPE, rank=2)
    by_hand = np.zeros(chain.shape, matrix.dtype)
    places = [np.arange(size) * length // size for size, length in zip(SHAPE, chain.shape, strict=True)]
    by_hand[np.ix_(*places)] = matrix
    expected = dbf.factorize(by_hand, chain, orderings=orderings)
    for name, source in sources(matrix, tmp_path).items():
        fact = dbf.factorize(source, chain, orderings=orderings, workers=2)
        assert fact.shape == fact.operator.shape == SHAPE, name
        if name == "operator":  # known by products
            continue
        assert fact.certificate.error_bound == pytest.approx(expected.certificate.error_bound, rel=1e-9), name
        assert np.allclose(fact.operator.to_dense(), expected.operator.to_dense()[np.ix_(*places)], atol=1e-9), name
        assert dense_error(fact, matrix) <= fact.certificate.error_bound, name
        assert float(dbf.verify(fact, source)) == pytest.approx(dense_error(fact, matrix), rel=1e-6), name


@pytest.mark.parametrize("shape", [(1, 13), (13, 1), (2, 3), (13, 13), (31, 37), (97, 64), (211, 23)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_certificates_hold_for_every_size_and_dtype(shape, dtype):
    matrix = kernel(shape, dtype)
    for passes in (1, 2):
        fact = dbf.factorize(matrix, orderings=BY_DISTANCE, passes=passes)
        error = dense_error(fact, matrix)
        assert fact.dtype == matrix.dtype
        assert fact.certificate.lower_bound <= error * (1 + 1e-6) + 1e-6
        assert error <= fact.certificate.error_bound
        if fact.certificate.exact:
            assert error == pytest.approx(fact.certificate.error_bound, rel=1e-3, abs=1e-5)


def test_the_gaps_of_the_factors_are_zeros():
    matrix = kernel((61, 61))
    fact = dbf.factorize(matrix, rank=2, orderings=BY_DISTANCE)
    assert fact.chain.shape != matrix.shape
    product = dbf.ButterflyOperator(fact.ks_values).to_dense()
    assert not product[fact.orderings.rows == -1].any()
    assert not product[:, fact.orderings.cols == -1].any()
    assert fact.operator.norm() == pytest.approx(np.linalg.norm(fact.operator.to_dense()))


def test_a_tolerance_is_kept_with_as_few_values_as_for_the_next_power_of_two():
    found = {}
    for size in (251, 256):
        matrix = kernel((size, size))
        fact = dbf.factorize(matrix, tol=1e-4, orderings=BY_DISTANCE)
        assert dense_error(fact, matrix) <= fact.certificate.error_bound <= 1e-4
        found[size] = fact.compression
    assert found[251] >= 0.9 * found[256]


@pytest.mark.parametrize("form", ["with gaps", "without"])
def test_index_arrays_say_where_gaps_are(form):
    """Whether they name the gaps or leave them to be spread: the same as a name stands for, once it is written out."""
    matrix = kernel((61, 61))
    fact = dbf.factorize(matrix, orderings=BY_DISTANCE)
    rng = np.random.default_rng(0)
    rows, cols = rng.permutation(61), rng.permutation(61)
    shuffled = np.empty_like(matrix)
    shuffled[np.ix_(rows, cols)] = matrix
    sides = [fact.orderings.rows, fact.orderings.cols]
    if form == "with gaps":
        sides = [np.where(side < 0, -1, order[side]) for side, order in zip(sides, (rows, cols), strict=True)]
        again = dbf.factorize(shuffled, fact.chain, orderings=sides)
        assert again.certificate.error_bound == pytest.approx(fact.certificate.error_bound)
        assert [np.array_equal(x, y) for x, y in zip(again.orderings.sides.values(), sides, strict=True)] == [True] * 2
    else:
        again = dbf.factorize(shuffled, fact.chain, orderings=(None, cols))
        known = dbf.factorize(shuffled[:, cols], fact.chain)
        assert again.certificate.error_bound == pytest.approx(known.certificate.error_bound)
    assert dense_error(again, shuffled) <= again.certificate.error_bound


def test_runs_in_a_store_are_continued_opened_and_recognised(tmp_path):
    matrix = kernel(SHAPE, "float32")
    place, store = in_zarr(matrix, tmp_path), tmp_path / "run.zarr"
    arguments = {"orderings": BY_DISTANCE, "rank": 2, "passes": 2}
    fact = dbf.factorize(place, store=store, **arguments)
    assert_same(fact, dbf.factorize(place, **arguments))
    again = dbf.factorize(place, store=store, **arguments)
    assert again.record["matrix_check"].startswith("nothing in its storage has changed")
    opened = dbf.open(store)
    for other in (again, opened):
        assert_same(fact, other)
        assert other.shape == SHAPE
        assert all(
            np.array_equal(x, y)
            for x, y in zip(fact.orderings.sides.values(), other.orderings.sides.values(), strict=True)
        )
    assert dbf.plan(place, fact.chain, orderings=opened.orderings).amplification == 1  # by whole chunks, as the run
    assert float(dbf.verify(store, place)) == pytest.approx(dense_error(fact, matrix), rel=1e-5)
    assert np.array_equal(dbf.ButterflyOperator.load(store).to_dense(), fact.operator.to_dense())
    fact.save(tmp_path / "saved.zarr")
    assert dbf.open(tmp_path / "saved.zarr").shape == SHAPE
    array = zarr.open_array(place)
    array[3, 5] += 1
    with pytest.raises(dbf.errors.StoreMismatchError, match=r"columns 0\.\.126 have other entries than were read"):
        dbf.factorize(place, store=store, **arguments)


@pytest.mark.slow
def test_scattered_sides_are_copied_with_their_gaps(tmp_path):
    matrix = kernel((509, 509), "float32")
    rng = np.random.default_rng(0)
    rows, cols = rng.permutation(509), rng.permutation(509)
    shuffled = np.empty_like(matrix)
    shuffled[np.ix_(rows, cols)] = matrix
    place = in_zarr(shuffled, tmp_path, (32, 32))
    arguments = {"orderings": (rows, cols), "memory": "6.3 MiB", "workers": 2}
    planned = dbf.plan(place, store="somewhere", **arguments)
    assert planned.copy is not None
    fact = dbf.factorize(place, store=tmp_path / "run.zarr", **arguments)
    assert dense_error(fact, shuffled) <= fact.certificate.error_bound
    assert fact.certificate.error_bound == pytest.approx(
        dbf.factorize(shuffled, orderings=(rows, cols)).certificate.error_bound
    )


def test_sampled_entries_and_sweeps_have_gaps_too():
    matrix = kernel((509, 509))
    sampled = dbf.entries(entries_of(matrix), matrix.shape, matrix.dtype, sampled=True)
    fact = dbf.factorize(sampled, dbf.Chain.chainable(matrix.shape, rank=6), orderings=BY_DISTANCE)
    assert fact.record["evaluated"]["entries"] < matrix.size
    assert dense_error(fact, matrix) == pytest.approx(fact.certificate.error_bound, rel=0.5)
    small = kernel((61, 61))
    before = dbf.factorize(small, orderings=BY_DISTANCE)
    after = dbf.factorize(small, orderings=BY_DISTANCE, sweeps=3)
    assert after.certificate.exact
    assert dense_error(after, small) == pytest.approx(after.certificate.error_bound, rel=1e-6)
    assert after.certificate.error_bound <= before.certificate.error_bound


def test_an_operator_is_probed_past_its_gaps():
    matrix = kernel((1021, 1021), "float64")
    fact = dbf.factorize(aslinearoperator(matrix), rank=4, orderings=BY_DISTANCE)
    assert fact.record["evaluated"]["products"] < 1021
    assert dense_error(fact, matrix) == pytest.approx(fact.certificate.error_bound, rel=0.3)


def test_an_entry_that_is_not_finite_is_named_by_its_place_in_the_matrix(tmp_path):
    matrix = kernel(SHAPE)
    matrix[60, 126] = np.nan
    for name, source in sources(matrix, tmp_path).items():
        if name != "operator":
            with pytest.raises(NonFiniteError, match=r"\(60, 126\)"):
                dbf.factorize(source, orderings=BY_DISTANCE)


def test_hidden_orderings_are_found_though_rows_are_missing():
    whole = np.array(dbf.matrices.dft(64))
    rng = np.random.default_rng(1)
    matrix = whole[rng.permutation(64)[:61]][:, rng.permutation(64)[:62]]
    found = dbf.identify(matrix)
    assert found.found
    assert (np.count_nonzero(found.rows == -1), np.count_nonzero(found.cols == -1)) == (3, 2)
    assert dbf.factorize(matrix, orderings=found).certificate.error_bound < 1e-12
    known = dbf.identify(matrix, orderings=("identify", found.cols))
    assert known.found


@pytest.mark.parametrize(
    ("orderings", "message"),
    [
        (([0, *range(60), 60], None), "rows is not a permutation of 0 .. 60"),
        ((None, [-1, *range(127)] + [-1] * 9), "cols has 137 entries, of which 10 are -1, and the chain has 128"),
    ],
)
def test_orderings_that_do_not_fit_are_refused(orderings, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(kernel(SHAPE), orderings=orderings)


def test_a_chain_of_more_gaps_than_rows_is_refused():
    with pytest.raises(ChainError, match="chain has shape 128 x 128 but the matrix is 61 x 127"):
        dbf.factorize(kernel(SHAPE), dbf.Chain.square_dyadic(128))
    with pytest.raises(ChainError, match="chain has shape 32 x 64 but the matrix is 61 x 127"):
        dbf.factorize(kernel(SHAPE), dbf.Chain.chainable((32, 64)))
