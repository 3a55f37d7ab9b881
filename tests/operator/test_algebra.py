"""Inverses, norms and operators made of operators, against dense matrices."""

import numpy as np
import pytest
from scipy.sparse.linalg import eigs, gmres, lsqr, svds

import dbutterfly as dbf
from dbutterfly.errors import ChainError, InputError, SingularFactorError
from dbutterfly.operator.butterfly import ButterflyOperator
from dbutterfly.structure.chain import Chain

DTYPES = ["float32", "float64", "complex64", "complex128"]
SQUARE = {
    "dyadic": Chain.square_dyadic(32),
    "mixed radices": Chain.chainable((30, 30)),
    "monarch": Chain.monarch((24, 24), 4, 4),
    "not chainable": Chain([(4, 2, 2, 3), (1, 3, 3, 8), (3, 2, 2, 4)]),
}


def random_array(shape, dtype="float64", seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def operator(chain, dtype="float64", ordered=True):
    rng = np.random.default_rng(3)
    factors = [random_array(pattern, dtype, seed) for seed, pattern in enumerate(chain)]
    for values in factors:  # far from singular
        for k in range(min(values.shape[1:3])):
            values[:, k, k] += 4
    orders = tuple(rng.permutation(side) for side in chain.shape)
    return ButterflyOperator(factors, orders if ordered else None)


def assert_close(actual, expected, dtype="float64", scale=1.0):
    tolerance = 200 * np.finfo(dtype).eps * max(scale, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


# ---- inverses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", SQUARE.values(), ids=SQUARE.keys())
def test_solutions_and_inverses(chain, dtype):
    op = operator(chain, dtype)
    for derived in (op, op.T, op.H, op.conj()):
        matrix, inverse = derived.to_dense(), derived.inverse()
        assert inverse.dtype == dtype
        assert_close(inverse.to_dense() @ matrix, np.eye(len(matrix)), dtype, 10)
        for shape in ((len(matrix),), (len(matrix), 3), (len(matrix), 0)):
            b = random_array(shape, dtype, 9)
            x = derived.solve(b)
            assert (x.shape, x.dtype) == (b.shape, dtype)
            assert_close(matrix @ x, b, dtype, 10)
            assert_close(inverse @ b, x, dtype, 10)


def test_solutions_have_the_common_dtype():
    op = operator(SQUARE["dyadic"], "float32")
    assert op.solve(np.ones(32)).dtype == np.float64
    assert op.solve([1j] * 32).dtype == np.complex128
    assert op.solve(np.ones(32, int)).dtype == np.float64


def test_condition_numbers_are_those_of_the_factors():
    op = operator(SQUARE["monarch"])
    dense = [factor.toarray() for factor in operator(SQUARE["monarch"], ordered=False).to_scipy()]
    np.testing.assert_allclose(op.condition_numbers(), [np.linalg.cond(factor) for factor in dense])
    assert np.linalg.cond(op.to_dense()) <= np.prod(op.condition_numbers())


def test_singular_factors_are_named():
    factors = list(operator(SQUARE["dyadic"]).ks_values)
    factors[2][3, 1, :, 2] = 2 * factors[2][3, 0, :, 2]
    op = ButterflyOperator(factors)
    assert np.isinf(op.condition_numbers()[2])
    assert np.isfinite(np.delete(op.condition_numbers(), 2)).all()
    message = (
        r"factor 2 of pattern \(4, 2, 2, 4\) is singular to the precision of float64: .* ks_values\[2\]\[3, :, :, 2\]"
    )
    for call in (op.inverse, lambda: op.solve(np.ones(32))):
        with pytest.raises(SingularFactorError, match=message):
            call()
    factors[1][0, 0, 0, 0] = np.nan
    with pytest.raises(SingularFactorError, match=r"factor 1 of .* ks_values\[1\]\[0, :, :, 0\]"):
        ButterflyOperator(factors).inverse()


def test_sizes_of_small_matrices_do_no_harm():
    factors = list(operator(SQUARE["dyadic"]).ks_values)
    factors[-1][:3] *= 1e-200
    op = ButterflyOperator(factors)
    assert np.isinf(op.condition_numbers()[-1])
    b = random_array((32,))
    np.testing.assert_allclose(op @ op.solve(b), b)


def test_factors_that_are_not_square_are_refused():
    op = operator(Chain.chainable((16, 16), rank=2))
    for call in (op.inverse, op.condition_numbers, lambda: op.solve(np.ones(16))):
        with pytest.raises(SingularFactorError, match=r"factor 0 of pattern \(1, 2, 4, 8\) is not square"):
            call()


@pytest.mark.parametrize("shape", [(), (3,), (31, 2), (32, 2, 2)])
def test_right_hand_sides_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"b has shape .*; the operator has 32 rows"):
        operator(SQUARE["dyadic"]).solve(np.ones(shape))


# ---- norms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "chain", [Chain.square_dyadic(32), Chain.chainable((24, 60), rank=2), Chain.chainable((6, 30))], ids=repr
)
def test_norms(chain, dtype):
    op = operator(chain, dtype)
    for derived in (op, op.T, op.H):
        matrix = derived.to_dense()
        assert derived.norm() == pytest.approx(np.linalg.norm(matrix), rel=1e-5)
        assert derived.norm(2) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-3)
        for order in (1, np.inf):
            exact = float(np.linalg.norm(matrix, order))
            assert 0.5 * exact <= derived.norm(order) <= exact * (1 + 1e-5)


