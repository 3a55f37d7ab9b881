"""The bound without a gap holds whatever the basis, and is near where the basis is good."""

import numpy as np
import pytest

from dbutterfly.kernels.low_rank.most_captured import bound_captured
from tests.kernels.low_rank.test_subspace import random_array

RANKS = (1, 2, 4)
COLUMNS = 8


def spectrum(kind, side):
    return {
        "noise": None,
        "flat": np.ones(side),
        "half": 1.0 * (np.arange(side) < side // 2),
        "falling": 0.8 ** np.arange(side),
        "gap": np.where(np.arange(side) < 2, 1.0, 1e-2),
    }[kind]


def blocks_of(kind, shape, dtype):
    """Five blocks with singular values of a kind."""
    blocks = random_array((5, *shape), dtype)
    values = spectrum(kind, min(shape))
    if values is None:
        return blocks
    u, _, vh = np.linalg.svd(blocks, full_matrices=False)
    return ((u * values) @ vh).astype(dtype)


def ritz_parts(blocks, products):
    """R, w and squares of S from a basis after some products with ``Z Z^H``."""
    adjoint = blocks.conj().swapaxes(1, 2)
    basis = np.linalg.qr(random_array((len(blocks), blocks.shape[1], COLUMNS), blocks.dtype, 3))[0]
    for _ in range(products):
        basis = np.linalg.qr(blocks @ (adjoint @ basis))[0]
    inner, values, right = np.linalg.svd(basis.conj().swapaxes(1, 2) @ blocks, full_matrices=False)
    inside = (basis @ inner) * values[:, None, :]
    coupling = (blocks @ right.conj().swapaxes(1, 2) - inside) * values[:, None, :]
    return blocks - inside @ right, coupling, values.astype(float) ** 2


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(20, 33), (33, 20), (24, 24)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "flat", "half", "falling", "gap"])
@pytest.mark.parametrize("products", [0, 1, 6])
def test_no_directions_capture_more(xp, kind, shape, dtype, products):
    blocks = blocks_of(kind, shape, dtype)
    parts = ritz_parts(blocks, products)
    enough = np.zeros((len(blocks), len(RANKS)))
    found = xp.to_numpy(bound_captured(*map(xp.asarray, parts), RANKS, xp.asarray(enough)))
    squares = np.linalg.svd(blocks.astype(np.result_type(dtype, "float64")), compute_uv=False) ** 2
    energy = squares.sum(axis=-1)
    for index, rank in enumerate(RANKS):
        best = squares[:, :rank].sum(axis=-1)
        assert (found[:, index] >= best - sum(shape) * np.finfo(dtype).eps * energy).all()
        if products == 6:
            assert (found[:, index] <= best + 0.1 * (energy - best) + 1e-5 * energy).all()


def test_bounds_that_are_near_enough_are_left(xp):
    parts = ritz_parts(blocks_of("half", (24, 24), "float64"), 3)
    low, high = (np.full((5, len(RANKS)), value) for value in (0.0, np.inf))
    fine, coarse = (
        xp.to_numpy(bound_captured(*map(xp.asarray, parts), RANKS, xp.asarray(enough))) for enough in (low, high)
    )
    assert (fine <= coarse * (1 + 1e-12)).all()
    assert (fine[:, 0] < coarse[:, 0]).any()
