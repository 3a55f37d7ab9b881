"""Chunks that are missing, damaged, out of reach or lost meanwhile, and the count of what reading asks for."""

import os
import pickle
import shutil
import sys
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import MissingChunksError, MissingChunksWarning, SourceError
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.missing_chunks import check_missing
from dbutterfly.structure.axes import Tile, axes_of_cut
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from tests.support.comparisons import assert_same, memory_for, noisy_butterfly

pytestmark = pytest.mark.slow

SHAPE = (38, 37)
EVERYTHING = np.s_[0:38, 0:37]

KINDS = {
    "plain": {"compressors": None},
    "checksum": {"compressors": zarr.codecs.Crc32cCodec()},
    "zstd": {"compressors": zarr.codecs.ZstdCodec(level=1)},
    "zstd+checksum": {"compressors": [zarr.codecs.ZstdCodec(level=1), zarr.codecs.Crc32cCodec()]},
    "shards": {"chunks": (5, 5), "shards": (10, 10), "compressors": None},
    "shards+checksum": {"chunks": (5, 5), "shards": (10, 10), "compressors": zarr.codecs.Crc32cCodec()},
    "v2": {"zarr_format": 2, "compressors": None},
    "v2 zstd": {"zarr_format": 2, "compressors": numcodecs.Zstd(level=1)},
    "v2 slash": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}


class Counting(zarr.storage.WrapperStore):
    """Counts the chunks that are asked for, and their bytes."""

    def __init__(self, store, lists=True, blind=False):
        super().__init__(store)
        self.lists, self.blind, self.gets, self.bytes = lists, blind, [], 0

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__

    @property
    def supports_listing(self):
        return self.lists

    async def list_prefix(self, prefix):
        async for key in super().list_prefix(prefix):
            if not self.blind:
                yield key

    async def get(self, key, prototype, byte_range=None):
        found = await super().get(key, prototype, byte_range)
        if not key.endswith(("zarr.json", ".zarray", ".zattrs")):
            self.gets.append(key)
            self.bytes += len(found) if found is not None else 0
        return found


def write(path, values=None, kind="plain", **options):
    """A matrix in chunks of 10 x 10 and its values."""
    values = np.random.default_rng(0).standard_normal(SHAPE) if values is None else values
    options = {"chunks": (10, 10), "compressors": None} | KINDS[kind] | options
    array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, **options)
    array[...] = values
    return values


def chunk_file(path, row, col):
    """File of a chunk below the directory of its array."""
    names = (f"c/{row}/{col}", f"{row}.{col}", f"{row}/{col}")
    return next(path / name for name in names if (path / name).exists())


def key_of(path, row, col):
    return chunk_file(path, row, col).relative_to(path).as_posix()


def shortened(content):
    return content[: len(content) // 2]


def one_byte_less(content):
    return content[:-1]


def lengthened(content):
    return content + b"past"


def emptied(content):
    return b""


def garbled(content):
    return b"?" * len(content)


def one_bit_flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


def opened(path, store):
    """The source on a local directory (compiled pipeline), or on a store that is not known (zarr's own)."""
    local = zarr.storage.LocalStore(path, read_only=True)
    return as_source(path if store == "local" else Counting(local))


# ---------------------------------------------------------------- missing chunks


@pytest.mark.parametrize("kind", KINDS)
def test_missing_chunks_are_counted(tmp_path, kind):
    path = tmp_path / "z.zarr"
    write(path, kind=kind)
    source = as_source(path)
    assert (source.chunk_count, source.missing_chunks, source.missing_keys(9)) == (16, 0, [])
    keys = [key_of(path, 1, 3), key_of(path, 2, 0), key_of(path, 3, 3)]
    for row, col in ((3, 3), (1, 3), (2, 0)):
        chunk_file(path, row, col).unlink()
    assert (source.missing_chunks, source.recount()) == (0, 3)
    again = as_source(path)
    assert (again.missing_chunks, again.missing_keys(9), again.missing_keys(2)) == (3, keys, keys[:2])
    assert (again.info.chunk_count, again.info.missing_chunks) == (16, 3)


def test_missing_chunks_inside_a_group(tmp_path):
    """Keys of a neighbour whose name begins alike are not counted."""
    for name in ("deep/z", "deep/z2"):
        write(tmp_path / "g.zarr" / name)
    chunk_file(tmp_path / "g.zarr" / "deep/z", 0, 1).unlink()
    for source in (zarr.open_array(tmp_path / "g.zarr", path="deep/z", mode="r"), tmp_path / "g.zarr" / "deep" / "z"):
        found = as_source(source)
        assert (found.missing_chunks, found.missing_keys(5)) == (1, ["c/0/1"])


def test_missing_chunks_in_memory():
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, shape=(4, 4), chunks=(2, 2), dtype="f4", fill_value=0)
    array[...] = np.diag(np.ones(4))
    source = as_source(array)
    assert (source.chunk_count, source.missing_chunks, source.missing_keys(1)) == (4, 2, ["c/0/1"])