def test_frobenius_norm_of_other_chains_is_estimated():
    op = operator(SQUARE["not chainable"])
    exact = np.linalg.norm(op.to_dense())
    assert op.norm() != pytest.approx(exact, rel=1e-6)
    assert op.norm(seed=1) != op.norm()
    assert op.norm() == pytest.approx(exact, rel=5 / np.sqrt(128))
    small = ButterflyOperator([random_array(pattern) for pattern in [(2, 2, 2, 1), (1, 2, 2, 2)]])
    assert small.norm() == pytest.approx(np.linalg.norm(small.to_dense()))


def test_unknown_norms_are_refused():
    with pytest.raises(InputError, match='ord=3 is unknown; use "fro", 2, 1 or inf'):
        operator(SQUARE["dyadic"]).norm(3)


# ---- operators made of operators


def test_operators_compose_where_orderings_cancel():
    left, right = operator(Chain.chainable((24, 40))), operator(Chain.chainable((40, 36)))
    orders = left.orderings.cols, right.orderings.cols
    joined = ButterflyOperator(right.ks_values, orders)
    for one, other in ((left, joined), (left, left.T), (left.H, left), (joined.T, joined.conj())):
        product = one @ other
        assert isinstance(product, ButterflyOperator)
        assert len(product.chain) == len(one.chain) + len(other.chain)
        assert_close(product.to_dense(), one.to_dense() @ other.to_dense())
    product = left @ right
    assert not isinstance(product, ButterflyOperator)
    assert_close(product @ np.ones(36), left.to_dense() @ (right.to_dense() @ np.ones(36)))
    with pytest.raises(ValueError, match="shape mismatch"):
        left @ left


def test_numbers_scale_a_factor():
    op = operator(Chain.chainable((24, 40)), "float32")
    matrix = op.to_dense()
    for scaled, expected in ((2 * op, 2 * matrix), (op * 0.5, 0.5 * matrix), (-op, -matrix), (op.T * 3, 3 * matrix.T)):
        assert isinstance(scaled, ButterflyOperator)
        assert scaled.dtype == "float32"
        assert_close(scaled.to_dense(), expected, "float32")
    assert (1j * op).dtype == "complex64"
    assert_close((1j * op.H).to_dense(), 1j * matrix.T, "float32")
    assert (np.float64(2) * op).dtype == "float64"
    assert_close(op.to_dense(), matrix)


