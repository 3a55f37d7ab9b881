"""What any product of a chain misses at least, by the cuts below the root cut."""

import numpy as np
import pytest

from dbutterfly.kernels.factors.cut_bounds import TELLING, join_bounds, least_of_blocks, may_tell_more
from dbutterfly.kernels.factors.hierarchy import factor_stack
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.tree import split_tree, tree_leaves
from tests.support.comparisons import DTYPES, noisy_butterfly, random_matrix


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "rank"), [((6, 5), 1), ((5, 8), 3), ((3, 7), 3)])
def test_the_energy_beyond_the_rank_is_that_of_the_singular_values(xp, shape, rank, dtype):
    blocks = np.stack([random_matrix(shape, dtype, seed) for seed in range(4)])
    values = np.linalg.svd(blocks.astype(np.complex128), compute_uv=False) ** 2
    found = xp.to_numpy(least_of_blocks(xp.asarray(blocks), rank))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, values[:, rank:].sum(axis=1), rtol=1e-12, atol=1e-30)
    assert np.all(found <= values[:, rank:].sum(axis=1))


def test_row_groups_or_column_groups_take_the_better_bounds(xp):
    own = np.array([[[1.0, 2.0], [4.0, 0.0]]])  # two row groups: 3 and 4; two column groups: 5 and 2
    for left, right, wanted in [([0, 0], [0, 0], 7), ([5, 1], [0, 0], 9), ([0, 0], [6, 1], 8), ([9, 0], [0, 9], 14)]:
        sides = (xp.asarray(np.array(side, np.float64)) for side in (left, right))
        assert xp.to_numpy(join_bounds(xp.asarray(own), *sides)).tolist() == [wanted]


def test_nothing_is_asked_where_little_is_missed(xp):
    missed, energy, floor = (xp.asarray(np.array(v)) for v in ([1e-16, 3.0, 5.0], [1.0, 9.0, 9.0], [0.0, 1.0, 1.0]))
    assert TELLING == 4
    assert xp.to_numpy(may_tell_more(missed, energy, floor, 2e-16)).tolist() == [False, False, True]


def best_error(matrix, chain):
    """Squared error of the best of several trees."""
    trees = [split_tree(len(chain), kind) for kind in ("balanced", "left", "right")]
    found = [factor_stack(matrix[None], chain, tree, stack_bytes=1 << 20).product[0] for tree in trees]
    return min(np.linalg.norm(matrix - product) ** 2 for product in found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("rank", [1, 2])
def test_no_product_misses_less(xp, rank, tree, dtype):
    chain = Chain.chainable((32, 32), rank)
    matrices = np.stack([random_matrix(chain.shape, dtype), noisy_butterfly(chain.shape, dtype, 0.1)])
    given, floor = xp.asarray(matrices), xp.asarray(np.zeros(2))
    way = {"stack_bytes": 1 << 20}
    found = factor_stack(given, chain, split_tree(len(chain), tree), floor=floor, **way)
    without = factor_stack(given, chain, split_tree(len(chain), tree), **way)
    assert not xp.to_numpy(without.least).any()
    for least, matrix in zip(xp.to_numpy(found.least), matrices.astype(np.complex128), strict=True):
        (p, u, q, v, _), *_ = chain.cut(len(tree_leaves(split_tree(len(chain), tree)[0])))
        blocks = matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        root = (np.linalg.svd(blocks, compute_uv=False)[..., rank:] ** 2).sum()
        assert root * (1 - 1e-5) <= least <= best_error(matrix, chain)
    for with_bound, plain in zip(found.factors, without.factors, strict=True):
        np.testing.assert_array_equal(xp.to_numpy(with_bound), xp.to_numpy(plain))