def test_missing_chunks_of_an_array_open_for_writing(tmp_path):
    array = zarr.create_array(tmp_path / "z.zarr", shape=(4, 4), chunks=(2, 2), dtype="f4", fill_value=0)
    array[:2, :2] = 1
    assert as_source(array).missing_keys(9) == ["c/0/1", "c/1/0", "c/1/1"]


def test_the_store_is_listed_once(tmp_path, monkeypatch):
    write(tmp_path / "z.zarr")
    listed, scandir = [], os.scandir

    def spy(path):
        if os.path.basename(path) in ("", "z.zarr"):
            listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", spy)
    source = as_source(tmp_path / "z.zarr")
    source.read_block(*EVERYTHING)
    assert not listed
    assert source.info.missing_chunks == source.missing_chunks == len(source.missing_keys(3)) == 0
    assert len(listed) == 1


@pytest.mark.parametrize("make", [np.asarray, lambda z: dbf.entries(lambda i, j: z[np.ix_(i, j)], z.shape, z.dtype)])
def test_sources_without_chunks_miss_none(make):
    source = as_source(make(np.eye(4)))
    assert (source.chunk_count, source.missing_chunks, source.missing_keys(3), source.recount()) == (0, 0, [], 0)
    check_missing(source, "error")


def test_missing_chunks_are_told_or_refused(tmp_path):
    path = tmp_path / "z.zarr"
    write(path, fill_value=2.5)
    for missing in ("fill", "error"):
        check_missing(as_source(path), missing)
    for at in ((0, 1), (1, 0), (1, 1), (1, 2), (3, 0), (3, 3)):
        chunk_file(path, *at).unlink()
    source = as_source(path)
    message = r"z.zarr: 6 of 16 chunks are not stored and are taken for the fill value 2.5, the first being c/0/1; .*"
    with pytest.warns(MissingChunksWarning, match=message + r"pass missing='error' to refuse them"):
        check_missing(source, "fill")
    with pytest.raises(
        MissingChunksError,
        match=r"6 of 16 chunks are not stored: c/0/1, c/1/0, c/1/1, c/1/2, c/3/0, ...; restore them, or pass "
        r"missing='fill' to take them for the fill value 2.5",
    ):
        check_missing(source, "error")


@pytest.mark.parametrize("options", [{"lists": False}, {"blind": True}], ids=["says so", "lists nothing"])
def test_a_store_that_cannot_be_listed(tmp_path, options):
    write(tmp_path / "z.zarr")
    source = as_source(Counting(zarr.storage.LocalStore(tmp_path / "z.zarr", read_only=True), **options))
    assert (source.lists_chunks, source.missing_chunks, source.missing_keys(3), source.recount()) == (False, 0, [], 0)
    with pytest.warns(MissingChunksWarning, match="its store cannot be listed, so that missing chunks"):
        check_missing(source, "fill")
    with pytest.raises(MissingChunksError, match=r"cannot be listed.*; pass missing='fill' to accept that"):
        check_missing(source, "error")


# ---------------------------------------------------------------- damaged chunks

DAMAGES = [
    *((damage, kind) for damage in (shortened, one_byte_less, emptied) for kind in KINDS),
    *((lengthened, kind) for kind in KINDS if not kind.startswith("shards")),
    *((damage, kind) for damage in (garbled, one_bit_flipped) for kind in KINDS if "checksum" in kind),
    (garbled, "zstd"),
    (garbled, "v2 zstd"),
]


