"""Dtypes in which matrices are computed."""

import dask.array as da
import ml_dtypes
import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.info import WORK_DTYPES, work_dtype


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", WORK_DTYPES)
def test_numbers_of_both_byte_orders_are_computed(kind, order):
    dtype = np.dtype(f"{order}{kind[0]}{kind[1]}")
    work = work_dtype(dtype, "z")
    assert (work.itemsize, work.isnative) == (np.dtype(WORK_DTYPES[kind]).itemsize, True)
    z = np.eye(8).astype(dtype)
    for source in (z, da.from_array(z, chunks=4)):
        assert dbf.plan(source).source.work_dtype == work.name
        np.testing.assert_allclose(dbf.factorize(source).operator.to_dense(), np.eye(8), atol=1e-6)


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="longdouble is float64 here")
@pytest.mark.parametrize("code", "gG")
def test_wider_numbers_are_refused_by_name(code):
    with pytest.raises(InputError, match=rf"dtype {np.dtype(code)}; .*: it is wider than .*astype"):
        as_source(np.eye(8, dtype=code))


@pytest.mark.parametrize(
    ("dtype", "named"),
    [
        ("O", "dtype object; .*these are Python objects"),
        ("U3", "texts"),
        ("S3", "texts"),
        (np.dtypes.StringDType(), "texts"),
        ("M8[ns]", "datetime64.*times"),
        ("m8[s]", "timedelta64.*durations"),
        ("V4", "bytes without a meaning"),
        ([("re", "f4"), ("im", "f4")], r"name one of its fields, such as source\['re'\]"),
        (ml_dtypes.bfloat16, r"bfloat16; .*it is of the package ml_dtypes, so convert it with astype\(np.float32\)"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3fn; .*it is of the package ml_dtypes"),
        (ml_dtypes.int4, "int4; .*it is of the package ml_dtypes"),
    ],
)
def test_what_holds_no_numbers_of_numpy_is_refused_by_name(dtype, named):
    with pytest.raises(InputError, match=named):
        as_source(np.zeros((8, 8), dtype))
