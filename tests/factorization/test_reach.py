"""Runs whose tolerance is out of reach stop as soon as that is known, and keep what they have done."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import StoreMismatchError, ToleranceError, ToleranceWarning
from dbutterfly.factorization import request
from dbutterfly.factorization.tasks.halves import LeftTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.planning.tolerance import Estimate
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, dense_error, least_memory, random_matrix

N = 256


@pytest.fixture(autouse=True)
def low_guess(monkeypatch):
    """Start every run with rank 3, whatever its tolerance."""

    def guess(source, tol, orderings, **kwargs):
        return Estimate(Chain.chainable(source.shape, 3), 0.0, 1)

    monkeypatch.setattr(request, "chain_for_tolerance", guess)


@pytest.fixture
def tasks(monkeypatch):
    """Names of the tasks that have computed."""
    done = []
    for kind in (TileTask, LeftTask):

        def compute(self, *args, _compute=kind.compute):
            done.append(type(self).__name__)
            return _compute(self, *args)

        monkeypatch.setattr(kind, "compute", compute)
    return done


@pytest.fixture(params=["memory", "zarr"])
def noise(request, tmp_path):
    """Normal numbers: no butterfly of any rank fits."""
    matrix = random_matrix((N, N)).astype("float32")
    return matrix if request.param == "memory" else store(tmp_path, matrix)


def store(tmp_path, matrix):
    return zarr.create_array(tmp_path / "z", data=matrix, chunks=(32, 32))


def in_many_tiles(matrix, tol, **how):
    """Arguments of a run that splits its matrix in as many tiles as it can."""
    return {"tol": tol, "memory": least_memory(matrix, tol=tol, workers=1), "check_fit": False, **how}


def count_tiles(matrix, arguments):
    planned = {name: value for name, value in arguments.items() if name in ("tol", "memory", "workers")}
    return len(dbf.plan(matrix, **planned).tiles)


def test_noise_stops_long_before_its_end(noise, tasks):
    how = in_many_tiles(noise, 0.02, workers=1)
    with pytest.raises(
        ToleranceError, match=r"tol=0\.02 is out of reach: no product .* tiles, which alone leave 0\."
    ) as told:
        dbf.factorize(noise, **how)
    assert ("proven" in str(told.value)) == isinstance(noise, np.ndarray)
    assert ("unless the others hold more" in str(told.value)) != isinstance(noise, np.ndarray)
    assert set(tasks) == {"TileTask"}
    assert len(tasks) <= count_tiles(noise, how) / 4
    assert 0.02 < told.value.least_error <= dbf.factorize(noise[:], rank=5).certificate.error_bound


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [None, "local"])
def test_a_tolerance_within_reach_goes_on_from_the_store(tasks, tmp_path, cluster):
    noise = store(tmp_path, random_matrix((N, N)))
    how = in_many_tiles(noise, 0.02, store=tmp_path / "run", workers=1, cluster=cluster)
    for _ in range(2):  # the second time from what is stored
        with pytest.raises(ToleranceError):
            dbf.factorize(noise, **how)
    with pytest.raises(StoreMismatchError, match=r"tol is 0\.02, not 0\.01"):
        dbf.factorize(noise, **{**how, "tol": 0.01})
    before = len(tasks)
    found = dbf.factorize(noise, **{**how, "tol": 1.5})
    assert found.record["stages"]["tiles"]["resumed"] >= 1
    if cluster is None:
        assert tasks[before:].count("TileTask") + found.record["stages"]["tiles"]["resumed"] == count_tiles(noise, how)
    assert dense_error(found, noise[:]) <= found.certificate.error_bound <= 1.5
    assert_same(found, dbf.factorize(noise, **{**how, "tol": 1.5}))


def test_a_rank_that_cannot_do_is_raised_before_its_halves_are_fitted(tasks, caplog):
    caplog.set_level("INFO", logger="dbutterfly")
    matrix = np.asarray(dbf.matrices.helmholtz(N))
    found = dbf.factorize(matrix, tol=1e-5, orderings=("bitreversal", None), check_fit=False)
    assert found.chain.rank > 3
    assert dense_error(found, matrix) <= found.certificate.error_bound <= 1e-5
    assert "rank 3 of the root cut cannot reach tol=1e-05" in caplog.text
    assert tasks.count("LeftTask") < (found.chain.rank - 2) * found.record["plan"]["tasks"]["left"]


def test_the_rest_of_a_matrix_may_hold_what_fits(tmp_path):
    """The first tiles are noise beside which the others are large, and of low rank."""
    matrix = 1e-3 * random_matrix((N, N))
    matrix[N // 4 :] += 10 * np.outer(np.ones(3 * N // 4), random_matrix((N, 1))[:, 0])
    fact = dbf.factorize(matrix, **in_many_tiles(matrix, 0.01, workers=1))
    assert dense_error(fact, matrix) <= fact.certificate.error_bound <= 0.01


def test_a_tolerance_that_is_not_excluded_ends_with_a_warning():
    matrix = random_matrix((128, 128))
    bound = dbf.factorize(matrix, rank=3, check_fit=False).certificate
    with pytest.warns(ToleranceWarning, match="was not reached"):
        dbf.factorize(matrix, tol=0.9 * bound.error_bound, check_fit=False)
