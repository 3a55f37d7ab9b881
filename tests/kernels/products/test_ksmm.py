import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbutterfly.kernels.products.ksmm import apply_chain, apply_factor, dense_product

DTYPES = ["float32", "float64", "complex64", "complex128"]
PATTERNS = [
    (1, 2, 2, 4),
    (4, 2, 2, 1),
    (2, 3, 5, 1),
    (1, 4, 1, 3),
    (3, 1, 6, 2),
    (2, 5, 4, 3),
    (1, 8, 9, 1),
    (1, 1, 1, 1),
]
DEVICES = [array_api_strict.Device(name) for name in ("CPU_DEVICE", "device1")]


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def dense(values):
    a, b, c, d = values.shape
    matrix = np.zeros((a * b * d, a * c * d), dtype=values.dtype)
    for ia, ib, ic, id_ in np.ndindex(a, b, c, d):
        matrix[(ia * b + ib) * d + id_, (ia * c + ic) * d + id_] = values[ia, ib, ic, id_]
    return matrix


def assert_close(actual, expected, dtype):
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max(initial=0))
    )


def on_device(array, device):
    return array_api_strict.asarray(array, device=device)


def on_host(array):
    return np.from_dlpack(array.to_device(array_api_strict.Device("CPU_DEVICE")))


@settings(deadline=None)
@given(
    pattern=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    columns=st.integers(0, 40),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_factor_equals_its_dense_matrix(pattern, columns, dtype, seed):
    a, b, c, d = pattern
    values, x = random_array(pattern, dtype, seed), random_array((a * c * d, columns), dtype, seed + 1)
    y = apply_factor(values, x)
    assert y.shape == (a * b * d, columns)
    assert y.dtype == dtype
    assert_close(y, dense(values) @ x, dtype)


@pytest.mark.parametrize(("a", "d"), [(1, 4), (2, 2), (4, 1), (3, 5)])
def test_factor_of_equal_blocks_is_a_kronecker_product(a, d):
    block = random_array((2, 3), "float64")
    values = np.broadcast_to(block[:, :, None], (a, 2, 3, d))
    assert_close(dense_product([values]), np.kron(np.eye(a), np.kron(block, np.eye(d))), "float64")


@pytest.mark.parametrize("columns", [0, 1, 2, 17, 40])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_swapped_axes_give_the_transpose(pattern, columns):
    values = random_array(pattern, "complex128")
    x = random_array((dense(values).shape[0], columns), "complex128", 1)
    assert_close(apply_factor(values.swapaxes(1, 2), x), dense(values).T @ x, "complex128")


@pytest.mark.parametrize("order", ["C", "F"])
def test_operands_are_not_written_and_may_be_strided(order):
    values, x = random_array((2, 4, 4, 6), "float64"), random_array((48, 8), "float64", 1)
    values, x = np.asarray(values, order=order)[..., ::2], np.asarray(x, order=order)[::2, ::2]
    expected = dense(values) @ x
    values.flags.writeable = x.flags.writeable = False
    assert_close(apply_factor(values, x), expected, "float64")
    assert_close(apply_factor(values, x[:, :1]), expected[:, :1], "float64")


@pytest.mark.parametrize("columns", [1, 40])
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_the_result_type(dtype, x_dtype, columns):
    values, x = random_array((2, 2, 2, 3), dtype), random_array((12, columns), x_dtype)
    y = apply_factor(values, x)
    assert y.dtype == np.result_type(dtype, x_dtype)
    assert_close(y, dense(values) @ x, np.result_type(np.finfo(dtype).dtype, "float32"))


def test_chain_is_applied_from_the_right():
    factors = [random_array(shape, "float64", k) for k, shape in enumerate([(1, 3, 2, 4), (2, 2, 5, 2), (5, 2, 3, 2)])]
    left, middle, right = map(dense, factors)
    x = random_array((30, 4), "float64", 9)
    assert_close(apply_chain(factors, x), left @ (middle @ (right @ x)), "float64")
    assert_close(dense_product(factors), left @ middle @ right, "float64")


def test_dense_product_has_the_common_dtype():
    factors = [random_array((1, 2, 2, 2), "float32"), random_array((2, 2, 2, 1), "complex64")]
    assert dense_product(factors).dtype == np.complex64
    assert dense_product(factors[::-1][1:]).dtype == np.float32


@pytest.mark.parametrize("columns", [0, 1, 2, 40])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_strict_namespace_stays_on_its_device(device, dtype, columns):
    factors = [random_array(shape, dtype, k) for k, shape in enumerate([(1, 6, 2, 2), (2, 2, 5, 1), (5, 2, 3, 1)])]
    x = random_array((15, columns), dtype, 7)
    strict = [on_device(values, device) for values in factors]
    y, product = apply_chain(strict, on_device(x, device)), dense_product(strict)
    assert y.device == product.device == device
    assert_close(on_host(y), apply_chain(factors, x), dtype)
    assert_close(on_host(product), dense_product(factors), dtype)


@pytest.mark.parametrize("columns", [1, 40])
def test_strict_namespace_promotes(columns):
    values, x = random_array((2, 2, 2, 3), "float32"), random_array((12, columns), "complex128")
    y = apply_factor(on_device(values, DEVICES[1]), on_device(x, DEVICES[1]))
    assert y.dtype == array_api_strict.complex128
    assert_close(on_host(y), dense(values) @ x, "float32")


def test_rows_that_do_not_match_raise():
    with pytest.raises(ValueError, match="cannot reshape array of size 7"):
        apply_factor(np.ones((2, 2, 2, 2)), np.ones((7, 1)))
