"""What :meth:`ButterflyOperator.apply` takes and gives: NumPy's own manners, other namespaces, threads."""

import pickle
import threading

import array_api_strict
import dask.array as da
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

from dbutterfly.errors import InputError
from dbutterfly.operator import products
from dbutterfly.operator.butterfly import ButterflyOperator
from dbutterfly.structure.chain import Chain

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAIN = Chain.chainable((24, 40))


def random_array(shape, dtype="float64", seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def operator(dtype="float64", chain=CHAIN):
    rng = np.random.default_rng(3)
    factors = [random_array(pattern, dtype, seed) for seed, pattern in enumerate(chain)]
    return ButterflyOperator(factors, (rng.permutation(chain.shape[0]), rng.permutation(chain.shape[1])))


def assert_close(actual, expected, dtype="float64"):
    tolerance = 100 * np.finfo(dtype).eps * max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 5), (40, 50), (40, 0)])
def test_out_is_filled_and_returned(shape, dtype):
    op, x = operator(dtype), random_array(shape, dtype)
    out = np.full((24, *shape[1:]), np.nan, dtype)
    assert op.apply(x, out) is out
    assert_close(out, op.to_dense() @ x, dtype)


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_out_may_be_strided_or_of_a_wider_dtype(columns):
    op, x = operator("float32"), random_array((40, columns), "float32")
    expected = op.to_dense() @ x
    wide = np.zeros((48, 2 * columns), "complex128")
    op.apply(x, out=wide[::2, ::2])
    assert_close(wide[::2, ::2], expected, "float32")
    assert not wide[1::2].any()
    assert not wide[:, 1::2].any()
    swapped = np.empty((24, columns), ">f4")
    assert_close(op.apply(x, swapped), expected, "float32")


@pytest.mark.parametrize("shape", [(32,), (32, 3), (32, 40)])
def test_out_may_be_the_operand(shape):
    op = operator("complex128", Chain.square_dyadic(32))
    x = random_array(shape, "complex128")
    expected = op.to_dense() @ x
    assert op.apply(x, out=x) is x
    assert_close(x, expected)
    both = np.concatenate([x, x])
    expected = op.to_dense() @ both[16:48]
    assert_close(op.apply(both[16:48], out=both[:32]), expected)


def test_out_that_cannot_hold_the_product_is_refused():
    op, x = operator(), random_array((40, 3))
    with pytest.raises(TypeError, match=r"Cannot cast array data from dtype\('complex128'\) to dtype\('float64'\)"):
        op.apply(x + 1j, np.empty((24, 3)))
    with pytest.raises(TypeError, match="'same_kind'"):
        op.apply(x, np.empty((24, 3), int))
    read_only = np.empty((24, 3))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        op.apply(x, read_only)
    for wrong in (np.empty((24, 2)), np.empty(24), np.empty((40, 3))):
        with pytest.raises(ValueError, match=r"out has shape .*; the product is an array of shape \(24, 3\)"):
            op.apply(x, wrong)
    with pytest.raises(TypeError, match=r"out is a list; the product needs a NumPy array of shape \(24, 3\)"):
        op.apply(x, [[0.0] * 3] * 24)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [None, 1, 3, 20])
def test_layout_of_the_operand_does_not_matter(columns, dtype):
    op = operator(dtype)
    whole = random_array((80,) if columns is None else (80, 3 * columns), dtype)
    x = whole[::2] if columns is None else whole[::2, ::3]
    expected = op.to_dense() @ x
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (x, np.asfortranarray(x), read_only, x[::-1].copy()[::-1], x.astype(x.dtype.newbyteorder(">"))):
        product = op @ same
        assert product.dtype == dtype
        assert product.dtype.isnative
        assert_close(product, expected, dtype)


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_real_operator_times_complex_columns(columns):
    for dtype, wide in (("float32", "complex64"), ("float64", "complex128"), ("float32", "complex128")):
        op, x = operator(dtype), random_array((40, columns), wide)
        assert (op @ x).dtype == wide
        assert_close(op @ x, op.to_dense() @ x, dtype)
        assert_close(op.H @ (op @ x), op.to_dense().T @ (op.to_dense() @ x), dtype)


@pytest.mark.parametrize("x", [3.0, np.float64(3.0), np.ones(()), np.ones((24, 2)), np.ones((40, 2, 2))], ids=np.shape)
def test_operands_of_other_shapes_are_refused(x):
    with pytest.raises(ValueError, match=r"expected 1-d or 2-d array|dimension mismatch"):
        operator().apply(x)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two"])
def test_workers_must_be_a_positive_number(workers):
    with pytest.raises(InputError, match=f"workers={workers!r} is not a positive number of threads"):
        operator().apply(np.ones((40, 3)), workers=workers)


