"""Runs by nested skeletons, end to end: tolerances, engines, stores, and what they refuse."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, MemoryBudgetError, NonFiniteError, SourceError, ToleranceWarning
from dbutterfly.kernels import compilation
from tests.support.comparisons import assert_same

ORDERINGS = ("bitreversal", None)
N = 2048


class Waves:
    """Helmholtz kernel between two unit segments at distance 1, ten points per wavelength; entries are counted."""

    def __init__(self, n=N, failing_after=None):
        self.n, self.entries, self.failing_after = n, 0, failing_after

    def __call__(self, rows, cols):
        self.entries += rows.size * cols.size
        if self.failing_after is not None and self.entries > self.failing_after:
            raise RuntimeError("the power is gone")
        distance = np.hypot(1, (rows[:, None] - cols) / self.n)
        return np.exp(2j * np.pi * self.n / 10 * distance) / np.sqrt(distance)


def waves(dtype="complex128", f=None):
    return dbf.entries(f or Waves(), (N, N), dtype, sampled=True)


def error_of(fact, f=None, seed=1):
    """Error in rows that the run has not seen."""
    rows = np.sort(np.random.default_rng(seed).permutation(N)[:100])
    exact = (f or Waves())(rows, np.arange(N))
    rows_of = np.zeros((N, rows.size))
    rows_of[rows, np.arange(rows.size)] = 1
    found = (fact.operator.T @ rows_of).T
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


@pytest.fixture(scope="module")
def fact():
    return dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS)


def test_the_tolerance_is_reached_by_few_entries(fact):
    error = error_of(fact)
    assert 1e-6 < error <= 1e-5
    assert abs(fact.certificate.error_bound - error) <= 3 * fact.certificate.deviation + 0.1 * error
    assert not fact.certificate.proven
    assert fact.record["evaluated"]["entries"] < 0.25 * N**2
    assert fact.compression > 15
    assert len(fact.record["errors_by_cut"]) == len(fact.chain) - 1
    assert all(0 < left < 1e-5 for left in fact.record["errors_by_cut"])
    assert fact.trace.residuals.max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tol"), [("complex64", 1e-3), ("float32", 1e-4), ("float64", 1e-8)])
def test_every_dtype_stays_what_it_is(dtype, tol):
    def real(rows, cols):
        return Waves()(rows, cols).astype(dtype) if np.dtype(dtype).kind == "c" else Waves()(rows, cols).real

    found = dbf.factorize(
        dbf.entries(lambda r, c: real(r, c).astype(dtype), (N, N), dtype, sampled=True), tol=tol, orderings=ORDERINGS
    )
    assert found.dtype == np.dtype(dtype)
    assert error_of(found, real) <= tol


def test_engines_agree_to_the_bit(fact, engine):
    found = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, **engine)
    assert_same(found, fact)
    assert found.certificate == fact.certificate


@pytest.mark.slow
def test_a_run_that_failed_goes_on_where_it_was(fact, tmp_path):
    place, whole = tmp_path / "run", Waves()
    dbf.factorize(waves(f=whole), tol=1e-5, orderings=ORDERINGS)
    broken = Waves(failing_after=int(0.6 * whole.entries))
    with pytest.raises(SourceError, match="the power is gone"):
        dbf.factorize(waves(f=broken), tol=1e-5, orderings=ORDERINGS, store=place, workers=1)
    mended = Waves()
    found = dbf.factorize(waves(f=mended), tol=1e-5, orderings=ORDERINGS, store=place)
    assert_same(found, fact)
    assert mended.entries < 0.7 * whole.entries
    again = Waves()
    assert_same(dbf.factorize(waves(f=again), tol=1e-5, orderings=ORDERINGS, store=place), fact)
    assert again.entries < 0.01 * whole.entries
    assert_same(dbf.open(place), fact)


def test_a_run_is_repeated_with_the_ranks_that_its_blocks_wanted(fact, monkeypatch):
    monkeypatch.setattr(
        "dbutterfly.planning.nested_search._Look.ranks", lambda _, cuts, count: [min(1, count)] * len(cuts)
    )
    found = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS)
    assert found.certificate.error_bound <= 1e-5
    assert min(found.chain.ranks) > 6


def test_exact_butterflies_come_back_in_their_rank():
    known = dbf.matrices.dft(1024)
    source = dbf.entries(known.f, known.shape, known.dtype, sampled=True)
    found = dbf.factorize(source, tol=1e-6, orderings=known.orderings)
    assert found.chain.ranks == (1, 1, 1, 1)
    assert found.certificate.error_bound < 1e-14


@pytest.mark.parametrize("shape", [(3, 90_000), (1021, 1031), (512, 600)])
def test_zeros_and_shapes_without_digits(shape):
    source = dbf.entries(lambda rows, cols: np.zeros((rows.size, cols.size)), shape, float, sampled=True)
    found = dbf.factorize(source, tol=1e-6, check_fit=False)
    assert found.shape == shape
    assert found.certificate.error_bound == 0


def test_an_estimate_far_below_what_checks_have_met_cannot_tell(monkeypatch):
    monkeypatch.setattr("dbutterfly.factorization.nested_result._errors_by_cut", lambda *_: [3e-2, 4e-2])
    chain = dbf.Chain.of_digits((64, *[2] * 5, 1), (1, *[2] * 5, 64), [10] * 6)
    told = dbf.factorize(waves(), chain, orderings=ORDERINGS, check_fit=False).certificate
    assert told.error_bound == pytest.approx(5e-2)
    assert told.deviation == np.inf


def test_ranks_are_kept():
    chain = dbf.Chain.of_digits((64, *[2] * 5, 1), (1, *[2] * 5, 64), [10] * 6)
    found = dbf.factorize(waves(), chain, orderings=ORDERINGS)
    assert found.chain == chain
    assert "rows_1" in found.record["stages"]
    whole = dbf.factorize(dbf.entries(Waves(), (N, N), "complex128"), chain, orderings=ORDERINGS)
    assert error_of(found) <= 1.3 * whole.certificate.error_bound


def test_plans_say_what_is_evaluated(fact):
    counted = Waves()
    planned = dbf.plan(waves(f=counted), tol=1e-5, orderings=ORDERINGS)
    text = str(planned)
    assert "some entries of each block are evaluated" in text
    assert f"ranks up to {planned.chain.rank} for tol=1e-05, by" in text
    evaluated = fact.record["evaluated"]["entries"]
    assert evaluated <= planned.bytes_read / 16 + 64 * N
    assert planned.seconds(1e9) > 0
    assert counted.entries < 0.1 * N**2


def test_small_matrices_are_evaluated_in_full_and_proven():
    small = dbf.entries(Waves(256), (256, 256), "complex128", sampled=True)
    planned = dbf.plan(small, tol=1e-5, orderings=ORDERINGS)
    assert "all entries are evaluated, as samples of them would be no fewer" in str(planned)
    found = dbf.factorize(small, tol=1e-5, orderings=ORDERINGS)
    assert found.certificate.proven
    assert found.certificate.error_bound <= 1e-5


def test_noise_is_evaluated_in_full():
    noise = np.random.default_rng(0).standard_normal((512, 512))
    with pytest.raises(InputError, match="tol=1e-06 seems out of reach"):
        dbf.factorize(dbf.entries(lambda r, c: noise[np.ix_(r, c)], noise.shape, float, sampled=True), tol=1e-6)


@pytest.mark.parametrize(("dtype", "least"), [("complex64", "3.1e-05"), ("complex128", "5.7e-14")])
def test_tolerances_below_rounding_are_refused(dtype, least):
    with pytest.raises(InputError, match=f"tol=1e-15 is below what {dtype} keeps .* that works is tol={least}"):
        dbf.plan(waves(dtype), tol=1e-15)


def test_too_little_memory_is_refused():
    with pytest.raises(MemoryBudgetError, match=r"memory=1\.00 MiB is too small for nested skeletons") as caught:
        dbf.plan(waves(), tol=1e-5, orderings=ORDERINGS, memory="1 MiB")
    least = int(str(caught.value).split("memory=")[2].split()[0])
    assert dbf.plan(waves(), tol=1e-5, orderings=ORDERINGS, memory=least).peak_bytes <= least


def test_bad_entries_are_named_where_the_run_meets_them():
    def spoilt(rows, cols):
        block = Waves()(rows, cols)
        block[:, cols == 1000] = np.nan
        return block

    with pytest.raises(NonFiniteError, match=r"at index \(\d+, 1000\)"):
        dbf.factorize(waves(f=spoilt), tol=1e-5, orderings=ORDERINGS)


def test_a_block_of_another_shape_is_refused():
    def short(rows, cols):
        return Waves()(rows, cols)[:1]

    with pytest.raises(SourceError, match="the entry function returned shape"):
        dbf.factorize(waves(f=short), tol=1e-5, orderings=ORDERINGS)


def test_a_function_that_changes_its_answers_is_refused():
    class Changing(Waves):
        def __call__(self, rows, cols):
            return super().__call__(rows, cols) * (1 + 1e-3 * (self.entries > 300_000))

    with pytest.raises(SourceError, match=r"gives other entries than when the run began: entry \(\d+, \d+\) is"):
        dbf.factorize(waves(f=Changing()), tol=1e-5, orderings=ORDERINGS, workers=1)


def test_functions_that_raise_are_named():
    with pytest.raises(SourceError, match="the power is gone"):
        dbf.factorize(waves(f=Waves(failing_after=1000)), tol=1e-5, orderings=ORDERINGS)


@pytest.fixture
def poor_look(monkeypatch):
    """Blocks that are looked at seem to be of rank one."""
    monkeypatch.setattr(
        "dbutterfly.planning.nested_search._Look.ranks", lambda _, cuts, count: [min(1, count)] * len(cuts)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("poor_look")
def test_all_entries_are_evaluated_where_runs_would_take_no_fewer_together(monkeypatch, tmp_path):
    runs = []
    monkeypatch.setattr("dbutterfly.factorization.run.evaluates_less", lambda *given: runs.append(given[2]))
    with pytest.raises(SourceError, match="the power is gone"):
        dbf.factorize(waves(f=Waves(failing_after=3_500_000)), tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run")
    assert len(runs) == 1
    assert 0 < runs[0] < N**2 / 8
    found = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run")
    assert len(runs) == 1  # the second sitting goes on with the plan of the first
    assert found.certificate.proven
    exact = Waves()(np.arange(N), np.arange(N))
    error = np.linalg.norm(found.operator.to_dense() - exact) / np.linalg.norm(exact)
    assert error <= found.certificate.error_bound <= 1e-5
    assert "all entries are evaluated" in str(found.record["plan_text"])


@pytest.mark.slow
@pytest.mark.usefixtures("poor_look")
def test_the_entries_of_all_runs_are_counted_in_any_sitting(tmp_path):
    function = Waves()
    whole = dbf.factorize(waves(f=function), tol=1e-5, orderings=ORDERINGS)
    failing = waves(f=Waves(failing_after=int(0.6 * function.entries)))  # in the second run
    with pytest.raises(SourceError, match="the power is gone"):
        dbf.factorize(failing, tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run")
    resumed = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run")
    assert resumed.record["evaluated"] == whole.record["evaluated"]


@pytest.mark.usefixtures("poor_look")
def test_a_tolerance_that_is_not_reached_is_said(monkeypatch):
    monkeypatch.setattr("dbutterfly.factorization.run.next_nested", lambda *_: None)
    with pytest.warns(ToleranceWarning, match=r"tol=1e-05 was not reached: error .*, estimated"):
        found = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS)
    assert found.certificate.error_bound > 1e-5


@pytest.mark.slow  # Numba compiles for most of its time
@pytest.mark.skipif(compilation.compiled_kernels("low_rank.skeletons") is None, reason="needs Numba")
def test_compiled_skeletons_give_the_same_bits_in_any_number_of_threads_and_sittings(fact, tmp_path, monkeypatch):
    compilation.compile_now("D", rooms=compilation.ROOMS_OF_SKELETONS)
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "SKELETONS_WORTHWHILE", 1)
        found = dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, workers=2)
        assert found.record["plan"]["compiled"]
        assert_same(dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, workers=1), found)
        with pytest.raises(SourceError, match="the power is gone"):
            dbf.factorize(waves(f=Waves(failing_after=300_000)), tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run")
    assert not fact.record["plan"]["compiled"]
    assert found.certificate.error_bound == pytest.approx(fact.certificate.error_bound, rel=0.2)
    assert error_of(found) <= 1e-5
    # A run is continued by the kernels of its plan.
    assert_same(dbf.factorize(waves(), tol=1e-5, orderings=ORDERINGS, store=tmp_path / "run"), found)
