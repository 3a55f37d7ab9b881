import numpy as np
import pytest

from dbutterfly.kernels.backend import host_array
from dbutterfly.kernels.factors.rounding import product_norm, round_product, truncate_product
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain

CHAINS = [
    Chain.square_dyadic(16),
    Chain.monarch((12, 20)),
    Chain.chainable((30, 36), rank=2),
    Chain.chainable((64, 48), rank=3),
    Chain([(2, 4, 4, 6), (4, 4, 4, 3)]),
    Chain([(1, 7, 5, 1)]),
]


def random_factors(chain, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    real, imag = ([rng.standard_normal(pattern) for pattern in chain] for _ in range(2))
    is_complex = np.dtype(dtype).kind == "c"
    return [(x + 1j * y if is_complex else x).astype(dtype) for x, y in zip(real, imag, strict=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_norm_is_that_of_the_product(xp, chain, dtype):
    factors = random_factors(chain, dtype)
    found = product_norm([xp.asarray(values) for values in factors], chain)
    assert found == pytest.approx(np.linalg.norm(dense_product(factors)), rel=100 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("tol", [0.0, 1e-10, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_error_is_the_one_stated_and_allowed(xp, chain, tol):
    factors = random_factors(chain, "complex128")
    kept, error = round_product([xp.asarray(values) for values in factors], chain, tol)
    product = dense_product(factors)
    found = np.linalg.norm(dense_product([xp.to_numpy(values) for values in kept]) - product) / np.linalg.norm(product)
    assert found == pytest.approx(error, abs=1e-13)
    assert error <= tol
    ranks = Chain([values.shape for values in kept]).ranks
    assert ranks is not None
    assert all(new <= old for new, old in zip(ranks, chain.ranks, strict=True))


@pytest.mark.parametrize("rank", [1, 2])
def test_redundant_ranks_are_found(rank):
    chain = Chain.chainable((64, 96), rank=3)
    small = random_factors(chain.of_rank(rank), seed=1)
    large = [np.zeros(pattern) for pattern in chain]
    for big, values, before, after in zip(large, small, (1, 3, 3, 3, 3), (3, 3, 3, 3, 1), strict=True):
        a, b, c, d = values.shape
        few_before, few_after = min(before, rank), min(after, rank)
        view = big.reshape(a, before, b // few_before, c // few_after, after, d)
        view[:, :few_before, :, :, :few_after] = values.reshape(a, few_before, b // few_before, -1, few_after, d)
    mixed = [values.copy() for values in large]
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]  # of the index of the first junction
    mixed[0] = np.einsum("amnjd,jk->amnkd", large[0].reshape(1, 4, -1, 3, 16), turn).reshape(large[0].shape)
    a, b, c, d = large[1].shape
    mixed[1] = np.einsum("jk,ajmcd->akmcd", turn, large[1].reshape(a, 3, b // 3, c, d)).reshape(large[1].shape)
    exact = dense_product(small)
    np.testing.assert_allclose(dense_product(mixed), exact, atol=1e-11)
    kept, error = round_product(mixed, chain, 1e-12)
    assert Chain([values.shape for values in kept]) == chain.of_rank(rank)
    assert error < 1e-12
    np.testing.assert_allclose(dense_product(kept), exact, atol=1e-11)


def test_zero_stays_zero_at_rank_one():
    chain = Chain.chainable((16, 16), rank=2)
    kept, error = round_product([np.zeros(pattern) for pattern in chain], chain, 0.0)
    assert error == 0
    assert set(Chain([values.shape for values in kept]).ranks) == {1}
    assert not dense_product(kept).any()


@pytest.mark.parametrize("chain", CHAINS[2:5], ids=repr)
def test_products_are_truncated_to_ranks(xp, chain):
    factors = random_factors(chain, "complex128")
    ranks = [max(1, rank - 1) for rank in chain.ranks]
    kept = [host_array(values) for values in truncate_product([xp.asarray(f) for f in factors], chain, ranks)]
    found = Chain([values.shape for values in kept])
    assert all(rank <= most for rank, most in zip(found.ranks, ranks, strict=True))
    exact, product = dense_product(factors), dense_product(kept)
    assert np.linalg.norm(product) <= np.linalg.norm(exact) * (1 + 1e-12)
    same = truncate_product([xp.asarray(f) for f in factors], chain, chain.ranks)
    np.testing.assert_allclose(dense_product([host_array(values) for values in same]), exact, atol=1e-12)
