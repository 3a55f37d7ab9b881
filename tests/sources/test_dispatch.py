import pickle
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dbutterfly.errors import InputError, SourceError
from dbutterfly.factorization.tasks.checks import first_bad_entry
from dbutterfly.sources import zarr_requests
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.entries import Entries
from dbutterfly.sources.info import work_dtype
from dbutterfly.sources.zarr_array import ZarrSource
from dbutterfly.structure.axes import Tile, axes_of_cut
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings

CHAIN = Chain.chainable((48, 60))
SHAPE = CHAIN.shape


class SparseElsewhere:
    """A sparse matrix of another library."""

    def tocsr(self):
        raise AssertionError


def matrix(dtype="float64", shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "biu":
        return rng.integers(0, 2 if np.dtype(dtype).kind == "b" else 100, shape).astype(dtype)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def entry(rows, cols):
    return matrix()[np.ix_(rows, cols)]


def write_zarr(store, values, chunks, **kwargs):
    array = zarr.create_array(store, shape=values.shape, chunks=chunks, dtype=values.dtype, **kwargs)
    array[...] = values
    return array


def row_major(path, z):
    return z


def column_major(path, z):
    return np.asfortranarray(z)


def nested_list(path, z):
    return z.tolist()


def buffer(path, z):
    return memoryview(z)


def entry_function(path, z):
    return Entries(entry, z.shape, z.dtype)


def negative_strides(path, z):
    return z[::-1, ::-1].copy()[::-1, ::-1]


def read_only(path, z):
    z = z.copy()
    z.flags.writeable = False
    return z


def memmap(path, z):
    np.save(path / "z.npy", z)
    return np.load(path / "z.npy", mmap_mode="r")


def npy_path(path, z):
    np.save(path / "z.npy", z)
    return path / "z.npy"


def fortran_npy(path, z):
    np.save(path / "z.npy", np.asfortranarray(z))
    return str(path / "z.npy")


def zarr_v3(path, z):
    write_zarr(path / "z.zarr", z, (10, 7))
    return path / "z.zarr"


def zarr_v2(path, z):
    write_zarr(path / "z.zarr", z, (10, 7), zarr_format=2)
    return str(path / "z.zarr")


def zarr_url(path, z):
    write_zarr(path / "z.zarr", z, (10, 7), compressors=None)
    return f"file://{path / 'z.zarr'}"


def zarr_sharded(path, z):
    return write_zarr(path / "z.zarr", z, (4, 5), shards=(12, 20))


def zarr_big_endian(path, z):
    return write_zarr(path / "z.zarr", z.astype(z.dtype.newbyteorder(">")), (11, 60))


def zarr_big_endian_v2(path, z):
    return write_zarr(path / "z.zarr", z.astype(z.dtype.newbyteorder(">")), (11, 60), zarr_format=2)


def zarr_big_endian_path(path, z):
    write_zarr(path / "z.zarr", z.astype(z.dtype.newbyteorder(">")), (11, 60))
    return path / "z.zarr"


def zarr_in_memory(path, z):
    return write_zarr(zarr.storage.MemoryStore(), z, (16, 16))


def zarr_store(path, z):
    store = zarr.storage.LocalStore(path / "z.zarr")
    write_zarr(store, z, (48, 13))
    return store


def zarr_in_group(path, z):
    group = zarr.create_group(path / "g.zarr")
    array = group.create_array("deep/z", shape=z.shape, chunks=(9, 9), dtype=z.dtype)
    array[...] = z
    return array


def dask_irregular(path, z):
    return da.from_array(z, chunks=((1, 20, 20, 7), (13, 40, 7)))


def dask_empty_chunk(path, z):
    return da.concatenate([da.from_array(z[:20]), da.from_array(z[:0]), da.from_array(z[20:])])


def hdf5(path, z):
    with h5py.File(path / "z.h5", "w") as file:
        file.create_dataset("z", data=z, chunks=(12, 10))
    return da.from_array(h5py.File(path / "z.h5", "r")["z"], chunks=(24, 20))


IN_MEMORY = [row_major, column_major, nested_list, buffer, negative_strides, read_only]
MAPPED = [memmap, npy_path, fortran_npy]
CHUNKED = [
    zarr_v3, zarr_v2, zarr_url, zarr_sharded, zarr_big_endian, zarr_big_endian_path, zarr_big_endian_v2, zarr_in_memory,
    zarr_store, zarr_in_group, dask_irregular, dask_empty_chunk, hdf5,
]  # fmt: skip
KINDS = [*IN_MEMORY, *MAPPED, entry_function, *CHUNKED]


def name_of(make):
    return make.__name__


def side_of(kind, size):
    return {"standard": None, "bitreversal": "bitreversal", "scattered": np.random.default_rng(1).permutation(size)}[
        kind
    ]


def expected_grid(z, rows, cols, tile):
    """Blocks by fancy indexing, group by group."""

    def members(axis, first, last):
        positions = axis.positions(first, last).reshape(axis.buffer_shape(first, last))
        return positions.T if axis.strided else positions

    row_at, col_at = members(rows, tile.r0, tile.r1), members(cols, tile.c0, tile.c1)
    return z[row_at[:, None, :, None], col_at[None, :, None, :]]


# ---------------------------------------------------------------- every kind


@pytest.mark.parametrize("orderings", [("standard", "standard"), ("bitreversal", "bitreversal"),
                                       ("scattered", "standard"), ("bitreversal", "scattered"),
                                       ("scattered", "scattered")], ids="-".join)  # fmt: skip
@pytest.mark.parametrize("make", KINDS, ids=name_of)
def test_tiles_of_every_kind_of_source(tmp_path, make, orderings):
    z = matrix()
    source = as_source(make(tmp_path, z))
    assert source.shape == SHAPE
    assert source.info.work_dtype == "float64"
    sides = Orderings(*(side_of(name, n) for name, n in zip(orderings, SHAPE, strict=True)))
    rng = np.random.default_rng(2)
    for position in range(1, len(CHAIN)):
        rows, cols = axes_of_cut(CHAIN, position, sides, source.edges)
        tiles = [Tile(0, rows.groups, 0, cols.groups)]
        for _ in range(2):
            r0, c0 = rng.integers(rows.groups), rng.integers(cols.groups)
            tiles.append(Tile(r0, rng.integers(r0, rows.groups) + 1, c0, rng.integers(c0, cols.groups) + 1))
        for tile in tiles:
            np.testing.assert_array_equal(source.read(rows, cols, tile), expected_grid(z, rows, cols, tile))


@pytest.mark.parametrize("make", KINDS, ids=name_of)
def test_what_the_plan_is_told(tmp_path, make):
    source = as_source(make(tmp_path, matrix()))
    info = source.info
    assert (info.shape, info.dtype, info.work_dtype) == (SHAPE, "float64", "float64")
    has_chunks = make in CHUNKED
    for size, edges in zip(SHAPE, info.edges, strict=True):
        assert (edges is not None) is has_chunks
        if has_chunks:
            assert (edges[0], edges[-1]) == (0, size)
            assert np.all(np.diff(edges) >= 0)
    assert (info.decode_bytes > 0) is has_chunks
    assert info.copies_tiles is (has_chunks or make is entry_function)
    sample = source.draw_sample()
    assert sample.find_difference(source.sample(sample.places)) is None
    np.testing.assert_array_equal(source.read_block(slice(5, 9), slice(50, 60)), matrix()[5:9, 50:60])


@pytest.mark.parametrize("make", [make for make in KINDS if make is not hdf5], ids=name_of)
def test_pickled_sources_read_the_same(tmp_path, make):
    source = as_source(make(tmp_path, matrix()))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.shape == source.shape
    assert copy.dtype.newbyteorder("=") == source.dtype.newbyteorder("=")
    np.testing.assert_array_equal(copy.read_block(slice(0, 48), slice(3, 4)), matrix()[:, 3:4])
    assert source.shared is (make not in [*IN_MEMORY, zarr_in_memory])
    if make in MAPPED or make in CHUNKED[:5]:
        assert copy.name == source.name
        assert len(pickle.dumps(source)) < matrix().nbytes


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    chunks=st.tuples(st.integers(1, 50), st.integers(1, 62)),
    position=st.integers(1, len(CHAIN) - 1),
    kinds=st.tuples(*[st.sampled_from(["standard", "bitreversal", "scattered"])] * 2),
    data=st.data(),
)
def test_random_tiles_of_random_chunks(chunks, position, kinds, data):
    z = matrix("complex64")
    source = as_source(write_zarr(zarr.storage.MemoryStore(), z, chunks, compressors=None))
    sides = Orderings(*(side_of(name, n) for name, n in zip(kinds, SHAPE, strict=True)))
    rows, cols = axes_of_cut(CHAIN, position, sides, source.edges)
    r0, c0 = data.draw(st.integers(0, rows.groups - 1)), data.draw(st.integers(0, cols.groups - 1))
    tile = Tile(r0, data.draw(st.integers(r0 + 1, rows.groups)), c0, data.draw(st.integers(c0 + 1, cols.groups)))
    np.testing.assert_array_equal(source.read(rows, cols, tile), expected_grid(z, rows, cols, tile))