@pytest.mark.parametrize("chain", [Chain.square_dyadic(64), Chain.chainable((64, 96), rank=2)], ids=repr)
def test_fused_operators_have_fewer_factors(chain):
    op = operator(chain, "complex64")
    for count in range(1, len(chain) + 1):
        fused = op.fuse(count)
        assert len(fused.chain) == count
        assert fused.nnz >= op.nnz or count < len(chain)
        assert all(values.flags.c_contiguous for values in fused.ks_values)
        assert_close(fused.to_dense(), op.to_dense(), "complex64")
    with pytest.raises(ChainError, match="n=0 is no number of factors"):
        op.fuse(0)


def test_bit_reversal_survives_fusion():
    chain = Chain.square_dyadic(16)
    op = ButterflyOperator([random_array(pattern) for pattern in chain], ("bitreversal", None))
    assert_close(op.fuse(2).to_dense(), op.to_dense())


def test_dtypes_are_converted():
    op = operator(Chain.chainable((24, 40)), "complex128")
    assert op.astype("complex64").dtype == "complex64"
    assert_close(op.astype(np.complex64).to_dense(), op.to_dense(), "complex64")
    with pytest.raises(InputError, match="dtype=float64 would lose the imaginary parts"):
        op.astype("float64")
    with pytest.raises(InputError, match="dtype=int64 is not supported"):
        op.astype(int)
    real = operator(Chain.chainable((24, 40)), "float32")
    assert real.astype("complex128").dtype == "complex128"


@pytest.mark.parametrize("tol", [0.05, 0.3, 0.6])
def test_pruned_operators_are_within_the_tolerance(tol):
    op = operator(Chain.chainable((64, 48), rank=3), "complex128")
    for derived in (op, op.T, op.H):
        matrix, pruned = derived.to_dense(), derived.prune(tol)
        assert pruned.shape == derived.shape
        assert np.linalg.norm(pruned.to_dense() - matrix) <= tol * np.linalg.norm(matrix)
    assert op.prune(0.6).nnz < op.nnz
    assert op.prune(0.0) is op


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_pruning_takes_as_few_values_as_a_tolerance(tol):
    matrix, orderings = np.asarray(dbf.matrices.helmholtz(256)), ("bitreversal", None)
    least = dbf.factorize(matrix, tol=tol, orderings=orderings).chain
    wide = dbf.factorize(matrix, least.of_rank(least.rank + 4), orderings=orderings).operator
    pruned = wide.prune(tol)
    assert pruned.nnz <= 1.05 * least.nnz < wide.nnz
    assert np.linalg.norm(pruned.to_dense() - matrix) <= 1.001 * tol * np.linalg.norm(matrix)


@pytest.mark.parametrize("exponent", [-1000, 1000])
def test_pruned_operators_may_have_entries_of_any_size(exponent):
    op = operator(Chain.chainable((64, 48), rank=3), ordered=False)
    first, second, *others = op.ks_values
    shifted = ButterflyOperator([np.ldexp(first, exponent // 2), np.ldexp(second, exponent // 2), *others])
    found, expected = shifted.prune(0.6), op.prune(0.6)
    assert found.chain == expected.chain != op.chain
    assert_close(np.ldexp(found.to_dense(), -exponent), expected.to_dense())


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(ChainError, match="is not chainable"):
        operator(SQUARE["not chainable"]).prune(0.1)
    for tol in (-1, 2, "little", np.nan):
        with pytest.raises(InputError, match="is no relative error"):
            operator(SQUARE["dyadic"]).prune(tol)


# ---- in SciPy


def test_iterations_of_scipy():
    op = operator(SQUARE["dyadic"], "complex128")
    matrix, b = op.to_dense(), random_array((32,), "complex128", 7)
    solution, info = gmres(op, b, rtol=1e-10, restart=32)
    assert info == 0
    np.testing.assert_allclose(matrix @ solution, b, atol=1e-7)
    np.testing.assert_allclose(np.sort(svds(op, k=3)[1])[::-1], np.linalg.svd(matrix)[1][:3])
    found = eigs(op, k=2, return_eigenvectors=False)
    exact = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(exact))[-2:])
    tall = operator(Chain.chainable((60, 24)))
    solution = lsqr(tall, tall @ np.ones(24), atol=1e-14, btol=1e-14, iter_lim=1000)[0]
    np.testing.assert_allclose(solution, np.ones(24), atol=1e-6)
