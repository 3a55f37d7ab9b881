"""Sweeps over the factors: they never raise the error, and say what it is."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, MemoryBudgetError, StoreMismatchError
from dbutterfly.factorization import other_starts
from dbutterfly.factorization.stationary import sweep_until_stationary
from dbutterfly.kernels.factors.hierarchy import factor_stack
from dbutterfly.kernels.factors.sweeps import sweep
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.tree import split_tree
from tests.support.comparisons import assert_same, dense_error, noisy_butterfly, random_matrix

CHAINS = [
    Chain.square_dyadic(32),
    Chain.chainable((48, 90), 3),
    Chain.chainable((64, 64), 2, balanced=True),
    Chain([(1, 2, 6, 4), (2, 6, 6, 2), (4, 6, 2, 1)]),
    Chain.monarch((21, 16)),
    Chain([(1, 5, 7, 1)]),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("chain", CHAINS, ids=str)
@pytest.mark.parametrize("name", ["balanced", "left", "right"])
def test_a_sweep_keeps_shapes_and_never_raises_the_error(xp, chain, dtype, name):
    matrices = np.stack([random_matrix(chain.shape, dtype, seed) for seed in (0, 1)])
    tree = split_tree(len(chain), name)
    found = factor_stack(xp.asarray(matrices), chain, tree, stack_bytes=1 << 16)
    error = np.linalg.norm(matrices - xp.to_numpy(found.product), axis=(1, 2))
    for _ in range(3):
        found = sweep(xp.asarray(matrices), found.factors, chain, tree)
        factors = [xp.to_numpy(values) for values in found.factors]
        assert [values.shape for values in factors] == [(2, *pattern) for pattern in chain]
        assert {values.dtype for values in factors} == {np.dtype(dtype)}
        eps = np.finfo(dtype).eps
        for k in range(2):
            product = dense_product([values[k] for values in factors])
            np.testing.assert_allclose(product, xp.to_numpy(found.product)[k], atol=200 * eps)
        before, error = error, np.linalg.norm(matrices - xp.to_numpy(found.product), axis=(1, 2))
        assert (error <= before * (1 + 20 * eps) + 100 * eps * np.linalg.norm(matrices[0])).all()


def test_exact_products_stay_exact():
    chain, tree = Chain.square_dyadic(64), split_tree(6)
    matrix = noisy_butterfly((64, 64), eps=0.0)[None]
    found = factor_stack(matrix, chain, tree, stack_bytes=1 << 16)
    found = sweep(matrix, found.factors, chain, tree)
    assert np.linalg.norm(matrix - found.product) <= 1e-13 * np.linalg.norm(matrix)


@pytest.mark.parametrize("orderings", [None, ("bitreversal", None), (np.random.default_rng(0).permutation(64), None)])
@pytest.mark.parametrize("rank", [1, 2])
def test_sweeps_lower_the_error_and_certify_it(orderings, rank):
    matrix = random_matrix((64, 64))
    plain = dbf.factorize(matrix, rank=rank, orderings=orderings)
    fact = dbf.factorize(matrix, rank=rank, orderings=orderings, sweeps=5)
    error = dense_error(fact, matrix)
    assert fact.certificate.exact
    assert fact.certificate.error_bound == pytest.approx(error, rel=1e-10)
    assert plain.certificate.lower_bound == fact.certificate.lower_bound <= error < dense_error(plain, matrix)
    errors = fact.record["sweeps"]
    assert errors[0] == pytest.approx(dense_error(plain, matrix), rel=1e-10)
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 6


def test_sweeps_end_where_the_error_falls_no_more():
    fact = dbf.factorize(np.asarray(dbf.matrices.dft(64)), orderings=(None, "bitreversal"), sweeps=50)
    assert len(fact.record["sweeps"]) < 10
    assert fact.certificate.error_bound < 1e-14


def test_converged_sweeps_end_where_the_gradient_ends():
    matrix = random_matrix((16, 16))
    fact = dbf.factorize(matrix, rank=2, sweeps="converged", store=None)
    plain = dbf.factorize(matrix, rank=2, sweeps=2000)
    assert fact.certificate.error_bound <= plain.certificate.error_bound * (1 + 1e-9)
    assert fact.record["gradient"] < 1e-7
    assert fact.certificate.error_bound == pytest.approx(dense_error(fact, matrix), rel=1e-12)
    errors = fact.record["sweeps"]
    assert errors == sorted(errors, reverse=True)
    factors = [values[None] for values in fact.ks_values]
    again = sweep(matrix[None], factors, fact.chain, fact.tree)
    assert np.linalg.norm(matrix - again.product) == pytest.approx(
        dense_error(fact, matrix) * np.linalg.norm(matrix), rel=1e-13
    )


def test_other_starts_find_what_is_below_the_nearest_minimum():
    matrix = random_matrix((16, 16))
    nearest = dbf.factorize(matrix, sweeps=2000)
    fact = dbf.factorize(matrix, sweeps="converged")
    assert fact.certificate.error_bound < 0.999 * nearest.certificate.error_bound
    assert fact.certificate.error_bound == pytest.approx(dense_error(fact, matrix), rel=1e-12)
    assert fact.record["sweeps"][-1] < 0.999 * fact.record["sweeps"][-2]
    assert fact.record["gradient"] < 1e-7
    assert_same(fact, dbf.factorize(matrix, sweeps="converged"))


def test_other_starts_that_lead_back_are_the_only_ones():
    fact = dbf.factorize(noisy_butterfly((32, 32), eps=0.01), sweeps="converged")
    assert fact.record["starts"] == other_starts.STARTS


@pytest.mark.parametrize(("shape", "starts"), [((16, 16), 16), ((256, 256), 6), ((512, 512), 0)])
def test_larger_matrices_have_fewer_other_starts(shape, starts):
    assert other_starts.starts_of_round(Chain.chainable(shape)) == starts
    assert other_starts.starts_of_round(Chain.monarch(shape)) == 0  # one cut: the first factorization is the best


def test_other_starts_are_the_same_in_every_namespace(xp):
    chain, tree = Chain.square_dyadic(8), split_tree(3)
    matrix = random_matrix((8, 8), "complex64")[None]
    found = []
    for convert in (np.asarray, xp.asarray):
        given = convert(matrix)
        start = factor_stack(given, chain, tree, stack_bytes=1 << 16).factors
        reached = sweep_until_stationary(given, start, chain, tree)
        found.append(other_starts.search_other_starts(given, reached, chain, tree))
    assert found[0].starts == found[1].starts > 0
    assert found[0].found.errors[-1] == pytest.approx(found[1].found.errors[-1], rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_converged_sweeps_keep_the_dtype_and_never_raise_the_error(dtype):
    matrix = noisy_butterfly((32, 32), dtype=dtype, eps=0.3)
    fact = dbf.factorize(matrix, sweeps="converged")
    assert {values.dtype for values in fact.ks_values} == {np.dtype(dtype)}
    assert fact.certificate.error_bound <= dbf.factorize(matrix).certificate.error_bound
    assert fact.record["gradient"] <= 4 * np.finfo(dtype).eps ** 0.5


def test_converged_sweeps_of_matrices_that_are_products_or_zeros_end_at_once():
    exact = dbf.factorize(np.asarray(dbf.matrices.hadamard(16)), sweeps="converged")
    assert len(exact.record["sweeps"]) <= 4
    assert exact.certificate.error_bound < 1e-14
    assert dbf.factorize(np.zeros((16, 16)), sweeps="converged").certificate.error_bound == 0


def test_sweeps_are_part_of_a_run(tmp_path, engine):
    matrix = random_matrix((64, 64))
    fact = dbf.factorize(matrix, sweeps=2, store=tmp_path / "run", **engine)
    assert_same(fact, dbf.open(tmp_path / "run"))
    with pytest.raises(StoreMismatchError, match="sweeps is"):
        dbf.factorize(matrix, store=tmp_path / "run")


def test_sweeps_that_cannot_be():
    with pytest.raises(MemoryBudgetError, match=r"sweeps work in memory and need 48\.00 MiB .*, of 40\.00 MiB"):
        dbf.factorize(random_matrix((1024, 1024)), sweeps=1, memory="40 MiB")
    with pytest.raises(InputError, match="sweeps=-1 is negative"):
        dbf.factorize(random_matrix((64, 64)), sweeps=-1)
    known = dbf.matrices.dft(64)
    with pytest.raises(InputError, match="sweeps fit the factors to all entries"):
        dbf.factorize(dbf.entries(known.f, known.shape, known.dtype, sampled=True), sweeps=1)
