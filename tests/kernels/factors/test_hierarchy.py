import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbutterfly.kernels.factors.hierarchy import (
    Factored,
    factor_stack,
    insert_top,
    join_left,
    join_right,
    left_matrices,
    multiply_stack,
    orthonormal_columns,
    part_left,
    part_right,
)
from dbutterfly.kernels.low_rank.grid import left_parts
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.tree import split_tree, tree_leaves

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = {
    "dyadic": Chain.square_dyadic(16),
    "mixed radix": Chain.chainable((12, 30)),
    "wide": Chain.chainable((8, 216)),
    "tall": Chain.chainable((210, 16)),
    "monarch": Chain.monarch((21, 16)),
    "two by two": Chain.square_dyadic(4),
    "single": Chain([(1, 5, 7, 1)]),
    "ones": Chain([(1, 1, 4, 6), (4, 6, 1, 1)]),
    "rank two": Chain.chainable((16, 32), rank=2),
    "rank three": Chain.chainable((24, 54), rank=3),
    "wide rank": Chain.chainable((64, 64), rank=5),
    "two ranks": Chain([(1, 4, 6, 4), (3, 4, 8, 2), (6, 8, 4, 1)]),
    "redundant": Chain([(1, 2, 6, 4), (2, 6, 6, 2), (4, 6, 2, 1)]),
}


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def dense(values):
    """Matrix of one factor, entry by entry of the definition."""
    a, b, c, d = values.shape
    matrix = np.zeros((a, b, d, a, c, d), values.dtype)
    for ia, id_ in np.ndindex(a, d):
        matrix[ia, :, id_, ia, :, id_] = values[ia, :, :, id_]
    return matrix.reshape(a * b * d, a * c * d)


def product(factors):
    return functools.reduce(np.matmul, [dense(values) for values in factors])


def random_factors(chain, dtype, count=1, seed=0):
    return [random_array((count, *pattern), dtype, seed + level) for level, pattern in enumerate(chain)]


def random_butterflies(chain, dtype, count=1, seed=0):
    factors = random_factors(chain, dtype, count, seed)
    return np.stack([product([f[k] for f in factors]) for k in range(count)])


def every_tree(first, last):
    if last - first == 1:
        return [first]
    return [
        (left, right)
        for cut in range(first + 1, last)
        for left in every_tree(first, cut)
        for right in every_tree(cut, last)
    ]


def relative(difference, matrix):
    return np.linalg.norm(difference) / np.linalg.norm(matrix)


def to_numpy(xp, factored):
    return Factored([xp.to_numpy(f) for f in factored.factors], *map(xp.to_numpy, factored[1:]))


def unmeasured(xp, factors, products):
    """Left children whose nodes below are of no account."""
    nothing = xp.asarray(np.zeros((len(products), 1)))
    return Factored([xp.asarray(f) for f in factors], xp.asarray(products), nothing[:, :0], nothing[:, 0])


# ---------------------------------------------------------------- exact recovery


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_a_chain_are_recovered(xp, dtype, chain, tree):
    matrices = random_butterflies(chain, dtype, count=3)
    tree = split_tree(len(chain), tree)
    found = to_numpy(xp, factor_stack(xp.asarray(matrices), chain, tree, stack_bytes=4096))
    assert [f.shape for f in found.factors] == [(3, *pattern) for pattern in chain]
    assert {f.dtype for f in [*found.factors, found.product]} == {np.dtype(dtype)}
    few = (20 if chain.rank == 1 else 200) * np.finfo(dtype).eps  # blocks of random factors have small singular values
    for k, matrix in enumerate(matrices):
        assert relative(product([f[k] for f in found.factors]) - matrix, matrix) < few
        assert relative(found.product[k] - matrix, matrix) < few


@pytest.mark.parametrize("tree", every_tree(0, 5), ids=str)
def test_every_tree_recovers_and_agrees_with_its_product(tree):
    chain = Chain.square_dyadic(32)
    exact = random_butterflies(chain, "float64")
    assert relative(factor_stack(exact, chain, tree, stack_bytes=1 << 20).product - exact, exact) < 1e-14
    rough = random_array((2, 32, 32), "float64", 9)
    found = factor_stack(rough, chain, tree, stack_bytes=1 << 20)
    for k in range(2):
        np.testing.assert_allclose(product([f[k] for f in found.factors]), found.product[k], atol=1e-13)
    np.testing.assert_allclose(multiply_stack(found.factors, chain, tree), found.product, atol=1e-13)


