"""A factorization is proven to be near to the best one."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, MemoryBudgetError, NonFiniteError, StoreError
from dbutterfly.factorization.proof import keeping
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, dense_error, noisy_butterfly, random_matrix

FOURIER = (None, "bitreversal")


@pytest.fixture(scope="module")
def fourier():
    return np.asarray(dbf.matrices.noisy(dbf.matrices.dft(32), 0.1, seed=0))


@pytest.fixture(scope="module")
def swept(fourier):
    return dbf.factorize(fourier, orderings=FOURIER, sweeps="converged")


def hard():
    """A matrix of which some blocks are so small that the residual alone proves little."""
    return noisy_butterfly(32, eps=0.1)


@pytest.mark.parametrize("noise", [1e-6, 0.1])
@pytest.mark.parametrize("name", ["dft", "orthogonal_butterfly"])
def test_results_on_butterflies_with_noise_are_proven_to_be_best(name, noise):
    known = getattr(dbf.matrices, name)(32, **({} if name == "dft" else {"seed": 0}))
    matrix = dbf.matrices.noisy(known, noise, seed=1)
    fact = dbf.factorize(matrix, orderings=known.orderings, sweeps="converged")
    proven = fact.prove(matrix)
    assert fact.certificate.ratio > 1.05
    assert 1 <= proven.certificate.ratio < 1 + 1e-6
    assert proven.certificate.lower_bound_from == "all cuts, by the residual"
    assert proven.record["proof"]["ended"] == "ratio"
    assert 0 < proven.record["proof"]["slack"] < 1e-12
    assert proven.ks_values is fact.ks_values


@pytest.mark.parametrize("rank", [2, 3])
def test_results_on_kernels_of_higher_rank_are_proven_to_be_best(rank):
    known = dbf.matrices.helmholtz(64)
    fact = dbf.factorize(
        known, Chain.chainable((64, 64), rank), orderings=known.orderings, sweeps="converged", prove=True
    )
    assert 1 <= fact.certificate.ratio < 1.001
    assert "proof: all cuts together" in fact.record["plan_text"]


def test_ascent_goes_on_where_the_residual_proves_little(capsys):
    matrix = hard()
    fact = dbf.factorize(matrix, sweeps="converged")
    proven = dbf.prove(fact, matrix, ratio=1.01, progress=True)
    assert proven.certificate.lower_bound_from == "all cuts, by ascent"
    assert fact.certificate.ratio > 1.05
    assert proven.certificate.ratio <= 1.01
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("proof: step")]
    assert lines[-1].startswith(f"proof: step {proven.record['proof']['steps']}: error ")
    ratios = [float(line.rpartition(" ")[2]) for line in lines]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(proven.certificate.ratio, abs=1e-6)


@pytest.mark.parametrize(
    ("chain", "dtype", "noise"),
    [
        (Chain.chainable((21, 16)), "float32", 0.3),
        (Chain.chainable((24, 30), 2), "complex64", 0.5),
        (Chain.monarch((21, 16), p=7, q=2), "float64", 1.0),
        (Chain([(1, 2, 6, 4), (2, 6, 6, 2), (4, 6, 2, 1)]), "complex128", 1.0),
    ],
    ids=str,
)
def test_no_product_is_below_the_bound(chain, dtype, noise):
    """Alternating least squares from other starts, one of which knows the matrix without noise."""
    matrix = noisy_butterfly(chain, dtype=dtype, eps=noise)
    fact = dbf.factorize(matrix, chain, sweeps="converged")
    proven = fact.prove(matrix)
    assert proven.certificate.lower_bound >= fact.certificate.lower_bound
    for seed in range(3):
        start = noisy_butterfly(chain, dtype=dtype, eps=0.0) if seed == 0 else random_matrix(chain.shape, dtype, seed)
        other = dbf.factorize(start + 1e-3 * matrix, chain)
        error = np.linalg.norm(matrix - dense(other)) / np.linalg.norm(matrix)
        assert proven.certificate.lower_bound <= error
    assert proven.certificate.lower_bound <= dense_error(fact, matrix) <= proven.certificate.error_bound


def dense(fact):
    return fact.operator @ np.eye(fact.shape[1], dtype=fact.dtype)


def test_ratios_of_factors_that_are_not_swept_say_what_sweeps_would_reach(fourier, swept):
    fact = dbf.factorize(fourier, orderings=FOURIER)
    proven = fact.prove(fourier, ratio=1.0)
    assert proven.record["proof"]["ended"] == "standstill"
    assert proven.record["proof"]["least_error"] == pytest.approx(dense_error(swept, fourier), rel=1e-9)
    assert proven.certificate.error_bound == pytest.approx(dense_error(fact, fourier), rel=1e-12)
    assert proven.certificate.exact
    assert proven.certificate.lower_bound == pytest.approx(swept.prove(fourier).certificate.lower_bound, rel=1e-6)


def test_exact_products_have_nothing_to_prove():
    known = dbf.matrices.hadamard(16)
    fact = dbf.factorize(known, prove=True)
    assert fact.record["proof"]["ended"] == "rounding"
    assert fact.certificate.error_bound < 1e-14
    assert fact.certificate.lower_bound == 0
    assert dbf.factorize(np.zeros((16, 16)), prove=True).certificate.ratio == 1
    single = dbf.factorize(np.ones((5, 7)), [(1, 5, 7, 1)], prove=True)
    assert "proof" not in single.record


@pytest.mark.slow
def test_weights_and_gaps_are_proven_too():
    matrix, rng = random_matrix((29, 31)), np.random.default_rng(0)
    weights = (rng.random(29) + 0.1, None)
    plain = dbf.factorize(matrix, weights=weights, sweeps="converged")
    fact = plain.prove(matrix)
    assert fact.chain.shape != fact.shape
    assert fact.certificate.weighted
    weighted = dbf.verify(fact, matrix)
    assert fact.certificate.lower_bound <= weighted <= fact.certificate.error_bound
    assert fact.certificate.lower_bound_from is not None
    assert fact.certificate.ratio < plain.certificate.ratio - 0.02


@pytest.mark.parametrize("scales", [(1e-300, 1e-100), (1e200, 1e200)])
def test_weights_whose_product_leaves_the_range_do_not_matter(scales):
    matrix = noisy_butterfly(Chain.square_dyadic(16), eps=0.1)
    found = dbf.factorize(matrix, weights=tuple(np.full(16, scale) for scale in scales), prove=True).certificate
    plain = dbf.factorize(matrix, prove=True).certificate
    assert found.lower_bound == pytest.approx(plain.lower_bound, rel=1e-6)


def test_the_scale_of_a_matrix_does_not_matter(fourier, swept):
    here = swept.prove(fourier).certificate
    far = 2.0**-200
    there = dbf.factorize(far * fourier, orderings=FOURIER, sweeps="converged", prove=True).certificate
    assert there.lower_bound == pytest.approx(here.lower_bound, rel=1e-12)
    assert there.norm == far * here.norm


def test_estimates_become_proofs():
    known = dbf.matrices.cauchy(64)
    sampled = dbf.entries(known.f, known.shape, known.dtype, sampled=True)
    fact = dbf.factorize(sampled, rank=2, orderings=known.orderings)
    assert not fact.certificate.proven
    proven = fact.prove(sampled, ratio=3.0)
    assert proven.certificate.proven
    assert proven.certificate.lower_bound <= dense_error(fact, np.asarray(known)) <= proven.certificate.error_bound
    assert proven.certificate.norm == pytest.approx(np.linalg.norm(np.asarray(known)))


@pytest.mark.slow
def test_a_stored_run_keeps_its_proof_and_goes_on_with_it(tmp_path):
    matrix, place = hard(), tmp_path / "run"
    dbf.factorize(matrix, store=place, sweeps="converged")
    first = dbf.prove(place, matrix, budget=1e-9)
    assert first.record["proof"]["ended"] == "budget"
    assert first.record["proof"]["steps"] == 0
    second = dbf.prove(place, matrix, ratio=1.002)
    assert second.record["proof"]["ended"] == "ratio"
    assert_same(second, dbf.open(place))
    assert dbf.open(place).certificate == second.certificate
    assert not (place / "work").exists()
    again = dbf.factorize(matrix, store=place, sweeps="converged", prove=True)
    assert again.certificate.lower_bound >= second.certificate.lower_bound


def test_a_proof_goes_on_from_where_it_was_interrupted(tmp_path, monkeypatch):
    matrix, place = hard(), tmp_path / "run"
    dbf.factorize(matrix, store=place, sweeps="converged")
    monkeypatch.setattr(keeping, "SECONDS_BETWEEN_SAVES", 0.0)

    def interrupt(self, targets, steps):
        save(self, targets, steps)
        if steps == 5:
            raise KeyboardInterrupt

    save = keeping.StoredTargets.save_now_and_then
    with monkeypatch.context() as patch:
        patch.setattr(keeping.StoredTargets, "save_now_and_then", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dbf.prove(place, matrix)
    assert "proof" not in dbf.open(place).record
    resumed = dbf.prove(place, matrix, ratio=1.002)
    whole = dbf.prove(dbf.open(place), matrix, ratio=1.002)
    assert resumed.record["proof"]["steps"] == whole.record["proof"]["steps"]
    assert resumed.certificate.lower_bound == pytest.approx(whole.certificate.lower_bound, rel=1e-12)


@pytest.mark.slow
def test_a_proof_that_was_cut_off_while_it_was_kept_goes_on(tmp_path, monkeypatch):
    matrix, place = hard(), tmp_path / "run"
    run = dbf.factorize(matrix, store=place)
    monkeypatch.setattr(keeping, "SECONDS_BETWEEN_SAVES", 0.0)
    resize = np.resize

    def cut_off(values, shape):
        if calls.append(values) or len(calls) == 5 * (len(run.chain) - 1) - 1:  # in the fifth save
            raise KeyboardInterrupt
        return resize(values, shape)

    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(keeping.np, "resize", cut_off)
        with pytest.raises(KeyboardInterrupt):
            dbf.prove(place, matrix, ratio=1.002)
    resumed = dbf.prove(place, matrix, ratio=1.002).certificate
    assert resumed.lower_bound > run.certificate.lower_bound
    assert resumed.lower_bound >= 0.99 * dbf.prove(run, matrix, ratio=1.002).certificate.lower_bound


@pytest.mark.slow
@pytest.mark.parametrize("value", [1e154, np.nan])
def test_targets_that_cannot_be_squared_are_made_anew(value, tmp_path, monkeypatch):
    matrix, place = hard(), tmp_path / "run"
    run = dbf.factorize(matrix, store=place)
    save = keeping.StoredTargets.save
    with monkeypatch.context() as patch:
        patch.setattr(keeping.StoredTargets, "save", lambda self, targets, steps: save(self, spoil(targets), steps))
        spoil = lambda targets: targets.multiplier.fill(value) or targets  # noqa: E731
        dbf.prove(place, matrix, budget=1e-9)
    proven = dbf.prove(place, matrix, ratio=1.01).certificate
    assert proven.lower_bound == pytest.approx(dbf.prove(run, matrix, ratio=1.01).certificate.lower_bound, rel=1e-9)


@pytest.mark.slow
def test_damaged_targets_are_made_anew(tmp_path, caplog):
    matrix, place = hard(), tmp_path / "run"
    dbf.factorize(matrix, store=place)
    dbf.prove(place, matrix, budget=1e-9)
    (chunk,) = (place / "work").glob("*/proof/targets/c.0.0.0")
    chunk.write_bytes(b"nonsense")
    proven = dbf.prove(place, matrix, ratio=1.01)
    assert "the proof begins anew" in caplog.text
    assert proven.certificate.ratio <= 1.01


def test_threads_and_workers_prove_the_same(engine):
    matrix = noisy_butterfly(16, eps=0.3)
    fact = dbf.factorize(matrix)
    alone = fact.prove(matrix, ratio=1.03, workers=1)
    assert alone.record["proof"]["steps"] == 4
    beside = fact.prove(matrix, ratio=1.03, **engine)
    assert beside.record["proof"]["steps"] == 4
    assert beside.certificate.lower_bound == pytest.approx(alone.certificate.lower_bound, rel=1e-12)


def test_what_cannot_be_proven(tmp_path, fourier, swept):
    with pytest.raises(InputError, match=r"source has shape \(16, 16\) but the factorization is of a \(32, 32\)"):
        swept.prove(np.ones((16, 16)))
    with pytest.raises(InputError, match=r"array has norm .* but the factorization is of a matrix of norm"):
        swept.prove(2 * fourier)
    with pytest.raises(InputError, match=r"ratio=0\.5 is no ratio of an error to a bound below it"):
        swept.prove(fourier, ratio=0.5)
    with pytest.raises(InputError, match="budget=0 is no time"):
        swept.prove(fourier, budget=0)
    bad = fourier.copy()
    bad[3, 7] = np.nan
    with pytest.raises(NonFiniteError, match=r"row 3, column 7|\(3, 7\)|\[3, 7\]"):
        swept.prove(bad)
    with pytest.raises(MemoryBudgetError, match=r"a proof in memory needs .* for 4 cuts of this matrix"):
        swept.prove(fourier, memory="64 KiB")
    with pytest.raises(MemoryBudgetError, match="a proof in memory needs"):
        dbf.factorize(random_matrix((512, 512)), prove=True, memory="8 MiB")
    with pytest.raises(StoreError, match="holds no dbutterfly factorization"):
        dbf.prove(tmp_path / "nothing", fourier)