def test_every_chunk_of_a_tile_is_read_once(monkeypatch):
    """Ranges of different parts share no chunk, so nothing is decoded twice for one tile."""
    source = as_source(write_zarr(zarr.storage.MemoryStore(), matrix(), (8, 6)))
    ranges = []
    read_into = ZarrSource.read_into

    def spy(self, out, rows, cols):
        ranges.append((rows, cols))
        read_into(self, out, rows, cols)

    monkeypatch.setattr(ZarrSource, "read_into", spy)
    rows, cols = axes_of_cut(CHAIN, 2, Orderings("bitreversal", "bitreversal"), source.edges)
    source.read(rows, cols, Tile(0, rows.groups, 0, 1))
    chunks = [
        (i, j)
        for r, c in ranges
        for i in range(r.start // 8, -(-r.stop // 8))
        for j in range(c.start // 6, -(-c.stop // 6))
    ]
    assert len(ranges) > 1
    assert len(chunks) == len(set(chunks))


def test_tiles_of_arrays_are_views():
    z = matrix()
    source = as_source(z)
    for sides in (Orderings(), Orderings("bitreversal", "bitreversal")):
        rows, cols = axes_of_cut(CHAIN, 2, sides, source.edges)
        assert np.shares_memory(source.read(rows, cols, Tile(0, 1, 0, cols.groups)), z)


# ---------------------------------------------------------------- arrays and memory maps


def test_memmap_is_reopened_in_another_process(tmp_path):
    for values in (matrix(), np.asfortranarray(matrix())):
        np.save(tmp_path / "z.npy", values)
        source = as_source(np.load(tmp_path / "z.npy", mmap_mode="r"))
        assert source.shared
        assert source.name == f"memmap {tmp_path / 'z.npy'}"
        copy = pickle.loads(pickle.dumps(source))
        assert isinstance(copy.array, np.memmap)
        assert copy.array.flags.f_contiguous == values.flags.f_contiguous
        np.testing.assert_array_equal(copy.array, values)


def test_memmap_with_an_offset_is_reopened(tmp_path):
    z = matrix()
    (tmp_path / "z.bin").write_bytes(b"header, 19 bytes..." + z.tobytes())
    source = as_source(np.memmap(tmp_path / "z.bin", z.dtype, "r", offset=19, shape=z.shape))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).array, z)


