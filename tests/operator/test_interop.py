"""Operators of other packages; stand-ins take the place of those that tests do not install."""

import sys
import types

import numpy as np
import pytest

from dbutterfly import ButterflyOperator, Chain
from dbutterfly.errors import InputError
from dbutterfly.operator import interop


class LazyLinOp:
    """What is used of ``lazylinop.LazyLinOp``."""

    def __init__(self, shape, matmat, rmatmat, dtype):
        self.shape, self.matmat, self.rmatmat, self.dtype = shape, matmat, rmatmat, dtype


class Ksm:
    """What is used of the operators of ``lazylinop.butterfly``."""

    def __init__(self, ks_values, bitrev_perm=None):
        self.ks_values = ks_values
        if bitrev_perm is not None:
            self.bitrev_perm = bitrev_perm
        factors = ks_values if isinstance(ks_values, list) else [ks_values]
        (a, b, _, d), (a_last, _, c, d_last) = factors[0].shape, factors[-1].shape
        self.shape = a * b * d, a_last * c * d_last


@pytest.fixture
def lazylinop(monkeypatch):
    package, butterfly = types.ModuleType("lazylinop"), types.ModuleType("lazylinop.butterfly")
    package.LazyLinOp, package.butterfly, butterfly.ksm = LazyLinOp, butterfly, Ksm
    monkeypatch.setitem(sys.modules, "lazylinop", package)
    monkeypatch.setitem(sys.modules, "lazylinop.butterfly", butterfly)


def operator(orderings=None, chain=None):
    rng = np.random.default_rng(2)
    return ButterflyOperator([rng.standard_normal(p) for p in chain or Chain.square_dyadic(16)], orderings)


def test_chains_in_standard_order_become_ksm(lazylinop):
    op = operator()
    found = op.to_lazylinop()
    assert isinstance(found, Ksm)
    for ours, theirs in zip(op.ks_values, found.ks_values, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    single = operator(chain=Chain([(1, 3, 4, 2)]))
    assert single.to_lazylinop().ks_values.shape == (1, 3, 4, 2)
    again = ButterflyOperator.from_lazylinop(single.to_lazylinop())
    np.testing.assert_array_equal(again.to_dense(), single.to_dense())


@pytest.mark.parametrize("op", [operator((None, "bitreversal")), operator().T], ids=["ordered", "not chainable"])
def test_other_operators_are_called(lazylinop, op):
    found, x = op.to_lazylinop(), np.ones((16, 2))
    assert isinstance(found, LazyLinOp)
    assert found.shape == op.shape
    np.testing.assert_allclose(found.matmat(x), op.to_dense() @ x)
    np.testing.assert_allclose(found.rmatmat(x), op.to_dense().T @ x)


@pytest.mark.parametrize(
    ("side", "orderings"),
    [
        ("left", ("bitreversal", None)),
        ("right", (None, "bitreversal")),
        ("both", ("bitreversal", "bitreversal")),
        (None, None),
    ],
)
def test_bit_reversals_are_taken_over(side, orderings):
    op = operator(orderings)
    found = ButterflyOperator.from_lazylinop(Ksm(list(op.ks_values), side))
    np.testing.assert_array_equal(found.to_dense(), op.to_dense())


def test_operators_without_factors_are_refused():
    with pytest.raises(InputError, match="has no ks_values"):
        ButterflyOperator.from_lazylinop(np.eye(3))


def test_pylops_wraps_it(monkeypatch):
    package = types.ModuleType("pylops")
    package.aslinearoperator = lambda op: ("wrapped", op)
    monkeypatch.setitem(sys.modules, "pylops", package)
    op = operator()
    assert op.to_pylops() == ("wrapped", op)


@pytest.mark.parametrize("name", ["lazylinop", "pylops"])
def test_what_is_not_installed_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    convert = interop.lazylinop_of if name == "lazylinop" else interop.pylops_of
    with pytest.raises(InputError, match=f"{name} cannot be imported .*; install it with: pip install {name}"):
        convert(operator())
