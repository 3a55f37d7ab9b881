"""Orderings that are chosen by a sample, and the look at a few blocks before a run."""

import shutil
import warnings

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import FitWarning, InputError, StoreMismatchError
from dbutterfly.factorization.advice import check_fit, choose
from tests.factorization.advice.test_advise import shuffled_kernel
from tests.support.comparisons import assert_same, noisy_butterfly, random_matrix

N = 128


@pytest.fixture
def looks(monkeypatch):
    """Windows that were opened to choose orderings or to look before a run."""
    opened = []

    def count(source, limit, rng):
        opened.append(limit)
        return original(source, limit, rng)

    original = choose.open_window
    for module in (choose, check_fit):
        monkeypatch.setattr(module, "open_window", count)
    return opened


@pytest.mark.slow
@pytest.mark.parametrize("orderings", [(None, None), ("bitreversal", None), (None, "bitreversal")])
@pytest.mark.parametrize("job", [{}, {"rank": 2}, {"tol": 2e-2}, {"chain": "monarch"}])
def test_the_best_orderings_are_taken(orderings, job):
    matrix = noisy_butterfly(N, eps=1e-2, orderings=orderings)
    chosen = dbf.factorize(matrix, orderings="auto", **job)
    assert chosen.orderings.sides == dbf.Orderings(*orderings).sides
    assert_same(chosen, dbf.factorize(matrix, orderings=orderings, **job))
    assert dbf.plan(matrix, orderings="auto", **job).orderings.sides == chosen.orderings.sides


@pytest.mark.slow
def test_points_are_taken_where_they_are_best():
    matrix, points = shuffled_kernel(N)
    fact = dbf.factorize(matrix, orderings="auto", points=points, tol=1e-3)
    assert_same(fact, dbf.factorize(matrix, points=points, tol=1e-3, form="butterfly"))
    ordered = noisy_butterfly(N, eps=1e-2)
    assert dbf.factorize(ordered, orderings="auto", points=points).orderings.sides == {"rows": None, "cols": None}


@pytest.mark.slow
def test_a_run_that_continues_is_not_looked_at_again(looks, tmp_path):
    matrix, store = noisy_butterfly(N, eps=1e-2, orderings=("bitreversal", None)), tmp_path / "run"
    fact = dbf.factorize(matrix, orderings="auto", store=store, check_fit=True)
    assert len(looks) == 2
    again = dbf.factorize(matrix, orderings="auto", store=store, check_fit=True)
    assert_same(fact, again)
    assert len(looks) == 2
    with pytest.raises(StoreMismatchError):
        dbf.factorize(random_matrix((N, N)), orderings="auto", store=store)
    shutil.rmtree(store)


def test_auto_is_for_both_sides():
    with pytest.raises(InputError, match="orderings: rows='auto' is unknown"):
        dbf.factorize(np.eye(8), orderings=("auto", None))
    with pytest.raises(InputError, match="orderings='auto'"):
        dbf.identify(np.eye(8), orderings="auto")


def test_a_hopeless_run_is_named_before_its_work(monkeypatch):
    matrix = random_matrix((N, N))
    with pytest.warns(FitWarning, match=r"will miss the matrix by about [89]\d\.?\d* % of its norm: other orderings"):
        dbf.factorize(matrix, check_fit=True)
    monkeypatch.setattr("dbutterfly.factorization.factorize.complete_run", lambda *_, **__: pytest.fail("it worked"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FitWarning):
            dbf.factorize(matrix, check_fit=True)


@pytest.mark.slow
def test_better_orderings_are_named():
    matrix = np.asarray(dbf.matrices.dft(N))
    with pytest.warns(FitWarning, match=r"orderings \(None, 'bitreversal'\) promise .*e-\d\d of its norm\. dbutterfly"):
        dbf.factorize(matrix, check_fit=True)
    waves = np.asarray(dbf.matrices.helmholtz(N))
    with pytest.warns(FitWarning, match=r"orderings \('bitreversal', None\) promise"):
        dbf.factorize(waves, rank=3, check_fit=True)
    with pytest.warns(FitWarning, match=r"for tol=0\.0025 will be .* times smaller .*\('bitreversal', None\) promise"):
        dbf.factorize(np.asarray(dbf.matrices.helmholtz(512)), tol=2.5e-3, check_fit=True)


def test_more_values_than_entries_are_named():
    with pytest.warns(FitWarning, match="the factors will have 8192 values, and the matrix 4096 entries: a lower rank"):
        dbf.factorize(noisy_butterfly(64), dbf.Chain.monarch((64, 64)).of_rank(8), check_fit=True)


@pytest.mark.parametrize("job", [{}, {"rank": 2}, {"tol": 0.02}])
def test_a_run_that_fits_is_not_warned_of(job):
    dbf.factorize(noisy_butterfly(N, eps=1e-2), check_fit=True, **job)


def test_small_runs_go_without_the_look(looks):
    dbf.factorize(random_matrix((N, N)))
    dbf.factorize(random_matrix((N, N)), check_fit=False)
    assert looks == []


def test_a_fault_of_the_look_is_left_to_the_run():
    matrix = random_matrix((N, N))
    matrix[5, 6] = np.nan
    with pytest.raises(dbf.errors.NonFiniteError, match=r"\(5, 6\)"):
        dbf.factorize(matrix, check_fit=True)
