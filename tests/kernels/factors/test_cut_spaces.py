"""Ranges of the blocks of a product at every cut, and what of other matrices lies outside of them."""

import numpy as np
import pytest

from dbutterfly.kernels.factors.cut_spaces import find_cut_spaces, remove_spaces
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import random_matrix

CHAINS = [Chain.square_dyadic(16), Chain.chainable((24, 30), 2), Chain([(1, 2, 6, 4), (2, 6, 6, 2), (4, 6, 2, 1)])]


def blocks_of(matrix, cut):
    return matrix.reshape(cut.p, cut.u, cut.q, cut.v).transpose(1, 2, 0, 3).reshape(-1, cut.p, cut.v)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_blocks_lie_in_their_spaces_at_every_cut(xp, chain, dtype):
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal(pattern).astype(dtype) for pattern in chain]
    if np.dtype(dtype).kind == "c":
        factors = [values * np.exp(1j * values.real) for values in factors]
    product, other = dense_product(factors), random_matrix(chain.shape, dtype)
    for position in range(1, len(chain)):
        cut = chain.cut(position)[0]
        spaces = find_cut_spaces([xp.asarray(values[None]) for values in factors], chain, position)
        columns, rows = (xp.to_numpy(side) for side in spaces)
        for gram in (columns.conj().swapaxes(1, 2) @ columns, rows @ rows.conj().swapaxes(1, 2)):
            # The identity, or a projector where the rank of the chain is more than that of a block.
            np.testing.assert_allclose(gram @ gram, gram, atol=1e-10)
        left = remove_spaces(xp.asarray(blocks_of(product, cut)), spaces)
        assert np.linalg.norm(xp.to_numpy(left)) < 1e-12 * np.linalg.norm(product)
        once = remove_spaces(xp.asarray(blocks_of(other, cut)), spaces)
        np.testing.assert_allclose(xp.to_numpy(remove_spaces(once, spaces)), xp.to_numpy(once), atol=1e-12)
        rest = xp.to_numpy(once)
        assert np.abs(columns.conj().swapaxes(1, 2) @ rest).max() < 1e-12
        assert np.abs(rest @ rows.conj().swapaxes(1, 2)).max() < 1e-12
