import numpy as np
import pytest

from dbutterfly import matrices
from dbutterfly.matrices import KnownMatrix
from dbutterfly.sources.entries import Entries
from tests.support.matrix_references import DTYPES, scattered_blocks


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_has_the_size_asked_for(dtype):
    clean = matrices.gaussian_butterfly(256, dtype=dtype, seed=0)
    matrix = matrices.noisy(clean, 0.1, seed=1)
    noise = np.asarray(matrix, "complex128") - np.asarray(clean)
    assert np.asarray(matrix).dtype == dtype
    assert np.linalg.norm(noise) == pytest.approx(0.1 * clean.norm, rel=0.02)
    assert matrix.norm == pytest.approx(np.linalg.norm(np.asarray(matrix)), rel=0.01)
    assert matrix.norm == pytest.approx(clean.norm * np.sqrt(1.01))
    if matrix.dtype.kind == "c":
        assert np.linalg.norm(noise.real) == pytest.approx(np.linalg.norm(noise.imag), rel=0.02)
    assert len(np.unique(noise.real.round(12))) > 0.9 * noise.size  # no cell is drawn twice
    assert abs(np.mean(noise)) < 4 * np.std(noise) / 256


def test_noise_does_not_depend_on_the_blocks():
    shape = (70, 2100)  # several cells of noise, cut at both ends
    matrix = matrices.noisy(np.zeros(shape, np.float32) + 1, 0.5, seed=9)
    dense = np.asarray(matrix)
    for rows, cols in scattered_blocks(shape):
        np.testing.assert_array_equal(matrix.block(rows, cols), dense[rows][:, cols])
    tiles = [np.hstack([matrix[i : i + 9, j : j + 700] for j in range(0, 2100, 700)]) for i in range(0, 70, 9)]
    np.testing.assert_array_equal(np.vstack(tiles), dense)


def test_noise_keeps_chain_and_orderings():
    clean = matrices.dft(12)
    matrix = matrices.noisy(clean, 0.0, seed=0)
    assert matrix.chain is clean.chain
    assert matrix.orderings is clean.orderings
    np.testing.assert_array_equal(matrix, clean)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_on_arrays_and_entry_functions(dtype):
    array = np.random.default_rng(0).standard_normal((30, 40)).astype(dtype)
    plain = Entries(lambda i, j: array[np.ix_(i, j)], array.shape, dtype)
    for given in (array, plain):
        matrix = matrices.noisy(given, 0.1, seed=2)
        assert isinstance(matrix, KnownMatrix)
        assert matrix.chain is None
        assert matrix.norm == pytest.approx(np.linalg.norm(array) * np.sqrt(1.01), rel=1e-6)
        assert np.linalg.norm(np.asarray(matrix) - array) == pytest.approx(0.1 * np.linalg.norm(array), rel=0.1)