@pytest.mark.parametrize(("damage", "kind"), DAMAGES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("store", ["local", "unknown"])
@pytest.mark.parametrize("at", [(1, 2), (3, 1)], ids=["inside", "edge"])
def test_damaged_chunks_are_named(tmp_path, damage, kind, store, at):
    """Whether they are wanted whole or in part, alone or with others."""
    path = tmp_path / "z.zarr"
    z = write(path, kind=kind)
    file, key = chunk_file(path, *at), key_of(path, *at)
    file.write_bytes(damage(file.read_bytes()))
    source = opened(path, store)
    row, col = 10 * at[0], 10 * at[1]
    ranges = [EVERYTHING, np.s_[row : row + 8, col : col + 10], np.s_[row + 1 : row + 5, 0:37]]
    if kind not in ("shards", "shards+checksum"):  # of which only the inner chunks are looked at that are wanted
        ranges.append(np.s_[row + 4 : row + 6, col + 3 : col + 6])
    for rows, cols in ranges:
        text = rf"z.zarr: cannot read rows {rows.start}\.\.{rows.stop - 1}, columns \d+\.\.\d+: chunk {key} "
        if store == "unknown" and damage is emptied and "shards" in kind:
            continue  # zarr's own pipeline takes an empty shard for a missing one
        with pytest.raises(SourceError, match=text) as info:
            source.read_block(rows, cols)
        assert info.value.__cause__ is not None
    others = np.s_[0:10, 0:37]
    np.testing.assert_array_equal(source.read_block(*others), z[others])


@pytest.mark.parametrize("store", ["local", "unknown"])
def test_a_damaged_chunk_of_a_tile_is_named(tmp_path, store):
    z = write(tmp_path / "z.zarr", np.random.default_rng(0).standard_normal((64, 64)), kind="zstd")
    file = chunk_file(tmp_path / "z.zarr", 4, 2)
    file.write_bytes(garbled(file.read_bytes()))
    source = opened(tmp_path / "z.zarr", store)
    for sides in (Orderings(), Orderings("bitreversal", "bitreversal"), Orderings(np.arange(64)[::-1], None)):
        rows, cols = axes_of_cut(Chain.chainable(z.shape), 2, sides, source.edges)
        with pytest.raises(SourceError, match=r"cannot read rows \d+\.\.\d+, columns \d+\.\.\d+: chunk c/4/2 "):
            source.read(rows, cols, Tile(0, rows.groups, 0, cols.groups))


# ---------------------------------------------------------------- out of reach, lost, gone


def directory(file):
    file.unlink()
    file.mkdir()


def loop(file):
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize(("damage", "reason"), [(directory, "is no file"), (loop, "cannot be reached: OSError")])
@pytest.mark.parametrize("kind", ["plain", "zstd", "v2"])
def test_what_is_no_chunk(tmp_path, damage, reason, kind):
    write(tmp_path / "z.zarr", kind=kind)
    key = key_of(tmp_path / "z.zarr", 2, 1)
    damage(chunk_file(tmp_path / "z.zarr", 2, 1))
    with pytest.raises(SourceError, match=f"chunk {key} {reason}"):
        as_source(tmp_path / "z.zarr").read_block(*EVERYTHING)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_permission_denied(tmp_path):
    path = tmp_path / "z.zarr"
    z = write(path)
    source = as_source(path)
    (path / "c/1").chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # root may read everything, so be somebody else for a moment
            tmp_path.chmod(0o755)
            os.seteuid(65534)
        with pytest.raises(SourceError, match=r"chunk c/\d/\d cannot be reached: PermissionError"):
            source.read_block(*EVERYTHING)
    finally:
        os.seteuid(user)
        (path / "c/1").chmod(0o755)
    np.testing.assert_array_equal(source.read_block(*EVERYTHING), z)


@pytest.mark.parametrize("store", ["local", "unknown"])
def test_an_array_that_vanishes_is_not_read_as_its_fill_value(tmp_path, store):
    path = tmp_path / "z.zarr"
    write(path, np.ones((64, 64)))
    source = opened(path, store)
    rows, cols = axes_of_cut(Chain.chainable((64, 64)), 2, Orderings(), source.edges)
    tile = Tile(0, rows.groups, 0, cols.groups)
    assert source.read(rows, cols, tile).all()
    path.rename(tmp_path / "away")
    with pytest.raises(SourceError, match=r"has vanished or become unreachable while it was read: .*restore it"):
        source.read(rows, cols, tile)
    write(path, np.ones((64, 64)), chunks=(32, 32))
    shutil.rmtree(path / "c")
    with pytest.raises(SourceError, match=r"was replaced by one of shape \(64, 64\), .*chunks \(32, 32\)"):
        source.read(rows, cols, tile)


def test_a_chunk_that_is_lost_meanwhile(tmp_path):
    """Once no chunk was missing, an absent one is lost; else it may never have been written."""
    path = tmp_path / "z.zarr"
    z = write(path, np.ones(SHAPE))
    never_counted, complete, sparse = (as_source(path) for _ in range(3))
    assert complete.missing_chunks == 0
    travelled = pickle.loads(pickle.dumps(complete))
    chunk_file(path, 2, 3).unlink()
    assert sparse.missing_chunks == 1
    z[20:30, 30:] = 0
    for source in (never_counted, sparse, pickle.loads(pickle.dumps(sparse))):
        np.testing.assert_array_equal(source.read_block(*EVERYTHING), z)
    for source in (complete, travelled):
        with pytest.raises(SourceError, match="chunk c/2/3 was there and has been lost; restore it"):
            source.read_block(*EVERYTHING)


# ---------------------------------------------------------------- what reading asks for

SIDES = [(None, None), ("bitreversal", "bitreversal"), ("bitreversal", None), ("scattered", "scattered")]


def tiles_of(source, sides):
    """Tiles of all alignments."""
    rng = np.random.default_rng(4)
    chosen = Orderings(
        *(rng.permutation(n) if s == "scattered" else s for n, s in zip(source.shape, sides, strict=True))
    )
    chain = Chain.chainable(source.shape)
    for position in (2, 4):
        rows, cols = axes_of_cut(chain, position, chosen, source.edges)
        yield rows, cols, Tile(0, rows.groups, 0, cols.groups)
        yield rows, cols, Tile(0, 1, 0, 1)
        for _ in range(4):
            r0, c0 = int(rng.integers(rows.groups)), int(rng.integers(cols.groups))
            r1, c1 = int(rng.integers(r0, rows.groups)) + 1, int(rng.integers(c0, cols.groups)) + 1
            yield rows, cols, Tile(r0, r1, c0, c1)


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "zstd", "checksum", "v2"])
def test_the_chunks_asked_for_are_those_counted(tmp_path, kind, sides):
    """Every chunk is got once, and the bytes are those of its entries inside the matrix."""
    z = np.random.default_rng(0).standard_normal((64, 48))
    write(tmp_path / "z.zarr", z, kind=kind, chunks=(10, 7))
    store = Counting(zarr.storage.LocalStore(tmp_path / "z.zarr", read_only=True))
    source = as_source(store)
    for rows, cols, tile in tiles_of(source, sides):
        store.gets.clear()
        store.bytes = 0
        source.read(rows, cols, tile)
        at = [tuple(int(n) for n in key.replace(".", "/").split("/")[-2:]) for key in store.gets]
        inside = sum(min(10, 64 - 10 * i) * min(7, 48 - 7 * j) * 8 for i, j in at)
        assert source.bytes_touched(rows, cols, tile) == inside
        if kind == "plain":
            assert store.bytes == len(store.gets) * 10 * 7 * 8  # in full size at the edges


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs the counters of Linux")
@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "zstd", "checksum", "v2"])
def test_the_bytes_read_from_a_directory_are_those_counted(tmp_path, kind, sides):
    z = np.random.default_rng(0).standard_normal((64, 64))
    write(tmp_path / "z.zarr", z, kind=kind, chunks=(8, 16))
    source = as_source(tmp_path / "z.zarr")
    stored = chunk_file(tmp_path / "z.zarr", 0, 0).stat().st_size / (8 * 16 * 8)
    source.read_block(np.s_[:], np.s_[:])  # modules that are loaded on first use
    for rows, cols, tile in tiles_of(source, sides):
        counts = []
        for _ in range(5):  # other threads of this process, those of a cluster's client, read now and then
            before = characters_read()
            values = source.read(rows, cols, tile)
            counts.append(characters_read() - before - 100)  # about what the counters themselves are
        read = min(counts)
        counted = source.bytes_touched(rows, cols, tile) * stored
        if kind in ("plain", "v2"):  # of chunks wanted in part, the part
            assert values.nbytes - 300 <= read <= counted + 300
        else:
            assert 0.97 * counted - 300 <= read <= 1.03 * counted + 300


