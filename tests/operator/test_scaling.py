import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from dbutterfly import ButterflyOperator, Chain
from dbutterfly.errors import InputError
from dbutterfly.operator.norms import estimate_largest_sum


def operator(dtype="float64", scale=1.0, n=16):
    rng = np.random.default_rng(0)
    return ButterflyOperator([(rng.standard_normal(p) * scale).astype(dtype) for p in Chain.square_dyadic(n)])


@pytest.mark.parametrize(
    "number", [2, 2.0, Fraction(2), Decimal(2), np.float32(2), np.array(2.0, "f4"), np.int8(2)], ids=repr
)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_numbers_scale_an_operator_and_leave_its_precision(number, dtype):
    op = operator(dtype)
    for scaled, expected in ((op * number, 2), (number * op, 2), (op / number, 0.5), (op.dot(number), 2)):
        if isinstance(scaled, np.ndarray):
            continue  # an array of NumPy on the left asks for its own product
        assert isinstance(scaled, ButterflyOperator)
        assert scaled.dtype == dtype
        np.testing.assert_allclose(scaled.to_dense(), expected * op.to_dense(), rtol=1e-5)


def test_numbers_of_numpy_count_with_their_dtype_up_to_double_precision():
    op = operator("float32")
    assert (op * np.float64(2)).dtype == (np.ones(1, "f4") * np.float64(2)).dtype == "float64"
    assert (op / np.longdouble(2)).dtype == "float64"
    assert (op * 2j).dtype == "complex64"


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, 10**400, Decimal("NaN"), np.float32("inf"), 1e300, 1e-300], ids=repr
)
def test_numbers_out_of_range_are_refused(number):
    with pytest.raises(InputError, match="number="):
        operator("float32") * number


def test_nothing_is_divided_by_zero():
    for zero in (0, 0.0, np.float32(0), Fraction(0)):
        with pytest.raises(InputError, match="divides no operator"):
            operator() / zero


@pytest.mark.parametrize("other", ["2", None, [1], b"2", object()], ids=lambda value: type(value).__name__)
def test_what_is_no_number_divides_nothing(other):
    with pytest.raises(TypeError):
        operator() / other
    with pytest.raises(InputError, match="power="):
        operator() ** 1.5


def test_the_norms_of_a_zero_operator_are_zero():
    zero = 0 * operator()
    halves = np.ones((1, 2, 2, 8)), np.ones((1, 2, 2, 8))
    halves[1][0, 1] = -1
    for op in (zero, zero.T, ButterflyOperator(halves)):  # the product of the last two is zero, and neither of them is
        assert [op.norm(order) for order in ("fro", 1, 2, np.inf)] == pytest.approx([0.0] * 4, abs=1e-14)


@pytest.mark.parametrize("scale", [1e80, 1e-80])
@pytest.mark.parametrize("order", ["fro", 1, 2, np.inf])
def test_norms_of_factors_whose_squares_leave_the_range(scale, order):
    factors = [values * scale ** (-1) ** index for index, values in enumerate(operator().ks_values)]
    assert ButterflyOperator(factors).norm(order) == pytest.approx(operator().norm(order), rel=1e-3)
    assert operator(scale=1e80).norm(order) == math.inf
    assert operator(scale=1e-90).norm(order) == 0.0
    assert math.isnan(operator(scale=math.nan).norm(order))


@pytest.mark.parametrize("order", [1, np.inf])
def test_the_largest_sum_is_exact_for_small_matrices(order):
    op = operator(n=64)
    assert op.norm(order) == pytest.approx(np.linalg.norm(op.to_dense(), order), rel=1e-12)


def test_an_estimate_is_a_lower_bound_that_its_seed_gives_again():
    op = operator(n=256)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the generator that is to be left alone
    estimates = [estimate_largest_sum(op, seed) for seed in (0, 0, 1)]
    assert estimates[0] == estimates[1]
    assert 0.5 * op.norm(1) < min(estimates)
    assert max(estimates) <= op.norm(1) * (1 + 1e-12)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("arguments", [{"ord": 3}, {"ord": "2"}, {"ord": True}, {"ord": [2]}, {"ord": 2, "tol": "x"},
                                       {"ord": 1, "seed": None}, {"ord": 2, "tol": math.nan}], ids=str)  # fmt: skip
def test_arguments_of_norms_are_named(arguments):
    with pytest.raises(InputError, match="=".join([next(reversed(arguments)), ""])):
        operator().norm(**arguments)
