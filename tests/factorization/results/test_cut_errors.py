"""The error by cuts: the parts add up to the error, and tell where it arises."""

import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.factorization import assemble, run
from dbutterfly.factorization.block_stats import BlockStats
from dbutterfly.factorization.results.certificate import certify
from dbutterfly.factorization.results.cut_errors import error_of_each_cut
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.tree import tree_leaves
from tests.support.comparisons import dense_error, memory_for, noisy_butterfly, random_matrix

CHAINS = {
    "dyadic": Chain.square_dyadic(64),
    "mixed radix": Chain.chainable((48, 90)),
    "rank two": Chain.chainable((64, 64), 2),
    "rank three": Chain.chainable((48, 90), 3),
    "two ranks": Chain([(1, 4, 6, 4), (3, 4, 8, 2), (6, 8, 4, 1)]),
    "monarch": Chain.monarch((24, 20)),
}


@pytest.fixture
def factorized():
    """Factorize, and give the errors of the cuts with the result."""

    def call(matrix, chain=None, **arguments):
        fact = dbf.factorize(matrix, chain, **arguments)
        errors = np.array(fact.record["errors_by_cut"])
        assert errors.shape == (len(fact.chain) - 1,)
        return fact, errors

    return call


@pytest.mark.parametrize("orderings", [None, ("bitreversal", None)])
@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize(("dtype", "few"), [("complex128", 1e-12), ("float32", 1e-5)])
def test_after_two_reads_the_squares_add_up_to_that_of_the_error(factorized, chain, tree, orderings, dtype, few):
    matrix = random_matrix(chain.shape, dtype)
    fact, errors = factorized(matrix, chain, tree=tree, orderings=orderings, passes=2)
    assert np.linalg.norm(errors) == pytest.approx(dense_error(fact, matrix), rel=few)


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_after_one_read_they_are_those_of_the_cut_and_of_its_halves(factorized, chain, tree, monkeypatch):
    measured = []
    monkeypatch.setattr(assemble, "certify", lambda *a, **k: measured.append(a) or certify(*a, **k))
    fact, errors = factorized(random_matrix(chain.shape), chain, tree=tree)
    [(stats, left_error, right_error, _)] = measured
    cut, left, right = (
        math.sqrt(part.sum() / stats.energy.sum())
        for part in (stats.discarded, left_error[..., 0], np.split(right_error, 2, axis=-1)[0])
    )
    root = len(tree_leaves(fact.tree[0]))
    assert errors[root - 1] == pytest.approx(cut, rel=1e-12)
    assert np.linalg.norm(errors[: root - 1]) == pytest.approx(left, rel=1e-12, abs=1e-15)
    assert np.linalg.norm(errors[root:]) == pytest.approx(right, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("tree", ["balanced", "left", "right"])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("junction", [1, 2, 3, 4, 5])
def test_they_tell_the_cut_at_which_the_rank_is_too_small(factorized, junction, dtype, passes, tree):
    """All blocks of the other cuts have rank one, whatever was truncated above them."""
    chain, ranks = Chain.square_dyadic(64), [1] * 7
    ranks[junction] = 2
    wider = Chain((a, b * ranks[k], c * ranks[k + 1], d) for k, (a, b, c, d) in enumerate(chain))
    matrix = dense_product([random_matrix((1, p.nnz), dtype, k).reshape(p) for k, p in enumerate(wider)])
    fact, errors = factorized(matrix, chain, tree=tree, passes=passes)
    assert fact.certificate.error_bound > 0.01
    assert errors[junction - 1] == pytest.approx(dense_error(fact, matrix), rel=1e-4)
    errors[junction - 1] = 0
    assert errors.max() < 10 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("passes", [1, 2])
def test_an_exact_butterfly_loses_rounding_only(factorized, dtype, passes):
    """And not what energies of the dtype differ by, which is the root of that."""
    _, errors = factorized(noisy_butterfly(256, dtype, eps=0), passes=passes)
    assert errors.max() < 10 * np.finfo(dtype).eps


def test_noise_is_lost_where_there_are_most_degrees_of_freedom(factorized):
    """Cut l of N x N keeps ``2^l + N/2^l - 1`` in N of them of white noise; those above it have taken their part."""
    n, noise = 256, 0.1
    signs = np.ones((1, 1))
    while len(signs) < n:
        signs = np.kron(signs, [[1, 1], [1, -1]])
    fact, errors = factorized(signs + noise * random_matrix((n, n)), passes=2)
    root = np.argmax(errors)
    assert fact.chain.cut(root + 1)[0].p == 16
    norm = math.hypot(1, noise)
    assert errors[root] == pytest.approx(noise / norm * np.sqrt(1 - 31 / n), rel=1e-2)
    assert np.linalg.norm(errors) == pytest.approx(noise / norm * np.sqrt(1 - 9 / n), rel=1e-2)


@pytest.mark.slow
def test_they_do_not_depend_on_tasks_and_workers(factorized, engine, tmp_path):
    matrix = noisy_butterfly(256)
    fact, expected = factorized(matrix, tree="balanced", workers=1)
    for tiles in (4, 64):
        memory = memory_for(tiles, matrix)
        again, errors = factorized(matrix, memory=memory, store=tmp_path / f"{tiles}", **engine)
        assert again.tree == fact.tree
        assert again.record["plan"]["tasks"] != fact.record["plan"]["tasks"]
        np.testing.assert_allclose(errors, expected, rtol=1e-12)
        assert dbf.open(tmp_path / f"{tiles}").record["errors_by_cut"] == errors.tolist()


@pytest.mark.slow
def test_a_resumed_run_has_them_all(factorized, tmp_path, monkeypatch):
    matrix = noisy_butterfly(256)
    _, expected = factorized(matrix)
    with monkeypatch.context() as patch:
        patch.setattr(run, "assemble", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dbf.factorize(matrix, store=tmp_path / "run")
    np.testing.assert_array_equal(factorized(matrix, store=tmp_path / "run")[1], expected)


@pytest.mark.slow
@pytest.mark.parametrize("store", [False, True])
def test_a_rank_that_was_raised_has_its_own(factorized, tmp_path, store):
    kernel = dbf.matrices.helmholtz(256)
    arguments = {"tol": 1e-7, "orderings": ("bitreversal", None), "passes": 2}
    fact, errors = factorized(kernel, store=tmp_path / "run" if store else None, **arguments)
    assert fact.chain.rank > 1
    assert np.linalg.norm(errors) == pytest.approx(dense_error(fact, np.asarray(kernel)), rel=1e-4)


def test_nothing_is_lost_of_nothing(factorized):
    assert factorized(np.zeros((32, 32)))[1].tolist() == [0.0] * 4


def test_one_factor_has_no_cuts():
    assert "errors_by_cut" not in dbf.factorize(random_matrix((7, 5)), [(1, 7, 5, 1)]).record


def test_what_cannot_be_told_from_rounding_is_zero():
    stats = BlockStats.from_array(np.array([[[4.0, 1.0, 0.0]]])).of_rank(0)
    left, right = np.array([[0.25, 1.0]]), np.array([[1.0 + 1e-7, 1.0], [0.5, 0.5]])
    errors = error_of_each_cut(((0, (1, 2)), (3, (4, 5))), stats, left[:, ::-1], right, None, eps=1e-6)
    assert errors == [math.sqrt(part / 4) for part in (0.75, 0.25, 1.0, 0.0, 1.5)]
    second = np.array([[[1.0]]])
    assert error_of_each_cut(((0, (1, 2)), 3), stats, left[:, ::-1], np.zeros((1, 0)), second, eps=1e-6)[2] == 0
    assert error_of_each_cut(((0, (1, 2)), 3), stats, left[:, ::-1], np.zeros((1, 0)), second * 2, eps=1e-6)[2] == 0.5
