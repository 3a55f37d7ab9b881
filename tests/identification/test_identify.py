"""Orderings that are found, and orderings that are not there."""

from __future__ import annotations

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly import Chain
from dbutterfly.errors import (
    ChainError,
    InputError,
    MemoryBudgetError,
    NonFiniteError,
    OrderingsWarning,
    SourceError,
    StoreMismatchError,
)
from dbutterfly.factorization import factorize
from dbutterfly.identification import identify
from tests.support.hidden_matrices import hidden

M = dbf.matrices


def is_as_good(z, found, truth, chain=None):
    error = float(dbf.verify(dbf.factorize(z, chain, orderings=found), z))
    best = float(dbf.verify(dbf.factorize(z, chain, orderings=truth), z))
    return error <= max(1.001 * best, 1e-6)


TARGETS = {
    "dft": M.dft,
    "hadamard": M.hadamard,
    "orthogonal": lambda n: M.orthogonal_butterfly(n, seed=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 0.01, 0.1])
@pytest.mark.parametrize("n", [4, 16, 64])
@pytest.mark.parametrize("target", TARGETS)
def test_orderings_as_good_as_the_true_ones(target, n, noise):
    z, truth = hidden(TARGETS[target](n), noise)
    found = dbf.identify(z, workers=1)
    # Four of the sixteen numbers of a 4 x 4 matrix are left by its one cut: so few tell little of noise of a tenth.
    assert found.found or (n, noise) == (4, 0.1)
    assert is_as_good(z, found, truth)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["dft", "orthogonal"])
def test_strong_noise(target):
    z, truth = hidden(TARGETS[target](128), 0.3)
    found = dbf.identify(z, workers=2)
    assert found.found
    assert is_as_good(z, found, truth)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
def test_gaussian_butterflies_of_any_dtype(dtype):
    z, truth = hidden(M.gaussian_butterfly(16, dtype=dtype, seed=1), 0.01)
    found = dbf.identify(z)
    assert found.found
    assert is_as_good(z, found, truth)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        Chain.monarch((16, 16)),
        Chain.chainable((24, 36)),
        Chain([(1, 4, 4, 16), (4, 4, 4, 4), (16, 4, 4, 1)]),
        Chain.chainable((32, 32), rank=2),
    ],
    ids=["monarch", "rectangular", "radix 4", "rank 2"],
)
def test_other_chains(chain):
    z, truth = hidden(M.gaussian_butterfly(chain=chain, seed=2), 0.01, seed=4)
    found = dbf.identify(z, chain, workers=1)
    assert found.found
    assert is_as_good(z, found, truth, chain)


@pytest.mark.parametrize("points", ["grid", "random"])
def test_points_that_were_shuffled(points):
    chain = Chain.chainable((128, 128), rank=4)
    kernel = M.helmholtz(128, points=points, seed=5)
    z, truth = hidden(kernel, 0)
    found = dbf.identify(z, chain, workers=1)
    error = float(dbf.verify(dbf.factorize(z, chain, orderings=found), z))
    rows, cols = truth.permutations(kernel.chain)
    best = float(dbf.verify(dbf.factorize(z, chain, orderings=(rows, cols)), z))
    assert error <= 2 * best


@pytest.mark.parametrize("known", ["rows", "cols"])
def test_one_side_is_known(known):
    z, truth = hidden(M.orthogonal_butterfly(64, seed=3), 0.1)
    given = (truth.rows, "identify") if known == "rows" else ("identify", truth.cols)
    found = dbf.identify(z, orderings=given)
    np.testing.assert_array_equal(getattr(found, known), getattr(truth, known))
    assert found.found
    assert is_as_good(z, found, truth)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["dft", "orthogonal"])
def test_one_level_is_a_monarch_ordering(target):
    z, truth = hidden(TARGETS[target](64), 0.1)
    found = dbf.identify(z, levels=[3], workers=1)
    assert found.levels == (3,)
    assert found.residuals.shape == (1,)
    chain = Chain.monarch((64, 64), 8, 8)
    assert is_as_good(z, found, truth, chain)


@pytest.mark.slow
def test_trees_are_nested_groups():
    z, _ = hidden(M.dft(16), 0.1)
    found = dbf.identify(z)
    assert list(found.trees.rows) == list(found.trees.cols) == [2, 4, 8]
    for tree in (found.trees.rows, found.trees.cols):
        for few, many in ((2, 4), (4, 8)):
            np.testing.assert_array_equal(np.sort(tree[few], axis=1), np.sort(tree[many].reshape(few, -1), axis=1))
            assert sorted(tree[many].ravel()) == list(range(16))


