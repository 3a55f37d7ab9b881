import numpy as np
import pytest

from dbutterfly.kernels.low_rank.nystrom import Sketched, nystrom, probed_energies

DTYPES = ["float32", "float64", "complex64", "complex128"]
EXACT = {"float32": 1e-4, "complex64": 1e-4, "float64": 1e-11, "complex128": 1e-11}


def random_array(shape, dtype="float64", seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def low_rank(count, p, v, rank, dtype="float64", seed=0):
    return random_array((count, p, rank), dtype, seed) @ random_array((count, rank, v), dtype, seed + 1)


def sketched(xp, blocks, rank, s=None, t=None, seed=7):
    """Approximations from products with s and with t vectors."""
    s = rank + 4 if s is None else s
    t = 2 * s if t is None else t
    _, p, v = blocks.shape
    omega, psi = random_array((v, s), blocks.dtype, seed), random_array((1, p, t), blocks.dtype, seed + 1)
    columns, rows = (blocks @ omega).swapaxes(1, 2), psi.conj().swapaxes(1, 2) @ blocks
    return nystrom(*(xp.asarray(np.ascontiguousarray(array)) for array in (columns, rows, psi)), rank)


def as_numpy(xp, found):
    return Sketched(*(xp.to_numpy(array) for array in found))


def errors_of(blocks, found):
    return np.linalg.norm(blocks - found.left.swapaxes(1, 2) @ found.right, axis=(1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize(("p", "v"), [(24, 24), (20, 50), (50, 20)])
def test_blocks_of_the_rank_are_recovered(xp, p, v, rank, dtype):
    blocks = low_rank(5, p, v, rank, dtype)
    found = as_numpy(xp, sketched(xp, blocks, rank))
    assert (found.left.dtype, found.right.dtype, found.squares.dtype) == (blocks.dtype, blocks.dtype, np.float64)
    assert (found.left.shape, found.right.shape, found.squares.shape) == ((5, rank, p), (5, rank, v), (5, rank))
    assert (errors_of(blocks, found) <= EXACT[dtype] * np.linalg.norm(blocks, axis=(1, 2))).all()
    gram = found.right @ found.right.conj().swapaxes(1, 2)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(rank), gram.shape), atol=EXACT[dtype])
    np.testing.assert_allclose(np.sum(np.abs(found.left) ** 2, axis=2), found.squares, rtol=EXACT[dtype])
    assert (np.diff(found.squares, axis=1) <= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_directions_that_a_block_lacks_are_zero(xp, dtype):
    blocks = np.concatenate([low_rank(2, 30, 40, 2, dtype), np.zeros((1, 30, 40), dtype)])
    found = as_numpy(xp, sketched(xp, blocks, 5))
    for array in found:
        assert np.isfinite(array).all()
    assert found.left[:2, :2].any(axis=2).all()
    assert not any(array[:, 2:].any() for array in found)
    assert not any(array[2].any() for array in found)
    assert (errors_of(blocks, found) <= EXACT[dtype] * 100).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_entries_of_any_size(xp, dtype, scale):
    blocks = (low_rank(3, 24, 24, 2, dtype) * scale).astype(dtype)
    found = as_numpy(xp, sketched(xp, blocks, 2))
    assert (errors_of(blocks / scale, found._replace(left=found.left / scale)) <= EXACT[dtype] * 100).all()
    assert (found.squares > 0).all()


@pytest.mark.parametrize("decay", [0.1, 0.5])
def test_falling_spectra_are_met_almost_as_well_as_they_can_be(decay):
    n, rank = 40, 4
    u, v = np.linalg.qr(random_array((8, n, n)))[0], np.linalg.qr(random_array((8, n, n), seed=1))[0]
    blocks = (u * decay ** np.arange(n)) @ v
    found = sketched(_Plain, blocks, rank)
    best = np.linalg.norm(decay ** np.arange(n)[rank:])
    assert (errors_of(blocks, found) <= {0.1: 1.001, 0.5: 1.3}[decay] * best).all()


def test_more_products_come_closer_to_the_best():
    blocks = low_rank(40, 64, 64, 1) + 0.1 * random_array((40, 64, 64), seed=5)
    best = np.linalg.norm(np.linalg.svd(blocks, compute_uv=False)[:, 1:])
    few, many = (np.linalg.norm(errors_of(blocks, sketched(_Plain, blocks, 1, s=s))) / best for s in (5, 13))
    assert 1.05 < few < 1.5
    assert many < 1.2


def test_a_block_does_not_depend_on_the_others():
    blocks = low_rank(6, 20, 30, 2) + 0.1 * random_array((6, 20, 30), seed=3)
    for whole, part in zip(sketched(_Plain, blocks, 2), sketched(_Plain, blocks[3:5], 2), strict=True):
        np.testing.assert_allclose(whole[3:5], part, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_energies_are_estimated_without_bias(xp, dtype):
    blocks = low_rank(2, 20, 30, 2, dtype) + 0.3 * random_array((2, 20, 30), dtype, seed=3)
    found = sketched(xp, blocks, 4)
    host = as_numpy(xp, found)
    count = 4000
    # With so many orthogonal vectors that they span the space (of norms as normal ones have), sums are exact.
    vectors = np.broadcast_to(np.sqrt(30) * np.linalg.qr(random_array((30, 30), dtype, 9))[0], (2, 30, 30))
    for w, tolerance in ((vectors, 1e-10), (random_array((2, count, 30), dtype, 11), 0.05)):
        w = w / (np.sqrt(2) if np.iscomplexobj(w) and w.shape[1] == count else 1)
        products = (blocks @ w.swapaxes(1, 2)).swapaxes(1, 2)
        arrays = (xp.asarray(np.ascontiguousarray(array)) for array in (w, products))
        energies = xp.to_numpy(probed_energies(found, *arrays, (1, 2, 4)))
        exact = [np.linalg.norm(blocks, axis=(1, 2)) ** 2]
        exact += [
            errors_of(blocks, host._replace(left=host.left[:, :r], right=host.right[:, :r])) ** 2 for r in (1, 2, 4)
        ]
        np.testing.assert_allclose(energies, np.stack(exact, axis=-1), rtol=tolerance)


def test_what_is_known_is_not_estimated():
    """Of a block that is met exactly, two vectors tell all energies."""
    blocks = low_rank(4, 20, 30, 3)
    found = sketched(_Plain, blocks, 3)
    w = random_array((4, 2, 30), seed=9)
    energies = probed_energies(found, w, (blocks @ w.swapaxes(1, 2)).swapaxes(1, 2), (1, 2, 3))
    squares = np.linalg.svd(blocks, compute_uv=False)[:, :3] ** 2
    np.testing.assert_allclose(energies[:, 0], squares.sum(axis=1))
    np.testing.assert_allclose(energies[:, 1], squares[:, 1:].sum(axis=1))
    np.testing.assert_allclose(energies[:, 2], squares[:, 2])
    assert (energies[:, 3] <= 1e-24 * squares[:, 0]).all()


class _Plain:
    asarray = staticmethod(np.asarray)
