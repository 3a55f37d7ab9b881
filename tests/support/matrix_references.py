"""What the matrices are compared with: factors multiplied out, blocks of every cut, awkward requests."""

import numpy as np

from dbutterfly.structure.chain import Chain

DTYPES = ["float32", "float64", "complex64", "complex128"]
CHAINS = [
    Chain.square_dyadic(32),
    Chain.chainable((24, 90)),
    Chain.monarch((21, 16)),
    Chain([(1, 5, 7, 1)]),
    Chain.chainable((1, 1)),
    Chain.chainable((48, 36), rank=2),
    Chain.chainable((64, 64), rank=3, leaf=4),
    Chain([(1, 2, 4, 6), (2, 4, 9, 3), (6, 9, 2, 1)]),  # junctions of rank 2 and 3
]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def factor_matrix(ks):
    a, b, c, d = ks.shape
    matrix = np.zeros((a, b, d, a, c, d), ks.dtype)
    for i in range(a):
        for k in range(d):
            matrix[i, :, k, i, :, k] = ks[i, :, :, k]
    return matrix.reshape(a * b * d, a * c * d)


def random_factors(chain, dtype, seed=0):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((2, *pattern)) for pattern in chain]
    return [(re + 1j * im if np.dtype(dtype).kind == "c" else re).astype(dtype) for re, im in parts]


def standard_order(matrix):
    rows, cols = matrix.orderings.permutations(matrix.chain)
    return matrix[slice(None) if rows is None else rows, slice(None) if cols is None else cols]


def excess_rank(dense, chain):
    """Largest singular value past the rank of its junction, over all blocks of all cuts, relative to the norm."""
    worst = 0.0
    for position in range(1, len(chain)):
        (p, u, q, v, rank), _, _ = chain.cut(position)
        blocks = dense.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        beyond = np.linalg.svd(blocks, compute_uv=False)[..., rank:]
        worst = max(worst, beyond.max(initial=0.0))
    return worst / np.linalg.norm(dense)


def numerical_rank(dense, chain, tol):
    """Most singular values above ``tol`` times the largest, over all blocks of all cuts."""
    worst = 1
    for position in range(1, len(chain)):
        (p, u, q, v, _), _, _ = chain.cut(position)
        values = np.linalg.svd(dense.reshape(p, u, q, v).transpose(1, 2, 0, 3), compute_uv=False)
        worst = max(worst, int((values > tol * values[..., :1]).sum(-1).max()))
    return worst


def scattered_blocks(shape):
    rng = np.random.default_rng(7)
    (rows, cols) = shape
    yield slice(None), slice(None)
    yield slice(rows // 3, rows // 3 + 2), slice(None, None, -1)
    yield rng.permutation(rows), rng.integers(0, cols, 5)
    yield [rows - 1], slice(cols // 2, None)
