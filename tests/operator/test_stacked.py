"""Products with all matrices of a stack at a time, against the dense ones."""

import pickle

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, NoSuchMatrixError, SingularFactorError
from tests.support.comparisons import DTYPES, random_matrix
from tests.support.stacked_runs import make_stack

PERMUTED = np.random.default_rng(1).permutation(32)


def factorized(dtype="complex128", **asked):
    """A stack of products of factors, and its factorization."""
    found = dbf.factorize(make_stack(5, dtype=dtype), **asked)
    return found.operator.to_dense(), found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("orderings", [None, (PERMUTED, "bitreversal")])
def test_products_are_those_of_the_matrices(dtype, orderings):
    dense, found = factorized(dtype, orderings=orderings)
    operator, rng = found.operator, np.random.default_rng(0)
    x = rng.standard_normal((5, 32, 3)).astype(dtype)
    for one, matrices in (
        (operator, dense),
        (operator.T, dense.swapaxes(1, 2)),
        (operator.H, dense.conj().swapaxes(1, 2)),
        (operator.conj(), dense.conj()),
        (operator.H.T, dense.conj()),
    ):
        product = one @ x
        assert product.dtype == dtype
        np.testing.assert_allclose(product, matrices @ x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(one @ x[..., 0], product[..., 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one[3].to_dense(), matrices[3], atol=1e-5)
    np.testing.assert_allclose(found @ x, operator @ x)


def test_solve_undoes_the_product():
    _, found = factorized()
    x = np.random.default_rng(0).standard_normal((5, 32, 2))
    np.testing.assert_allclose(found.operator.solve(found.operator @ x), x, atol=1e-9)
    np.testing.assert_allclose(found.operator.solve(found.operator @ x[..., 0]), x[..., 0], atol=1e-9)
    with pytest.raises(SingularFactorError):
        dbf.factorize(np.ones((2, 32, 32))).operator.solve(np.ones((2, 32)))


def test_real_and_complex_operands_and_integers():
    dense, found = factorized("float32")
    for x in (np.ones((5, 32), np.int64), np.full((5, 32), 1j), np.ones((5, 32)).tolist()):
        product = found.operator @ x
        assert product.dtype == np.result_type(np.float32, np.asarray(x).dtype)
        np.testing.assert_allclose(product, np.einsum("kmn,kn->km", dense, np.asarray(x)), rtol=1e-4, atol=1e-4)


def test_chains_of_different_matrices_and_sizes_with_gaps():
    stack = np.stack([random_matrix((29, 31), seed=seed) for seed in range(4)])
    parts = [dbf.factorize(stack[:2]), dbf.factorize(stack[2:], rank=2)]
    batches = []
    for first, part in zip((0, 2), parts, strict=True):
        (batch,) = part.operator._batches
        batches.append(batch._replace(numbers=batch.numbers + first))
    operator = dbf.StackedOperator(batches, (4, 29, 31))
    x = np.random.default_rng(0).standard_normal((4, 31, 2))
    wanted = np.concatenate([part.operator @ x[at] for part, at in zip(parts, (slice(2), slice(2, 4)), strict=True)])
    np.testing.assert_array_equal(operator @ x, wanted)
    np.testing.assert_allclose(operator[3] @ x[3], wanted[3], atol=1e-12)
    assert operator.T.shape == (4, 31, 29)
    assert [one.shape for one in operator] == 4 * [(29, 31)]
    with pytest.raises(SingularFactorError, match="gmres"):
        operator.solve(np.ones((4, 29)))


def test_no_columns_give_no_columns():
    op = dbf.factorize(make_stack(3)).operator
    assert (op @ np.ones((3, 32, 0))).shape == op.solve(np.ones((3, 32, 0))).shape == (3, 32, 0)


@pytest.mark.parametrize("shape", [(32,), (5, 31), (4, 32), (32, 5), (5, 32, 2, 1), ()])
def test_operands_of_other_shapes_are_refused(shape):
    _, found = factorized()
    with pytest.raises(InputError, match=r"x has shape .*; give one of shape \(5, 32\), or \(5, 32, columns\)"):
        found.operator @ np.ones(shape)
    with pytest.raises(InputError, match="b has shape"):
        found.operator.solve(np.ones(shape))


def test_texts_and_unknown_matrices_are_refused():
    _, found = factorized()
    with pytest.raises((InputError, TypeError)):
        found.operator @ np.full((5, 32), "a")
    with pytest.raises(NoSuchMatrixError, match="number=5 is beyond the 5 matrices"):
        found.operator[5]
    with pytest.raises(TypeError):
        np.ones((5, 32)) @ found.operator


def test_it_travels_to_other_processes():
    dense, found = factorized()
    again = pickle.loads(pickle.dumps(found.operator))
    np.testing.assert_allclose(again.to_dense(), dense, atol=1e-12)


def test_it_takes_the_place_of_fredholm1():
    pytest.importorskip("pylops", reason="needs pylops: pip install pylops")
    from pylops.signalprocessing import Fredholm1

    dense, found = factorized()
    rng = np.random.default_rng(0)
    for columns in (1, 3):
        ours, theirs = found.operator.to_pylops(columns), Fredholm1(dense, nz=columns, dtype="complex128")
        assert (ours.dims, ours.dimsd, ours.shape) == (theirs.dims, theirs.dimsd, theirs.shape)
        x, y = (rng.standard_normal(size) + 0j for size in theirs.shape[::-1])
        np.testing.assert_allclose(ours @ x, theirs @ x, atol=1e-12)
        np.testing.assert_allclose(ours.H @ y, theirs.H @ y, atol=1e-12)


def test_without_pylops_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pylops", None)
    with pytest.raises(InputError, match="pip install pylops"):
        factorized()[1].operator.to_pylops()
