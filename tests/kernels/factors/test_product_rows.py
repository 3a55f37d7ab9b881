import numpy as np
import pytest

from dbutterfly.kernels.factors.product_rows import product_columns, product_rows
from dbutterfly.structure.chain import Chain

CHAINS = [
    Chain.square_dyadic(16),
    Chain.monarch((21, 16), p=7, q=2),
    Chain.chainable((36, 60)),
    Chain.chainable((64, 64), rank=2),
    Chain.chainable((48, 80), rank=4),
    Chain([(1, 7, 5, 1)]),
]


def dense(values):
    """Matrix of a factor."""
    a, b, c, d = values.shape
    matrix = np.zeros((a, b, d, a, c, d), values.dtype)
    i, k = np.ogrid[:a, :d]
    matrix[i, :, k, i, :, k] = values.transpose(0, 3, 1, 2)
    return matrix.reshape(a * b * d, a * c * d)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_rows_and_columns_of_the_product(xp, chain, dtype):
    rng = np.random.default_rng(0)
    factors = [(rng.standard_normal(p) + (1j if "c" in dtype else 0)).astype(dtype) for p in chain]
    product = dense(factors[0])
    for values in factors[1:]:
        product = product @ dense(values)
    device = [xp.asarray(values) for values in factors]
    for lines in (np.arange(chain.shape[0]), rng.permutation(chain.shape[0])[:5], [2]):
        found = xp.to_numpy(product_rows(device, chain, lines))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, product[lines], rtol=2e-5, atol=1e-4 if dtype == "float32" else 1e-12)
    for lines in (np.arange(chain.shape[1]), rng.permutation(chain.shape[1])[:4], [1]):
        found = xp.to_numpy(product_columns(device, chain, lines)).T
        assert found.dtype == dtype
        np.testing.assert_allclose(found, product[:, lines], rtol=2e-5, atol=1e-4 if dtype == "float32" else 1e-12)
