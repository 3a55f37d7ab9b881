"""Attributes of Zarr arrays that say what their numbers mean."""

import base64
import itertools
import pickle
import struct
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError, SourceError, StoreMismatchError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.packing import Packing
from dbutterfly.structure.axes import Axis, Tile

DTYPES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", ">i2", ">f4")
SCALES = ({}, {"scale_factor": 0.5}, {"add_offset": 2.0}, {"scale_factor": 1e-3, "add_offset": 300.0})
SIGNS = ({"_Unsigned": "true"}, {"_Unsigned": "false"})
EVERYTHING = (slice(0, 9), slice(0, 14))


def write(place, values, attributes=None, zarr_format=3, fill_value=None, **encoding):
    data = xr.Dataset({"t": (("y", "x"), values, attributes or {})})
    encoding = {"t": {"chunks": (4, 5), **encoding, **({} if fill_value is None else {"_FillValue": fill_value})}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.to_zarr(place, mode="w", encoding=encoding, zarr_format=zarr_format, consolidated=False)
    return f"{place}/t"


def as_xarray_reads(place):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_zarr(place.removesuffix("/t"), consolidated=False)["t"].values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "zarr_format"), [*((dtype, 3) for dtype in DTYPES), *((dtype, 2) for dtype in ("i2", "u1", "f4", ">f8"))]
)
def test_entries_are_what_xarray_reads(tmp_path, dtype, zarr_format):
    rng = np.random.default_rng(0)
    signed = np.dtype(dtype).kind != "u"
    values = rng.integers(-100 if signed else 0, 100, (9, 14)).astype(dtype)
    missing = np.dtype(dtype).type(values[3, 4])
    signs = SIGNS if np.dtype(dtype).kind in "iu" else ()
    scales = SCALES if dtype in ("i2", "f4") else SCALES[::3]
    for attributes, kind in itertools.product((*scales, *signs), ("", "_FillValue", "missing_value")):
        if kind == "missing_value" and zarr_format == 2:
            continue
        given = {**attributes, **({"missing_value": missing.item()} if kind == "missing_value" else {})}
        place = write(tmp_path / "z.zarr", values, given, zarr_format, missing if kind == "_FillValue" else None)
        expected = as_xarray_reads(place)
        found = as_source(place).read_range(*EVERYTHING)
        assert found.dtype == expected.dtype.newbyteorder("="), (attributes, kind)
        np.testing.assert_array_equal(found, expected, err_msg=f"{attributes} {kind}")
        assert np.isnan(found).any() == bool(kind), (attributes, kind)


@pytest.mark.slow
def test_tiles_in_other_orders_and_copies_in_other_processes_are_decoded(tmp_path):
    values = np.random.default_rng(1).integers(-99, 99, (9, 14)).astype("i2")
    place = write(tmp_path / "z.zarr", values, SCALES[-1], fill_value=np.int16(-100))
    expected = as_xarray_reads(place)
    source = pickle.loads(pickle.dumps(as_source(place)))
    orders = np.random.default_rng(2).permutation(9), np.random.default_rng(3).permutation(14)
    for row_order, col_order in itertools.product((None, orders[0]), (None, orders[1])):
        rows = Axis(9, 3, False, index=row_order, edges=source.edges[0])
        cols = Axis(14, 2, False, index=col_order, edges=source.edges[1])
        grid = source.read(rows, cols, Tile(0, 3, 0, 2))
        at = rows.positions(0, 3).reshape(3, 3), cols.positions(0, 2).reshape(2, 7)
        np.testing.assert_array_equal(grid, expected[at[0][:, None, :, None], at[1][None, :, None, :]])


@pytest.mark.slow
def test_packed_matrix_is_factorized_as_decoded_and_the_plan_says_so(tmp_path):
    z = 300 + 10 * np.asarray(dbf.matrices.orthogonal_butterfly(64, seed=0))
    packed = {"dtype": "int16", "scale_factor": 1e-3, "add_offset": 300.0}
    place = write(tmp_path / "z.zarr", z, fill_value=-32768, **packed)
    expected, store = as_xarray_reads(place), str(tmp_path / "run")
    plan = dbf.plan(place)
    assert "decoded       from int16 * 0.001 + 300.0, -32768 (_FillValue) for missing entries" in str(plan)
    assert plan.to_json()["decoding"].startswith("int16")
    assert plan.source.dtype == "float64"
    found = dbf.factorize(place, store=store)
    error = np.linalg.norm(found.operator.to_dense() - expected) / np.linalg.norm(expected)
    assert error <= found.certificate.error_bound
    assert float(dbf.verify(found, place)) == pytest.approx(error)
    with pytest.raises(StoreMismatchError):
        dbf.factorize(place, store=store, decode=False)


