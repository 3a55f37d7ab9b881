"""A stored run is used for its own matrix alone, known by content for every kind of source."""

import json
import os
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import zarr
import zarr.storage
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import NonFiniteError, SourceError, StoreMismatchError
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import assert_same, noisy_butterfly, random_matrix

pytestmark = pytest.mark.slow

N = 32


def write(place, z, **options):
    return zarr.create_array(place, data=z, chunks=(8, 8), overwrite=True, **options)


def path(tmp_path, z):
    write(tmp_path / "z.zarr", z)
    return str(tmp_path / "z.zarr")


def opened(tmp_path, z):
    path(tmp_path, z)
    return zarr.open_array(str(tmp_path / "z.zarr"), mode="r")


def sharded(tmp_path, z):
    return zarr.create_array(tmp_path / "z.zarr", data=z, chunks=(4, 4), shards=(8, 8), overwrite=True)


def zarr_in_memory(_, z):
    return write(zarr.storage.MemoryStore(), z)


def array(_, z):
    return z


def fortran(_, z):
    return np.asfortranarray(z)


def view(_, z):
    return np.repeat(z, 2, axis=0)[::2]


def npy(tmp_path, z):
    np.save(tmp_path / "z.npy", z)
    return str(tmp_path / "z.npy")


def memory_map(tmp_path, z):
    return np.load(npy(tmp_path, z), mmap_mode="r")


def own_map(tmp_path, z):
    mapped = np.load(npy(tmp_path, np.zeros_like(z)), mmap_mode="c")
    mapped[...] = z
    return mapped


def dask_of_array(_, z):
    return da.from_array(z, chunks=(8, 8))


def dask_under_one_name(_, z):
    return da.from_array(z, chunks=(8, 8), name="always-this")


def dask_of_zarr(tmp_path, z):
    return da.from_zarr(path(tmp_path, z))


def entry_function(_, z):
    return dbf.entries(lambda i, j: z[np.ix_(i, j)], z.shape, z.dtype)


def sampled_entries(_, z):
    return dbf.entries(lambda i, j: z[np.ix_(i, j)], z.shape, z.dtype, sampled=True)


def linear_operator(_, z):
    return aslinearoperator(z)


def sparse_matrix(_, z):
    return scipy.sparse.coo_array(z)


KINDS = [
    path, opened, sharded, zarr_in_memory, array, fortran, view, npy, memory_map, own_map, dask_of_array,
    dask_under_one_name, dask_of_zarr, entry_function, sampled_entries, linear_operator, sparse_matrix,
]  # fmt: skip
STORED = [
    path,
    opened,
    sharded,
    zarr_in_memory,
    array,
    fortran,
    view,
    npy,
    memory_map,
    own_map,
    linear_operator,
    sparse_matrix,
]


@pytest.mark.parametrize("make", KINDS)
def test_a_finished_run_is_not_returned_for_another_matrix(tmp_path, make):
    z, other = (random_matrix((N, N), seed=seed) for seed in range(2))
    dbf.factorize(make(tmp_path, z), store=tmp_path / "run")
    before = RunStore.open(tmp_path / "run").manifest
    with pytest.raises(StoreMismatchError, match="is not the matrix of the run"):
        dbf.factorize(make(tmp_path, other), store=tmp_path / "run")
    assert RunStore.open(tmp_path / "run").manifest == before


@pytest.mark.parametrize(
    ("make", "change"),
    [(make, "entry") for make in STORED]
    + [(make, change) for make in (path, array, memory_map) for change in ("row", "column", "sign", "swap")],
)
def test_a_small_change_of_what_is_stored_is_found(tmp_path, make, change):
    z = random_matrix((N, N))
    other = z.copy()
    if change == "swap":
        other[[2, 9]] = z[[9, 2]]
    else:
        at = {"row": (2, slice(None)), "column": (slice(None), 30)}.get(change, (17, 23))
        other[at] = -z[at] if change == "sign" else z[at] + 1e-9
    dbf.factorize(make(tmp_path, z), store=tmp_path / "run")
    with pytest.raises(StoreMismatchError, match="have other entries than"):
        dbf.factorize(make(tmp_path, other), store=tmp_path / "run")


