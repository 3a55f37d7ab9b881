import numpy as np
import pytest

from dbutterfly import matrices
from dbutterfly.errors import InputError
from dbutterfly.matrices import KnownMatrix
from dbutterfly.structure.chain import Chain
from tests.support.matrix_references import random_factors, standard_order


@pytest.mark.parametrize(
    "matrix",
    [
        matrices.dft(60),
        matrices.hadamard(32),
        matrices.gaussian_butterfly((24, 90), seed=0),
        matrices.butterfly(random_factors(Chain.chainable((24, 90)), float), ("bitreversal", np.arange(90)[::-1])),
        matrices.noisy(matrices.dft(32), 0.1, seed=0),
    ],
    ids=repr,
)
def test_shuffled_matrices_are_put_in_order_by_their_orderings(matrix):
    once = matrices.shuffled(matrix, seed=1)
    twice = matrices.shuffled(once, seed=2)
    for shuffled in (once, twice):
        shuffled.orderings.validate(matrix.shape)
        assert not np.array_equal(shuffled, matrix)
        assert (shuffled.norm, shuffled.chain) == (matrix.norm, matrix.chain)
        np.testing.assert_array_equal(standard_order(shuffled), standard_order(matrix))


def test_shuffled_arrays_are_put_back():
    array = np.arange(12.0).reshape(3, 4)
    shuffled = matrices.shuffled(array, seed=0)
    np.testing.assert_array_equal(shuffled[shuffled.orderings.rows, shuffled.orderings.cols], array)


def test_shuffled_needs_a_chain_for_bit_reversal():
    orphan = KnownMatrix(matrices.dft(4).f, (4, 4), complex, norm=4, orderings=("bitreversal", None))
    with pytest.raises(InputError, match="bit reversal but has no chain"):
        matrices.shuffled(orphan)