def test_columns_are_divided_among_threads(monkeypatch):
    monkeypatch.setattr(products, "available_cores", lambda: 3)
    op, x = operator(), random_array((40, 100))
    alone = op @ x
    seen = set()
    kernels, packed = op._products._packed[None]

    class Watched:
        @staticmethod
        def multiply(*arguments, **settings):
            seen.add((threading.get_ident(), arguments[1].shape[1]))
            return kernels.multiply(*arguments, **settings)

    op._products._packed[None] = Watched, packed
    assert_close(op.apply(x, workers=3), alone)
    assert sorted(columns for _, columns in seen) in ([33, 33, 34], [33, 34])  # a thread may do two parts
    assert threading.get_ident() not in {thread for thread, _ in seen}
    seen.clear()
    out = np.empty_like(alone)
    assert_close(op.apply(x, out, workers=64), alone)
    assert len({columns for _, columns in seen}) == 2
    seen.clear()
    op.apply(x[:, :40], workers=2)
    assert seen == {(threading.get_ident(), 40)}


def test_products_from_many_threads_agree():
    op, x = operator("complex64", Chain.square_dyadic(64)), random_array((64, 9), "complex64")
    expected, found = op.to_dense() @ x, []
    threads = [threading.Thread(target=lambda: found.append(op @ x)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for product in found:
        assert_close(product, expected, "complex64")


def test_derived_operators_share_what_was_prepared():
    op = operator("complex128", Chain.square_dyadic(1024))
    assert op.nbytes_prepared == 0
    op @ np.ones(1024)
    held = op.nbytes_prepared
    assert 0.5 * op.nbytes <= held <= 1.5 * op.nbytes
    for derived in (op.T, op.H, op.conj(), op.T.H, op.H.H):
        assert derived.nbytes_prepared == held
        derived @ np.ones(1024)
        assert derived.nbytes_prepared == held


def test_pickles_are_as_small_as_the_factors():
    chain = Chain.square_dyadic(1024)
    factors = [random_array(pattern) for pattern in chain]
    op = ButterflyOperator(factors, (None, "bitreversal"))
    op @ np.ones(1024)
    for derived in (op, op.T, op.H):
        assert len(pickle.dumps(derived)) < op.nbytes + 3 * 8 * 1024
    assert len(pickle.dumps(op)) < op.nbytes + 2048
    adjoint = pickle.loads(pickle.dumps(operator("complex64").H))
    assert_close(adjoint.to_dense(), operator("complex64").to_dense().conj().T, "complex64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_namespace_stay_there(dtype):
    device = array_api_strict.Device("device1")
    op = operator(dtype)
    for shape in ((40,), (40, 3), (40, 20)):
        x = random_array(shape, dtype)
        for product in (op @ array_api_strict.asarray(x, device=device), op.apply(array_api_strict.asarray(x))):
            host = product.to_device(array_api_strict.Device("CPU_DEVICE"))
            assert_close(np.asarray(host), op.to_dense() @ x, dtype)
        y = array_api_strict.asarray(random_array((24, *shape[1:]), dtype), device=device)
        assert (op.H @ y).device == device
    with pytest.raises(ValueError, match="dimension mismatch"):
        op @ array_api_strict.ones((24,))
    for x in (array_api_strict.ones((40,)), da.ones((40,))):
        with pytest.raises(InputError, match="out is for products of NumPy arrays, and x is a"):
            op.apply(x, np.empty(24, dtype))


@pytest.mark.parametrize("chunks", [(40, 7), (13, 20), (40, 1)])
def test_columns_of_a_dask_array_stay_in_their_chunks(chunks):
    op, x = operator("float32"), random_array((40, 20), "float64")
    product = op @ da.from_array(x, chunks=chunks)
    assert isinstance(product, da.Array)
    assert product.chunks == ((24,), da.from_array(x, chunks=chunks).chunks[1])
    assert product.dtype == "float64"
    assert_close(product.compute(scheduler="synchronous"), op.to_dense() @ x, "float32")
    vector = op.H @ da.from_array(random_array((24,)), chunks=5)
    assert_close(vector.compute(scheduler="synchronous"), op.to_dense().T @ random_array((24,)), "float32")


@pytest.mark.slow
def test_products_with_dask_arrays_run_on_a_cluster(client):
    op, x = operator("complex128"), random_array((40, 20), "complex128")
    assert_close((op.T.H @ da.from_array(x, chunks=(10, 6))).compute(), op.to_dense().conj() @ x)


def test_dask_sees_the_same_operator_as_the_same():
    token = operator().__dask_tokenize__()
    assert token == operator().__dask_tokenize__()
    assert token != operator().T.__dask_tokenize__()
    assert token != operator("float32").__dask_tokenize__()
    factors, order = [np.ones((1, 4, 4, 1))], np.arange(4)[::-1]
    tokens = {ButterflyOperator(factors, sides).__dask_tokenize__() for sides in ((order, None), (None, order), None)}
    assert len(tokens) == 3


def test_other_operators_give_what_scipy_gives():
    op = operator()
    product = op @ LinearOperator((40, 40), matvec=lambda x: 2 * x, dtype="float64")
    assert not isinstance(product, ButterflyOperator)
    assert_close(product @ np.ones(40), 2 * (op @ np.ones(40)))