@pytest.mark.parametrize("make", KINDS)
def test_the_same_matrix_is_known_again(tmp_path, make):
    z = random_matrix((N, N))
    first = dbf.factorize(make(tmp_path, z), store=tmp_path / "run")
    again = dbf.factorize(make(tmp_path, z), store=tmp_path / "run")
    assert_same(first, again)
    assert again.record["matrix_check"]


def moved(place):
    os.rename(place, f"{place}-moved")
    return f"{place}-moved"


def linked(place):
    os.symlink(place, f"{place}-link")
    return f"{place}-link"


def copied(place):
    shutil.copytree(place, f"{place}-copy")
    return f"{place}-copy"


def touched(place):
    for name in ("c/0/0", "c/1/1"):
        os.utime(f"{place}/{name}")
    return place


def annotated(place):
    zarr.open_array(place, mode="r+").attrs["comment"] = "measured in spring"
    return place


def spelled(place):
    return zarr.open_array(f"file://{os.path.dirname(place)}/./{os.path.basename(place)}/", mode="r")


def chunked_anew(place):
    z = zarr.open_array(place, mode="r")[...]
    zarr.create_array(f"{place}-anew", data=z, chunks=(16, 4), zarr_format=2)
    return f"{place}-anew"


def loaded(place):
    return zarr.open_array(place, mode="r")[...]


@pytest.mark.parametrize("change", [moved, linked, copied, touched, annotated, spelled, chunked_anew, loaded])
def test_where_a_matrix_lies_and_what_is_written_beside_it_does_not_matter(tmp_path, change):
    first = dbf.factorize(path(tmp_path, random_matrix((N, N))), store=tmp_path / "run")
    again = dbf.factorize(change(str(tmp_path / "z.zarr")), store=tmp_path / "run")
    assert_same(first, again)


def decoded_otherwise(place):
    zarr.open_array(place, mode="r+").attrs["scale_factor"] = 2.0
    return place


def filled_otherwise(place):
    os.remove(f"{place}/c/1/2")
    return place


def of_other_byte_order(place):
    metadata = Path(place, "zarr.json")
    text = metadata.read_text()
    assert '"little"' in text
    metadata.write_text(text.replace('"little"', '"big"'))
    return place


@pytest.mark.parametrize("change", [decoded_otherwise, filled_otherwise, of_other_byte_order])
@pytest.mark.filterwarnings("ignore::dbutterfly.errors.MissingChunksWarning")
def test_what_is_made_of_the_same_chunks_matters(tmp_path, change):
    zarr.create_array(tmp_path / "z.zarr", data=random_matrix((N, N)), chunks=(8, 8), compressors=None)
    dbf.factorize(str(tmp_path / "z.zarr"), store=tmp_path / "run")
    with pytest.raises(StoreMismatchError):
        dbf.factorize(change(str(tmp_path / "z.zarr")), store=tmp_path / "run")


def test_other_parts_of_one_mapped_file_are_other_matrices(tmp_path):
    np.save(tmp_path / "z.npy", random_matrix((2 * N, N)))
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    first = dbf.factorize(mapped[:N], store=tmp_path / "run")
    for other in (mapped[N:], mapped[:N, ::-1], mapped[:N].T):
        with pytest.raises(StoreMismatchError):
            dbf.factorize(other, store=tmp_path / "run")
    assert_same(first, dbf.factorize(np.load(tmp_path / "z.npy", mmap_mode="r")[:N], store=tmp_path / "run"))


def test_a_relative_store_is_known_by_what_it_holds(tmp_path, monkeypatch):
    for name, seed in (("A", 0), ("B", 1)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "z.zarr", random_matrix((N, N), seed=seed))
    monkeypatch.chdir(tmp_path / "A")
    first = dbf.factorize(zarr.open_array("z.zarr", mode="r"), store=tmp_path / "run")
    assert_same(first, dbf.factorize("z.zarr", store=tmp_path / "run"))
    monkeypatch.chdir(tmp_path / "B")
    with pytest.raises(StoreMismatchError):
        dbf.factorize(zarr.open_array("z.zarr", mode="r"), store=tmp_path / "run")