@pytest.mark.parametrize(
    "view", [np.s_[1:, :], np.s_[:, ::2], np.s_[::-1, :], np.s_[:, 5:9]], ids=["rows", "strided", "reversed", "cols"]
)
def test_view_of_a_memmap_travels_as_an_array(tmp_path, view):
    np.save(tmp_path / "z.npy", matrix())
    source = as_source(np.load(tmp_path / "z.npy", mmap_mode="r")[view])
    assert not source.shared
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).array, matrix()[view])


def test_transposed_memmap(tmp_path):
    np.save(tmp_path / "z.npy", matrix())
    source = as_source(np.load(tmp_path / "z.npy", mmap_mode="r").T)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).array, matrix().T)


@pytest.mark.parametrize(
    ("dtype", "work"),
    [("float32", "float32"), ("float64", "float64"), ("complex64", "complex64"), ("complex128", "complex128"),
     (">f4", "float32"), (">c16", "complex128"), ("float16", "float32"), ("bool", "float64"), ("int8", "float64"),
     ("uint64", "float64")],
)  # fmt: skip
def test_dtypes(dtype, work):
    source = as_source(matrix(dtype, (4, 6)))
    assert source.info.work_dtype == work
    assert work_dtype(np.dtype(dtype), "z") == np.dtype(work)
    assert work_dtype(np.dtype(dtype), "z").isnative