@pytest.mark.slow
def test_the_result_does_not_depend_on_where_it_is_computed(engine):
    z, _ = hidden(M.orthogonal_butterfly(16, seed=3), 0.1)
    found, again = dbf.identify(z, **engine, seed=5), dbf.identify(z, workers=1, seed=5)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.cols, again.cols)
    assert found.attempts == again.attempts


@pytest.mark.parametrize("source", ["zarr", "entries"])
def test_sources(source, tmp_path):
    known = M.shuffled(M.dft(32), seed=1)
    given = M.write(known, tmp_path / "z.zarr") if source == "zarr" else dbf.entries(known.f, known.shape, known.dtype)
    assert dbf.identify(given).found


@pytest.mark.slow
def test_factorize_identifies(engine, tmp_path):
    z, truth = hidden(M.orthogonal_butterfly(16, seed=3), 0.1)
    best = dbf.factorize(z, orderings=truth)
    for _ in range(2):  # the second call finds the run ended
        fact = dbf.factorize(z, orderings="identify", store=tmp_path / "run.zarr", **engine)
        assert fact.record["identified"]["found"]
        assert fact.certificate.error_bound <= 1.001 * best.certificate.error_bound
    one_side = dbf.factorize(z, orderings=("identify", truth.cols), **engine)
    assert one_side.certificate.error_bound <= 1.001 * best.certificate.error_bound


@pytest.mark.slow
def test_a_run_keeps_the_orderings_that_were_identified(tmp_path, monkeypatch):
    z, _ = hidden(M.orthogonal_butterfly(32, seed=3), 0)
    store = tmp_path / "run.zarr"

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(factorize, "complete_run", cut_off)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(z, orderings="identify", store=store)
    once = dbf.factorize(z, orderings=dbf.identify(z))
    with monkeypatch.context() as patch:
        patch.setattr(identify, "identify", cut_off)  # not asked again: begun, and ended
        for _ in range(2):
            fact = dbf.factorize(z, orderings="identify", store=store)
            np.testing.assert_array_equal(fact.orderings.rows, once.orderings.rows)
            assert fact.record["identified"]["found"]
            assert fact.record["identified"]["seconds"] > 0
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(z, orderings="identify", store=store, resume=False)
    with pytest.raises(StoreMismatchError):
        dbf.factorize(z + 1, orderings="identify", store=store)


