import numpy as np
import pytest

from dbutterfly.factorization.nested_fusion import FusedFactors, fuse_to_fewest_values
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.tree import split_tree
from tests.support.comparisons import random_matrix

ORDERINGS = [
    Orderings(),
    Orderings("bitreversal"),
    Orderings(None, "bitreversal"),
    Orderings("bitreversal", "bitreversal"),
]


def matrix_of(found, orderings):
    """The matrix whose orderings bring it to the product of factors."""
    product = dense_product(found.factors)
    rows, cols = (
        np.arange(size) if order is None else order
        for order, size in zip(orderings.permutations(found.chain), product.shape, strict=True)
    )
    matrix = np.empty_like(product)
    matrix[np.ix_(rows, cols)] = product
    return matrix


@pytest.mark.parametrize("orderings", ORDERINGS)
@pytest.mark.parametrize(
    ("rows", "cols", "ranks", "root", "fused"),
    [
        ((4, 4, 2), (2, 4, 4), (16, 4), 2, 2),
        ((2, 3, 5, 1), (1, 2, 3, 4), (2, 12, 4), 2, 2),
        ((2, 3, 4, 3, 2, 2), (2, 2, 3, 2, 3, 4), (4, 2, 2, 9, 4), 2, 3),
        ((2, 2, 2, 2), (2, 2, 2, 2), (1, 1, 1), 2, 4),
    ],
)
def test_fewer_factors_are_the_same_matrix(rows, cols, ranks, root, fused, orderings):
    chain = Chain.of_digits(rows, cols, ranks)
    factors = [random_matrix((pattern.nnz, 1), "complex64", at).reshape(pattern) for at, pattern in enumerate(chain)]
    given = FusedFactors(factors, chain, split_tree(len(chain)), [3.0] * (root - 1) + [4.0] * (len(ranks) - root + 1))
    found = fuse_to_fewest_values(given, root, orderings)
    assert len(found.chain) == len(found.errors) + 1 == fused
    assert found.chain.nnz <= chain.nnz
    assert [values.dtype for values in found.factors] == ["complex64"] * fused
    np.testing.assert_allclose(np.hypot.reduce(found.errors), np.hypot.reduce(given.errors))
    wanted = matrix_of(given, orderings)
    np.testing.assert_allclose(matrix_of(found, orderings), wanted, atol=1e-5 * np.abs(wanted).max())
    if fused == len(chain):
        assert found is given
