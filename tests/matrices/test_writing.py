import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import zarr
import zarr.storage

import dbutterfly as dbf
from dbutterfly import matrices
from dbutterfly.errors import InputError, SourceError, StoreError
from dbutterfly.sources.entries import Entries
from tests.support.matrix_references import DTYPES


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunks", [None, (7, 5), (1000, 3)])
def test_write(tmp_path, dtype, chunks):
    matrix = matrices.noisy(matrices.gaussian_butterfly((24, 30), dtype=dtype, seed=0), 0.1, seed=1)
    array = matrices.write(matrix, tmp_path / "z.zarr", chunks=chunks)
    assert isinstance(array, zarr.Array)
    assert (array.shape, array.dtype, array.metadata.zarr_format) == (matrix.shape, dtype, 3)
    assert array.chunks == ((24, 30) if chunks is None else tuple(np.minimum(chunks, matrix.shape)))
    assert array.compressors == ()
    again = zarr.open_array(tmp_path / "z.zarr", mode="r")
    np.testing.assert_array_equal(again[:], matrix)
    assert again.attrs["dbutterfly_matrix"] == repr(matrix.f)


def test_write_to_a_store_in_memory_with_compression_and_progress():
    store, calls = zarr.storage.MemoryStore(), []
    array = matrices.write(
        matrices.hadamard(64),
        store,
        chunks=(32, 16),
        compressors=zarr.codecs.ZstdCodec(),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert len(array.compressors) == 1
    assert calls == [(done, 8) for done in range(1, 9)]
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[:], scipy.linalg.hadamard(64))


def test_write_of_plain_matrices(tmp_path):
    array = np.random.default_rng(0).standard_normal((9, 11)).astype(">f8")
    written = matrices.write(array, str(tmp_path / "array.zarr"), chunks=(4, 4))
    np.testing.assert_array_equal(written[:], array)
    assert written.attrs["dbutterfly_matrix"] == "array"
    plain = Entries(lambda i, j: array[np.ix_(i, j)], array.shape, float)
    written = matrices.write(plain, tmp_path / "entries.zarr", chunks=(4, 4))
    np.testing.assert_array_equal(written[:], array)
    assert written.attrs["dbutterfly_matrix"] == "entries"


def test_write_holds_a_few_chunks_only(tmp_path):
    matrix = matrices.noisy(matrices.dft(2048, dtype="complex64"), 0.1, seed=0)  # 32 MiB
    matrix.block(slice(0, 1), slice(0, 1))  # the table of roots is made once, whatever is written
    chunk = 64 * 2048 * 8
    tracemalloc.start()
    matrices.write(matrix, tmp_path / "z.zarr", chunks=(64, 2048))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * chunk


@pytest.mark.parametrize("kind", ["array", "group", "array of format 2"])
def test_write_refuses_to_overwrite_unless_asked(tmp_path, kind):
    place = tmp_path / "z.zarr"
    if kind == "group":
        zarr.create_group(place).create_array("inside", shape=(2,), dtype="float64")[:] = 1
    else:
        old = zarr.create_array(place, shape=(2,), dtype="float64", zarr_format=2 if "2" in kind else 3)
        old[:] = 1
    before = files(place)
    with pytest.raises(StoreError, match=f"already holds a Zarr {kind.split()[0]}; pass overwrite=True"):
        matrices.write(matrices.dft(4), place)
    assert files(place) == before
    matrices.write(matrices.dft(4), place, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(place, mode="r")[:], matrices.dft(4))
    assert not any("inside" in path.parts or path.name == ".zarray" for path in files(place))


@pytest.mark.parametrize("overwrite", [False, True])
def test_write_never_touches_other_files(tmp_path, overwrite):
    directory, file = tmp_path / "papers", tmp_path / "notes.txt"
    directory.mkdir()
    (directory / "draft.tex").write_text("x")
    file.write_text("y")
    before = files(tmp_path)
    for place in (directory, str(directory), file):
        with pytest.raises(StoreError, match="holds files that are not Zarr"):
            matrices.write(matrices.dft(4), place, overwrite=overwrite)
    assert files(tmp_path) == before


def test_write_into_an_empty_directory(tmp_path):
    matrices.write(matrices.dft(4), tmp_path)
    np.testing.assert_array_equal(zarr.open_array(tmp_path, mode="r")[:], matrices.dft(4))


