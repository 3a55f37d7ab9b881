import numpy as np
import pytest
import scipy.fft
import scipy.linalg

import dbutterfly as dbf
from dbutterfly import matrices
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from tests.support.matrix_references import DTYPES, eps, excess_rank, standard_order

SIZES = [1, 2, 3, 8, 12, 30, 31, 64]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_dft(n, dtype):
    matrix = matrices.dft(n, dtype=dtype)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, scipy.linalg.dft(n), atol=2 * eps(dtype) + eps(float) * n * n, rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    assert (matrix.shape, matrix.chain.shape) == ((n, n), (n, n))
    assert matrix.orderings.describe() == "rows standard, columns bitreversal"
    assert repr(matrix) == f"KnownMatrix(dft({n}), shape=({n}, {n}), dtype={dtype})"


def test_dft_is_exact_at_quarter_turns_and_rounded_once_elsewhere():
    np.testing.assert_array_equal(matrices.dft(4)[1, :], [1, -1j, -1, 1j])
    np.testing.assert_array_equal(matrices.dft(12)[1, [0, 3, 6, 9]], [1, -1j, -1, 1j])
    np.testing.assert_allclose(np.abs(np.asarray(matrices.dft(720))), 1, rtol=4e-16)
    assert matrices.dft(12)[1, 1].imag == pytest.approx(-0.5, rel=2e-16)


def test_dft_is_accurate_to_one_unit_in_the_last_place():
    turns = np.arange(720, dtype=np.longdouble) / 720
    wanted = np.exp(-2j * np.arccos(np.longdouble(-1)) * turns)
    assert np.abs(matrices.dft(720)[1, :] - wanted).max() < eps(float)


def test_dft_phases_do_not_overflow():
    n = 999_983  # the largest phase is n^2, beyond int32
    row = matrices.dft(n)[n - 1, n - 4 :]
    wanted = np.exp(-2j * np.pi * np.array([4, 3, 2, 1]) / n)
    np.testing.assert_allclose(row, wanted, rtol=4e-16)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_hadamard(n, dtype):
    matrix = matrices.hadamard(n, dtype=dtype)
    assert np.asarray(matrix).dtype == dtype
    np.testing.assert_array_equal(matrix, scipy.linalg.hadamard(n))
    assert matrix.norm == n
    assert matrix.chain == Chain.square_dyadic(n)
    assert standard_order(matrix).shape == (n, n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_dct2(n, dtype):
    matrix = matrices.dct2(n, dtype=dtype)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, scipy.fft.dct(np.eye(n), axis=0, norm="ortho"), atol=3 * eps(dtype), rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    assert matrix.chain.shape == (n, n)
    assert matrix.rank <= 2
    assert standard_order(matrix).shape == (n, n)


@pytest.mark.parametrize("n", [2, 12, 30, 64, 105, 256])
def test_dct2_has_blocks_of_rank_two_in_its_own_order(n):
    matrix = matrices.dct2(n)
    assert excess_rank(standard_order(matrix), matrix.chain) < 1e-14


@pytest.mark.parametrize("dtype", DTYPES)
def test_dct2_is_factorized_exactly_by_its_own_chain(dtype):
    matrix = matrices.dct2(256, dtype=dtype)
    fact = dbf.factorize(np.asarray(matrix), matrix.chain, orderings=matrix.orderings)
    assert fact.certificate.error_bound < 100 * eps(dtype)
    assert fact.compression > 4


def test_dct2_has_blocks_of_rank_four_under_bit_reversed_columns():
    n, chain = 256, Chain.square_dyadic(256)
    dense = matrices.dct2(n)[:, digit_reversal(chain.col_radices)]
    for position in range(1, len(chain)):
        (p, u, q, v, _), _, _ = chain.cut(position)
        blocks = dense.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        assert np.linalg.matrix_rank(blocks, tol=1e-12).max() <= 4
