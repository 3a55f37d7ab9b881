import json
import shutil

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import StoreError, StoreMismatchError
from dbutterfly.storage.run_store import RunStore
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import DTYPES, assert_same, noisy_butterfly, random_matrix, snapshot

ORDERINGS = {
    "standard": None,
    "columns": (None, "bitreversal"),
    "rows": ("bitreversal", None),
    "both": ("bitreversal", "bitreversal"),
    "arrays": (np.arange(32)[::-1], np.roll(np.arange(32), 3)),
    "mixed": (np.arange(32)[::-1], "bitreversal"),
}


def sides(fact):
    both = fact.orderings.rows, fact.orderings.cols
    return [side.tolist() if isinstance(side, np.ndarray) else side for side in both]


@pytest.mark.parametrize("orderings", ORDERINGS.values(), ids=ORDERINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_saved_can_be_opened(orderings, dtype, tmp_path):
    fact = dbf.factorize(random_matrix((32, 32), dtype), orderings=orderings, tree="left")
    fact.save(tmp_path / "saved")
    again = dbf.open(tmp_path / "saved")
    assert_same(again, fact)
    assert sides(again) == sides(fact)
    assert again.record == json.loads(json.dumps(fact.record))
    assert np.array_equal(again.operator.to_dense(), fact.operator.to_dense())


@pytest.mark.parametrize("orderings", [ORDERINGS["standard"], ORDERINGS["mixed"]], ids=["standard", "mixed"])
@pytest.mark.parametrize("store", ["directory", "memory"], indirect=True)
def test_what_a_run_stores_can_be_opened(orderings, store, engine):
    matrix = random_matrix((32, 32))
    fact = dbf.factorize(matrix, orderings=orderings, store=store, **engine)
    again = dbf.open(store)
    assert_same(again, fact)
    assert sides(again) == sides(fact)


@pytest.mark.parametrize("place", ["string", "path", "memory", "dict", "local"])
def test_stores_of_every_kind(place, tmp_path):
    store = {
        "string": str(tmp_path / "deep" / "run"),
        "path": tmp_path / "deep" / "run",
        "memory": zarr.storage.MemoryStore(),
        "dict": {},
        "local": zarr.storage.LocalStore(tmp_path / "local"),
    }[place]
    fact = dbf.factorize(random_matrix((16, 16)), store=store)
    assert_same(dbf.open(store), fact)


def test_a_complete_run_keeps_only_its_result(tmp_path):
    dbf.factorize(noisy_butterfly(64), store=tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "zarr.json",
        "manifest",
        "factors",
        "trace",
        "stamps",
    }


def test_it_multiplies_as_its_operator_does():
    fact = dbf.factorize(np.asarray(dbf.matrices.dft(16)), orderings=(None, "bitreversal"))
    x = np.random.default_rng(0).standard_normal((16, 2))
    np.testing.assert_array_equal(fact @ x, fact.operator @ x)
    np.testing.assert_array_equal(fact @ x[:, 0], fact.operator @ x[:, 0])
    np.testing.assert_array_equal(x.T @ fact, x.T @ fact.operator)
    with pytest.raises(ValueError, match="dimension mismatch"):
        fact @ np.ones(3)


def test_attributes():
    fact = dbf.factorize(dbf.matrices.dft(64, dtype="complex64"), orderings=(None, "bitreversal"))
    assert (fact.shape, fact.dtype, fact.nbytes) == ((64, 64), np.dtype("complex64"), 6 * 128 * 8)
    assert fact.compression == 64 * 64 / (6 * 128)
    start = "<Factorization of a 64 x 64 complex64 matrix: 6 factors, 5.3 times smaller; error bound "
    assert repr(fact).startswith(start)
    assert fact.operator is fact.operator


def test_saving_does_not_overwrite(tmp_path):
    fact = dbf.factorize(random_matrix((16, 16)))
    fact.save(tmp_path / "saved")
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"already holds|nothing was changed"):
        dbf.factorize(random_matrix((16, 16), seed=1)).save(tmp_path / "saved")
    assert snapshot(tmp_path) == before


def test_opening_what_is_no_factorization(tmp_path):
    zarr.create_array(tmp_path / "array", shape=(3,), dtype="f8")
    zarr.create_group(tmp_path / "group", attributes={"dbutterfly": "is not this"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no store")
    before = snapshot(tmp_path)
    for name in ("array", "group", "empty", "text", "missing"):
        with pytest.raises(StoreError, match=f"{name}'?.* (holds no dbutterfly factorization|cannot be opened)"):
            dbf.open(tmp_path / name)
    with pytest.raises(StoreError, match="holds no dbutterfly factorization"):
        dbf.open(zarr.storage.MemoryStore())
    assert snapshot(tmp_path) == before


def test_opening_a_run_that_has_not_ended(tmp_path):
    matrix = random_matrix((16, 16))
    matrix[3, 4] = np.nan
    with pytest.raises(dbf.errors.NonFiniteError):
        dbf.factorize(matrix, store=tmp_path / "run")
    with pytest.raises(StoreError, match=r"has not ended \(0 of 1 tiles, .* done\); call factorize as before"):
        dbf.open(tmp_path / "run")


def test_what_was_saved_is_no_run(tmp_path):
    matrix = np.asarray(dbf.matrices.dft(64))
    dbf.factorize(matrix, orderings=(None, "bitreversal")).save(tmp_path / "saved")
    with pytest.raises(StoreMismatchError, match="matrix is None, not"):
        dbf.factorize(matrix, orderings=(None, "bitreversal"), store=tmp_path / "saved")
    half = RunStore.open(tmp_path / "saved", mode="r+")
    half.update(status="running")
    with pytest.raises(StoreError, match=r"has not ended \(nothing done\)"):
        dbf.open(tmp_path / "saved")


@pytest.fixture
def saved(tmp_path):
    dbf.factorize(random_matrix((16, 16)), orderings=(np.arange(16)[::-1], None)).save(tmp_path / "saved")
    return tmp_path / "saved"


def remove_factor(saved):
    shutil.rmtree(saved / "factors" / "1")


def shorten_factor(saved):
    (chunk,) = (path for path in (saved / "factors" / "1").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-8])


def swap_factors(saved):
    shutil.rmtree(saved / "factors" / "1")
    shutil.copytree(saved / "factors" / "2", saved / "factors" / "1")


def retype_factor(saved):
    zarr.create_array(saved / "factors" / "1", data=np.ones((2, 2, 2, 4), "f4"), overwrite=True)


def remove_side(saved):
    shutil.rmtree(saved / "orderings")


@pytest.mark.parametrize("damage", [remove_factor, shorten_factor, swap_factors, retype_factor, remove_side])
def test_a_damaged_store_is_not_opened(saved, damage):
    damage(saved)
    name = "orderings/rows" if damage is remove_side else "factors/1"
    with pytest.raises(StoreError, match=f"{name} (is missing or damaged|has shape)"):
        dbf.open(saved)


def test_a_later_format_is_not_guessed_at(saved):
    group = zarr.open_group(saved)
    group.attrs["dbutterfly"] = group.attrs["dbutterfly"] | {"format": 99, "version": "9.9"}
    with pytest.raises(StoreError, match=r"has format 99, written by dbutterfly 9\.9"):
        dbf.open(saved)


def test_a_single_factor_is_stored_as_well(tmp_path):
    matrix = random_matrix((7, 5))
    fact = dbf.factorize(matrix, Chain([(1, 7, 5, 1)]), store=tmp_path / "run")
    assert_same(dbf.open(tmp_path / "run"), fact)
    assert np.array_equal(fact.operator.to_dense(), matrix)
