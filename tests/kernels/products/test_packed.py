"""Products by the plain and the compiled kernels, against dense matrices."""

import numpy as np
import pytest

from dbutterfly.kernels.compilation import compiled_kernels
from dbutterfly.kernels.products import packed
from dbutterfly.kernels.products.ksmm import apply_chain, dense_product
from dbutterfly.structure.chain import Chain, Pattern
from dbutterfly.structure.orderings import Orderings

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = {
    "dyadic": Chain.square_dyadic(512),
    "one factor": Chain([(1, 7, 5, 1)]),
    "two factors": Chain.monarch((12, 20)),
    "short runs": Chain.chainable((54, 250)),
    "runs of no power of two": Chain([(1, 3, 2, 100), (2, 100, 70, 1)]),
    "several bundles": Chain([(3, 2, 3, 70), (9, 7, 5, 10)]),
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
    ready = kernels.pack(factors, np.dtype(dtype), *orders)
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


@pytest.mark.parametrize("chain", ["dyadic", "rank 3", "large matrices", "not chainable"])
def test_few_columns_of_long_chains_take_sums_of_long_axes(chain, monkeypatch):
    monkeypatch.setattr("dbutterfly.kernels.products.few_columns.MOST_BYTES", 0)
    factors = random_factors(CHAINS[chain], "float32")
    matrix = dense_of(factors, None, None)
    ready = packed.pack(factors, np.dtype("float32"))
    assert ready.few is None
    x = random_array((matrix.shape[1], 2), "float32")
    assert_close(packed.multiply(ready, x), matrix @ x, "float32")


def test_few_columns_need_no_memory_before_the_first_of_them():
    chain = Chain.square_dyadic(64)
    ready = packed.pack(random_factors(chain, "float64"), np.dtype("float64"))
    packed.multiply(ready, np.ones((64, 40)))
    before = ready.nbytes
    packed.multiply(ready, np.ones((64, 2)))
    assert ready.nbytes == before + 64 * 64 * 8  # one matrix, in the standard order


def test_no_columns_give_none(kernels):
    chain = Chain.monarch((12, 20))
    ready = kernels.pack(random_factors(chain, "float64"), np.dtype("float64"))
    assert kernels.multiply(ready, np.ones((20, 0))).shape == (12, 0)
    assert kernels.multiply(ready, np.ones((12, 0)), transposed=True).shape == (20, 0)


def test_infinities_stay_in_their_rows(kernels):
    chain = Chain.square_dyadic(8)
    x = np.ones((8, 12))
    x[3, 5] = np.inf
    ready = kernels.pack([np.ones(pattern) for pattern in chain], np.dtype("float64"))
    expected = np.full((8, 12), 8.0)
    expected[:, 5] = np.inf
    np.testing.assert_array_equal(kernels.multiply(ready, x), expected)
    np.testing.assert_array_equal(kernels.multiply(ready, x[:, 4:7].copy()), expected[:, 4:7])


def test_bytes_are_those_of_the_values(kernels):
    chain = Chain.square_dyadic(1024)
    factors = random_factors(chain, "complex64")
    ready = kernels.pack(factors, np.dtype("complex64"), np.arange(1024))
    held = sum(values.nbytes for values in factors)
    if kernels is not packed:  # half of the values of all factors but the first, unless these would be too far from one
        held -= held // 2 * 9 // 10
        assert ready.nbytes < 1.3 * held
    assert held + 8 * 1024 <= ready.nbytes < 1.3 * held + 9 * 1024


@pytest.mark.parametrize("columns", [0, 1, 3, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_namespaces_stay_on_their_device(xp, dtype, columns):
    chain = Chain([(1, 6, 4, 2), (2, 4, 5, 1)])
    factors = random_factors(chain, dtype)
    rows, cols = np.random.default_rng(0).permutation(12), np.random.default_rng(1).permutation(10)
    matrix = dense_of(factors, rows, cols)
    moved = [xp.asarray(values) for values in factors]
    ready = packed.pack(moved, getattr(xp.module, dtype), xp.asarray(rows), xp.asarray(cols))
    x, y = random_array((10, columns), dtype, 7), random_array((12, columns), dtype, 8)
    assert_close(xp.to_numpy(packed.multiply(ready, xp.asarray(x))), matrix @ x, dtype)
    adjoint = packed.multiply(ready, xp.asarray(y), transposed=True, conjugated=True)
    assert_close(xp.to_numpy(adjoint), matrix.conj().T @ y, dtype)


@pytest.fixture
def jit():
    return compiled_kernels() or pytest.skip("needs Numba")


def test_bundles_hold_whole_multiples_of_their_slots(jit):
    assert jit.count_values([Pattern(3, 2, 5, 7)]) == (10 * jit.SLOTS, 210)
    whole_and_more = [Pattern(2, 3, 2, jit.SLOTS), Pattern(1, 1, 1, jit.SLOTS + 1)]
    assert jit.count_values(whole_and_more) == (14 * jit.SLOTS, 13 * jit.SLOTS + 1)


def unit_layers(ready):
    return [not full for _, _, full in ready.layers]


@pytest.mark.parametrize("dtype", DTYPES)
def test_first_columns_become_ones(jit, dtype):
    chain = Chain.square_dyadic(256)
    factors = [random_array(pattern, dtype, seed) * 0.1 + 1 for seed, pattern in enumerate(chain)]
    factors = [values.astype(dtype) for values in factors]
    ready = jit.pack(factors, np.dtype(dtype))
    assert unit_layers(ready) == [False] + 7 * [
        True
    ]  # no factor before the first one takes what its rows are divided by
    assert ready.values.nbytes == sum(values.nbytes for values in factors) * 9 // 16


@pytest.mark.parametrize("columns", [1, 40])
@pytest.mark.parametrize("spoiled", [0.0, np.nan, np.inf, 1e-30, 1e30])
def test_factors_that_are_no_good_to_divide_by_stay_whole(jit, spoiled, columns):
    chain = Chain.square_dyadic(256)
    factors = [random_array(pattern, "float32", seed) * 0.1 + 1 for seed, pattern in enumerate(chain)]
    factors = [values.astype("float32") for values in factors]
    for index, place in ((3, (5, 1, 0, 7)), (6, (63, 0, 0, 0))):
        factors[index][place] = spoiled
    ready = jit.pack(factors, np.dtype("float32"))
    assert unit_layers(ready) == [index not in (0, 3, 6) for index in range(8)]
    wide = [values.astype("float64") for values in factors]
    x = random_array((256, columns), "float32") * np.float32(1e-6)
    for transposed, applied in ((False, wide), (True, [values.swapaxes(1, 2) for values in reversed(wide)])):
        found, expected = jit.multiply(ready, x, transposed=transposed), apply_chain(applied, x)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        np.testing.assert_allclose(
            found[finite], expected[finite], rtol=1e-3, atol=1e-5 * np.abs(expected[finite]).max()
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scales_that_add_up_are_cut_off(jit, dtype, scale):
    """Rows are divided by products of the entries of all factors to the right, which may not go out of bounds."""
    chain = Chain.square_dyadic(512)
    factors = [(random_array(pattern, dtype, seed) * 0.1 + 1) * scale for seed, pattern in enumerate(chain)]
    factors = [values.astype(dtype) for values in factors]
    ready, x = jit.pack(factors, np.dtype(dtype)), random_array((512, 1), dtype)
    assert all(unit_layers(ready)[1:]) == (np.finfo(dtype).bits == 64)
    expected = dense_of(factors, None, None) @ x
    np.testing.assert_allclose(
        jit.multiply(ready, x) / scale**9, expected / scale**9, rtol=0, atol=1e4 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_in_the_opposite_order_share_segments_too(jit, dtype):
    """As those of an inverse, whose chain is not chainable."""
    patterns = Chain.square_dyadic(512).patterns[::-1]
    factors = [random_array(pattern, dtype, seed) * 0.5 for seed, pattern in enumerate(patterns)]
    ready = jit.pack(factors, np.dtype(dtype))
    assert len(ready.segments) <= 3
    for columns in (1, 40):
        x = random_array((512, columns), dtype)
        matrix = dense_of(factors, None, None)
        assert_close(jit.multiply(ready, x), matrix @ x, dtype)
        assert_close(jit.multiply(ready, x, transposed=True), matrix.T @ x, dtype)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize(
    "chain", [Chain.square_dyadic(2048), Chain.chainable((1024, 1536), rank=2), Chain.chainable((768, 2048))], ids=repr
)
def test_blocks_by_themselves_give_the_same_products(monkeypatch, jit, chain, dtype):
    factors, rng = random_factors(chain, dtype), np.random.default_rng(0)
    arguments = factors, np.dtype(dtype), *map(rng.permutation, chain.shape)
    monkeypatch.setattr(jit.packing, "BLOCK_BYTES", 1 << 30)
    whole = jit.pack(*arguments)
    for depth, order in (whole.one, whole.many):
        assert (depth, len(order)) == (len(whole.segments), 1)
    monkeypatch.setattr(
        jit.packing, "BLOCK_BYTES", 8192 * np.dtype(dtype).itemsize
    )  # 1024 rows of one column, 256 of many
    blocked = jit.pack(*arguments)
    assert len(blocked.many[1]) > 1
    assert len(blocked.one[1]) > 1 or chain.shape[0] != chain.shape[1]  # the others have no blocks of whole bundles
    for transposed in (False, True):
        for columns in (1, 40):
            x = random_array((chain.shape[not transposed], columns), dtype)
            expected = jit.multiply(whole, x, transposed=transposed, conjugated=transposed)
            found = jit.multiply(blocked, x, transposed=transposed, conjugated=transposed)
            np.testing.assert_array_equal(found, expected)


def test_blocks_that_gather_from_the_same_lines_are_taken_after_each_other(jit):
    chain = Chain.square_dyadic(1 << 16)
    factors = [np.ones(pattern, "float32") for pattern in chain]
    reversal = Orderings(None, "bitreversal").permutations(chain)[1]
    order = jit.pack(factors, np.dtype("float32"), None, reversal).one[1]
    assert len(order) > 4
    np.testing.assert_array_equal(np.sort(order), np.arange(len(order)))
    starts = reversal[:: (1 << 16) // len(order)]
    np.testing.assert_array_equal(starts[order.astype(int)], np.arange(len(order)))
    np.testing.assert_array_equal(jit.pack(factors, np.dtype("float32")).one[1], np.arange(len(order)))
