import inspect
import pickle
import warnings

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator, gmres, lsqr

import dbutterfly.errors as errors
from dbutterfly.operator.butterfly import ButterflyOperator
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from dbutterfly.structure.orderings import Orderings
from tests.support.parts import require

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = {
    "dyadic": Chain.square_dyadic(16),
    "monarch": Chain.monarch((12, 20)),
    "rectangular": Chain.chainable((24, 40)),
    "mixed radices": Chain.chainable((30, 36)),
    "rank 2": Chain.chainable((32, 16), rank=2),
    "one pattern": Chain([(1, 7, 5, 1)]),
    "not chainable": Chain([(4, 2, 3, 1), (1, 2, 2, 6), (3, 2, 1, 2)]),
}


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def random_factors(chain, dtype="float64", seed=0):
    return [random_array(pattern, dtype, [seed, index]) for index, pattern in enumerate(chain)]


def dense_factor(values):
    a, b, c, d = values.shape
    matrix = np.zeros((a * b * d, a * c * d), dtype=values.dtype)
    for ia, ib, ic, id_ in np.ndindex(a, b, c, d):
        matrix[(ia * b + ib) * d + id_, (ia * c + ic) * d + id_] = values[ia, ib, ic, id_]
    return matrix


def dense_operator(factors, rows=None, cols=None):
    product = np.linalg.multi_dot([np.eye(len(dense_factor(factors[0]))), *map(dense_factor, factors)])
    matrix = np.empty_like(product)
    matrix[np.ix_(*(np.arange(n) if p is None else p for n, p in zip(product.shape, (rows, cols), strict=True)))] = (
        product
    )
    return matrix


def digit_reversed(chain):
    return digit_reversal(chain.row_radices), digit_reversal(chain.col_radices)


def growth(op):
    """Bound on what the operator, and rounding errors in it, can grow to: the product of the factors' norms."""
    return np.prod([np.linalg.norm(values) for values in op.ks_values])


