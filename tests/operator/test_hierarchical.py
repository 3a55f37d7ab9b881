"""Products with hierarchical matrices, against the dense ones."""

import pickle

import array_api_strict
import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize
from scipy.sparse.linalg import gmres, lsqr, svds

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.operator.block_factors import BlockFactors
from dbutterfly.operator.block_values import arrange_blocks
from tests.support.comparisons import DTYPES
from tests.support.hierarchical_blocks import make_blocks, make_kernel, make_operator

CASES = {
    "any": ("float64", "none"),
    "single": ("float32", "none"),
    "symmetric": ("float64", "symmetric"),
    "complex symmetric": ("complex128", "symmetric"),
    "hermitian": ("complex64", "hermitian"),
}


def tolerance_of(dtype):
    return 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-9


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """An operator and its dense matrix, and what may differ."""
    dtype, symmetry = CASES[request.param]
    return *make_operator(dtype, symmetry), tolerance_of(dtype)


def derived(operator, matrix):
    """The operator as it is, transposed and conjugated, each with its matrix."""
    yield operator, matrix
    yield operator.T, matrix.T
    yield operator.H, matrix.conj().T
    yield operator.conj(), matrix.conj()
    yield operator.T.H, matrix.conj()


def test_products_are_those_of_the_matrix(case):
    operator, matrix, tol = case
    rng = np.random.default_rng(0)
    for one, dense in derived(operator, matrix):
        assert one.shape == dense.shape
        np.testing.assert_allclose(one.to_dense(), dense, atol=tol)
        for columns in ((), (3,)):
            x = rng.standard_normal((dense.shape[1], *columns)).astype(operator.dtype)
            product = one @ x
            assert product.dtype == operator.dtype
            np.testing.assert_allclose(product, dense @ x, atol=20 * tol)
            y = rng.standard_normal((dense.shape[0], *columns)).astype(operator.dtype)
            adjoint = one.rmatvec(y) if not columns else one.rmatmat(y)
            np.testing.assert_allclose(adjoint, dense.conj().T @ y, atol=20 * tol)


def operand(operator, *columns):
    """Normal numbers that an operator multiplies."""
    return np.random.default_rng(0).standard_normal((operator.shape[1], *columns)).astype(operator.dtype)


def test_products_do_not_depend_on_the_number_of_threads(case):
    operator, matrix, _ = case
    for one, _ in derived(operator, matrix):
        for x in (operand(one), operand(one, 5)):
            np.testing.assert_array_equal(one.apply(x, workers=2), one.apply(x))


@pytest.mark.parametrize("dtype", [*DTYPES, ">f8", "int32", "float16"])
def test_operands_of_any_dtype_get_numpys_dtype(case, dtype):
    operator, matrix, tol = case
    x = np.ones((matrix.shape[1], 2), dtype)
    product = operator @ x
    assert product.dtype == np.result_type(operator.dtype, x.dtype)
    np.testing.assert_allclose(product, matrix @ x, atol=20 * tol)
    out = np.empty(product.shape, product.dtype)
    assert operator.apply(x, out) is out
    np.testing.assert_array_equal(out, product)


def test_a_device_has_the_same_products(case):
    operator, matrix, tol = case
    device = array_api_strict.Device("device1")
    for one, dense in derived(operator, matrix):
        x = operand(one, 2)
        product = one @ array_api_strict.asarray(x, device=device)
        assert product.device == device
        host = np.asarray(product.to_device(array_api_strict.Device("CPU_DEVICE")))
        np.testing.assert_allclose(host, dense @ x, atol=20 * tol)


def test_butterflies_are_multiplied_among_other_blocks():
    matrix = np.zeros((96, 64))
    parts = np.asarray(dbf.matrices.orthogonal_butterfly(32, seed=0))
    fact = dbf.factorize(parts[::-1], orderings=(np.arange(32)[::-1], None))
    blocks = []
    for first, last in ((32, 64), (64, 96)):
        matrix[first:last, :32] = parts[::-1]
        blocks.append(BlockFactors((first, last), (0, 32), fact.ks_values, fact.orderings))
    matrix[:32, 32:] = 1.0
    blocks.append(BlockFactors((0, 32), (32, 64), (np.ones((1, 32, 1, 1)), np.ones((1, 1, 32, 1)))))
    blocks.append(BlockFactors((32, 96), (32, 64), ()))
    operator = dbf.HierarchicalOperator(blocks, (96, 64), "float64")
    assert [block.kind for block in blocks] == ["butterfly", "butterfly", "low rank", "zero"]
    assert operator.nbytes_prepared == 0
    operator.compile()
    assert operator.nbytes_prepared > 0
    device = array_api_strict.Device("device1")
    for one, dense in derived(operator, matrix):
        x = np.random.default_rng(0).standard_normal((dense.shape[1], 2))
        np.testing.assert_allclose(one @ x, dense @ x, atol=1e-12)
        np.testing.assert_array_equal(one.apply(x, workers=2), one @ x)
        np.testing.assert_allclose(one.to_dense(), dense, atol=1e-12)
        strict = (one @ array_api_strict.asarray(x, device=device)).to_device(array_api_strict.Device("CPU_DEVICE"))
        np.testing.assert_allclose(np.asarray(strict), dense @ x, atol=1e-12)
        again = dbf.HierarchicalOperator(one.blocks, one.shape, one.dtype)
        np.testing.assert_allclose(again @ x, dense @ x, atol=1e-12)
    np.testing.assert_allclose(operator._entries.take((40, 90), (3, 9)), matrix[40:90, 3:9], atol=1e-12)
    np.testing.assert_allclose(operator._entries.take((40, 42), (3, 60)), matrix[40:42, 3:60], atol=1e-12)


