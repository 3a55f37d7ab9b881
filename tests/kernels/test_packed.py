"""Products by the plain and the compiled kernels, against dense matrices."""

import numpy as np
import pytest

from dbutterfly.chain import Chain, Pattern
from dbutterfly.fusing import groups_for_products
from dbutterfly.kernels import packed
from dbutterfly.kernels.choice import compiled_kernels
from dbutterfly.kernels.ksmm import dense_product

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = {
    "dyadic": Chain.square_dyadic(512),
    "one factor": Chain([(1, 7, 5, 1)]),
    "two factors": Chain.monarch((12, 20)),
    "short runs": Chain.chainable((54, 250)),
    "runs of no power of two": Chain([(1, 3, 2, 100), (2, 100, 70, 1)]),
    "several panels": Chain([(3, 2, 3, 70), (9, 7, 5, 10)]),
    "rank 3": Chain.chainable((96, 64), rank=3),
    "large matrices": Chain([(1, 20, 30, 4), (6, 20, 18, 1)]),
    "scalars": Chain([(5, 1, 1, 3), (1, 1, 1, 15)]),
    "not chainable": Chain([(4, 2, 3, 1), (1, 2, 2, 6), (3, 2, 1, 2)]),
}
KERNELS = {"plain": packed, "compiled": compiled_kernels()}


@pytest.fixture(params=KERNELS.values(), ids=KERNELS.keys())
def kernels(request):
    if request.param is None:
        pytest.skip("needs Numba")
    return request.param


def random_array(shape, dtype, seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def random_factors(chain, dtype):
    return [random_array(pattern, dtype, seed) * 0.5 for seed, pattern in enumerate(chain)]


def dense_of(factors, rows, cols):
    wide = np.result_type(np.float64, *factors)
    product = dense_product([values.astype(wide) for values in factors])
    matrix = np.empty_like(product)
    sides = [np.arange(n) if index is None else index for n, index in zip(product.shape, (rows, cols), strict=True)]
    matrix[np.ix_(*sides)] = product
    return matrix


def assert_close(actual, expected, dtype):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=50 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_products_equal_those_of_the_dense_matrix(kernels, chain, dtype, ordered):
    factors = random_factors(chain, dtype)
    orders = [np.random.default_rng(side).permutation(side) if ordered else None for side in chain.shape]
    matrix = dense_of(factors, *orders)
    ready = kernels.pack(factors, groups_for_products(chain.patterns), np.dtype(dtype), *orders)
    for transposed, conjugated, expected in [
        (False, False, matrix),
        (True, False, matrix.T),
        (False, True, matrix.conj()),
        (True, True, matrix.conj().T),
    ]:
        for columns in (1, 3, 40) if conjugated == transposed else (1, 8):
            x = random_array((expected.shape[1], columns), dtype, columns)
            x.flags.writeable = False
            out = np.full((expected.shape[0], columns), np.nan, dtype)
            product = kernels.multiply(ready, x, out, transposed=transposed, conjugated=conjugated)
            assert product is out
            assert_close(out, expected @ x, dtype)
            again = kernels.multiply(ready, x, transposed=transposed, conjugated=conjugated)
            assert again.dtype == dtype
            np.testing.assert_array_equal(again, out)


def test_no_columns_give_none(kernels):
    chain = Chain.monarch((12, 20))
    ready = kernels.pack(random_factors(chain, "float64"), [range(1), range(1, 2)], np.dtype("float64"))
    assert kernels.multiply(ready, np.ones((20, 0))).shape == (12, 0)
    assert kernels.multiply(ready, np.ones((12, 0)), transposed=True).shape == (20, 0)


def test_infinities_stay_in_their_rows(kernels):
    chain = Chain.square_dyadic(8)
    x = np.ones((8, 12))
    x[3, 5] = np.inf
    ready = kernels.pack([np.ones(pattern) for pattern in chain], [range(2), range(2, 3)], np.dtype("float64"))
    expected = np.full((8, 12), 8.0)
    expected[:, 5] = np.inf
    np.testing.assert_array_equal(kernels.multiply(ready, x), expected)
    np.testing.assert_array_equal(kernels.multiply(ready, x[:, 4:7].copy()), expected[:, 4:7])


def test_bytes_are_those_of_the_values(kernels):
    chain = Chain.square_dyadic(1024)
    factors = random_factors(chain, "complex64")
    ready = kernels.pack(factors, groups_for_products(chain.patterns), np.dtype("complex64"), np.arange(1024))
    held = sum(values.nbytes for values in factors) + 8 * 1024
    assert held <= ready.nbytes < held + 1024


@pytest.mark.parametrize("columns", [0, 1, 3, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_namespaces_stay_on_their_device(xp, dtype, columns):
    chain = Chain([(1, 6, 4, 2), (2, 4, 5, 1)])
    factors, groups = random_factors(chain, dtype), [range(2)]
    rows, cols = np.random.default_rng(0).permutation(12), np.random.default_rng(1).permutation(10)
    matrix = dense_of(factors, rows, cols)
    moved = [xp.asarray(values) for values in factors]
    ready = packed.pack(moved, groups, getattr(xp.module, dtype), xp.asarray(rows), xp.asarray(cols))
    x, y = random_array((10, columns), dtype, 7), random_array((12, columns), dtype, 8)
    assert_close(xp.to_numpy(packed.multiply(ready, xp.asarray(x))), matrix @ x, dtype)
    adjoint = packed.multiply(ready, xp.asarray(y), transposed=True, conjugated=True)
    assert_close(xp.to_numpy(adjoint), matrix.conj().T @ y, dtype)


def test_panels_hold_whole_multiples_of_their_lanes():
    jit = compiled_kernels()
    if jit is None:
        pytest.skip("needs Numba")
    assert jit.packed_size([Pattern(3, 2, 5, 7)]) == 10 * jit.LANES
    assert jit.packed_size([Pattern(2, 2, 2, jit.LANES), Pattern(1, 1, 1, jit.LANES + 1)]) == 10 * jit.LANES


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize(
    "chain", [Chain.square_dyadic(2048), Chain.chainable((1024, 1536), rank=2), Chain.chainable((768, 2048))], ids=repr
)
def test_blocks_by_themselves_give_the_same_products(monkeypatch, chain, dtype):
    jit = compiled_kernels()
    if jit is None:
        pytest.skip("needs Numba")
    factors, rng = random_factors(chain, dtype), np.random.default_rng(0)
    arguments = factors, groups_for_products(chain.patterns), np.dtype(dtype), *map(rng.permutation, chain.shape)
    monkeypatch.setattr(jit, "BLOCK_BYTES", 1 << 30)
    whole = jit.pack(*arguments)
    assert whole.one == whole.many == (len(whole.table), 1)
    monkeypatch.setattr(jit, "BLOCK_BYTES", 2048 * np.dtype(dtype).itemsize)  # 256 rows of one column, 64 of many
    blocked = jit.pack(*arguments)
    assert blocked.many[1] > 1
    assert blocked.one[1] > 1 or chain.shape[0] != chain.shape[1]  # the others have no blocks of whole panels
    for transposed in (False, True):
        for columns in (1, 40):
            x = random_array((chain.shape[not transposed], columns), dtype)
            expected = jit.multiply(whole, x, transposed=transposed, conjugated=transposed)
            found = jit.multiply(blocked, x, transposed=transposed, conjugated=transposed)
            np.testing.assert_array_equal(found, expected)