def characters_read():
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("make", [np.asarray, lambda z: dbf.entries(lambda i, j: z[np.ix_(i, j)], z.shape, z.dtype)])
def test_without_chunks_a_tile_costs_its_bytes(make):
    source = as_source(make(np.ones((64, 48), np.float32)))
    assert isinstance(source, MatrixSource)
    for sides in SIDES:
        for rows, cols, tile in tiles_of(source, sides):
            assert source.bytes_touched(rows, cols, tile) == source.read(rows, cols, tile).nbytes


def test_the_tiles_cost_what_the_plan_says(tmp_path):
    write(tmp_path / "z.zarr", np.random.default_rng(0).standard_normal((256, 256)), chunks=(48, 80))
    source = as_source(tmp_path / "z.zarr")
    for orderings in (None, ("bitreversal", None)):
        rows, cols = axes_of_cut(Chain.chainable((256, 256)), 4, Orderings.from_any(orderings), source.edges)
        for r, c in ((1, 16), (4, 4), (5, 3)):
            cost = rows.tiling_cost(r)[0] * cols.tiling_cost(c)[0] * 8
            tiles = [
                Tile(i, min(i + r, rows.groups), j, min(j + c, cols.groups))
                for i in range(0, rows.groups, r)
                for j in range(0, cols.groups, c)
            ]
            assert sum(source.bytes_touched(rows, cols, tile) for tile in tiles) == cost


