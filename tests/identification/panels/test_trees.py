"""Orderings of matrices that are read panel by panel."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly import Chain
from dbutterfly.identification import search
from tests.support.hidden_matrices import hidden

M = dbf.matrices


def ratio(z, found, truth, chain=None):
    errors = [float(dbf.verify(dbf.factorize(z, chain, orderings=o), z)) for o in (found, truth)]
    return errors[0] / errors[1]


@pytest.fixture(autouse=True)
def streamed(monkeypatch):
    """Refuse to hold a matrix."""

    def held(*_):
        raise AssertionError("the matrix is held in memory")

    monkeypatch.setattr(search.MatrixSearch, "_search_in_memory", held)


@pytest.mark.slow
@pytest.mark.parametrize("target", [M.dft, lambda n: M.orthogonal_butterfly(n, seed=3)], ids=["dft", "orthogonal"])
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_orderings_as_good_as_the_true_ones(target, noise):
    z, truth = hidden(target(256), noise)
    found = dbf.identify(z, memory=z.nbytes * 3, workers=1)
    assert found.found
    assert found.attempts <= 4
    assert ratio(z, found, truth) <= 1.001
    np.testing.assert_allclose(found.residuals, found.floors, rtol=0.03)
    assert found.residual == pytest.approx(noise / np.hypot(1, noise), rel=0.2)


@pytest.mark.slow
def test_a_stored_matrix_on_a_cluster(client, tmp_path):
    z, truth = hidden(M.orthogonal_butterfly(256, seed=1), 0.1)
    path = str(tmp_path / "z.zarr")
    M.write(z, path, chunks=(64, 128))
    found = dbf.identify(path, client=client, memory="2000 KiB")
    assert found.found
    assert ratio(z, found, truth) <= 1.001
    same = dbf.identify(path, workers=1, memory="2000 KiB")
    np.testing.assert_array_equal(found.rows, same.rows)
    np.testing.assert_array_equal(found.cols, same.cols)


@pytest.mark.parametrize("known", ["rows", "cols"])
def test_one_side_may_be_known(known):
    z, truth = hidden(M.orthogonal_butterfly(256, seed=2), 0.03)
    orderings = (truth.rows, "identify") if known == "rows" else ("identify", truth.cols)
    found = dbf.identify(z, orderings=orderings, memory="1500 KiB")
    assert found.found
    np.testing.assert_array_equal(getattr(found, known), getattr(truth, known))
    assert ratio(z, found, truth) <= 1.001


@pytest.mark.slow
def test_rectangular_matrices():
    chain = Chain.chainable((128, 512))
    z, truth = hidden(M.gaussian_butterfly(chain=chain, seed=2), 0.01)
    found = dbf.identify(z, chain, memory=z.nbytes * 3)
    assert found.found
    assert ratio(z, found, truth, chain) <= 1.001


def test_one_level_of_rank_two():
    chain = Chain.chainable((256, 256), rank=2)
    z, truth = hidden(M.gaussian_butterfly(chain=chain, seed=2), 0.01)
    found = dbf.identify(z, chain, memory=z.nbytes * 3, levels=[4], method="middle")
    assert found.found
    assert found.levels == (4,)
    for side, groups in (("rows", 16), ("cols", 16)):
        mine, true = getattr(found, side), getattr(truth, side)
        sets = [{frozenset(part) for part in _groups(order, groups, side)} for order in (mine, true)]
        assert sets[0] == sets[1]


def _groups(order, groups, side):
    """Members of the groups: residues of the places of rows, ranges of those of columns."""
    return (order.reshape(-1, groups).T if side == "rows" else order.reshape(groups, -1)).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["middle", "pairing"])
def test_each_kind_of_start(method):
    z, truth = hidden(M.hadamard(256) if method == "pairing" else M.orthogonal_butterfly(256, seed=5), 0.1)
    found = dbf.identify(z, memory="1500 KiB", method=method)
    assert found.found
    assert ratio(z, found, truth) <= 1.001


@pytest.mark.slow
def test_matrices_without_such_an_order():
    noise = dbf.identify(np.random.default_rng(0).standard_normal((256, 256)), memory="1500 KiB")
    assert not noise.found
    assert noise.attempts == 2
    assert sorted(noise.rows) == sorted(noise.cols) == list(range(256))
    zero = dbf.identify(np.zeros((256, 256)), memory="1500 KiB")
    assert zero.found
    assert zero.residual == 0
    constant = dbf.identify(np.ones((256, 256)), memory="1500 KiB")
    assert constant.found
    gaps = np.random.default_rng(1).permutation(np.kron(np.eye(16), np.ones((16, 16))))
    gaps[::5] = 0
    assert np.isfinite(dbf.identify(gaps, memory="1500 KiB").residuals).all()


@pytest.mark.slow
def test_a_budget_is_kept():
    z = np.random.default_rng(0).standard_normal((256, 256))
    assert dbf.identify(z, memory="1500 KiB", budget=1e-6).attempts == 1
