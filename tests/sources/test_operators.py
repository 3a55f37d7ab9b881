import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError, SourceError
from dbutterfly.sources import operators as operator_source
from dbutterfly.sources.arrays import ArraySource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.operators import OperatorSource
from dbutterfly.structure.axes import Tile, axes_of_cut
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import DTYPES, random_matrix

SHAPE = (48, 60)
CHAIN = Chain.chainable(SHAPE)
ORDERINGS = [None, ("bitreversal", None), (np.arange(48)[::-1].copy(), np.roll(np.arange(60), 7))]


class Duck:
    """What PyLops operators look like from outside."""

    def __init__(self, array, dtype=None):
        self.array, self.shape = array, array.shape
        self.dtype = array.dtype if dtype is None else dtype

    def matvec(self, x):
        return self.array @ x

    def rmatvec(self, y):
        return self.array.conj().T @ y


class Untyped:
    """Without a dtype, which is found by a product."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def matvec(self, x):
        return self.array @ x

    def rmatvec(self, y):
        return self.array.conj().T @ y


class Counting(LinearOperator):
    """Counts the vectors that it and its adjoint are multiplied by, and how many at a time."""

    def __init__(self, array):
        super().__init__(array.dtype, array.shape)
        self.array, self.calls = array, []

    def _matmat(self, x):
        self.calls.append(("matmat", x.shape[1]))
        return self.array @ x

    def _rmatmat(self, y):
        self.calls.append(("rmatmat", y.shape[1]))
        return self.array.conj().T @ y

    def count(self, kind=None):
        return sum(width for name, width in self.calls if kind in (None, name))


def vectors_only(z):
    """Knows single vectors only, given as functions."""
    return LinearOperator(z.shape, matvec=lambda x: z @ x, rmatvec=lambda y: z.conj().T @ y, dtype=z.dtype)


KINDS = [aslinearoperator, scipy.sparse.csr_array, scipy.sparse.coo_matrix, Duck, Untyped, vectors_only, Counting]


@pytest.mark.parametrize("orderings", ORDERINGS, ids=["standard", "rows", "arrays"])
@pytest.mark.parametrize("make", KINDS)
def test_tiles_of_every_kind_of_operator(make, orderings):
    z = random_matrix(SHAPE, "complex128")
    source = as_source(make(z))
    assert (source.shape, source.dtype, source.probed) == (SHAPE, z.dtype, True)
    rows, cols = axes_of_cut(CHAIN, 2, dbf.Orderings.from_any(orderings), (None, None))
    for tile in (Tile(0, rows.groups, 0, cols.groups), Tile(1, 2, 0, cols.groups), Tile(0, rows.groups, 1, 2)):
        expected = ArraySource(z).read(rows, cols, tile)
        np.testing.assert_allclose(source.read(rows, cols, tile), expected, rtol=1e-14)
    np.testing.assert_allclose(source.read_block(slice(3, 9), slice(10, 60)), z[3:9, 10:], rtol=1e-14)
    np.testing.assert_allclose(source.read_block(slice(3, 48), slice(10, 12)), z[3:, 10:12], rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_stay_what_they_are(dtype):
    source = as_source(aslinearoperator(random_matrix(SHAPE, dtype)))
    assert source.dtype == source.read_block(slice(0, 3), slice(0, 4)).dtype == np.dtype(dtype)
    assert source.info.work_dtype == dtype


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool"])
@pytest.mark.parametrize("make", [aslinearoperator, scipy.sparse.csc_array, Duck])
def test_integers_are_multiplied_as_float64(make, dtype):
    z = (np.arange(48 * 60).reshape(SHAPE) % 5).astype(dtype)
    source = as_source(make(z))
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read_block(slice(0, 48), slice(0, 7)), z[:, :7])


def test_the_fewer_products_are_taken_in_bounded_batches(monkeypatch):
    monkeypatch.setattr(operator_source, "PRODUCT_BYTES", 5 * sum(SHAPE) * 8)
    counting = Counting(random_matrix(SHAPE))
    source = as_source(counting)
    assert (source.batch, source.decode_bytes) == (5, 5 * sum(SHAPE) * 8)
    # three vectors at once and one alone, twice: what does not hold for several columns, or again, is found
    assert counting.calls == [(name, m) for name in ("matmat", "rmatmat") for m in (3, 1, 1)]
    counting.calls.clear()
    source.read_block(slice(0, 48), slice(0, 12))
    assert counting.calls == [("matmat", 5), ("matmat", 5), ("matmat", 2)]
    counting.calls.clear()
    source.read_block(slice(0, 7), slice(0, 60))
    assert counting.calls == [("rmatmat", 5), ("rmatmat", 2)]


def test_it_travels():
    z = random_matrix(SHAPE)
    source = pickle.loads(pickle.dumps(as_source(scipy.sparse.csr_array(z))))
    np.testing.assert_array_equal(source.read_block(slice(0, 48), slice(0, 60)), z)
    assert source.shared


def test_one_thread_asks_at_a_time():
    z, inside, most = random_matrix(SHAPE), [], []

    def product(x):
        inside.append(threading.get_ident())
        most.append(len(inside))
        y = z @ x
        inside.remove(threading.get_ident())
        return y

    source = as_source(LinearOperator(SHAPE, matvec=product, rmatvec=lambda y: z.T @ y, dtype="float64"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda first: source.read_block(slice(0, 48), slice(first, first + 4)), range(0, 56, 4)))
    assert max(most) == 1


def test_samples_differ_between_matrices_and_not_by_rounding():
    z = random_matrix(SHAPE)
    sample = as_source(aslinearoperator(z)).draw_sample()
    assert sample.find_difference(as_source(Duck(z * (1 + 1e-15))).sample(())) is None
    for other in (z + 1, z * (1 + 1e-5), np.where(np.arange(SHAPE[0])[:, None] == 3, z + 1e-3, z)):
        assert "of a product with random numbers is" in sample.find_difference(as_source(Duck(other)).sample(()))


def test_an_array_is_no_operator():
    assert isinstance(as_source(random_matrix(SHAPE)), ArraySource)
    assert isinstance(as_source(scipy.sparse.eye_array(4)), OperatorSource)


def test_a_factorization_is_an_operator():
    fact = dbf.factorize(dbf.matrices.hadamard(32))
    block = as_source(fact.operator).read_block(slice(0, 32), slice(0, 32))
    np.testing.assert_allclose(block, fact.operator.to_dense(), atol=1e-12)


Z = random_matrix((8, 8), "complex128")


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (
            LinearOperator((8, 8), matvec=lambda x: Z @ x, dtype=Z.dtype),
            "CustomLinearOperator cannot be multiplied by its",
        ),
        (
            LinearOperator((8, 8), matvec=lambda x: Z @ x, rmatvec=lambda y: Z.T @ y, dtype=Z.dtype),
            "not the adjoint of",
        ),
        (LinearOperator((8, 8), matvec=lambda x: Z @ x, rmatvec=lambda y: Z @ y, dtype=Z.dtype), "not the adjoint of"),
        (
            LinearOperator((8, 8), matvec=lambda x: x / {}[0], rmatvec=lambda y: y, dtype="float64"),
            "matmat failed: KeyError: 0",
        ),
        (LinearOperator((8, 4), matvec=lambda x: x[:3], rmatvec=lambda y: y, dtype="float64"), "matmat"),
        (Duck(Z, "float64"), "came back as complex128, which does not cast to the operator's dtype float64"),
        (Duck(np.zeros((0, 4))), "operator Duck is empty"),
        (scipy.sparse.coo_array(np.ones(4)), "operator coo_array has 1 dimensions"),
    ],
)
def test_what_cannot_be_multiplied(operator, message):
    with pytest.raises(SourceError, match=message):
        as_source(operator)


@pytest.mark.parametrize("dtype", ["object", "clongdouble", "datetime64[s]"])
def test_wrong_dtypes(dtype):
    with pytest.raises(
        InputError, match=f"operator Duck has dtype {np.dtype(dtype).name.split('[')[0]}".replace("clong", "")
    ):
        as_source(Duck(np.eye(4), np.dtype(dtype)))


def test_an_inexact_adjoint_will_do():
    z = random_matrix(SHAPE)
    rough = z + 1e-4 * random_matrix(SHAPE, seed=1)
    as_source(LinearOperator(SHAPE, matvec=lambda x: z @ x, rmatvec=lambda y: rough.T @ y, dtype="float64"))


def test_zero_and_single_entries_have_an_adjoint():
    for z in (np.zeros((8, 4)), np.eye(8, 4) * [0, 3, 0, 0], np.ones((1, 1))):
        as_source(aslinearoperator(z))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_bad_entries_of_a_sparse_matrix_are_named(bad):
    z = np.eye(16)
    z[[3, 7], [5, 1]] = bad
    with pytest.raises(
        NonFiniteError, match=r"operator csc_array holds a NaN or an infinity at index \(3, 5\)"
    ) as caught:
        as_source(scipy.sparse.csc_array(z))
    assert caught.value.index == (3, 5)
