"""What both parts of a node make, by the compiled loops and by the plain kernels."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.compilation import compiled_kernels
from dbutterfly.kernels.factors.hierarchy import factor_stack, multiply_stack
from dbutterfly.kernels.factors.nodes import multiply_node, project_node
from dbutterfly.structure.chain import Chain, Cut
from dbutterfly.structure.tree import split_tree

DTYPES = ["float32", "float64", "complex64", "complex128"]
pytestmark = [
    pytest.mark.skipif(compiled_kernels("factors") is None, reason="needs Numba"),
    pytest.mark.slow,  # Numba compiles for most of their time
]


def random_array(shape, dtype, seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loops_do_what_the_plain_kernels_do(dtype, rank):
    count, split = 4, Cut(5, 2, 3, 6, rank)
    p, u, q, v, _ = split
    matrices = random_array((count, p * u, q * v), dtype)
    x = random_array((count * u, q * rank, p), dtype, 1).swapaxes(1, 2)
    b = random_array((count * q, rank * u, v), dtype, 2)
    blocks = matrices.reshape(count, p, u, q, v).transpose(0, 2, 3, 1, 4).reshape(count * u, q, p, v)
    tolerance = 100 * np.finfo(dtype).eps
    projected = project_node(x, matrices, split, compiled=True)
    np.testing.assert_allclose(projected, project_node(x, blocks, split), rtol=tolerance, atol=tolerance)
    product = multiply_node(x, b, split, compiled=True)
    np.testing.assert_allclose(product, multiply_node(x, b, split), rtol=tolerance, atol=tolerance)
    assert projected.dtype == product.dtype == np.dtype(dtype)


@pytest.mark.parametrize("noise", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("shape", [(16, 64), (30, 12)], ids=str)
def test_errors_are_those_of_the_plain_kernels(shape, rank, noise):
    chain = Chain.chainable(shape, rank)
    tree = split_tree(len(chain), "balanced")
    factors = [random_array((3, *pattern), "complex128", k) for k, pattern in enumerate(chain.patterns)]
    exact = multiply_stack(factors, chain, tree)
    matrices = exact + noise * np.linalg.norm(exact) / exact.size**0.5 * random_array(exact.shape, "complex128", 9)
    errors = []
    for compiled in (False, True):
        found = factor_stack(matrices, chain, tree, stack_bytes=1 << 20, compiled=compiled)
        np.testing.assert_allclose(multiply_stack(found.factors, chain, tree), found.product, atol=1e-10)
        errors.append(np.linalg.norm(matrices - found.product) / np.linalg.norm(matrices))
    plain, compiled = errors
    assert compiled <= max(1.01 * plain, 1e-13)