def test_write_to_what_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="store=5 cannot be opened: TypeError"):
        matrices.write(matrices.dft(4), 5)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="no array can be created at"):
        matrices.write(matrices.dft(4), tmp_path / "file" / "z.zarr")


@pytest.mark.parametrize("chunks", [(0, 4), (4,), 4, (2.5, 4), (-1, 4)])
def test_write_refuses_bad_chunks_before_it_creates_anything(tmp_path, chunks):
    with pytest.raises(InputError, match="chunks="):
        matrices.write(matrices.dft(4), tmp_path / "z.zarr", chunks=chunks)
    assert not files(tmp_path)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((2, 2), int), [[1.0]], None])
def test_write_refuses_what_is_no_matrix(tmp_path, matrix):
    with pytest.raises(InputError, match=r"matrix of type|is not supported"):
        matrices.write(matrix, tmp_path / "z.zarr")
    assert not files(tmp_path)


def broken():
    def fail(rows, cols):
        if rows.min() >= 2:
            raise OSError("sensor off")
        return np.ones((rows.size, cols.size))

    return Entries(fail, (4, 4), float)


def test_an_array_that_was_not_written_to_its_end_says_so():
    store = zarr.storage.MemoryStore()
    with pytest.raises(SourceError, match=r"rows 2\.\.3, cols 0\.\.3: OSError: sensor off"):
        matrices.write(broken(), store, chunks=(2, 4))
    assert "dbutterfly_matrix" not in zarr.open_array(store, mode="r").attrs
    for source in (store, zarr.open_array(store, mode="r")):
        with pytest.raises(SourceError, match="was not written to its end"):
            dbf.factorize(source)
    matrices.write(matrices.dft(4), store, overwrite=True)
    assert list(zarr.open_array(store, mode="r").attrs) == ["dbutterfly_matrix"]
    assert dbf.factorize(store).shape == (4, 4)


@pytest.mark.parametrize("kind", ["nothing", "array", "array in memory"])
def test_a_writing_that_fails_leaves_what_was_there(tmp_path, kind):
    place = zarr.storage.MemoryStore() if kind == "array in memory" else tmp_path / "z.zarr"
    if kind != "nothing":
        matrices.write(matrices.hadamard(4), place)
    before = files(tmp_path)
    with pytest.raises(SourceError, match="sensor off"):
        matrices.write(broken(), place, chunks=(2, 4), overwrite=True)
    assert files(tmp_path) == before
    if kind != "nothing":
        np.testing.assert_array_equal(zarr.open_array(place, mode="r")[:], scipy.linalg.hadamard(4))


class TestDefaultChunks:
    @pytest.mark.parametrize("n", [64, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1000, 3**9])
    @pytest.mark.parametrize("dtype", ["complex64", "complex128"])
    def test_slabs_where_both_sides_are_strided(self, n, dtype):
        matrix = matrices.dft(n, dtype=dtype)
        rows, cols = matrices.default_chunks(matrix)
        split = matrix.chain.cut(len(matrix.chain) // 2)[0]
        assert split.u % rows == 0
        assert rows <= max(split.u // 4, 1)
        assert rows * cols * matrix.dtype.itemsize <= 8 << 20
        assert cols == n or (rows == 1 and n % cols == 0)

    @pytest.mark.parametrize("n", [64, 1 << 14, 1000, 3**9, 10007, 2 * 10007])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_squares_otherwise(self, n, dtype):
        matrix = matrices.dct2(n, dtype=dtype)
        rows, cols = matrices.default_chunks(matrix)
        itemsize = matrix.dtype.itemsize
        assert rows <= n
        assert cols <= n
        assert min(n * n * itemsize, 1 << 19) <= rows * cols * itemsize <= 8 << 20

    def test_examples(self):
        assert matrices.default_chunks(matrices.dft(1 << 14, dtype="complex64")) == (16, 1 << 14)
        assert matrices.default_chunks(matrices.hadamard(1 << 14, dtype="float32")) == (1024, 1024)
        assert matrices.default_chunks(matrices.shuffled(matrices.dft(1 << 12), seed=0)) == (512, 1024)
        assert matrices.default_chunks(np.ones((5, 3000))) == (5, 1000)
        assert matrices.default_chunks(matrices.dft(7)) == (7, 7)