# ---------------------------------------------------------------- whole runs

ORDERINGS = ("bitreversal", None)


@pytest.fixture(scope="module")
def matrix():
    return noisy_butterfly(256, orderings=ORDERINGS)


@pytest.fixture
def stored(tmp_path, matrix):
    write(tmp_path / "z.zarr", matrix, kind="zstd+checksum", chunks=(32, 32))
    return tmp_path / "z.zarr"


def removed(file):
    file.unlink()


def in_place(change):
    def damage(file):
        file.write_bytes(change(file.read_bytes()))

    return damage


@pytest.mark.parametrize(
    "damage",
    [in_place(shortened), in_place(emptied), in_place(one_bit_flipped)],
    ids=["short", "empty", "flipped"],
)
@pytest.mark.parametrize("passes", [1, 2])
def test_a_run_goes_on_after_a_damaged_chunk_is_restored(tmp_path, stored, matrix, damage, passes):
    arguments = {"orderings": ORDERINGS, "passes": passes}
    arguments |= {"tree": dbf.plan(matrix, **arguments).tree}
    arguments |= {"memory": memory_for(32, stored, **arguments), "workers": 1}
    expected = dbf.factorize(stored, **arguments)
    file = stored / "c/7/7"
    content = file.read_bytes()
    damage(file)
    for _ in range(2):
        with pytest.raises(SourceError, match=r"z.zarr: cannot read rows .*: chunk c/7/7 .*restore it"):
            dbf.factorize(stored, store=tmp_path / "run", **arguments)
    file.write_bytes(content)
    found = dbf.factorize(stored, store=tmp_path / "run", **arguments)
    assert found.record["stages"]["tiles"]["resumed"] > 0
    assert_same(found, expected)


@pytest.mark.filterwarnings("ignore::dbutterfly.errors.MissingChunksWarning")
def test_a_run_says_that_its_matrix_is_gone(tmp_path, stored, matrix):
    source = as_source(stored)
    stored.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="has vanished or become unreachable"):
        dbf.factorize(source, orderings=ORDERINGS, store=tmp_path / "run")
    (tmp_path / "away").rename(stored)
    found = dbf.factorize(as_source(stored), orderings=ORDERINGS, store=tmp_path / "run")
    assert_same(found, dbf.factorize(matrix, orderings=ORDERINGS, tree=found.tree))


@pytest.mark.skipif(sys.platform == "win32", reason="files in use cannot be removed")
def test_a_run_says_that_a_chunk_was_lost(tmp_path, stored):
    source = as_source(stored)
    assert source.missing_chunks == 0
    content = (stored / "c/3/4").read_bytes()
    removed(stored / "c/3/4")
    with pytest.raises(SourceError, match="chunk c/3/4 was there and has been lost"):
        dbf.factorize(source, orderings=ORDERINGS, store=tmp_path / "run")
    (stored / "c/3/4").write_bytes(content)
    found = dbf.factorize(source, orderings=ORDERINGS, store=tmp_path / "run")
    assert_same(found, dbf.factorize(stored, orderings=ORDERINGS, tree=found.tree))
