import math
from dataclasses import replace

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError, ToleranceWarning
from dbutterfly.factorization.results.line_estimates import error_of_lines, lines_of
from dbutterfly.planning.nested import Nested
from dbutterfly.planning.nested_chains import nested_chain
from dbutterfly.sources.dispatch import as_source
from tests.support.comparisons import dense_error, random_matrix
from tests.support.nested_runs import run_nested

N = 512
ORDERINGS = ("bitreversal", None)


def entries_of(matrix):
    return dbf.entries(lambda rows, cols: matrix[np.ix_(rows, cols)], matrix.shape, matrix.dtype, sampled=True)


def waves(number=100.0):
    x = np.linspace(0, 1, N)
    distance = np.hypot(1, x[:, None] - x)
    return np.cos(number * distance) / distance


def spoil(kind, rng):
    """Waves, and what no skeleton finds."""
    matrix, x = waves(rng.uniform(30, 200)), np.linspace(0, 1, N)
    size = 10 ** rng.uniform(-4, 0)
    if kind == "spikes":
        at = rng.integers(0, N, (2, 300))
        matrix[at[0], at[1]] += 100 * size
    elif kind == "bad block":
        height = 2 ** int(rng.integers(4, 9))
        i, j = rng.integers(0, N - height), rng.integers(0, N - 64)
        matrix[i : i + height, j : j + 64] += size * rng.standard_normal((height, 64))
    elif kind == "discontinuity":
        matrix += size * np.sign(x[:, None] - rng.uniform(0.5, 2) * x)
    elif kind == "heavy tails":
        matrix += size / 100 * rng.standard_cauchy((N, N))
    elif kind == "zero almost everywhere":
        u, v = rng.random(2)
        matrix = np.exp(-((x[:, None] - u) ** 2 + (x - v) ** 2) / 2 / rng.uniform(0.01, 0.1) ** 2) * matrix
    elif kind == "Nyquist":
        matrix += size * np.where(np.arange(N)[:, None] * np.arange(N) % 4 < 2, 1.0, -1.0)
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["spikes", "bad block", "discontinuity", "heavy tails", "zero almost everywhere", "Nyquist"]
)
def test_the_truth_is_within_three_deviations_or_the_estimate_cannot_tell(kind):
    chain, outside = nested_chain((N, N), 16), 0
    for seed in range(5):
        matrix = spoil(kind, np.random.default_rng(seed))
        nested = Nested(1e-4, np.mean(matrix**2), (16,) * (len(chain) - 1))
        fact, job = run_nested(entries_of(matrix), chain, nested, orderings=ORDERINGS)
        error = error_of_lines(lines_of(fact), job.source, seed)
        outside += abs(error - dense_error(fact, matrix)) > 3 * error.deviation
    assert outside <= 1


def test_the_estimate_has_no_bias_and_a_deviation_that_is_its_own():
    matrix = waves() + 1e-3 * random_matrix((N, N)) * np.linspace(0.5, 1.5, N)
    chain = nested_chain((N, N), 16, rank=6)
    fact, job = run_nested(entries_of(matrix), chain, orderings=ORDERINGS)
    found = [error_of_lines(lines_of(fact), job.source, seed) for seed in range(40)]
    truth = dense_error(fact, matrix)
    assert np.mean(found) == pytest.approx(truth, rel=0.02)
    assert np.std(found) < 1.5 * np.mean([error.deviation for error in found])
    assert found[0].norm == pytest.approx(np.linalg.norm(matrix), rel=0.05)
    assert (found[0].samples, found[0].compared, found[0].exact) == (64, "rows and columns", False)


def test_all_lines_are_the_whole():
    matrix = waves()[:64, :64] + 0.1 * random_matrix((64, 64))
    fact = dbf.factorize(matrix, rank=2, orderings=ORDERINGS)
    error = error_of_lines(lines_of(fact), as_source(entries_of(matrix)), 0, lines=64)
    assert error == pytest.approx(dense_error(fact, matrix))
    assert error.deviation < 1e-6 * error