@pytest.mark.parametrize(
    "dtype", ["O", "U5", "S3", "datetime64[s]", "timedelta64[s]", "longdouble", "clongdouble", [("a", "f4")]], ids=str
)
def test_dtypes_that_are_no_numbers(dtype):
    with pytest.raises(InputError, match=r"array has dtype .*; use float32, float64, complex64 or complex128"):
        as_source(np.zeros((4, 4), dtype))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), "array has 1 dimensions, shape .4,.; a matrix has two"),
        (np.zeros((2, 3, 4)), "array has 3 dimensions, shape .2, 3, 4.; a matrix has two"),
        (3.0, "array has 0 dimensions"),
        (None, "array has 0 dimensions"),
        (np.ma.masked_equal(np.eye(3), 0), r"source is a masked array; pass source.filled\(value\)"),
        (np.zeros((0, 4)), "array is empty, shape .0, 4.; both sides must be at least 1"),
        ([[1, 2], [3]], "is no array: .*inhomogeneous"),
        (da.zeros((2, 3, 4)), "Dask array has 3 dimensions"),
        (da.zeros((0, 4)), "Dask array is empty"),
        (SparseElsewhere(), r"source is a sparse SparseElsewhere; pass source.toarray\(\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_matrix(array, message):
    with pytest.raises(SourceError, match=message):
        as_source(array)


def test_source_is_taken_as_it_is():
    source = as_source(matrix())
    assert as_source(source) is source


# ---------------------------------------------------------------- Zarr


@pytest.mark.slow
@pytest.mark.parametrize("shards", [None, (200, 300)], ids=["chunks", "shards"])
@pytest.mark.parametrize("codec", ["none", "zstd", "checksum"])
@pytest.mark.parametrize("local", [True, False])
def test_ranges_cut_into_pieces(tmp_path, monkeypatch, codec, local, shards):
    """Pieces of a few chunks, through a spare array or not, hold what the range holds."""
    monkeypatch.setattr(zarr_requests, "PIECE_BYTES", 90_000)
    monkeypatch.setattr(zarr_requests, "REQUEST_BYTES", 120_000)
    z = matrix("float32", (700, 960))
    compressors = {"none": None, "zstd": zarr.codecs.ZstdCodec(level=1), "checksum": zarr.codecs.Crc32cCodec()}[codec]
    write_zarr(tmp_path / "z.zarr", z, (100, 150), compressors=compressors, shards=shards)
    store = zarr.storage.LocalStore(tmp_path / "z.zarr")
    source = as_source(store if local else zarr.storage.WrapperStore(store))
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, cols = (slice(*np.sort(rng.choice(size + 1, 2, replace=False)).tolist()) for size in z.shape)
        np.testing.assert_array_equal(source.read_block(rows, cols), z[rows, cols])
        out = np.full((702, 962), np.float32(7))
        source.read_into(out[1:-1, 1:-1][rows, cols], rows, cols)
        expected = np.full_like(out, 7)
        expected[1:-1, 1:-1][rows, cols] = z[rows, cols]
        np.testing.assert_array_equal(out, expected)
    sides = Orderings(*(rng.permutation(size) for size in z.shape))
    rows, cols = axes_of_cut(Chain.chainable(z.shape), 3, sides, source.edges)
    tile = Tile(0, 2, 0, cols.groups // 2)
    np.testing.assert_array_equal(source.read(rows, cols, tile), expected_grid(z, rows, cols, tile))


@pytest.mark.parametrize("fill_value", [None, 1])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">c16", "<c8", "<f2", ">i2", "|b1", "<u8"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_entries_of_every_layout(tmp_path, zarr_format, dtype, order, fill_value):
    """Read into a tile of native byte order, with chunks that were never written."""
    z = (10 * matrix(shape=(40, 50))).astype(dtype)
    options = {"order": order} if zarr_format == 2 else {"filters": zarr.codecs.TransposeCodec(order=(1, 0))}
    array = zarr.create_array(
        tmp_path / "z.zarr", shape=z.shape, chunks=(16, 16), dtype=dtype, zarr_format=zarr_format,
        fill_value=fill_value, **(options if zarr_format == 2 or order == "F" else {}),
    )  # fmt: skip
    array[:32] = z[:32]
    z[32:] = 0 if fill_value is None else fill_value
    block = as_source(tmp_path / "z.zarr").read_block(slice(3, 40), slice(0, 50))
    assert block.dtype.isnative
    np.testing.assert_array_equal(block, z[3:])


def test_the_configuration_of_zarr_is_left_alone(tmp_path):
    before = zarr.config.get("codec_pipeline"), zarr.config.get("threading")
    zarr_v3(tmp_path, matrix())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: as_source(tmp_path / "z.zarr"), range(64)))
    assert (zarr.config.get("codec_pipeline"), zarr.config.get("threading")) == before


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_compressed_chunks_that_do_not_divide(tmp_path, zarr_format):
    z = matrix("float32", (2048, 1536))
    codec = numcodecs.Zstd(level=1) if zarr_format == 2 else zarr.codecs.ZstdCodec(level=1)
    write_zarr(tmp_path / "z.zarr", z, (1000, 700), zarr_format=zarr_format, compressors=codec)
    source = as_source(tmp_path / "z.zarr")
    assert [edges.tolist() for edges in source.edges] == [[0, 1000, 2000, 2048], [0, 700, 1400, 1536]]
    assert source.decode_bytes >= 3 * 1000 * 700 * 4  # encoded, decoded, and a piece on its way to the tile
    chain = Chain.chainable(z.shape)
    rows, cols = axes_of_cut(chain, len(chain) // 2, Orderings(), source.edges)
    tile = Tile(1, 9, 3, 20)
    np.testing.assert_array_equal(source.read(rows, cols, tile), expected_grid(z, rows, cols, tile))


def test_shards_are_the_chunks_that_count(tmp_path):
    source = as_source(zarr_sharded(tmp_path, matrix()))
    assert [edges.tolist() for edges in source.edges] == [[0, 12, 24, 36, 48], [0, 20, 40, 60]]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_never_written_hold_the_fill_value(tmp_path, zarr_format):
    array = zarr.create_array(
        tmp_path / "z.zarr", shape=SHAPE, chunks=(10, 10), dtype="f8", fill_value=2.5, zarr_format=zarr_format
    )
    array[:10, :10] = 1
    expected = np.full(SHAPE, 2.5)
    expected[:10, :10] = 1
    source = as_source(tmp_path / "z.zarr")
    np.testing.assert_array_equal(source.read_block(slice(0, 48), slice(0, 60)), expected)


def test_zarr_array_in_memory_is_not_shared():
    source = as_source(zarr_in_memory(None, matrix()))
    assert not source.shared
    assert as_source(source.array).name == source.name


def test_zarr_dtypes(tmp_path):
    source = as_source(write_zarr(tmp_path / "z.zarr", matrix("int16"), (10, 10)))
    assert (source.info.dtype, source.info.work_dtype) == ("int16", "float64")
    array = zarr.create_array(tmp_path / "s.zarr", shape=(4, 4), chunks=(2, 2), dtype="U3", zarr_format=2)
    with pytest.raises(InputError, match=r"Zarr array .* has dtype <U3; use float32"):
        as_source(array)


def test_group_names_its_arrays(tmp_path):
    array = zarr_in_group(tmp_path, matrix())
    group = zarr.open_group(tmp_path / "g.zarr", mode="r")
    for source in (tmp_path / "g.zarr" / "deep", str(tmp_path / "g.zarr" / "deep"), group["deep"]):
        with pytest.raises(SourceError, match=r"Zarr group.*; name one of its arrays: z"):
            as_source(source)
    with pytest.raises(SourceError, match="name one of its arrays: it has none"):
        as_source(group)
    assert as_source(array).shape == SHAPE


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)], ids=str)
def test_zarr_array_that_is_no_matrix(tmp_path, shape):
    array = zarr.create_array(tmp_path / "z.zarr", shape=shape, chunks=shape, dtype="f8")
    with pytest.raises(SourceError, match=f"Zarr array .* has {len(shape)} dimensions"):
        as_source(array)
    with pytest.raises(SourceError, match=f"source=.*z.zarr' has {len(shape)} dimensions"):
        as_source(tmp_path / "z.zarr")


