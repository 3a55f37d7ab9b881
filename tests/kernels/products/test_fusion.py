import numpy as np
import pytest

from dbutterfly.errors import ChainError
from dbutterfly.kernels.products.fusion import fuse_factors
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.fusion import fuse_patterns

CHAINS = [
    Chain.square_dyadic(16),
    Chain.monarch((12, 20)),
    Chain.chainable((30, 36)),
    Chain.chainable((32, 48), rank=3),
    Chain([(2, 3, 2, 6), (4, 2, 3, 3)]),
]


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_product_is_that_of_the_matrices(xp, chain, dtype):
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal(pattern).astype(dtype) for pattern in chain]
    found = fuse_factors([xp.asarray(values) for values in factors])
    assert [tuple(found.shape)] == [tuple(p) for p in fuse_patterns(chain.patterns, [range(len(chain))])]
    product = dense_product([xp.to_numpy(found)])
    assert product.dtype == dtype
    np.testing.assert_allclose(product, dense_product(factors), atol=100 * np.finfo(dtype).eps)


def test_one_factor_is_itself():
    values = np.ones((1, 2, 2, 4))
    assert fuse_factors([values]) is values


def test_factors_that_do_not_multiply_to_one_are_refused():
    with pytest.raises(ChainError, match="do not multiply to one factor"):
        fuse_factors([np.ones((4, 2, 3, 1)), np.ones((1, 2, 2, 6))])
