"""Blocks as rows of numbers, and back."""

import numpy as np
import pytest

from dbutterfly.factorization.hierarchical.encoding import Head, decode_blocks, encode_blocks
from dbutterfly.factorization.hierarchical.fitted import FittedBlock, dense_block, zero_block
from dbutterfly.operator.block_factors import BlockFactors
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_blocks_of_every_kind_come_back_to_the_bit(dtype):
    rng = np.random.default_rng(0)

    def draw(*shape):
        real, imag = rng.standard_normal((2, *shape))
        return (real + 1j * imag if dtype == "complex128" else real).astype(dtype)

    low = BlockFactors((3, 8), (10, 14), (draw(1, 5, 2, 1), draw(1, 2, 4, 1)))
    orderings = Orderings(rng.permutation(8), "bitreversal")
    factors = tuple(draw(*pattern) for pattern in Chain.square_dyadic(8))
    butterfly = BlockFactors((8, 16), (0, 8), factors, orderings)
    dense = dense_block((0, 3), (0, 4), draw(3, 4), 1.5)
    blocks = [
        FittedBlock(low, 2.0, 0.25, 0.125, 0.0, np.array([2.0, 1.0, 0.5]), 0.0625),
        FittedBlock(butterfly, 3.0, 0.5, 0.0, np.inf, np.zeros(0)),
        zero_block((0, 3), (4, 9), 0.0),
        dense,
    ]
    values, table = encode_blocks(blocks, np.dtype(dtype), 77)
    assert values.dtype == np.dtype(dtype)
    assert not np.isnan(table).any()
    assert Head.of(table) == (values.size, table.size, 4, 77)
    for before, after in zip(blocks, decode_blocks(values, table), strict=True):
        assert before[1:5] == after[1:5]
        assert before.left_out == after.left_out
        np.testing.assert_array_equal(before.spectrum, after.spectrum)
        assert (before.factors.rows, before.factors.cols) == (after.factors.rows, after.factors.cols)
        for one, other in zip(before.factors.ks_values, after.factors.ks_values, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        for one, other in zip(
            before.factors.orderings.sides.values(), after.factors.orderings.sides.values(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_no_blocks_are_a_row_too():
    values, table = encode_blocks([], np.dtype("float64"), 0)
    assert values.size == 0
    assert decode_blocks(values, table) == []