def half_done(tmp_path, z, store):
    """A run that was stopped by a NaN in the last chunk of its matrix, with other tiles done."""
    z = z.copy()
    z[-1, -1] = np.nan
    place = path(tmp_path, z)
    with pytest.raises(NonFiniteError):
        dbf.factorize(place, store=store, memory=memory(place), workers=1)
    done = RunStore.open(store, mode="r+").workspace.read_rows("done/tiles")
    assert 0 < np.count_nonzero(~np.isnan(done[:, 0])) < len(done)
    return place


def memory(place):
    from tests.support.comparisons import memory_for

    return memory_for(16, place)


def test_an_unfinished_run_is_not_continued_with_another_matrix(tmp_path):
    place = half_done(tmp_path, noisy_butterfly(128), tmp_path / "run")
    write(place, noisy_butterfly(128, seed=7))
    with pytest.raises(StoreMismatchError, match="have other entries than were read"):
        dbf.factorize(place, store=tmp_path / "run", memory=memory(place), workers=1)


def test_a_run_goes_on_when_what_was_not_read_yet_is_mended(tmp_path):
    z = noisy_butterfly(128)
    place = half_done(tmp_path, z, tmp_path / "run")
    zarr.open_array(place, mode="r+")[-1, -1] = z[-1, -1]
    fact = dbf.factorize(place, store=tmp_path / "run", memory=memory(place), workers=1)
    assert fact.record["stages"]["tiles"]["resumed"] > 0
    assert_same(fact, dbf.factorize(z, memory=memory(place), workers=1))
    assert float(dbf.verify(fact, z)) <= fact.certificate.error_bound


def test_a_matrix_that_is_written_while_it_is_read_is_found(tmp_path, monkeypatch):
    from dbutterfly.factorization import run as module

    z = random_matrix((N, N))
    place = path(tmp_path, z)
    assembled = module.assemble

    def write_and_assemble(*arguments):
        zarr.open_array(place, mode="r+")[3, 3] = 5.0
        return assembled(*arguments)

    monkeypatch.setattr(module, "assemble", write_and_assemble)
    with pytest.raises(StoreMismatchError, match="have other entries than were read"):
        dbf.factorize(place, store=tmp_path / "run")


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("store", [None, "run"])
def test_computed_matrices_that_do_not_repeat_are_found(tmp_path, passes, store):
    z = random_matrix((N, N))
    noisy = da.from_array(z, chunks=8).map_blocks(lambda b: b + 1e-6 * np.random.default_rng().random(b.shape))
    with pytest.raises(Exception, match="gives other entries than when the run began"):
        dbf.factorize(noisy, passes=passes, store=store and tmp_path / store)


def test_a_search_for_orderings_refuses_what_does_not_repeat():
    noisy = da.from_array(random_matrix((N, N)), chunks=8).map_blocks(lambda b: b + np.random.default_rng().random())
    with pytest.raises(SourceError, match="gives other entries when it is computed again"):
        dbf.identify(noisy)
    draws = dbf.entries(lambda i, j: np.random.default_rng().random((i.size, j.size)), (N, N), float)
    with pytest.raises(SourceError, match="the same value"):
        dbf.identify(draws)


def test_a_second_read_of_other_entries_is_found_in_every_block(tmp_path):
    z, reads = random_matrix((N, N)), []

    def drift(block, block_info=None):
        if block_info[0]["chunk-location"] == (3, 0):
            reads.append(1)
            return block * (1 + 1e-3 * (len(reads) > 1))
        return block

    drifting = da.from_array(z, chunks=8).map_blocks(drift, dtype=z.dtype)
    with pytest.raises(Exception, match="gives other entries"):
        dbf.factorize(drifting, passes=2)