def assert_close(actual, expected, dtype, scale=1.0):
    assert actual.shape == expected.shape
    tolerance = 20 * np.finfo(dtype).eps * max(scale, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def fourier_factors(n, dtype="complex128"):
    """Radix-2 factors of the DFT: the one that halves size 2h multiplies odd halves by its twiddles."""
    factors = []
    for a, _, _, d in Chain.square_dyadic(n):
        twiddles = np.exp(-1j * np.pi * np.arange(d) / d)
        butterfly = np.array([[np.ones(d), twiddles], [np.ones(d), -twiddles]])
        factors.append(np.broadcast_to(butterfly, (a, 2, 2, d)).astype(dtype))
    return factors


@pytest.fixture(params=CHAINS.values(), ids=CHAINS.keys())
def chain(request):
    return request.param


@st.composite
def multiplying_chains(draw):
    """Chains whose neighbours multiply, chainable only by chance."""
    size, patterns = draw(st.integers(1, 24)), []
    for _ in range(draw(st.integers(1, 4))):
        a = draw(st.sampled_from([k for k in range(1, size + 1) if size % k == 0]))
        b = draw(st.sampled_from([k for k in range(1, size // a + 1) if size // a % k == 0]))
        c, d = draw(st.integers(1, max(1, 48 // (a * (size // a // b))))), size // a // b
        patterns.append((a, b, min(c, 6), d))
        size = a * min(c, 6) * d
    return Chain(patterns)


@st.composite
def chainable_chains(draw):
    rows, cols = draw(st.integers(1, 36)), draw(st.integers(1, 36))
    return Chain.chainable((rows, cols), rank=draw(st.integers(1, min(3, rows, cols))))


@st.composite
def operators(draw):
    """An operator and the dense matrix that it stands for."""
    chain, dtype = draw(st.one_of(multiplying_chains(), chainable_chains())), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kinds = ["standard", "permuted"] + ["bitreversal"] * chain.is_dense
    orderings, permutations = [], []
    for side in range(2):
        kind = draw(st.sampled_from(kinds))
        permutations.append({"standard": None, "permuted": rng.permutation(chain.shape[side])}.get(kind))
        orderings.append(kind if kind == "bitreversal" else permutations[side])
        if kind == "bitreversal":
            permutations[side] = digit_reversed(chain)[side]
    factors = random_factors(chain, dtype, draw(st.integers(0, 99)))
    return ButterflyOperator(factors, orderings), dense_operator(factors, *permutations)


@settings(deadline=None)
@given(pair=operators(), columns=st.sampled_from([0, 1, 5, 40]), seed=st.integers(0, 99))
def test_products_equal_those_of_the_dense_matrix(pair, columns, seed):
    op, matrix = pair
    scale = growth(op)
    x = random_array((op.shape[1], columns), op.dtype, seed)
    y = random_array((op.shape[0], columns), op.dtype, seed)
    for actual, expected in [
        (op @ x, matrix @ x),
        (op.rmatmat(y), matrix.conj().T @ y),
        (op.H @ y, matrix.conj().T @ y),
        (op.T @ y, matrix.T @ y),
        (y.T @ op, y.T @ matrix),
        (op.T.T @ x, matrix @ x),
        (op.T.H @ x, matrix.conj() @ x),
        (op.to_dense(), matrix),
        (op.H.to_dense(), matrix.conj().T),
    ]:
        assert actual.dtype == op.dtype
        assert_close(actual, expected, op.dtype, scale)
    for column in range(min(columns, 1)):
        assert_close(op @ x[:, column], matrix @ x[:, column], op.dtype, scale)
        assert_close(op.rmatvec(y[:, column]), matrix.conj().T @ y[:, column], op.dtype, scale)


@settings(deadline=None)
@given(pair=operators(), seed=st.integers(0, 99))
def test_adjoint_identity(pair, seed):
    op, _ = pair
    scale = growth(op)
    x, y = random_array((op.shape[1],), op.dtype, seed), random_array((op.shape[0],), op.dtype, seed + 1)
    assert_close(np.vdot(y, op @ x), np.vdot(op.H @ y, x), op.dtype, scale * op.shape[0])


@settings(deadline=None)
@given(pair=operators())
def test_sparse_factors_multiply_to_the_operator(pair):
    op, matrix = pair
    factors = op.to_scipy()
    scale = growth(op)
    product = sparse.eye_array(op.shape[0], dtype=op.dtype)
    for factor in factors:
        product = product @ factor
    assert_close(product.toarray(), matrix, op.dtype, scale)
    assert [factor.shape for factor in factors] == [pattern.shape for pattern in op.chain]
    assert [factor.nnz for factor in factors] == [pattern.nnz for pattern in op.chain]
    assert all(isinstance(factor, sparse.csr_array) and factor.has_canonical_format for factor in factors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attributes(chain, dtype):
    factors = random_factors(chain, dtype)
    op = ButterflyOperator(factors)
    assert isinstance(op, LinearOperator)
    assert op.shape == chain.shape
    assert op.dtype == dtype
    assert op.chain == chain
    assert op.nnz == sum(values.size for values in factors)
    assert op.nbytes == sum(values.nbytes for values in factors)
    assert all(np.shares_memory(mine, given) for mine, given in zip(op.ks_values, factors, strict=True))
    assert all(np.shares_memory(mine, given) for mine, given in zip(op.T.ks_values, factors[::-1], strict=True))
    assert op.T.chain == chain.T
    assert op.T.shape == op.H.shape == chain.shape[::-1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", [*DTYPES, "int64", "int8", "bool"])
def test_dtype_of_products_is_that_of_numpy(dtype, x_dtype):
    op = ButterflyOperator(random_factors(CHAINS["monarch"], dtype), ("bitreversal", None))
    x = (3 * np.random.default_rng(0).standard_normal(20)).astype(x_dtype)
    assert (op @ x).dtype == np.result_type(dtype, x_dtype)
    assert (op @ np.stack([x] * 40, axis=1)).dtype == np.result_type(dtype, x_dtype)
    assert op.rmatvec(x[:12]).dtype == np.result_type(dtype, x_dtype)
    single = np.result_type(np.finfo(dtype).dtype, "float32")
    assert_close(op @ x, op.to_dense() @ x, single, 100)


def test_mixed_dtypes_of_factors_are_promoted():
    chain = Chain.monarch((6, 6))
    op = ButterflyOperator([random_array(chain.patterns[0], "float32"), random_array(chain.patterns[1], "complex64")])
    assert op.dtype == op.to_dense().dtype == op.H.dtype == np.complex64
    assert np.shares_memory(op.H.ks_values[1], op.ks_values[0])
    assert_close(op.H.to_dense(), op.to_dense().conj().T, "complex64", 10)


def test_byte_order_of_factors_does_not_matter():
    factors = random_factors(CHAINS["monarch"])
    swapped = ButterflyOperator([values.astype(">f8") for values in factors])
    assert swapped.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(swapped.to_dense(), ButterflyOperator(factors).to_dense())
    assert all(factor.dtype.isnative for factor in swapped.to_scipy())


@pytest.mark.parametrize("rows", [None, "bitreversal"])
@pytest.mark.parametrize("cols", [None, "bitreversal"])
def test_named_and_explicit_orderings_agree(rows, cols):
    chain = Chain.chainable((24, 30))
    factors = random_factors(chain)
    pairs = zip((rows, cols), digit_reversed(chain), strict=True)
    explicit = [None if side is None else index for side, index in pairs]
    op, same = ButterflyOperator(factors, (rows, cols)), ButterflyOperator(factors, Orderings(*explicit))
    np.testing.assert_array_equal(op.to_dense(), same.to_dense())
    np.testing.assert_array_equal(op.T.to_dense(), same.T.to_dense())
    assert_close(op.T.to_dense(), op.to_dense().T, "float64")
    assert (op.orderings.rows, op.orderings.cols) == (rows, cols)


@pytest.mark.parametrize("n", [2, 4, 32, 256])
def test_fourier_factors_with_bit_reversed_columns_are_the_dft(n):
    op, dft = ButterflyOperator(fourier_factors(n), (None, "bitreversal")), scipy.linalg.dft(n)
    assert_close(op.to_dense(), dft, "complex128", n)
    x = random_array((n,), "complex128")
    assert_close(op @ x, np.fft.fft(x), "complex128", n)
    assert_close(op.H @ x, n * np.fft.ifft(x), "complex128", n)
    assert_close(op.T @ x, np.fft.fft(x), "complex128", n)


def test_pickles_whole(chain):
    cols = np.random.default_rng(1).permutation(chain.shape[1])
    op = ButterflyOperator(random_factors(chain, "complex64"), (None, cols))
    for original in (op, op.T, op.H):
        copy = pickle.loads(pickle.dumps(original))
        assert copy.chain == original.chain
        assert repr(copy) == repr(original)
        np.testing.assert_array_equal(copy.to_dense(), original.to_dense())
        np.testing.assert_array_equal(copy.H.to_dense(), original.H.to_dense())


def test_scipy_solvers_take_it():
    factors = fourier_factors(64)
    op = ButterflyOperator(factors, (None, "bitreversal"))
    x = random_array((64,), "complex128")
    solution, info = gmres(op, op @ x, rtol=1e-12)
    assert info == 0
    assert_close(solution, x, "complex128", 1e3)
    real = ButterflyOperator(random_factors(Chain.monarch((40, 24))), ("bitreversal", None))
    x = random_array((24,), "float64")
    solution = lsqr(real, real @ x, atol=1e-14, btol=1e-14, iter_lim=400)[0]
    assert_close(solution, x, "float64", 1e4)


def test_algebra_of_linear_operators():
    op = ButterflyOperator(random_factors(CHAINS["dyadic"]))
    other = aslinearoperator(random_array((16, 16), "float64", 5))
    x = random_array((16,), "float64", 6)
    assert_close((2 * op + op @ other.T) @ x, 2 * (op @ x) + op @ (other.T @ x), "float64", 100)
    assert_close((op**2) @ x, op @ (op @ x), "float64", 100)


def test_repr_is_one_line():
    op = ButterflyOperator(fourier_factors(8, "complex64"), (None, "bitreversal"))
    assert repr(op) == (
        "<8x8 ButterflyOperator of 3 factors with dtype=complex64, nnz=48, rows standard, columns bitreversal>"
    )


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 5, 40])
def test_layout_is_that_of_lazylinop(columns):
    require("psutil", "bench")
    with warnings.catch_warnings(record=True):  # its imports and products warn, and it sets filters of its own
        butterfly = require("lazylinop.butterfly", "bench")
        for name in ("dyadic", "monarch", "rectangular", "mixed radices", "rank 2"):
            factors = random_factors(CHAINS[name])
            op, x = ButterflyOperator(factors), random_array((CHAINS[name].shape[1], columns), "float64", 3)
            assert_close(op @ x, np.asarray(butterfly.ksm(factors) @ x), "float64", growth(op))


@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 3), (), (12, 2, 2)])
def test_wrong_operand_shapes_raise_as_scipy_does(shape):
    op = ButterflyOperator(random_factors(CHAINS["monarch"]))
    with pytest.raises(ValueError, match=r"dimension mismatch|expected 1-d or 2-d array|Scalar operands"):
        op @ np.ones(shape)


def test_sparse_operands_are_refused_as_scipy_does():
    op = ButterflyOperator(random_factors(CHAINS["monarch"]), ("bitreversal", "bitreversal"))
    with pytest.raises(TypeError, match=r"(?i)\bmultipl\w+ (a )?LinearOperator with a sparse matrix"):
        op @ sparse.eye_array(20, format="csr")


@pytest.mark.parametrize(
    ("ks_values", "message"),
    [
        ([], "ks_values is empty"),
        (3, "ks_values=3 is not a sequence of 4-D arrays"),
        (np.ones((1, 2, 2, 1)), r"ks_values\[0\] has shape \(2, 2, 1\); .* passed as \[values\]"),
        ([np.ones((1, 2, 2, 1)), np.ones((2, 2))], r"ks_values\[1\] has shape \(2, 2\)"),
        ([np.ones((1, 2, 0, 1))], r"ks_values\[0\] has shape \(1, 2, 0, 1\); .* without an empty axis"),
        ([np.ones((1, 2, 2, 1), dtype=int)], r"ks_values\[0\] has dtype int64; convert it with astype to float32"),
        ([np.ones((1, 2, 2, 1), dtype="float16")], r"ks_values\[0\] has dtype float16"),
        ([np.full((1, 2, 2, 1), None)], r"ks_values\[0\] has dtype object"),
        (
            [np.ones((1, 2, 2, 2)), np.ones((2, 3, 3, 1))],
            r"ks_values\[0\] of shape \(1, 2, 2, 2\) is a matrix of 4 columns but ks_values\[1\] .* 6 rows",
        ),
    ],
)
def test_bad_factors_are_named(ks_values, message):
    with pytest.raises(errors.InputError, match=message):
        ButterflyOperator(ks_values)


@pytest.mark.parametrize(
    ("orderings", "message"),
    [
        ("bitreversal", "is not None, an Orderings, or a pair"),
        ((None, "sorted"), "cols='sorted' is unknown"),
        ((np.arange(11), None), "rows is not a permutation of 0 .. 11"),
        ((None, np.zeros(20, dtype=int)), "cols is not a permutation of 0 .. 19"),
    ],
)
def test_bad_orderings_are_named(orderings, message):
    with pytest.raises(errors.InputError, match=message):
        ButterflyOperator(random_factors(CHAINS["monarch"]), orderings)


@pytest.mark.parametrize("orderings", [("bitreversal", None), (None, "bitreversal")])
@pytest.mark.parametrize("chain", [CHAINS["not chainable"], Chain([(2, 2, 2, 1)]), Chain([(1, 2, 2, 2)])], ids=repr)
def test_bitreversal_needs_digits(chain, orderings):
    with pytest.raises(errors.ChainError, match=r'"bitreversal" needs a chainable chain .* pass an index array'):
        ButterflyOperator(random_factors(chain), orderings)


KINDS = {
    "dyadic": Chain.square_dyadic(256),
    "dyadic, reversed": Chain(Chain.square_dyadic(256).patterns[::-1]),
    "monarch": Chain.monarch((60, 63)),
    "mixed radices": Chain.chainable((105, 180)),
    "rectangular": Chain.chainable((256, 48)),
    "rank 3": Chain.chainable((128, 128), rank=3),
    "one pattern": Chain([(1, 35, 25, 1)]),
    "not chainable": Chain([(4, 2, 3, 1), (1, 2, 2, 6), (3, 2, 1, 2)]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", KINDS.values(), ids=KINDS.keys())
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), columns=st.sampled_from([1, 3, 20]), ordered=st.booleans())
def test_relative_errors_are_small_for_chains_of_every_kind(dtype, chain, seed, columns, ordered):
    """Norms of errors, over those of what the dense matrix gives in double precision."""
    bar = 1e-13 if np.finfo(dtype).bits == 64 else 1e-5
    rng, wide = np.random.default_rng(seed), np.result_type(dtype, np.float64)
    factors = [random_array(pattern, dtype, [seed, index]) for index, pattern in enumerate(chain)]
    orderings = tuple(rng.permutation(side) if ordered else None for side in chain.shape)
    op = ButterflyOperator(factors, orderings)
    matrix = ButterflyOperator([values.astype(wide) for values in factors], orderings).to_dense()
    x, y = random_array((chain.shape[1], columns), dtype, seed), random_array((chain.shape[0], columns), dtype, seed)
    ax, ahy = op @ x, op.H @ y
    for found, exact in ((ax, matrix @ x), (ahy, matrix.conj().T @ y), (op.T @ y, matrix.T @ y)):
        assert np.linalg.norm(found - exact) <= bar * np.linalg.norm(exact)
    gap = abs(np.vdot(y.astype(wide), ax) - np.vdot(ahy, x.astype(wide)))
    assert gap <= bar * np.linalg.norm(y) * np.linalg.norm(ax)


def test_the_class_defines_all_its_methods_itself():
    """A reader of the file sees what ``help(ButterflyOperator)`` shows: no method of ours is in a base alone."""
    ours = {name for name in dir(ButterflyOperator) if not name.startswith("_") and not hasattr(LinearOperator, name)}
    data = {"ks_values", "nbytes", "nbytes_prepared", "nnz"}
    assert ours - set(vars(ButterflyOperator)) == data
    assert all(f"\n{name} : " in inspect.getdoc(ButterflyOperator) for name in data)
    assert all(value.__doc__ for name, value in vars(ButterflyOperator).items() if not name.startswith("_"))
