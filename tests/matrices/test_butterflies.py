import numpy as np
import pytest
import scipy.linalg

from dbutterfly import matrices
from dbutterfly.errors import ChainError
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from tests.support.matrix_references import (
    CHAINS,
    DTYPES,
    eps,
    factor_matrix,
    random_factors,
    scattered_blocks,
    standard_order,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_butterfly_is_the_product_of_its_factors(chain, dtype):
    factors = random_factors(chain, dtype)
    matrix = matrices.butterfly(factors)
    wanted = factor_matrix(factors[0].astype(complex))
    for factor in factors[1:]:
        wanted = wanted @ factor_matrix(factor.astype(complex))
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, wanted, atol=20 * eps(dtype) * np.abs(wanted).max(), rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(wanted), rel=1e-12)
    assert matrix.chain == chain


@pytest.mark.parametrize("orderings", [("bitreversal", None), (None, "bitreversal"), "permuted"])
def test_butterfly_with_orderings(orderings):
    chain, rng = Chain.chainable((24, 90)), np.random.default_rng(3)
    if orderings == "permuted":
        orderings = (rng.permutation(24), rng.permutation(90))
    factors = random_factors(chain, float)
    stored = matrices.butterfly(factors, orderings)
    np.testing.assert_array_equal(standard_order(stored), matrices.butterfly(factors))
    assert stored.norm == matrices.butterfly(factors).norm


def test_dft_from_its_factors():
    # i * j / n mod 1 is the sum over l of i_l * (j_1 + 2 j_2 + ... + 2^(l-1) j_l) / 2^l, for row digits i_l from the
    # most significant one on and column digits j_l from the least significant one on.
    factors = []
    for level, (a, _, _, d) in enumerate(Chain.square_dyadic(16)):
        column = digit_reversal((2,) * level)[:, None] + a * np.arange(2)
        ks = np.ones((a, 2, 2, d), complex)
        ks[:, 1] = np.exp(-2j * np.pi * column / (2 * a))[:, :, None]
        factors.append(ks)
    np.testing.assert_allclose(matrices.butterfly(factors, (None, "bitreversal")), scipy.linalg.dft(16), atol=1e-14)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_blocks_do_not_depend_on_the_request(chain):
    matrix = matrices.gaussian_butterfly(chain, seed=5)
    dense = np.asarray(matrix)
    for rows, cols in scattered_blocks(chain.shape):
        np.testing.assert_array_equal(matrix.block(rows, cols), dense[rows][:, cols])


def test_single_entries_of_a_huge_butterfly():
    n = 1 << 16
    factors = random_factors(Chain.square_dyadic(n), float)
    matrix = matrices.butterfly(factors)
    for i, j in [(0, 0), (n - 1, n - 1), (12345, 54321)]:
        wanted = 1.0
        for ks in factors:
            _, _, _, d = ks.shape
            wanted *= ks[j // (2 * d), i // d % 2, j // d % 2, i % d]
        assert matrix[i, j] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_orthogonal_butterfly(dtype):
    n = 64
    matrix = matrices.orthogonal_butterfly(n, dtype=dtype, seed=3)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense @ dense.conj().T, np.eye(n), atol=30 * eps(dtype))
    assert matrix.norm == pytest.approx(np.sqrt(n), rel=1e-5)
    if dense.dtype.kind == "c":
        assert np.abs(dense.imag).max() > 0.01


def test_gaussian_butterfly_has_unit_variance():
    for dtype in (float, complex):
        norms = [matrices.gaussian_butterfly(64, dtype=dtype, seed=seed).norm for seed in range(200)]
        assert np.mean(np.square(norms)) == pytest.approx(64**2, rel=0.2)


@pytest.mark.parametrize(
    ("given", "chain"),
    [
        (16, Chain.square_dyadic(16)),
        (np.int64(16), Chain.square_dyadic(16)),
        ((16, 16), Chain.square_dyadic(16)),
        (12, Chain.chainable((12, 12))),
        ((12, 18), Chain.chainable((12, 18))),
        ([(1, 2, 3, 5), (3, 5, 2, 1)], Chain([(1, 2, 3, 5), (3, 5, 2, 1)])),
        (((1, 2, 3, 5), (3, 5, 2, 1)), Chain([(1, 2, 3, 5), (3, 5, 2, 1)])),
    ],
)
def test_gaussian_butterfly_takes_sizes_shapes_and_chains(given, chain):
    assert matrices.gaussian_butterfly(given, seed=0).chain == chain


@pytest.mark.parametrize(
    "chain",
    [
        Chain([(2, 2, 2, 1)]),
        Chain([(1, 2, 2, 2)]),
        Chain([(2, 2, 2, 1), (1, 2, 2, 2)]),
    ],
)
def test_butterflies_need_a_dense_chain(chain):
    with pytest.raises(ChainError, match="not a chainable chain of a full matrix"):
        matrices.gaussian_butterfly(chain)