def test_what_was_found_is_said(tmp_path):
    place = path(tmp_path, random_matrix((N, N)))
    dbf.factorize(place, store=tmp_path / "run")
    checks = [dbf.factorize(given, store=tmp_path / "run").record["matrix_check"] for given in (place, copied(place))]
    assert checks[0] == "nothing in its storage has changed since the run began"
    assert checks[1].startswith("16 of 16 pieces of its storage were changed (files), and 1 of 1 tiles")


def test_a_run_of_a_version_that_kept_nothing_is_refused_with_what_to_do(tmp_path):
    z = random_matrix((N, N))
    dbf.factorize(z, store=tmp_path / "run")
    stored = RunStore.open(tmp_path / "run", mode="r+")
    stored.update(identity=None, matrix={"shape": [N, N], "dtype": "float64", "fingerprint": {}, "orderings": {}})
    with pytest.raises(StoreMismatchError, match=r"kept nothing by which its matrix is known again; dbutterfly\.open"):
        dbf.factorize(z, store=tmp_path / "run")
    assert_same(dbf.factorize(z, store=tmp_path / "run", resume=False), dbf.open(tmp_path / "run"))


def test_lost_stamps_are_done_without(tmp_path):
    z = random_matrix((N, N))
    first = dbf.factorize(z, store=tmp_path / "run")
    shutil.rmtree(tmp_path / "run/stamps")
    assert "sampled entries" in dbf.factorize(z, store=tmp_path / "run").record["matrix_check"]
    assert_same(first, dbf.factorize(z, store=tmp_path / "run"))
    with pytest.raises(StoreMismatchError, match="when the run began"):
        dbf.factorize(z + 1, store=tmp_path / "run")


def test_stamps_of_another_run_are_done_without(tmp_path):
    z = random_matrix((N, N))
    first = dbf.factorize(z, store=tmp_path / "run")
    dbf.factorize(z + 1, store=tmp_path / "other")
    shutil.copy(tmp_path / "other/stamps/c/0/0", tmp_path / "run/stamps/c/0/0")
    again = dbf.factorize(z, store=tmp_path / "run")
    assert_same(first, again)
    assert "sampled entries" in again.record["matrix_check"]


def test_a_matrix_of_which_nothing_can_be_looked_at_is_refused(tmp_path):
    """There would be nothing by which it is known again, and any other one would be taken for it."""

    def entry(rows, cols):
        if rows.size > 8:  # more than are asked for to see whether it repeats
            raise ZeroDivisionError("no such entry")
        return random_matrix((N, N))[np.ix_(rows, cols)]

    source = dbf.entries(entry, (N, N), float)
    with pytest.raises(SourceError, match="no such entry"):
        dbf.factorize(source, store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_chunk_that_cannot_be_read_is_no_place_of_the_sample(tmp_path):
    place = path(tmp_path, noisy_butterfly(128))
    Path(place, "c/9/3").write_bytes(b"short")
    with pytest.raises(SourceError, match="c/9/3"):
        dbf.factorize(place, store=tmp_path / "run", memory=memory(place), workers=1)
    done = RunStore.open(tmp_path / "run").workspace.read_rows("done/tiles")
    assert np.count_nonzero(~np.isnan(done[:, 0])) > 0


def test_the_sample_is_in_the_manifest(tmp_path):
    dbf.factorize(random_matrix((N, N)), store=tmp_path / "run")
    attributes = json.loads((tmp_path / "run/zarr.json").read_text())["attributes"]["dbutterfly"]
    assert len(attributes["identity"]["sample"]["places"]) == 16
    assert attributes["identity"]["stamps"] == "content of rows"


def test_a_different_setting_is_named_and_not_cut_off(tmp_path):
    z = random_matrix((N, N))
    dbf.factorize(z, store=tmp_path / "run")
    with pytest.raises(StoreMismatchError, match=r"matrix.dtype is float64, not float32"):
        dbf.factorize(z.astype("float32"), store=tmp_path / "run")
    with pytest.raises(SourceError):
        dbf.factorize("nowhere", store=tmp_path / "run")
