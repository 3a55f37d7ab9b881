import contextlib
import io
import os
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbutterfly as dbf
from dbutterfly import ButterflyOperator, Chain
from dbutterfly.errors import InputError, StoreError
from dbutterfly.operator import npz_files

ORDERINGS = {
    "standard": None,
    "bit reversal": (None, "bitreversal"),
    "arrays": (np.random.default_rng(0).permutation(24), np.random.default_rng(1).permutation(40)),
    "mixed": ("bitreversal", np.random.default_rng(1).permutation(40)),
}


def operator(orderings=None, dtype="complex64"):
    rng = np.random.default_rng(2)
    chain = Chain.chainable((24, 40))
    return ButterflyOperator([rng.standard_normal(pattern).astype(dtype) for pattern in chain], orderings)


@pytest.fixture(params=["npz", "directory", "memory"])
def place(request, tmp_path):
    return {"npz": tmp_path / "op.npz", "directory": tmp_path / "op.zarr", "memory": zarr.storage.MemoryStore()}[
        request.param
    ]


@pytest.mark.parametrize("orderings", ORDERINGS.values(), ids=ORDERINGS.keys())
def test_operators_come_back_to_the_bit(place, orderings):
    op = operator(orderings)
    op.save(place)
    again = ButterflyOperator.load(place)
    assert repr(again) == repr(op)
    assert again.chain == op.chain
    for ours, theirs in zip(op.ks_values, again.ks_values, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(again.to_dense(), op.to_dense())


def test_derived_operators_are_saved_as_they_are(place):
    op = operator(ORDERINGS["arrays"])
    op.H.save(place)
    np.testing.assert_array_equal(ButterflyOperator.load(place).to_dense(), op.H.to_dense())


def test_factors_may_differ_in_dtype(place):
    mixed = ButterflyOperator([np.ones((1, 2, 2, 2), "float32"), np.ones((2, 2, 2, 1), "complex128")])
    mixed.save(place)
    assert [values.dtype for values in ButterflyOperator.load(place).ks_values] == ["float32", "complex128"]


def test_factorizations_are_loaded_too(tmp_path):
    found = dbf.factorize(dbf.matrices.dft(16), orderings=(None, "bitreversal"), store=str(tmp_path / "run.zarr"))
    loaded = ButterflyOperator.load(tmp_path / "run.zarr")
    np.testing.assert_array_equal(loaded.to_dense(), found.operator.to_dense())


def test_an_operator_is_no_factorization(tmp_path):
    operator().save(tmp_path / "op.zarr")
    with pytest.raises(StoreError, match=r"holds an operator without a certificate; ButterflyOperator.load opens it"):
        dbf.open(tmp_path / "op.zarr")


def test_files_are_replaced_whole_if_asked_to(tmp_path):
    operator().save(tmp_path / "op.npz")
    before = (tmp_path / "op.npz").read_bytes()
    with pytest.raises(InputError, match=r"op\.npz' already exists; pass overwrite=True"):
        operator(ORDERINGS["arrays"]).save(tmp_path / "op.npz")
    assert (tmp_path / "op.npz").read_bytes() == before
    operator(ORDERINGS["arrays"]).save(tmp_path / "op.npz", overwrite=True)
    assert ButterflyOperator.load(str(tmp_path / "op.npz")).orderings.rows is not None
    assert [path.name for path in tmp_path.iterdir()] == ["op.npz"]
    with pytest.raises(InputError, match=r"op.npz' cannot be written"):
        operator().save(tmp_path / "no" / "op.npz")


def test_a_file_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"op.npz' cannot be written: \[Errno 20\]"):
        operator().save(tmp_path / "file" / "op.npz")


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_another_kind_are_not_replaced(tmp_path, overwrite):
    np.save(tmp_path / "matrix.npy", np.eye(3))
    (tmp_path / "matrix.npy").rename(tmp_path / "op.npz")
    before = (tmp_path / "op.npz").read_bytes()
    with pytest.raises(InputError, match=r"holds something that is not an \.npz file"):
        operator().save(tmp_path / "op.npz", overwrite=overwrite)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="it is a directory; name a file in it"):
        operator().save(tmp_path / "folder.npz", overwrite=overwrite)
    assert (tmp_path / "op.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.npz", "op.npz"]


def test_groups_are_replaced_if_asked_to(tmp_path):
    operator().save(tmp_path / "op.zarr")
    with pytest.raises(StoreError, match=r"already holds a dbutterfly operator.* pass overwrite=True"):
        operator(ORDERINGS["arrays"]).save(tmp_path / "op.zarr")
    assert ButterflyOperator.load(tmp_path / "op.zarr").orderings.rows is None
    operator(ORDERINGS["arrays"]).save(tmp_path / "op.zarr", overwrite=True)
    assert ButterflyOperator.load(tmp_path / "op.zarr").orderings.rows is not None
    assert [path.name for path in tmp_path.iterdir()] == ["op.zarr"]