def test_leaf_numbers_do_not_count():
    chain, matrices = Chain.square_dyadic(8), random_array((1, 8, 8), "float64")
    named, shifted = (factor_stack(matrices, chain, tree, stack_bytes=999) for tree in (((0, 1), 2), ((4, 5), 6)))
    np.testing.assert_array_equal(named.product, shifted.product)


def test_stack_bytes_do_not_count():
    chain, matrices = Chain.chainable((24, 36)), random_array((3, 24, 36), "complex64")
    tree = split_tree(len(chain))
    one, other = (factor_stack(matrices, chain, tree, stack_bytes=size) for size in (1, 1 << 20))
    for x, y in zip([*one.factors, *one[1:]], [*other.factors, *other[1:]], strict=True):
        np.testing.assert_array_equal(x, y)


def test_matrices_of_a_stack_do_not_meet():
    chain, matrices = Chain.square_dyadic(16), random_array((4, 16, 16), "float64")
    tree = split_tree(4)
    together = factor_stack(matrices, chain, tree, stack_bytes=4096)
    for k in range(4):
        alone = factor_stack(matrices[k : k + 1], chain, tree, stack_bytes=4096)
        np.testing.assert_array_equal(alone.product[0], together.product[k])
        np.testing.assert_array_equal(alone.residuals[0], together.residuals[k])


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_matrices_and_zero_blocks(dtype):
    chain = Chain.square_dyadic(8)
    matrices = random_butterflies(chain, dtype, count=2)
    matrices[0] = 0
    matrices[1, ::2] = 0
    found = factor_stack(matrices, chain, split_tree(3), stack_bytes=4096)
    assert all(np.isfinite(f).all() for f in found.factors)
    assert not found.product[0].any()
    assert relative(found.product[1] - matrices[1], matrices[1]) < 20 * np.finfo(dtype).eps


