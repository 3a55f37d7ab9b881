"""Matrices as other packages write them."""

import dask.array as da
import h5py
import numpy as np
import pytest
import scipy.linalg
import zarr

import dbutterfly as dbf
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, dense_error, noisy_butterfly, random_matrix
from tests.support.parts import require

TREE = (((0, 1), (2, 3)), ((4, 5), (6, (7, (8, 9)))))


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(1024, "float32")


@pytest.fixture(scope="module")
def expected(matrix):
    return dbf.factorize(matrix, tree=TREE)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("given", ["path", "array"])
def test_compressed_zarr_with_chunks_that_align_with_nothing(matrix, expected, zarr_format, given, engine, tmp_path):
    zarr.create_array(tmp_path / "z.zarr", data=matrix, chunks=(1000, 700), zarr_format=zarr_format)
    source = tmp_path / "z.zarr" if given == "path" else zarr.open_array(tmp_path / "z.zarr", mode="r")
    fact = dbf.factorize(source, tree=TREE, **engine)
    assert_same(fact, expected)
    planned = dbf.plan(source, tree=TREE)
    assert planned.bytes_read >= planned.source_bytes == matrix.nbytes
    assert dbf.verify(fact, source, **engine) == pytest.approx(dense_error(expected, matrix), rel=1e-4)


def test_an_array_in_a_group_with_shards_and_big_endian_numbers(matrix, expected, tmp_path):
    group = zarr.create_group(tmp_path / "group.zarr")
    group.create_array("deep/z", data=matrix.astype(">f4"), chunks=(64, 64), shards=(256, 512))
    assert_same(dbf.factorize(tmp_path / "group.zarr" / "deep" / "z", tree=TREE), expected)
    assert_same(dbf.factorize(group["deep/z"], tree=TREE), expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files(matrix, expected, order, engine, tmp_path):
    np.save(tmp_path / "z.npy", np.asarray(matrix, order=order))
    for source in (tmp_path / "z.npy", str(tmp_path / "z.npy"), np.load(tmp_path / "z.npy", mmap_mode="r")):
        assert_same(dbf.factorize(source, tree=TREE, **engine), expected)


def test_hdf5_through_dask(matrix, expected, engine, tmp_path):
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file.create_dataset("z", data=matrix, chunks=(200, 300), compression="gzip", compression_opts=1)
    with h5py.File(tmp_path / "z.h5", "r") as file:
        source = da.from_array(file["z"], chunks=(400, 300))
        assert_same(dbf.factorize(source, tree=TREE, **engine), expected)


def test_hdf5_itself_is_told_how(tmp_path):
    with (
        h5py.File(tmp_path / "z.h5", "w") as file,
        pytest.raises(dbf.errors.SourceError, match=r"h5py.*wrap it as dask\.array\.from_array"),
    ):
        dbf.factorize(file.create_dataset("z", data=np.eye(8), chunks=(4, 4)))


def test_a_dask_expression_is_computed_tile_by_tile(engine):
    x = da.arange(64, chunks=20)
    source = da.cos(2 * np.pi * da.outer(x, x) / 64)
    dense = source.compute()
    fact = dbf.factorize(source, orderings=(None, "bitreversal"), **engine)
    assert fact.certificate.lower_bound <= dense_error(fact, dense) <= fact.certificate.error_bound


@pytest.mark.parametrize("n", [16, 256, 360])
def test_scipy_dft(n):
    matrix = scipy.linalg.dft(n)
    fact = dbf.factorize(matrix, orderings=(None, "bitreversal"))
    assert len(fact.chain) > 1
    assert dense_error(fact, matrix) < 1e-12
    x = random_matrix((n, 2))
    np.testing.assert_allclose(fact.operator @ x, np.fft.fft(x, axis=0), atol=1e-11 * n)


def test_scipy_hadamard():
    matrix = scipy.linalg.hadamard(128)
    assert matrix.dtype.kind == "i"
    fact = dbf.factorize(matrix)
    assert dense_error(fact, matrix) < 1e-14
    assert dbf.verify(fact, matrix) < 1e-14


@pytest.mark.parametrize("shape", [(21, 16), (1000, 1000), (16, 21)])
def test_shapes_that_are_no_powers_of_two(shape, engine):
    matrix = noisy_butterfly(shape, eps=1e-3)
    fact = dbf.factorize(matrix, **engine)
    assert fact.shape == shape
    assert fact.certificate.lower_bound <= dense_error(fact, matrix) <= fact.certificate.error_bound
    assert dense_error(fact, matrix) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda lz: lz.Chain.square_dyadic((64, 64)), lambda lz: lz.Chain.monarch((64, 64), p=4, q=8)]
)
@pytest.mark.filterwarnings("ignore:PyWavelets is not installed")
def test_a_chain_of_lazylinop(make):
    butterfly = require("lazylinop.butterfly", "bench")
    chain = make(butterfly)
    matrix = noisy_butterfly(Chain(chain.ks_patterns), eps=1e-3)
    fact = dbf.factorize(matrix, chain)
    assert [list(pattern) for pattern in fact.chain] == [list(pattern) for pattern in chain.ks_patterns]
    assert dense_error(fact, matrix) < 1e-3


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float16"])
def test_integers_and_booleans_are_taken_as_floats(dtype, engine, tmp_path):
    matrix = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(dtype)
    work = "float32" if dtype == "float16" else "float64"
    zarr.create_array(tmp_path / "z.zarr", data=matrix, chunks=(20, 30))
    assert f"entries are stored as {dtype} and taken as {work}" in str(dbf.plan(matrix))
    wanted = dbf.factorize(matrix.astype(work), tree="left")
    for source in (matrix, tmp_path / "z.zarr"):
        fact = dbf.factorize(source, tree="left", **engine)
        assert fact.dtype == work
        assert_same(fact, wanted)
        assert dbf.verify(fact, source) == pytest.approx(dense_error(fact, matrix), rel=1e-5)


@pytest.mark.parametrize("wrap", [list, np.asfortranarray, lambda z: z[::-1][::-1], lambda z: z.view(np.matrix)])
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_arrays_of_other_kinds(wrap):
    matrix = noisy_butterfly(64)
    assert_same(dbf.factorize(wrap(matrix)), dbf.factorize(matrix))