def test_factors_in_memory_maps_are_not_written_over(tmp_path):
    op = operator(dtype="float64")
    np.save(tmp_path / "factor.npy", op.ks_values[0])
    (tmp_path / "factor.npy").rename(tmp_path / "factor.npz")
    mapped = ButterflyOperator([np.load(tmp_path / "factor.npz", mmap_mode="r"), *op.ks_values[1:]])
    with pytest.raises(InputError, match="which is read"):
        mapped.save(tmp_path / "factor.npz", overwrite=True)


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def packed(values):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(values), allow_pickle=True)
    return buffer.getvalue()


def headed(shape, rest=b""):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + rest


FACTOR = packed(np.ones((1, 2, 2, 1)))
FORGED = {
    "a factor missing": ({"format.npy": packed(2), "factor_0.npy": FACTOR, "factor_2.npy": FACTOR}, "lacks factor_1"),
    "a format that is a text": ({"format.npy": packed("two"), "factor_0.npy": FACTOR}, "has format 'two'"),
    "a format that is an array": ({"format.npy": packed([2, 2]), "factor_0.npy": FACTOR}, "has format"),
    "pickled members": ({"format.npy": packed(2), "factor_0.npy": packed(np.array([{}]))}, "holds Python objects"),
    "a huge shape": ({"format.npy": packed(2), "factor_0.npy": headed((1 << 40, 2, 2, 1))}, "not so many bytes"),
    "a negative shape": ({"format.npy": packed(2), "factor_0.npy": headed((-1, 2, 2, 1))}, "factor_0.npy is said"),
    "no array": ({"format.npy": packed(2), "factor_0.npy": b"text"}, "no readable .npz file"),
    "a member of another name": ({"format.npy": packed(2), "readme.txt": b"text"}, "readme.txt is no array"),
    "an ordering of floats": ({"format.npy": packed(2), "factor_0.npy": FACTOR, "rows.npy": packed([0.5])}, "rows"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_files_are_refused(tmp_path, kind):
    members, message = FORGED[kind]
    zipped(tmp_path / "op.npz", members)
    with pytest.raises(InputError, match=message):
        ButterflyOperator.load(tmp_path / "op.npz")


def test_compressed_files_are_read_if_memory_holds_them(tmp_path, monkeypatch):
    members = {"format.npy": packed(2), "factor_0.npy": FACTOR}
    zipped(tmp_path / "op.npz", members, zipfile.ZIP_DEFLATED)
    assert ButterflyOperator.load(tmp_path / "op.npz").shape == (2, 2)
    zipped(tmp_path / "bomb.npz", members | {"factor_1.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(npz_files.psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 19))
    with pytest.raises(InputError, match=r"bomb.npz' is no readable .* of which memory has 524288 free"):
        ButterflyOperator.load(tmp_path / "bomb.npz")
    zipped(tmp_path / "foreign.npz", members, zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match="compression 14, which NumPy does not use"):
        ButterflyOperator.load(tmp_path / "foreign.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "op.npz")
    with pytest.raises(InputError, match="it is no file"):
        ButterflyOperator.load(tmp_path / "op.npz")


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), content=st.binary(max_size=4), cut=st.booleans())
def test_damaged_files_are_refused_or_read(tmp_path, at, content, cut):
    path = tmp_path / "op.npz"
    path.unlink(missing_ok=True)
    operator(ORDERINGS["mixed"]).save(path)
    whole = path.read_bytes()
    start = int(at * len(whole))
    path.write_bytes(whole[:start] + content + (b"" if cut else whole[start + len(content) :]))
    with contextlib.suppress(InputError):
        ButterflyOperator.load(path)


def test_what_is_no_operator_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"lost.npz' is no readable .npz file"):
        ButterflyOperator.load(tmp_path / "lost.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(InputError, match=r"text.npz' is no readable .npz file"):
        ButterflyOperator.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", z=np.ones(3))
    with pytest.raises(InputError, match="holds no dbutterfly operator; it has z"):
        ButterflyOperator.load(tmp_path / "other.npz")
    np.savez(tmp_path / "later.npz", format=np.array(99), factor_0=np.ones((1, 2, 2, 1)))
    with pytest.raises(InputError, match="has format 99; this version reads format"):
        ButterflyOperator.load(tmp_path / "later.npz")
    with pytest.raises(StoreError, match="holds no dbutterfly factorization or operator"):
        ButterflyOperator.load(tmp_path / "lost.zarr")
