import numpy as np
import pytest
import scipy.special

from dbutterfly import matrices
from tests.support.matrix_references import DTYPES


@pytest.mark.parametrize("order", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("n", [1, 2, 31, 300])
def test_hankel(n, order):
    matrix = matrices.hankel(n, order=order)
    roots = scipy.special.jn_zeros(order, n + 1)
    inner, last = roots[:n], roots[n]
    scale = np.abs(scipy.special.jv(order + 1, inner))
    values = scipy.special.jv(order, np.multiply.outer(inner, inner) / last)
    wanted = 2 * values / (last * np.multiply.outer(scale, scale))
    np.testing.assert_allclose(matrix, wanted, rtol=0, atol=1e-12)
    assert matrix.norm == pytest.approx(np.linalg.norm(wanted), rel=1e-8)
    assert repr(matrix.f) == f"hankel({n}, order={order})"


@pytest.mark.parametrize("order", [0, 5, 20])
def test_hankel_roots_beyond_those_of_scipy(order):
    f = matrices.hankel(1150, order=order).f
    row = f(np.array([1100]), np.array([3]))
    roots = scipy.special.jn_zeros(order, 1151)
    scale = np.abs(scipy.special.jv(order + 1, roots[[1100, 3]]))
    wanted = 2 * scipy.special.jv(order, roots[1100] * roots[3] / roots[1150]) / (roots[1150] * scale.prod())
    assert row[0, 0] == pytest.approx(wanted, abs=1e-13)


def test_hankel_is_nearly_orthogonal_and_symmetric():
    dense = np.asarray(matrices.hankel(200))
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_allclose(dense @ dense, np.eye(200), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 31, 40, 129])
@pytest.mark.parametrize("dtype", DTYPES)
def test_legendre(n, dtype):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    wanted = np.sqrt(weights)[:, None] * np.polynomial.legendre.legvander(nodes, n - 1) * np.sqrt(np.arange(n) + 0.5)
    dense = np.asarray(matrices.legendre(n, dtype=dtype))
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, wanted, rtol=0, atol=1e-6 if dtype in ("float32", "complex64") else 2e-12)
    assert repr(matrices.legendre(n).f) == f"legendre({n})"


@pytest.mark.parametrize("n", [100, 1000])
def test_legendre_is_orthogonal(n):
    dense = np.asarray(matrices.legendre(n))
    assert np.linalg.norm(dense.T @ dense - np.eye(n)) < 1e-12 * np.sqrt(n)


def test_legendre_block_of_high_degrees():
    n = 4096
    rows, cols = np.arange(0, n, 64), np.arange(n - 64, n)
    block = matrices.legendre(n)[rows, cols]
    angle = matrices.legendre_nodes.gauss_nodes(n).angle[rows]
    root_weight = matrices.legendre_nodes.gauss_nodes(n).root_weight[rows]
    nodes = np.where(rows < n // 2, -1, 1) * np.cos(angle)
    inner = np.abs(nodes) < 0.99  # next to the ends, rounding the node costs more than the tolerance
    wanted = root_weight[:, None] * scipy.special.eval_legendre(cols, nodes[:, None]) * np.sqrt(cols + 0.5)
    np.testing.assert_allclose(block[inner], wanted[inner], rtol=0, atol=1e-12)