def test_missing_entry_is_refused_by_index_and_reason(tmp_path):
    z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0)).copy()
    z[3, 5] = np.nan
    known = dbf.factorize(np.eye(16))
    for zarr_format in (2, 3):
        place = write(tmp_path / "z.zarr", z, zarr_format=zarr_format, fill_value=-9999.0)
        for call in (
            lambda place: dbf.factorize(place),
            lambda place: dbf.factorize(place, tol=0.1),
            lambda place: dbf.identify(place),
            lambda place: dbf.verify(known, place),
            lambda place: dbf.verify(known, place, samples=16),
        ):
            with pytest.raises(NonFiniteError, match=r"\(3, 5\).*-9999\.0 is .*_FillValue.*decode=False") as caught:
                call(place)
            assert caught.value.index == (3, 5)
        assert dbf.factorize(place, decode=False).certificate.error_bound > 0
    place = write(tmp_path / "z.zarr", z, fill_value=np.nan)
    with pytest.raises(NonFiniteError, match=r"NaN or an infinity at index \(3, 5\)"):
        dbf.factorize(place)


@pytest.mark.parametrize(
    "spelling", [-9999.0, -9999, "-9999", [-9999.0], base64.b64encode(struct.pack("<d", -9999.0)).decode()]
)
def test_missing_value_is_read_however_it_is_spelled(tmp_path, spelling):
    array = zarr.create_array(tmp_path / "z.zarr", data=np.full((9, 14), -9999.0), chunks=(4, 5))
    array.attrs["_FillValue"] = spelling
    assert np.isnan(as_source(tmp_path / "z.zarr").read_range(*EVERYTHING)).all()


def test_nothing_is_decoded_where_attributes_change_nothing(tmp_path):
    for number, attributes in enumerate(
        ({}, {"units": "m"}, {"_FillValue": "NaN"}, {"valid_range": [0, 1]}, {"missing_value": [float("nan")]})
    ):
        place = tmp_path / str(number)
        zarr.create_array(place, data=np.ones((9, 14)), chunks=(4, 5), attributes=attributes)
        assert as_source(place).decoding == ""
    plain = zarr.create_array(tmp_path / "v2", shape=(9, 14), dtype="i2", chunks=(4, 5), zarr_format=2, fill_value=0)
    assert as_source(plain).decoding == ""


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"units": "days since 2000-01-01"}, "units='days since 2000-01-01'.*times"),
        ({"units": "Seconds since 1970-01-01 00:00"}, "times"),
        ({"dtype": "timedelta64[ns]"}, "dtype='timedelta64.*times"),
        ({"scale_factor": "half"}, "scale_factor='half'"),
        ({"add_offset": [1.0, 2.0]}, "add_offset="),
        ({"_FillValue": "none"}, "_FillValue='none'"),
        ({"missing_value": {"a": 1}}, "missing_value="),
        ({"_Unsigned": "maybe"}, "_Unsigned='maybe'"),
    ],
)
def test_attributes_of_times_or_without_meaning_are_refused_by_name(tmp_path, attributes, named):
    zarr.create_array(tmp_path / "z", data=np.ones((9, 14), "i2"), chunks=(4, 5), attributes=attributes)
    with pytest.raises(SourceError, match=f"{named}.*decode=False"):
        as_source(tmp_path / "z")
    assert as_source(tmp_path / "z", decode=False).dtype == np.int16


def test_decode_is_true_or_false():
    with pytest.raises(InputError, match="decode='no'"):
        dbf.factorize(np.eye(4), decode="no")


def test_truth_values_are_not_numbers():
    packing = Packing(np.dtype("i1"), np.dtype("i1"), np.dtype("i1"), truth=True)
    np.testing.assert_array_equal(packing.decode(np.array([[0, 1, 2, -1]], "i1")), [[0, 1, 1, 1]])


@pytest.mark.slow
def test_decoding_holds_no_more_than_is_said(tmp_path):
    values = np.ones((3000, 3000), "i1")
    array = zarr.create_array(tmp_path / "z", data=values, chunks=(100, 100), attributes={"scale_factor": 2.0})
    source, stored = as_source(array), as_source(array, decode=False)
    held = []
    decode = source.packing.decode
    object.__setattr__(source.packing, "decode", lambda piece: held.append(piece.size) or decode(piece))
    source.read_range(slice(0, 3000), slice(0, 3000))
    assert max(held) * source.packing.bytes_per_entry <= source.decode_bytes - stored.decode_bytes
    assert sum(held) == values.size
