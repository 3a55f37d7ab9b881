"""Labelled arrays of xarray."""

import warnings

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources.arrays import ArraySource
from dbutterfly.sources.dask_array import DaskSource
from dbutterfly.sources.dispatch import as_source

N = 16
Z = np.asarray(dbf.matrices.orthogonal_butterfly(N, seed=0))
LABELLED = xr.DataArray(Z, dims=("y", "x"), coords={"y": np.arange(N)}, name="t")


def stored(place, **encoding):
    encoding = {"chunks": (4, 8), **encoding}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LABELLED.to_dataset().to_zarr(place, encoding={"t": encoding}, zarr_format=3, consolidated=False)
    return place


@pytest.mark.parametrize(
    "source",
    [
        LABELLED,
        LABELLED.variable,
        LABELLED.to_dataset(),
        LABELLED.to_dataset().assign(line=("y", np.arange(N))),
        xr.DataTree.from_dict({"/a/b": LABELLED.to_dataset()}),
    ],
    ids=lambda source: type(source).__name__,
)
def test_labelled_array_in_memory_is_taken_as_it_is(source):
    found = as_source(source)
    assert isinstance(found, ArraySource)
    assert np.shares_memory(found.array, Z) or isinstance(source, xr.Dataset | xr.DataTree)
    np.testing.assert_allclose(dbf.factorize(source).operator.to_dense(), Z, atol=1e-13)


def test_array_on_dask_is_not_computed(client):
    lazy = LABELLED.copy(data=da.from_array(Z, chunks=(4, 8)))
    found = as_source(lazy)
    assert isinstance(found, DaskSource)
    assert found.edges[1].tolist() == [0, 8, 16]
    np.testing.assert_allclose(dbf.factorize(lazy, client=client).operator.to_dense(), Z, atol=1e-13)


@pytest.mark.parametrize("chunks", [None, {}])
def test_stored_array_is_read_by_its_chunks_and_decoded(tmp_path, chunks):
    place = stored(tmp_path / "z.zarr", dtype="int16", scale_factor=1e-4, _FillValue=-32768)
    opened = xr.open_zarr(place, chunks=chunks, consolidated=False)
    expected = xr.open_zarr(place, consolidated=False)["t"].values
    for source in (opened, opened["t"]):
        found = as_source(source)
        assert isinstance(found, DaskSource)
        assert [edges.tolist() for edges in found.edges] == [[0, 4, 8, 12, 16], [0, 8, 16]]
        np.testing.assert_array_equal(found.read_range(slice(0, N), slice(0, N)), expected)


def test_array_that_was_opened_without_decoding_is_refused(tmp_path):
    place = stored(tmp_path / "z.zarr", dtype="int16", scale_factor=1e-4)
    raw = xr.open_zarr(place, consolidated=False, mask_and_scale=False)["t"]
    with pytest.raises(
        SourceError, match=r"variable 't' has the attribute scale_factor=0\.0001.*decode_cf.*decode=False"
    ):
        as_source(raw)
    np.testing.assert_array_equal(as_source(raw, decode=False).read_range(slice(0, N), slice(0, N)), raw.values)
    times = LABELLED.assign_attrs(units="days since 2000-01-01")
    with pytest.raises(SourceError, match=r"'t' has the attribute units='days since 2000-01-01'.*times"):
        dbf.factorize(times)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (LABELLED[0], r"source has 1 dimensions, \{'x': 16\}"),
        (LABELLED.expand_dims(time=2), r"source has 3 dimensions, \{'time': 2, 'y': 16, 'x': 16\}.*isel"),
        (xr.Dataset({"a": LABELLED, "b": 2 * LABELLED}), r"several .*: a \('y', 'x'\), b .*as in source\['a'\]"),
        (xr.Dataset({"a": LABELLED[0]}), r"no two-dimensional variables: a \('x',\)"),
        (xr.Dataset(), "no two-dimensional variables: none"),
        (
            xr.DataTree.from_dict({"/": LABELLED.to_dataset(), "/c": LABELLED.to_dataset(name="d")}),
            r"DataTree with several .*: t .*, c/d .*source\['t'\]",
        ),
        (LABELLED.astype("M8[s]"), "datetime64"),
    ],
)
def test_what_is_not_one_matrix_is_named(source, named):
    with pytest.raises(dbf.errors.InputError, match=named):
        as_source(source)