def test_exact_products_and_zeros():
    known = dbf.matrices.dft(64)
    fact = dbf.factorize(known, orderings=known.orderings)
    source = as_source(dbf.entries(known.f, known.shape, known.dtype, sampled=True))
    assert error_of_lines(lines_of(fact), source, 0) < 1e-14
    nothing = replace(fact, ks_values=tuple(0 * values for values in fact.ks_values))
    assert error_of_lines(lines_of(nothing), source, 0) == pytest.approx(1)
    zeros = as_source(entries_of(np.zeros((64, 64), complex)))
    assert error_of_lines(lines_of(nothing), zeros, 0) == 0
    assert math.isinf(error_of_lines(lines_of(fact), zeros, 0))


def test_few_lines_that_hold_most_tell_enough_where_all_could_be_as_bad():
    known = dbf.matrices.dft(64)
    fact, matrix = dbf.factorize(known, orderings=known.orderings), np.array(known)
    matrix[np.random.default_rng([0, 0]).permutation(64)[0]] *= 1.001  # a row that is drawn
    source = as_source(entries_of(matrix))
    given = {"seed": 0, "lines": 16, "most": 0}
    for enough in (0.0, 5e-4):
        assert math.isinf(error_of_lines(lines_of(fact), source, **given, enough=enough).deviation)
    error = error_of_lines(lines_of(fact), source, **given, enough=2e-3)
    assert dense_error(fact, matrix) < float(error) + error.deviation == pytest.approx(1e-3, rel=0.01)


def test_bad_entries_are_named():
    known = dbf.matrices.dft(64)
    matrix = np.asarray(known)
    fact = dbf.factorize(matrix, orderings=known.orderings)
    matrix = matrix.copy()
    matrix[:, 5] = np.nan
    with pytest.raises(NonFiniteError, match=r"at index \(\d+, 5\)"):
        error_of_lines(lines_of(fact), as_source(entries_of(matrix)), 0)


def smooth(rows, cols):
    """Waves of N = 2048 that 14 % of the entries tell."""
    distance = np.hypot(1, (rows[:, None] - cols) / 2048)
    return np.exp(2j * np.pi * 204.8 * distance) / distance


def test_a_full_look_makes_an_estimate_exact():
    source = dbf.entries(smooth, (2048, 2048), complex, sampled=True)
    fact = dbf.factorize(source, tol=1e-4, orderings=ORDERINGS, confirm="full")
    assert fact.certificate.proven
    assert fact.certificate.exact
    assert fact.certificate.error_bound == pytest.approx(float(dbf.verify(fact, source)), rel=1e-9)
    assert fact.certificate.error_bound <= 1e-4


@pytest.mark.slow
def test_a_full_look_keeps_what_is_stored_and_what_is_proven(tmp_path):
    known = dbf.matrices.dft(64)
    assert dbf.factorize(known, orderings=known.orderings, confirm="full").certificate.lower_bound is not None
    source = dbf.entries(smooth, (2048, 2048), complex, sampled=True)
    first = dbf.factorize(source, tol=1e-4, orderings=ORDERINGS, store=tmp_path / "run")
    assert not first.certificate.proven
    again = dbf.factorize(source, tol=1e-4, orderings=ORDERINGS, store=tmp_path / "run", confirm="full")
    assert again.certificate.proven
    assert abs(first.certificate.error_bound - again.certificate.error_bound) <= 3 * first.certificate.deviation


def test_a_tolerance_that_the_sample_cannot_confirm_is_said(monkeypatch):
    monkeypatch.setattr("dbutterfly.factorization.results.line_estimates.LARGEST_PART", 0.0)
    source = dbf.entries(smooth, (2048, 2048), complex, sampled=True)
    with pytest.warns(
        ToleranceWarning, match=r"is not confirmed: error about .* cannot tell how well, estimated .*confirm="
    ):
        fact = dbf.factorize(source, tol=1e-4, orderings=ORDERINGS)
    assert math.isinf(fact.certificate.deviation)


def test_another_word_is_refused():
    with pytest.raises(InputError, match="confirm='half'"):
        dbf.factorize(np.eye(8), confirm="half")