def test_values_that_lie_in_order_are_not_copied():
    matrix, points = make_kernel("float64", "none")
    blocks, _, _ = make_blocks(matrix, points)
    operator = dbf.HierarchicalOperator(blocks, matrix.shape, "float64")
    values, arranged = arrange_blocks(blocks, np.float64)
    placed = dbf.HierarchicalOperator(arranged, matrix.shape, "float64")
    assert all(np.shares_memory(values, factor) for block in arranged for factor in block.ks_values)
    assert operator.nbytes_prepared == 0
    assert not operator._products._places
    x = np.ones(matrix.shape[1])
    np.testing.assert_array_equal(placed @ x, operator @ x)
    assert (operator.nbytes_prepared, placed.nbytes_prepared) == (operator.nbytes, 0)


def test_numbers_and_other_operators(case):
    operator, matrix, tol = case
    x = np.ones(matrix.shape[1], operator.dtype)
    for one, dense in ((2 * operator, 2 * matrix), (operator / 2, matrix / 2), (-operator.T.T, -matrix)):
        assert isinstance(one, dbf.HierarchicalOperator)
        assert one.dtype == operator.dtype
        np.testing.assert_allclose(one @ x, dense @ x, atol=50 * tol)
    if operator.symmetry == "hermitian":
        with pytest.raises(InputError, match="out of its form"):
            1j * operator
    np.testing.assert_allclose((operator.H @ operator) @ x, matrix.conj().T @ (matrix @ x), rtol=0.01)
    wider = operator.astype(np.result_type(operator.dtype, np.float64))
    assert wider.dtype.itemsize >= operator.dtype.itemsize
    np.testing.assert_allclose(wider @ x, matrix @ x, atol=20 * tol)


def test_it_travels_and_dask_knows_it_again(case):
    operator, matrix, _ = case
    tokens = set()
    for one, _ in derived(operator, matrix):
        again, x = pickle.loads(pickle.dumps(one)), operand(one, 4)
        tokens.add(tokenize(one))
        assert tokenize(again) == tokenize(one)
        np.testing.assert_array_equal(again @ x, one @ x)
    assert len(tokens) > 1
    x = operand(operator, 4)
    lazy = operator @ da.from_array(x, chunks=(-1, 2))
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), operator @ x, atol=1e-4)


def test_scipys_solvers_take_it():
    operator, matrix = make_operator("float64", "symmetric")
    b = matrix @ np.ones(len(matrix))
    x, failed = gmres(operator, b, rtol=1e-8, M=operator.preconditioner(), restart=len(matrix))
    assert not failed
    np.testing.assert_allclose(matrix @ x, b, atol=1e-6)
    assert np.linalg.norm(matrix @ lsqr(operator, b, atol=1e-10, btol=1e-10)[0] - b) < 1e-6 * np.linalg.norm(b)
    found = svds(operator, k=2, return_singular_vectors=False, random_state=0)
    np.testing.assert_allclose(np.sort(found), np.sort(np.linalg.svd(matrix, compute_uv=False)[:2]))


def test_pylops_wraps_it():
    pytest.importorskip("pylops", reason="needs pylops: pip install pylops")
    operator, matrix = make_operator("float64", "none")
    x = np.ones(matrix.shape[1])
    np.testing.assert_allclose(operator.to_pylops() @ x, operator @ x)


def block(rows, cols, *shapes):
    return BlockFactors(rows, cols, tuple(np.ones(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("blocks", "arguments", "message"),
    [
        ([block((0, 5), (0, 2), (1, 5, 2, 1))], {}, r"blocks\[0\] has rows \(0, 5\).*outside of a 4 x 4 matrix"),
        ([block((0, 2), (2, 4), (1, 2, 2, 1))], {"symmetry": "symmetric"}, "above the diagonal"),
        ([block((0, 2), (0, 2), (1, 2, 3, 1))], {}, r"no matrix of \(2, 2\)"),
        ([block((0, 2), (0, 2), (1, 2, 1, 1), (1, 2, 2, 1))], {}, r"no matrix of \(2, 2\)"),
        ([block((0, 2), (0, 2), (1, 2, 2, 1))] * 5, {}, "give disjoint blocks"),
        ([block((0, 2), (0, 2), (1, 2, 2, 1))], {"dtype": "float32"}, "dtype float64, which float32 does not hold"),
        ([block((0, 2), (0, 2), (2, 2))], {}, "no 4-D array"),
        ([], {"dtype": "int8"}, "dtype=int8 is not supported"),
        ([], {"row_order": [0, 1, 2, 2]}, r"row_order of shape \(4,\) does not name each of 4 once"),
        ([], {"col_order": [0.0, 1, 2, 3]}, "col_order"),
        ([], {"symmetry": "skew"}, "symmetry='skew' is unknown; use one of none"),
        ([], {"symmetry": "symmetric", "shape": (4, 5)}, "is for square matrices"),
    ],
)
def test_blocks_that_are_no_matrix_are_refused(blocks, arguments, message):
    with pytest.raises(InputError, match=message):
        dbf.HierarchicalOperator(blocks, **{"shape": (4, 4), "dtype": "float64", **arguments})


def test_without_blocks_it_is_zero():
    operator = dbf.HierarchicalOperator([], (3, 4), "float32")
    np.testing.assert_array_equal(operator @ np.ones((4, 2), np.float32), np.zeros((3, 2)))
    np.testing.assert_array_equal(operator.T @ np.ones(3), np.zeros(4))


@pytest.mark.parametrize("shape", [(3,), (4, 1, 1), ()])
def test_operands_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"array|mismatch"):
        dbf.HierarchicalOperator([], (3, 4), "float32") @ np.ones(shape)
