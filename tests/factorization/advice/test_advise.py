"""Advice: the right orderings come first, what nothing fits is named, and what is advised does what it says."""

import itertools

import dask.array as da
import numpy as np
import pytest
import scipy.sparse.linalg
import zarr

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import noisy_butterfly, random_matrix
from tests.support.odd_sizes import kernel
from tests.support.quick import mostly_slow

N = 256


def shuffled_kernel(n=N, seed=0):
    """Helmholtz kernel between random points on two segments, in no order, and the points."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((2, n))
    distance = np.sqrt(1 + (x[:, None] - y) ** 2)
    return np.exp(0.2j * np.pi * n * distance) / np.sqrt(distance), (x, y)


def known_matrices():
    known = dbf.matrices
    for seed in range(2):
        yield known.orthogonal_butterfly(N, seed=seed), {"none,none"}
        yield known.noisy(known.gaussian_butterfly(N, seed=seed), 1e-2, seed=seed), {"none,none"}
    yield known.dft(N), {"none,bitreversal"}
    yield known.noisy(known.dft(N, dtype="complex64"), 0.1, seed=0), {"none,bitreversal"}
    yield known.dct2(N), {"none,bitreversal"}
    for name in ("helmholtz", "nudft", "fourier_integral", "hankel", "legendre", "cauchy"):
        yield getattr(known, name)(N), {"bitreversal,none"}


@pytest.mark.slow
@pytest.mark.parametrize("number", mostly_slow(range(13), (0, 4, 7)))
def test_the_right_orderings_come_first_and_do_what_is_said(number):
    known, right = next(itertools.islice(known_matrices(), number, None))
    matrix = np.asarray(known)
    advice = dbf.advise(matrix)
    assert advice.fits
    assert advice.best.orderings in right
    assert advice.rows[0].orderings == advice.best.orderings
    fact = dbf.factorize(matrix, **advice.arguments())
    assert fact.chain == advice.best.chain
    assert fact.compression == pytest.approx(advice.best.smaller)
    bound, predicted = (max(error, 1e-5) for error in (fact.certificate.error_bound, advice.best.error))
    assert bound / 2 <= predicted <= 2 * bound


def hopeless_matrices():
    rng = np.random.default_rng(0)
    for dtype in ("float32", "complex128"):
        yield random_matrix((N, N), dtype)
    yield random_matrix((211, 307))
    yield np.linalg.qr(rng.standard_normal((N, N)))[0]
    for name in ("dft", "hadamard", "nudft", "hankel"):
        yield np.asarray(dbf.matrices.shuffled(getattr(dbf.matrices, name)(N), seed=1))
    yield np.asarray(dbf.matrices.dct2(N))[rng.permutation(N)]


@pytest.mark.parametrize("number", mostly_slow(range(9), (0, 3, 5)))
def test_what_nothing_fits_is_named(number):
    advice = dbf.advise(next(itertools.islice(hopeless_matrices(), number, None)))
    assert not advice.fits
    assert advice.verdict.is_useless
    assert "No butterfly of these orderings fits" in advice.verdict.text
    assert "identify" in advice.verdict.text
    assert advice.others == ()


@pytest.mark.slow
def test_points_are_an_ordering():
    matrix, points = shuffled_kernel()
    unordered = dbf.advise(matrix)
    assert not unordered.fits or unordered.best.smaller < 2
    advice = dbf.advise(matrix, points=points, tol=1e-4)
    assert advice.best.orderings == "points,points"
    assert {row.orderings for row in advice.rows} >= {"none,none", "points,none", "bitreversal,points"}
    fact = dbf.factorize(matrix, **advice.arguments())
    assert fact.certificate.error_bound <= 1e-4
    assert fact.compression > 2


@pytest.mark.slow
def test_one_side_may_have_points():
    matrix, (x, y) = shuffled_kernel()
    advice = dbf.advise(matrix[:, np.argsort(y)], points=(x, None))
    assert advice.best.orderings == "points,none"
    assert dbf.factorize(matrix[:, np.argsort(y)], **advice.arguments()).certificate.error_bound < 1e-2


@pytest.mark.slow
def test_weights_count_as_in_a_run():
    matrix = kernel((128, 160))
    weights = tuple(np.exp(np.random.default_rng(0).standard_normal(size)) for size in matrix.shape)
    advice = dbf.advise(matrix, weights=weights)
    bound = dbf.factorize(matrix, **advice.arguments()).certificate.error_bound
    assert bound / 2 <= advice.best.error <= 2 * bound
    weighed = weights[0][:, None] * matrix * weights[1]
    assert advice.best.error == pytest.approx(dbf.advise(weighed).best.error, rel=0.5)


@pytest.mark.slow
def test_a_tolerance_takes_the_fewest_values_that_reach_it():
    matrix = np.asarray(dbf.matrices.helmholtz(128))
    values = [dbf.advise(matrix, tol=tol).best.values for tol in (1e-1, 1e-2, 1e-4)]
    assert values == sorted(values)
    advice = dbf.advise(matrix, tol=1e-4)
    assert advice.arguments() == {"orderings": ("bitreversal", None), "tol": 1e-4}
    beyond = dbf.advise(random_matrix((64, 64)), tol=1e-4)
    assert "tol" not in beyond.arguments()
    noisy = noisy_butterfly(64, eps=0.1)
    assert "No rank that was tried reaches tol=0.0001" in dbf.advise(noisy, tol=1e-4).verdict.text


KINDS = ["zarr", "slabs", "dask", "entries", "sampled", "memmap", "operator", "odd"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(KINDS, ("zarr", "entries")))
def test_every_source_is_judged(kind, tmp_path):
    matrix = noisy_butterfly(N, eps=1e-2, orderings=(None, "bitreversal")) if kind != "odd" else kernel((211, 307))
    np.save(tmp_path / "z.npy", matrix)

    def entries(rows, cols):
        return matrix[np.ix_(rows, cols)]

    source = {
        "zarr": lambda: zarr.create_array(tmp_path / "z", data=matrix, chunks=(32, 32)),
        "slabs": lambda: zarr.create_array(tmp_path / "z", data=matrix, chunks=(4, N)),
        "dask": lambda: da.from_array(matrix, chunks=(64, 64)),
        "entries": lambda: dbf.entries(entries, matrix.shape, matrix.dtype),
        "sampled": lambda: dbf.entries(entries, matrix.shape, matrix.dtype, sampled=True),
        "memmap": lambda: str(tmp_path / "z.npy"),
        "operator": lambda: scipy.sparse.linalg.aslinearoperator(matrix),
        "odd": lambda: zarr.create_array(tmp_path / "z", data=matrix, chunks=(50, 60)),
    }[kind]()
    advice = dbf.advise(source)
    assert advice.fits
    assert advice.best.orderings == ("bitreversal,none" if kind == "odd" else "none,bitreversal")
    assert 0 < advice.bytes_read <= advice.bytes_allowed == 1 << 26
    assert advice.best.error < 0.05


@pytest.mark.slow
def test_few_bytes_are_enough_for_a_large_matrix(tmp_path):
    known = dbf.matrices.noisy(dbf.matrices.dft(2048, dtype="complex64"), 0.03, seed=0)
    array = dbf.matrices.write(known, tmp_path / "z.zarr", chunks=(256, 256))
    advice = dbf.advise(array, read="4 MiB")
    assert advice.bytes_read == 4 << 20
    assert (advice.best.orderings, advice.best.rank) == ("none,bitreversal", 1)
    assert 0.03 / 2 < advice.best.error < 2 * 0.03


@pytest.mark.slow
def test_the_same_seed_gives_the_same_advice():
    matrix = noisy_butterfly(128, eps=1e-2)
    first, second = (dbf.advise(matrix, seed=5) for _ in range(2))
    assert first.rows == second.rows
    assert [row.error for row in dbf.advise(matrix, seed=6).rows] != [row.error for row in first.rows]


def test_other_forms_stand_beside_the_butterfly():
    x, y = np.sort(np.random.default_rng(0).random((2, N)), axis=1)
    smooth = 1 / (2 + (x[:, None] - y) ** 2)
    advice = dbf.advise(smooth)
    assert [form.name for form in advice.others] == ["low rank"]
    rank = advice.others[0].rank
    assert f"dbf.factorize(z, chain=[(1, 256, {rank}, 1), (1, {rank}, 256, 1)])" in str(advice)
    low = dbf.factorize(smooth, chain=[(1, N, rank, 1), (1, rank, N, 1)])
    assert low.certificate.error_bound <= 2e-3
    assert low.compression == pytest.approx(N**2 / advice.others[0].values)


def test_what_is_shown():
    advice = dbf.advise(np.asarray(dbf.matrices.dft(64)))
    assert repr(advice).startswith("<Advice for a 64 x 64 complex128 matrix: 5.33 times smaller with error ")
    text = str(advice)
    assert "dbf.factorize(z, orderings=(None, 'bitreversal'))" in text
    assert "of 64.00 MiB allowed" in text
    assert [line.split()[0] for line in text.splitlines() if line.endswith("*")] == ["none,bitreversal"]
    assert advice.verdict.text in advice._repr_html_().replace("&amp;", "&")
    values = advice.to_json()
    assert values["best"]["chain"] == [list(pattern) for pattern in Chain.square_dyadic(64)]
    assert advice.orderings.sides == {"rows": None, "cols": "bitreversal"}


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (1, 1), (2, 2), (3, 5)])
def test_nothing_is_gained_of_the_smallest(shape):
    advice = dbf.advise(random_matrix(shape))
    assert not advice.fits
    assert str(advice)
    assert repr(advice)
    dbf.factorize(random_matrix(shape), **advice.arguments())


def test_a_matrix_of_zeros_is_no_fault():
    advice = dbf.advise(np.zeros((64, 64)))
    assert advice.best.error == 0
    assert advice.others[0].name == "sparse storage"


def test_wrong_arguments_are_named(tmp_path):
    matrix = random_matrix((64, 64))
    with pytest.raises(InputError, match=r"read='much' is not a positive number of bytes"):
        dbf.advise(matrix, read="much")
    with pytest.raises(InputError, match=r"read=1\.00 KiB is too little"):
        dbf.advise(matrix, read=1024)
    with pytest.raises(InputError, match=r"points: rows has 3 points and the matrix 64 rows"):
        dbf.advise(matrix, points=([1, 2, 3], None))
    array = zarr.create_array(tmp_path / "z", data=matrix, chunks=(64, 64))
    with pytest.raises(InputError, match=r"less than a chunk of .*; allow 32768 bytes at least"):
        dbf.advise(array, read=1024)
    matrix[3, 4] = np.inf
    with pytest.raises(NonFiniteError, match=r"\(3, 4\)"):
        dbf.advise(matrix)


def test_entries_whose_squares_leave_the_range_are_scaled():
    assert dbf.advise(np.full((64, 64), 1e200)).best.rank == 1


@pytest.mark.parametrize("dtype", ["int8", "uint16", "bool"])
def test_narrow_numbers_are_judged(dtype):
    advice = dbf.advise(np.add.outer(np.arange(64), np.arange(64)).astype(dtype))
    assert advice.fits
    assert np.isfinite([row.error for row in advice.rows]).all()