WITHOUT_TREES = {
    "random": lambda rng: rng.standard_normal((32, 32)),
    "low rank": lambda rng: rng.standard_normal((32, 3)) @ rng.standard_normal((3, 32)),
    "block diagonal": lambda rng: np.kron(np.eye(4), rng.standard_normal((8, 8)))[rng.permutation(32)],
    "permutation": lambda rng: np.eye(32)[rng.permutation(32)],
    "constant": lambda _: np.ones((32, 32)),
    "zero": lambda _: np.zeros((32, 32)),
    "zero rows": lambda rng: np.where(np.arange(32)[:, None] < 5, 0, rng.standard_normal((32, 32))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_matrices_without_trees_end_in_an_honest_verdict(name):
    z = WITHOUT_TREES[name](np.random.default_rng(7))
    found = dbf.identify(z, budget=2, workers=1)
    assert sorted(found.rows) == sorted(found.cols) == list(range(32))
    if found.found and z.any():  # then it is the truth: the chain fits as well as its residuals say
        assert dbf.factorize(z, orderings=found).certificate.error_bound <= 1e-6
    if name in ("random", "zero rows"):
        assert not found.found


def test_a_budget_is_kept():
    found = dbf.identify(np.random.default_rng(0).standard_normal((64, 64)), budget=1e-3, workers=1)
    assert not found.found
    assert found.attempts == 1


def test_zero_rows_of_a_butterfly_matrix():
    z, truth = hidden(M.orthogonal_butterfly(32, seed=3), 0)
    z[[3, 17]] = 0
    assert is_as_good(z, dbf.identify(z), truth)


def test_sizes_without_cuts():
    for shape in ((1, 1), (2, 2), (1, 5)):
        found = dbf.identify(np.ones(shape))
        assert found.found
        assert found.residual == 0
        assert found.trees.rows == {}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["middle", "pairing"])
def test_single_methods(method):
    z, truth = hidden(TARGETS["dft" if method == "pairing" else "orthogonal"](64), 0.03)
    found = dbf.identify(z, method=method)
    assert found.method == method
    assert is_as_good(z, found, truth)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, r"method='guess' is unknown; use one of 'portfolio'"),
        ({"seed": -1}, r"seed=-1 is no seed"),
        ({"seed": 0.5}, r"seed=0.5 is no seed"),
        ({"budget": 0}, r"budget=0 is no time"),
        ({"budget": "1 s"}, r"budget='1 s' is no time"),
        ({"backend": "jax"}, r"backend='jax' is unknown"),
        ({"levels": [7]}, r"levels=\[7\] are no cuts"),
        ({"orderings": "unknown"}, r"orderings='unknown' is not None, an Orderings, or a pair"),
        ({"orderings": (None, "sorted")}, r"cols='sorted' is unknown"),
        ({"orderings": ("identify", np.zeros(8, int))}, r"cols is not a permutation"),
        ({"chain": Chain.square_dyadic(16)}, r"chain has shape 16 x 16 but the matrix is 8 x 8"),
        ({"chain": Chain.square_dyadic(8), "rank": 2}, r"rank=2 goes with the default chain"),
        ({"client": "tcp://nowhere"}, r"client='tcp://nowhere' is a str"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        dbf.identify(np.eye(8), **options)


def test_chains_that_cannot_be_cut():
    with pytest.raises(ChainError, match="does not multiply to a full matrix"):
        dbf.identify(np.eye(8), [(2, 2, 2, 2), (4, 2, 2, 1)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_entries_that_are_not_finite_are_named(value):
    z = np.ones((8, 8))
    z[2, 5] = value
    with pytest.raises(NonFiniteError, match=r"\(2, 5\)|row 2, column 5"):
        dbf.identify(z)


def test_a_matrix_that_does_not_fit():
    z = np.ones((256, 256))
    with pytest.raises(
        MemoryBudgetError, match=r"256 x 256 holds 16252928 bytes.*give memory=16252928.*panel by panel"
    ):
        dbf.identify(z, memory="1 MiB", method="bisection")
    with pytest.raises(MemoryBudgetError, match=r"256 x 256 holds 1015808 bytes, and a worker may hold 65536"):
        dbf.identify(z, memory="64 KiB")


def test_a_matrix_that_cannot_be_read():
    def broken(rows, cols):
        raise OSError("gone")

    with pytest.raises(SourceError, match="gone"):
        dbf.identify(dbf.entries(broken, (8, 8), "float64"))


@pytest.mark.slow
@pytest.mark.parametrize("known", [M.dft(64), M.helmholtz(128, tol=1e-3)], ids=["dft", "helmholtz"])
def test_a_tolerance_chooses_the_ranks_for_orderings_that_are_found(known):
    matrix = np.asarray(M.shuffled(known, seed=1))
    own = dbf.factorize(np.asarray(known), tol=1e-2, orderings=known.orderings)
    fact = dbf.factorize(matrix, tol=1e-2, orderings="identify")
    assert fact.record["identified"]["found"]
    assert fact.certificate.error_bound <= 1e-2
    assert fact.chain.nnz <= 1.2 * own.chain.nnz


def test_a_chain_beside_a_tolerance_is_refused_before_orderings_are_looked_for():
    with pytest.raises(InputError, match="leave rank out"):
        dbf.factorize(np.eye(8), orderings="identify", tol=1e-3, rank=2)


@pytest.mark.slow
def test_orderings_that_were_not_found_are_told():
    with pytest.warns(OrderingsWarning, match="orderings were not found in which .* is a butterfly") as warned:
        fact = dbf.factorize(np.random.default_rng(0).standard_normal((16, 16)), orderings="identify")
    assert [warning.filename for warning in warned] == [__file__]
    assert not fact.record["identified"]["found"]


def test_weights_keep_noisy_rows_from_hiding_the_order_of_the_others():
    rng, (z, truth) = np.random.default_rng(0), hidden(M.dft(32), 0)
    level = np.full(32, 0.05)
    level[rng.permutation(32)[:8]] = 5.0
    noisy = np.asarray(z) + level[:, None] * rng.standard_normal((32, 32))
    weights = (1 / level, None)
    found = dbf.identify(noisy, weights=weights, workers=1)
    assert found.found
    ours, theirs = (dbf.factorize(noisy, orderings=each, weights=weights).certificate for each in (found, truth))
    assert ours.error_bound <= 1.01 * theirs.error_bound
    with pytest.raises(InputError, match="weights"):
        dbf.identify(noisy, weights=(np.ones(31), None))
