"""Operands: masks and dtypes that products would drop or misread."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse.linalg

import dbutterfly as dbf
from dbutterfly.errors import InputError

N = 16
OPERATOR = dbf.factorize(np.asarray(dbf.matrices.orthogonal_butterfly(N, seed=0))).operator
VECTOR = np.ma.masked_equal(np.where(np.arange(N) == 3, -9999.0, 1.0), -9999.0)
COLUMNS = np.ma.masked_equal(np.where(np.eye(N) == 1, -9999.0, 1.0), -9999.0)

USES = {
    "matmul": lambda x: OPERATOR @ x,
    "right matmul": lambda x: x.T @ OPERATOR,
    "star": lambda x: OPERATOR * x,
    "right star": lambda x: x.T * OPERATOR,
    "dot": lambda x: OPERATOR.dot(x),
    "call": lambda x: OPERATOR(x),
    "apply": lambda x: OPERATOR.apply(x),
    "apply on threads": lambda x: OPERATOR.apply(x, workers=2),
    "out": lambda x: OPERATOR.apply(np.ones(x.shape), out=x.copy()),
    "transpose": lambda x: OPERATOR.T @ x,
    "adjoint": lambda x: OPERATOR.H @ x,
    "inverse": lambda x: OPERATOR.inverse() @ x,
    "solve": lambda x: OPERATOR.solve(x),
    "list": lambda x: OPERATOR @ list(x),
    "dask": lambda x: OPERATOR @ da.ma.masked_array(x.data, x.mask),
    "dask that says nothing": lambda x: (
        OPERATOR @ da.from_array(x.data).map_blocks(lambda b: np.ma.array(b, mask=True), dtype=float, meta=x.data)
    ).compute(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("x", [VECTOR, COLUMNS], ids=["vector", "columns"])
def test_masked_operands_are_refused(use, x):
    with pytest.raises(InputError, match=r"masked.*filled|masked.*out\.data"):
        USES[use](x)


@pytest.mark.parametrize("method", ["matvec", "rmatvec", "matmat", "rmatmat"])
def test_masked_operands_of_scipys_methods_are_refused(method):
    with pytest.raises(InputError, match="x is a masked array"):
        getattr(OPERATOR, method)(VECTOR if method.endswith("vec") else COLUMNS)


def test_masked_factors_and_right_sides_of_solvers_are_refused():
    with pytest.raises(InputError, match=r"ks_values\[0\] is a masked array"):
        dbf.ButterflyOperator([np.ma.masked_equal(values, 0) for values in OPERATOR.ks_values])
    with pytest.raises(InputError, match="x is a masked array"):
        scipy.sparse.linalg.lsqr(OPERATOR, VECTOR)


@pytest.mark.parametrize("dtype", ["U1", "S1", "M8[s]", "m8[s]", "O"])
def test_operands_without_numbers_are_refused_by_dtype(dtype):
    for use in (lambda x: OPERATOR @ x, OPERATOR.apply, OPERATOR.matvec):
        with pytest.raises(InputError, match=r"x has dtype .*; convert it"):
            use(np.zeros(N, dtype))
    with pytest.raises(InputError, match=r"b has dtype .*; convert it"):
        OPERATOR.solve(np.zeros(N, dtype))


@pytest.mark.parametrize("dtype", ["?", "i1", ">u4", "f2", ">f2", ">f4", ">f8", ">c8", "c16", "g"])
def test_numbers_of_all_sizes_and_byte_orders_are_multiplied(dtype):
    x = np.arange(N).astype(dtype)
    found = OPERATOR @ x
    assert found.dtype == np.result_type(np.float64, np.dtype(dtype))
    np.testing.assert_allclose(found.astype("c16"), OPERATOR.to_dense() @ x.astype("c16"), atol=1e-12)