def test_zarr_array_that_is_empty(tmp_path):
    with pytest.raises(SourceError, match=r"is empty, shape .0, 4."):
        as_source(zarr.create_array(tmp_path / "z.zarr", shape=(0, 4), chunks=(1, 4), dtype="f8"))


@pytest.mark.parametrize(
    ("damage", "compressed"),
    [("truncated", True), ("garbage", True), ("emptied", True), ("truncated", False), ("emptied", False)],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_damaged_chunk_is_named_by_its_place(tmp_path, damage, compressed, zarr_format):
    options = {} if compressed else {"compressors": None}
    write_zarr(tmp_path / "z.zarr", matrix(), (24, 30), zarr_format=zarr_format, **options)
    chunk = tmp_path / "z.zarr" / ("1.0" if zarr_format == 2 else "c/1/0")
    content = chunk.read_bytes()
    chunk.write_bytes(
        {"truncated": content[: len(content) // 2], "garbage": b"?" * len(content), "emptied": b""}[damage]
    )
    source = as_source(tmp_path / "z.zarr")
    rows, cols = axes_of_cut(CHAIN, 2, Orderings(), source.edges)
    with pytest.raises(
        SourceError, match=r"Zarr array .*z.zarr: cannot read rows \d+..\d+, columns \d+..\d+: "
    ) as info:
        source.read(rows, cols, Tile(0, rows.groups, 0, cols.groups))
    assert info.value.__cause__ is not None


def test_range_of_another_shape_is_refused():
    class Short(MatrixSource):
        name, shape, dtype = "short", SHAPE, np.dtype("f8")

        def read_block(self, rows, cols):  # noqa: ARG002
            return np.zeros((1, 1))

    rows, cols = axes_of_cut(CHAIN, 1, Orderings(), (None, None))
    with pytest.raises(SourceError, match=r"short: rows 0..47, columns 0..59 came back with shape \(1, 1\)"):
        Short().read(rows, cols, Tile(0, rows.groups, 0, cols.groups))


# ---------------------------------------------------------------- paths


def test_paths_that_hold_no_matrix(tmp_path):
    with pytest.raises(
        SourceError, match=r"source=.*nothing.zarr' does not exist; give a Zarr array, its URL, or a .npy"
    ):
        as_source(tmp_path / "nothing.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"source=.*empty'.? cannot be opened as a Zarr array: "):
        as_source(tmp_path / "empty")
    (tmp_path / "text.npy").write_text("no numbers")
    with pytest.raises(SourceError, match=r"text.npy' is no readable .npy file of numbers: "):
        as_source(tmp_path / "text.npy")
    (tmp_path / "file.txt").write_text("no matrix")
    with pytest.raises(SourceError, match=r"file.txt'.? cannot be opened as a Zarr array: "):
        as_source(tmp_path / "file.txt")
    np.save(tmp_path / "pickled.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"pickled.npy' is no readable .npy file of numbers: "):
        as_source(tmp_path / "pickled.npy")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    with pytest.raises(SourceError, match=r"cube.npy' has 3 dimensions"):
        as_source(tmp_path / "cube.npy")


def test_damaged_metadata(tmp_path):
    write_zarr(tmp_path / "z.zarr", matrix(), (10, 10))
    (tmp_path / "z.zarr" / "zarr.json").write_text("{")
    with pytest.raises(SourceError, match=r"z.zarr'.? cannot be opened as a Zarr array: "):
        as_source(tmp_path / "z.zarr")


# ---------------------------------------------------------------- Dask and HDF5


def test_dask_chunks_are_those_of_the_plan(tmp_path):
    source = as_source(dask_irregular(tmp_path, matrix()))
    assert [edges.tolist() for edges in source.edges] == [[0, 1, 21, 41, 48], [0, 13, 53, 60]]
    assert source.decode_bytes == 20 * 40 * 8


def test_dask_array_of_unknown_chunks():
    array = da.from_array(matrix(), chunks=(10, 60))
    with pytest.raises(SourceError, match=r"chunks of unknown size; call compute_chunk_sizes\(\) on it first"):
        as_source(array[array[:, 0] > 0])


def test_failure_inside_dask_names_the_range():
    def broken(block):
        raise RuntimeError("disk on fire")

    source = as_source(da.from_array(matrix(), chunks=(24, 60)).map_blocks(broken, dtype="f8", meta=np.empty((0, 0))))
    rows, cols = axes_of_cut(CHAIN, 1, Orderings(), source.edges)
    with pytest.raises(SourceError, match=r"dask array .*: cannot read rows 0..47, columns 0..59: .*disk on fire"):
        source.read(rows, cols, Tile(0, rows.groups, 0, cols.groups))


def test_hdf5_dataset_is_sent_through_dask(tmp_path):
    with h5py.File(tmp_path / "z.h5", "w") as file:
        dataset = file.create_dataset("z", data=matrix())
        with pytest.raises(SourceError, match=r"source is a h5py.*Dataset; wrap it as dask.array.from_array\(source\)"):
            as_source(dataset)


# ---------------------------------------------------------------- entries


def test_entries_evaluate_what_a_tile_holds_once():
    seen = np.zeros(SHAPE, int)

    def counted(rows, cols):
        seen[np.ix_(rows, cols)] += 1
        return entry(rows, cols)

    source = as_source(Entries(counted, SHAPE, "float64"))
    rows, cols = axes_of_cut(CHAIN, 2, Orderings(), source.edges)
    for r, c in np.ndindex(rows.groups, cols.groups):
        source.read(rows, cols, Tile(r, r + 1, c, c + 1))
    assert (seen == 1).all()


def test_failing_entries_name_the_range():
    def broken(rows, cols):
        raise ZeroDivisionError("by zero")

    source = as_source(Entries(broken, SHAPE, "float64"))
    rows, cols = axes_of_cut(CHAIN, 2, Orderings(), source.edges)
    with pytest.raises(SourceError, match=r"the entry function failed at rows 0.*by zero"):
        source.read(rows, cols, Tile(0, 1, 0, 1))


# ---------------------------------------------------------------- bad entries


@settings(deadline=None, max_examples=60)
@given(
    bad=st.lists(st.tuples(st.integers(0, 47), st.integers(0, 59)), max_size=6),
    kinds=st.tuples(*[st.sampled_from(["standard", "bitreversal", "scattered"])] * 2),
    position=st.integers(1, len(CHAIN) - 1),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    data=st.data(),
)
def test_first_bad_entry_of_a_tile(bad, kinds, position, value, data):
    z = matrix()
    for place in bad:
        z[place] = value
    source = as_source(z)
    sides = Orderings(*(side_of(name, n) for name, n in zip(kinds, SHAPE, strict=True)))
    rows, cols = axes_of_cut(CHAIN, position, sides, source.edges)
    r0, c0 = data.draw(st.integers(0, rows.groups - 1)), data.draw(st.integers(0, cols.groups - 1))
    tile = Tile(r0, data.draw(st.integers(r0 + 1, rows.groups)), c0, data.draw(st.integers(c0 + 1, cols.groups)))
    inside = [(i, j) for i, j in bad if i in rows.positions(tile.r0, tile.r1) and j in cols.positions(tile.c0, tile.c1)]
    found = first_bad_entry(source.read(rows, cols, tile), rows, cols, tile)
    assert found == min(inside, default=None)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float16", "complex64"])
def test_finite_entries_of_every_dtype(dtype):
    source = as_source(matrix(dtype))
    rows, cols = axes_of_cut(CHAIN, 2, Orderings(), source.edges)
    tile = Tile(0, rows.groups, 0, cols.groups)
    assert first_bad_entry(source.read(rows, cols, tile), rows, cols, tile) is None
