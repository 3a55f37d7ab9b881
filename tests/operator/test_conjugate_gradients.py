"""Solutions by conjugate gradients, and the inverse of the blocks on the diagonal."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import ConvergenceError, InputError, SingularFactorError
from dbutterfly.operator.block_factors import BlockFactors
from tests.support.comparisons import random_matrix
from tests.support.hierarchical_blocks import make_blocks, make_kernel, make_operator


@pytest.mark.parametrize(
    ("dtype", "symmetry"),
    [("float64", "symmetric"), ("float64", "none"), ("float32", "none"), ("complex64", "hermitian")],
)
def test_solutions_of_definite_matrices(dtype, symmetry):
    operator, matrix = make_operator(dtype, symmetry, decay=8.0, is_square=True)
    wanted = random_matrix((len(matrix), 2), dtype)
    found = operator.solve(matrix @ wanted)
    assert found.x.dtype == dtype
    assert 0 < found.iterations < len(matrix) / 2
    limit = 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-7
    assert found.residual < limit
    np.testing.assert_allclose(found.x, wanted, atol=1e3 * limit)
    one = operator.solve((matrix @ wanted)[:, 0])
    np.testing.assert_array_equal(one.x, found.x[:, 0])
    assert one.iterations <= found.iterations


def test_larger_diagonal_blocks_save_iterations():
    operator, matrix = make_operator("float64", "symmetric")
    b = matrix @ np.ones(len(matrix))
    counts = [operator.solve(b, preconditioner=operator.preconditioner(size)).iterations for size in (None, 80, 200)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 3


@pytest.mark.parametrize("symmetry", ["none", "hermitian"])
def test_a_preconditioner_inverts_the_blocks_on_the_diagonal(symmetry):
    operator, matrix = make_operator("complex128", symmetry, is_square=True)
    order, size = operator.row_order, 32
    inverse = np.zeros_like(matrix)
    spans = [block.rows for block in operator.blocks if block.rows == block.cols]
    for first, last in spans:
        at = np.ix_(order[first:last], order[first:last])
        inverse[at] = np.linalg.inv(matrix[at])
    found = operator.preconditioner()
    identity = np.eye(len(matrix), dtype=complex)
    np.testing.assert_allclose(found @ identity, inverse, atol=1e-5)
    np.testing.assert_allclose(found.H @ identity, inverse.conj().T, atol=1e-5)
    assert found.dtype == np.complex128
    assert max(last - first for first, last in spans) <= size


def test_blocks_that_are_singular_are_named():
    blocks = [BlockFactors(at, at, (np.full((1, 2, 2, 1), value),)) for at, value in (((0, 2), 1.0), ((2, 4), 2.0))]
    operator = dbf.HierarchicalOperator(blocks, (4, 4), "float64")
    with pytest.raises(SingularFactorError, match="at positions 0 to 1 is singular"):
        operator.preconditioner()
    with pytest.raises(SingularFactorError, match="at positions 0 to 3 is singular"):
        operator.preconditioner(4)


def test_matrices_that_are_not_definite_are_refused():
    matrix, points = make_kernel("float64", "symmetric")
    matrix -= 2 * np.eye(len(matrix)) * matrix[0, 0]
    blocks, rows, cols = make_blocks(matrix, points)
    operator = dbf.HierarchicalOperator(blocks, matrix.shape, "float64", rows.order, cols.order)
    with pytest.raises(ConvergenceError, match="not positive definite: iteration"):
        operator.solve(np.ones(len(matrix)))


def test_matrices_that_are_not_symmetric_are_refused():
    matrix, points = make_kernel("float64", "none", is_square=True)
    matrix = matrix * np.linspace(1, 2, len(matrix))
    blocks, rows, cols = make_blocks(matrix, points)
    operator = dbf.HierarchicalOperator(blocks, matrix.shape, "float64", rows.order, cols.order)
    with pytest.raises(ConvergenceError, match=r"not equal to its adjoint.*gmres"):
        operator.solve(np.ones(len(matrix)))


def test_iterations_that_do_not_suffice_are_told():
    operator, matrix = make_operator("float64", "symmetric")
    with pytest.raises(ConvergenceError, match=r"residual of .* after 2 iterations, and tol=1e-08 .*most"):
        operator.solve(np.ones(len(matrix)), most=2)


def test_zeros_and_no_right_sides():
    operator, matrix = make_operator("float64", "symmetric")
    assert not operator.solve(np.zeros(len(matrix))).x.any()
    assert operator.solve(np.zeros((len(matrix), 0))).x.shape == (len(matrix), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"b": np.ones(3)}, "b has shape"),
        ({"b": np.full(200, np.nan)}, "NaN"),
        ({"tol": 1e-20}, "tol=1e-20 is no relative residual"),
        ({"tol": 2.0}, "tol=2.0"),
        ({"most": 0}, "most=0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    operator, matrix = make_operator("float64", "symmetric")
    with pytest.raises(ValueError, match=message):
        operator.solve(**{"b": np.ones(len(matrix)), **arguments})


def test_other_shapes_are_refused():
    operator = dbf.HierarchicalOperator([], (3, 4), "float64")
    with pytest.raises(InputError, match=r"3 x 4.*lsqr"):
        operator.solve(np.ones(3))
    with pytest.raises(InputError, match="3 x 4"):
        operator.preconditioner()
    with pytest.raises(InputError, match="size=0"):
        dbf.HierarchicalOperator([], (4, 4), "float64").preconditioner(0)
