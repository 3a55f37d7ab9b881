"""Chains by name."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly import Chain
from dbutterfly.errors import ChainError, InputError
from dbutterfly.structure.chain_names import chain_for, read_chain_or_name

SHAPE = (16, 16)
NAMES = {
    "chainable": Chain.chainable(SHAPE),
    "dyadic": Chain.square_dyadic(SHAPE),
    "monarch": Chain.monarch(SHAPE),
    "monarch:2,8": Chain.monarch(SHAPE, 2, 8),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_stand_for_chains(name):
    chain = NAMES[name]
    assert chain_for(read_chain_or_name("chain", name), SHAPE) == chain_for(name, SHAPE) == chain
    z = np.random.default_rng(0).standard_normal(SHAPE)
    assert dbf.factorize(z, name).chain == dbf.plan(z, name).chain == chain
    np.testing.assert_array_equal(dbf.factorize(z, name).ks_values[0], dbf.factorize(z, chain).ks_values[0])


def test_a_name_goes_with_the_rank_of_the_default_chain_alone():
    z = np.eye(16)
    assert dbf.plan(z, "chainable", rank=2).chain == Chain.chainable(SHAPE, 2)
    with pytest.raises(InputError, match="rank=2 goes with the default chain"):
        dbf.plan(z, "monarch", rank=2)
    assert dbf.identify(np.eye(8), "monarch").trees.rows.keys() == {Chain.monarch((8, 8)).cut(1)[0].row_groups}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Monarch", "chain='Monarch' is unknown; use 'chainable'"),
        ("monarch:2", "chain='monarch:2' is unknown"),
        ("monarch:3,4", "p=3 does not divide 16"),
        ("", "chain='' is unknown"),
    ],
)
def test_what_is_no_name(name, message):
    with pytest.raises(ChainError, match=message):
        dbf.factorize(np.eye(16), name)


def test_a_chain_of_another_shape():
    with pytest.raises(ChainError, match=r"n=.* is not the size of a square matrix with a power of two rows"):
        dbf.factorize(np.eye(12), "dyadic")
