"""Operators whose products hold for one column, or once, only."""

import numpy as np
import pytest
import scipy.fft
import scipy.sparse
import scipy.sparse.linalg
from packaging.version import Version
from scipy.sparse.linalg import LinearOperator

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources.dispatch import as_source

N = 16
Z = np.asarray(dbf.matrices.orthogonal_butterfly(N, seed=0))
W = Z * np.exp(1j * np.arange(N))
BUFFER, WIDE = np.empty(N), np.empty((N, 3))
RNG = np.random.default_rng(0)


OLD_SCIPY = Version(scipy.__version__) < Version("1.18")


def into_buffer(matrix):
    def product(x):
        np.dot(matrix, x.ravel(), out=BUFFER)
        return BUFFER

    return product


def in_place(x):
    y = Z @ x
    x *= 2
    return y


def operator(forward=lambda x: Z @ x, backward=lambda y: Z.T @ y, dtype=float, **more):
    return LinearOperator((N, N), matvec=forward, rmatvec=backward, dtype=dtype, **more)


WRONG = {
    "one buffer": (operator(into_buffer(Z)), "matvec gives the same product for any vector.*return a copy"),
    "one buffer of the adjoint": (operator(backward=into_buffer(Z.T)), "rmatvec gives the same product.*copy"),
    "affine": (operator(lambda x: Z @ x + 1), "matvec of the zero vector is not zero"),
    "slightly affine": (operator(lambda x: Z @ x + 1e-5), "matvec of the zero vector is not zero"),
    "affine adjoint": (operator(backward=lambda y: Z.T @ y - 3), "rmatvec of the zero vector is not zero"),
    "random": (operator(lambda x: Z @ x + RNG.standard_normal(x.shape)), "not zero|the second time"),
    "random factor": (operator(lambda x: RNG.standard_normal() * (Z @ x)), "differs by .* the second time"),
    "a little random": (operator(lambda x: (1 + 1e-6 * RNG.standard_normal()) * (Z @ x)), "differs by .* the second"),
    "not linear": (operator(lambda x: np.abs(Z @ x)), "matvec is not linear"),
    "square": (operator(lambda x: (Z @ x) ** 2), "matvec is not linear"),
    "columns mixed": (operator(matmat=lambda x: Z @ x[:, ::-1]), "not zero|not linear"),
    "one column wrong": (operator(matmat=lambda x: np.where(np.arange(x.shape[1]) == 1, 0, Z @ x)), "not linear"),
    "antilinear": (
        operator(lambda x: W @ x.conj(), lambda y: W.conj().T @ y.conj(), complex),
        "not linear.*over complex numbers",
    ),
    "operand changed": (operator(matmat=in_place), "matvec changes the vectors.*copy"),
    "masked": (operator(lambda x: np.ma.masked_less(Z @ x, 0)), "mat(vec|mat) of .* came back with a masked array"),
    "masked adjoint": (operator(backward=lambda y: np.ma.masked_less(Z.T @ y, 0)), "rmat(vec|mat) of .* masked array"),
    "not the adjoint": (operator(backward=lambda y: Z @ y), "rmatvec is not the adjoint"),
}


@pytest.mark.parametrize("name", WRONG)
def test_operator_that_cannot_be_trusted_is_refused(name):
    wrong, named = WRONG[name]
    with pytest.raises(SourceError, match=named):
        as_source(wrong)


def solved_by_iteration():
    hilbert = scipy.sparse.diags_array([np.ones(N - 1), np.full(N, 3.0), np.ones(N - 1)], offsets=[-1, 0, 1]).tocsr()

    def solve(x):
        return scipy.sparse.linalg.cg(hilbert, x.ravel(), rtol=1e-3)[0]

    return operator(solve, solve)


def wide_buffer(x):
    WIDE[:, : x.shape[1]] = Z @ x
    return WIDE[:, : x.shape[1]]


RIGHT = {
    "matrix": scipy.sparse.linalg.aslinearoperator(Z),
    "sparse": scipy.sparse.csr_array(Z),
    "zero": scipy.sparse.csr_array((N, N)),
    "column": scipy.sparse.csr_array(Z[:, :1]),
    "by iteration": solved_by_iteration(),
    # SciPy 1.18 makes an array of three dimensions of several such products.
    **({"column of a product": operator(lambda x: (Z @ x).reshape(-1, 1))} if OLD_SCIPY else {}),
    "single": operator(lambda x: (Z @ x).astype("f4"), lambda y: (Z.T @ y).astype("f4"), "f4"),
    "complex": operator(lambda x: W @ x, lambda y: W.conj().T @ y, complex),
    "buffer of columns": operator(matmat=wide_buffer),
    "list": operator(lambda x: (Z @ x).tolist()),
    "transform": operator(
        lambda x: scipy.fft.dct(x, axis=0, norm="ortho"), lambda y: scipy.fft.idct(y, axis=0, norm="ortho")
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_operator_passes(name):
    source = as_source(RIGHT[name])
    assert source.probed


def test_buffer_that_the_operator_keeps_is_copied():
    source = as_source(operator(matmat=wide_buffer))
    first = source.forward(np.eye(N, 2))
    source.forward(np.ones((N, 2)))
    np.testing.assert_allclose(first, Z[:, :2])
