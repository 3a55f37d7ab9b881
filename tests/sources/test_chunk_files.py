import zarr
from zarr.storage import MemoryStore

from dbutterfly.sources.chunk_files import absent_chunks, chunk_key, chunk_keys


def test_keys_are_those_that_zarr_gives():
    for options in (
        {},
        {"zarr_format": 2},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"shards": (4, 6)},
    ):
        array = zarr.create_array(MemoryStore(), shape=(13, 11), chunks=(2, 3), dtype="f4", **options)
        rows, cols = array.shards or array.chunks
        wanted = [chunk_key(array, i, j) for i in range(-(-13 // rows)) for j in range(-(-11 // cols))]
        assert list(chunk_keys(array)) == wanted


def test_files_of_a_directory_are_found_as_zarr_finds_them(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    array = group.create_array("deep/z", shape=(6, 6), chunks=(2, 2), dtype="f4")
    array[:4] = 1
    (tmp_path / "g.zarr/deep/z/c/2/1").mkdir(parents=True)
    (tmp_path / "g.zarr/deep/z/c/2/2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "g.zarr/deep/z/c/2/0").symlink_to(tmp_path / "g.zarr/deep/z/c/0/0")
    assert absent_chunks(array).tolist() == [7, 8]
