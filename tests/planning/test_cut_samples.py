import numpy as np
import pytest
import zarr

from dbutterfly.errors import NonFiniteError
from dbutterfly.planning.cut_samples import sample_cut
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from tests.support.comparisons import random_matrix


def tails_of_blocks(matrix, chain):
    p, u, q, v, _ = chain.cut(1)[0]
    blocks = matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)
    squares = np.linalg.svd(blocks, compute_uv=False) ** 2
    means = squares.mean(axis=(0, 1)) / (p * v)
    return np.array([means[rank:].sum() for rank in range(means.size + 1)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_all_blocks_of_a_small_matrix(dtype):
    matrix, chain = random_matrix((32, 48)).astype(dtype), Chain.monarch((32, 48), 8, 6)
    found = sample_cut(as_source(matrix), Orderings(), chain, 1, side=64)
    assert found.is_whole
    assert found.is_complete
    assert (found.blocks, found.bytes_read) == (24, matrix.nbytes)
    np.testing.assert_allclose(found.tails, tails_of_blocks(matrix, chain), rtol=1e-5, atol=1e-12)
    assert found.energy == pytest.approx(np.mean(np.abs(matrix) ** 2))


def test_all_blocks_of_a_matrix_with_gaps():
    matrix, chain = random_matrix((31, 31)), Chain.monarch((32, 32), 8, 4)
    found = sample_cut(as_source(matrix), Orderings("bitreversal", None), chain, 1, side=64)
    assert found.energy == pytest.approx(np.sum(matrix**2) / 32**2)


def test_parts_of_blocks_of_a_larger_one():
    matrix, chain = random_matrix((512, 256)), Chain.monarch((512, 256), 128, 2)
    source = as_source(matrix)
    found = sample_cut(source, Orderings(), chain, 1, side=32, entries=1 << 12)
    assert not found.is_whole
    assert not found.is_complete
    assert found.blocks == 6
    assert found.bytes_read == 6 * 32 * 32 * 8
    assert found.tails.size == 32 // 4 + 1
    assert (np.diff(found.tails) <= 0).all()
    again = sample_cut(source, Orderings(), chain, 1, side=32, entries=1 << 12)
    np.testing.assert_array_equal(found.tails, again.tails)


def test_whole_blocks_are_judged_for_all_ranks():
    found = sample_cut(as_source(random_matrix((512, 256))), Orderings(), Chain.monarch((512, 256), 16, 16), 1, side=32)
    assert found.is_complete
    assert not found.is_whole
    assert (found.tails.size, found.tails[-1]) == (17, 0)


@pytest.mark.parametrize("entries", [1 << 20, 1 << 12])
@pytest.mark.parametrize("ordering", [None, "bitreversal"])
def test_an_entry_that_is_not_finite_is_named(tmp_path, entries, ordering):
    matrix = random_matrix((512, 256))
    matrix[:, 77] = np.nan
    source = as_source(zarr.create_array(tmp_path / "z", data=matrix, chunks=(64, 64)))
    with pytest.raises(NonFiniteError, match=r"at index \(\d+, 77\)"):
        sample_cut(source, Orderings(None, ordering), Chain.monarch((512, 256), 16, 1), 1, side=256, entries=entries)