# ---------------------------------------------------------------- the error of noisy matrices


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
@pytest.mark.parametrize("chain", [CHAINS["mixed radix"], CHAINS["tall"], Chain.square_dyadic(32)], ids=str)
def test_error_at_a_node_is_that_of_the_projection_and_of_the_right_part(dtype, chain):
    """``||Z - X B||^2 = ||Z||^2 - ||X^H Z||^2 + ||X^H Z - B||^2``."""
    (matrix,) = random_array((1, *chain.shape), dtype)
    tree = split_tree(len(chain))
    found = factor_stack(matrix[None], chain, tree, stack_bytes=4096)
    cut = len(tree_leaves(tree[0]))
    basis = product([f[0] for f in found.factors[:cut]])
    right = product([f[0] for f in found.factors[cut:]])
    projected = basis.conj().T @ matrix * (right != 0)
    squares = [np.linalg.norm(x) ** 2 for x in (matrix, projected, projected - right, matrix - found.product[0])]
    assert squares[0] - squares[1] + squares[2] == pytest.approx(
        squares[3], rel=2e-5 if dtype == "complex64" else 1e-12
    )
    np.testing.assert_allclose(np.linalg.norm(basis, axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_noise_is_filtered_as_the_degrees_of_freedom_say(xp, noise, tree):
    """Relative Gaussian noise eps leaves ``eps sqrt(1 - (log2 N + 1) / N)`` at the optimum, up to its fluctuation."""
    n = 256
    chain = Chain.square_dyadic(n)
    signs = np.ones((1, 1))
    while len(signs) < n:
        signs = np.kron(signs, [[1, 1], [1, -1]])
    matrix = signs + noise * random_array((n, n), "float64")
    found = factor_stack(xp.asarray(matrix[None]), chain, split_tree(8, tree), stack_bytes=1 << 18)
    error = np.linalg.norm(xp.to_numpy(found.product)[0] - matrix) / n
    assert error == pytest.approx(noise * np.sqrt(1 - 9 / n), rel=4e-3)
    assert error < noise


def test_random_matrix_is_approximated_as_measured():
    """The sequential rule reaches .9683 on Gaussian matrices of size 256; splitting the scale evenly, .979."""
    errors = []
    for seed in range(3):
        matrix = random_array((1, 256, 256), "float64", seed)
        found = factor_stack(matrix, Chain.square_dyadic(256), split_tree(8), stack_bytes=1 << 18)
        errors.append(relative(found.product - matrix, matrix))
    assert np.mean(errors) == pytest.approx(0.968, abs=2e-3)


# ---------------------------------------------------------------- what the nodes miss


def lost_by_projection(matrix, chain, tree, factors):
    """``||Z_b - x x^H Z_b||^2``, summed over the blocks, and ``X^H Z`` as the right children take it."""
    cut = len(tree_leaves(tree[0]))
    (p, u, q, v, rank), left_chain, _ = chain.cut(cut)
    columns = multiply_stack([part_left(f, u) for f in factors[:cut]], left_chain, tree[0])  # (u, p, q*rank)
    lost, right = 0.0, np.zeros((q, rank, u, v), matrix.dtype)
    for rl, ch in np.ndindex(u, q):
        block = matrix.reshape(p, u, q, v)[:, rl, ch, :]
        x = columns[rl, :, ch * rank : (ch + 1) * rank]
        lost += np.linalg.norm(block - x @ (x.conj().T @ block)) ** 2
        right[ch, :, rl, :] = x.conj().T @ block
    return lost, right.reshape(q, rank * u, v)


def down_the_right_spine(matrices, chain, tree, factors):
    """What the projections lose at every node that has no left child above it, by its cut, for a stack of matrices."""
    if isinstance(tree, int):
        return []
    cut = len(tree_leaves(tree[0]))
    found = [
        lost_by_projection(matrix, chain, tree, [f[k : k + 1] for f in factors]) for k, matrix in enumerate(matrices)
    ]
    (_, _, q, _, _), _, right_chain = chain.cut(cut)
    given, right = np.concatenate([right for _, right in found]), [part_right(f, q) for f in factors[cut:]]
    below = down_the_right_spine(given, right_chain, tree[1], right)
    return [(cut, sum(lost for lost, _ in found)), *((cut + at, lost) for at, lost in below)]


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_what_a_node_misses_is_what_the_projections_lose_down_its_right_spine(xp, chain, tree):
    tree, matrices = split_tree(len(chain), tree), random_array((2, *chain.shape), "complex128")
    found = to_numpy(xp, factor_stack(xp.asarray(matrices), chain, tree, stack_bytes=4096))
    assert found.residuals.dtype == np.float64
    assert found.residuals.shape == (2, max(len(chain) - 2, 0))
    if len(chain) == 1:
        return
    energy = np.linalg.norm(matrices) ** 2
    top = np.sum(np.abs(matrices - found.product) ** 2, axis=(1, 2))
    residuals = insert_top(found.residuals, top, tree).sum(axis=0)
    spine = down_the_right_spine(matrices, chain, tree, found.factors)
    for number, (cut, _) in enumerate(spine):
        assert residuals[cut - 1] == pytest.approx(sum(lost for _, lost in spine[number:]), abs=1e-12 * energy)


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_a_left_child_misses_is_what_its_columns_leave_of_the_left_parts(rank, tree):
    """So the energies that the nodes miss are parts of one sum (:mod:`dbutterfly.factorization.results.cut_errors`)."""
    chain = Chain.chainable((96, 96), rank)
    cut = len(chain) - 2
    (p, u, q, v, _), left_chain, _ = chain.cut(cut)
    blocks = random_array((p, u, q, v), "complex128").transpose(1, 2, 0, 3)
    parts = left_parts(np.ascontiguousarray(blocks), rank, stack_bytes=1 << 20)  # (u, q, rank, p)
    left = factor_stack(left_matrices(parts), left_chain, split_tree(cut, tree), stack_bytes=1 << 20)
    residuals = np.linalg.norm(left_matrices(parts) - left.product) ** 2
    x = np.linalg.qr(left.product.reshape(u, p, q, rank).transpose(0, 2, 1, 3))[0]
    columns = parts.swapaxes(2, 3)
    beyond = columns - x @ (x.conj().swapaxes(2, 3) @ columns)
    assert residuals > 0.1 * np.linalg.norm(parts) ** 2
    assert residuals == pytest.approx(np.linalg.norm(beyond) ** 2, rel=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_products_miss_rounding_only(dtype):
    """And not what energies of the dtype differ by, which is the root of that."""
    chain = Chain.square_dyadic(64)
    matrices = random_butterflies(chain, dtype)
    residuals = factor_stack(matrices, chain, split_tree(6), stack_bytes=1 << 20).residuals
    assert np.sqrt(residuals.max()) < 20 * np.finfo(dtype).eps * np.linalg.norm(matrices)


# ---------------------------------------------------------------- pieces


@settings(deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 5), u=st.integers(1, 5), q=st.integers(1, 5), dtype=st.sampled_from(DTYPES)
)
def test_joining_and_parting_are_inverse(shape, u, q, dtype):
    count, *pattern = shape
    left, right = random_array((count * u, *pattern), dtype), random_array((count * q, *pattern), dtype)
    a, b, c, d = pattern
    assert join_left(left, u).shape == (count, a, b, c, d * u)
    assert join_right(right, q).shape == (count, q * a, b, c, d)
    np.testing.assert_array_equal(part_left(join_left(left, u), u), left)
    np.testing.assert_array_equal(part_right(join_right(right, q), q), right)


@settings(deadline=None)
@given(pattern=st.tuples(*[st.integers(1, 3)] * 4), groups=st.integers(1, 4))
def test_joined_factors_are_the_blocks_side_by_side(pattern, groups):
    """Left parts interleave their rows and columns, right parts follow each other."""
    values = random_array((groups, *pattern), "float64")
    rows, cols = dense(values[0]).shape
    interleaved = np.zeros((rows, groups, cols, groups))
    followed = np.zeros((groups, rows, groups, cols))
    for g in range(groups):
        interleaved[:, g, :, g] = followed[g, :, g, :] = dense(values[g])
    np.testing.assert_array_equal(dense(join_left(values, groups)[0]), interleaved.reshape(rows * groups, -1))
    np.testing.assert_array_equal(dense(join_right(values, groups)[0]), followed.reshape(rows * groups, -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_orthonormal_columns_move_the_scale_out_of_the_product(xp, dtype):
    chain = Chain.chainable((12, 8))
    factors = random_factors(chain, dtype, count=2)
    factors[-1][1, 0, :, 0, :] = 0
    products = np.stack([product([f[k] for f in factors]) for k in range(2)])
    found = to_numpy(xp, orthonormal_columns(unmeasured(xp, factors, products), 1))
    norms = np.linalg.norm(products, axis=1)
    assert (norms == 0).any()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.linalg.norm(found.product, axis=1), norms > 0, atol=20 * eps)
    np.testing.assert_allclose(found.product * norms[:, None, :], products, atol=50 * eps * norms.max())
    for k in range(2):
        np.testing.assert_allclose(product([f[k] for f in found.factors]), found.product[k], atol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_that_meet_a_block_become_orthonormal(xp, dtype):
    chain, rank = Chain.chainable((24, 32), rank=3).cut(2)[1], 3
    factors = random_factors(chain, dtype, count=2)
    factors[-1][1, 0, :, 1, :] = factors[-1][1, 0, :, 0, :]  # a column twice
    factors[-1][0, 0, :, 2, :] *= 1e-3
    products = np.stack([product([f[k] for f in factors]) for k in range(2)])
    found = to_numpy(xp, orthonormal_columns(unmeasured(xp, factors, products), rank))
    eps = np.finfo(dtype).eps
    for k in range(2):
        np.testing.assert_allclose(product([f[k] for f in found.factors]), found.product[k], atol=200 * eps)
        for ch in range(chain.shape[1] // rank):
            span = slice(ch * rank, (ch + 1) * rank)
            x, given = found.product[k][:, span], products[k][:, span]
            full = np.linalg.matrix_rank(given / np.maximum(np.linalg.norm(given, axis=0), 1e-30), tol=0.1)
            np.testing.assert_allclose(x.conj().T @ x, (x.conj().T @ x) ** 2, atol=50 * eps)
            np.testing.assert_allclose(np.trace(x.conj().T @ x).real, full, atol=50 * eps)
            np.testing.assert_allclose(x @ (x.conj().T @ given), given, atol=500 * eps * np.abs(given).max())


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_multiply_stack_is_the_product_of_the_dense_factors(xp, chain, tree):
    factors = random_factors(chain, "complex128", count=2)
    found = multiply_stack([xp.asarray(f) for f in factors], chain, split_tree(len(chain), tree))
    expected = np.stack([product([f[k] for f in factors]) for k in range(2)])
    np.testing.assert_allclose(xp.to_numpy(found), expected, atol=1e-12 * np.abs(expected).max())
