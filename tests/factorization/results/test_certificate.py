import functools
import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.factorization.block_stats import BlockStats
from dbutterfly.factorization.results.certificate import Certificate, certify, guarantee_of
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import DTYPES, dense_error, noisy_butterfly, random_matrix


def heavy_tailed(shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return (random_matrix(shape, "complex128", seed) * rng.pareto(1.2, shape)).astype(dtype)


MATRICES = {
    "random": random_matrix,
    "noisy": lambda shape, dtype="float64", seed=0: noisy_butterfly(shape, dtype, 0.1, seed),
    "nearly exact": lambda shape, dtype="float64", seed=0: noisy_butterfly(shape, dtype, 1e-5, seed),
    "heavy-tailed": lambda shape, dtype="float64", seed=0: np.real_if_close(heavy_tailed(shape, dtype, seed)),
    "steep": lambda shape, dtype="float64", seed=0: (
        random_matrix(shape, dtype, seed) * np.logspace(0, -6, shape[1])
    ).astype(dtype),
}


def certified(matrix, chain=None, **arguments):
    fact = dbf.factorize(matrix, chain, **arguments)
    error = dense_error(fact, matrix)
    assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound
    return fact, error


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("passes", [1, 2])
def test_the_error_lies_between_the_bounds(kind, dtype, passes):
    for seed, tree in enumerate(["left", "right", ((0, (1, 2)), (3, (4, 5)))]):
        certified(MATRICES[kind]((64, 64), dtype, seed), tree=tree, passes=passes)


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize(
    "chain",
    [Chain.monarch((64, 64)), Chain.monarch((21, 16), p=3, q=8), Chain.chainable((48, 90)), Chain.chainable((30, 30))],
    ids=str,
)
@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("passes", [1, 2])
def test_the_error_of_every_chain_lies_between_the_bounds(kind, chain, passes):
    certified(MATRICES[kind](chain.shape), chain, passes=passes)


@pytest.mark.parametrize("kind", ["random", "noisy", "nearly exact", "steep"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_after_two_reads_the_bound_is_the_error(kind, dtype):
    fact, error = certified(MATRICES[kind]((128, 128), dtype), passes=2)
    assert fact.certificate.exact
    rounding = (2 * len(fact.chain) + 8 * error) * np.finfo(dtype).eps
    assert fact.certificate.error_bound == pytest.approx(error, rel=1e-6, abs=1.1 * float(rounding))
    if np.dtype(dtype).itemsize // (2 if np.dtype(dtype).kind == "c" else 1) == 8:
        assert fact.certificate.error_bound == pytest.approx(error, rel=1e-6)


def test_after_one_read_the_bound_is_no_claim_of_exactness():
    fact, error = certified(random_matrix((64, 64)))
    assert not fact.certificate.exact
    assert fact.certificate.error_bound > error


@pytest.mark.parametrize("kind", ["random", "noisy", "steep"])
def test_no_method_gets_below_the_lower_bound(kind):
    matrix = MATRICES[kind]((64, 64))
    lowers, errors = [], []
    for tree in [
        "left",
        "right",
        (
            (
                0,
                1,
            ),
            (2, ((3, 4), 5)),
        ),
        (((0, 1), 2), (3, (4, 5))),
        ((0, (1, 2)), ((3, 4), 5)),
    ]:
        for passes in (1, 2):
            fact, error = certified(matrix, tree=tree, passes=passes)
            lowers.append(fact.certificate.lower_bound)
            errors.append(error)
    assert max(lowers) <= min(errors)
    assert min(lowers) > 0


def test_the_lower_bound_of_one_cut_is_the_best_error_of_a_monarch_product():
    matrix = random_matrix((24, 20))
    chain = Chain.monarch((24, 20), p=6, q=5)
    fact, error = certified(matrix, chain)
    (p, u, q, v, _), *_ = chain.cut(1)
    blocks = matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)
    singular = np.linalg.svd(blocks, compute_uv=False)
    best = math.sqrt(np.sum(singular[..., 1:] ** 2) / np.sum(singular**2))
    assert fact.certificate.lower_bound <= best <= error * (1 + 1e-12)
    assert fact.certificate.lower_bound == pytest.approx(best, rel=1e-2)


def test_the_norm_is_summed_in_double_precision():
    matrix = (1 + np.abs(random_matrix((1024, 1024)))).astype("float32")
    exact = math.sqrt(math.fsum(np.square(matrix, dtype="float64").ravel()))
    for tree in ("balanced", "left", "right"):
        assert dbf.factorize(matrix, tree=tree).certificate.norm == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("eps", [0, 1e-14, 1e-12, 1e-10, 1e-8])
def test_tiny_errors_do_not_cancel(eps, passes):
    matrix = noisy_butterfly(256, eps=eps, seed=2)
    fact, error = certified(matrix, passes=passes)
    assert fact.certificate.error_bound < 1e-13 + 1.1 * eps
    if eps > 1e-12:
        assert fact.certificate.lower_bound > 0.8 * error


def test_the_ratio_says_how_near_the_best_it_is():
    fact, _ = certified(noisy_butterfly(256, eps=0.1), passes=2)
    certificate = fact.certificate
    assert certificate.ratio == certificate.error_bound / certificate.lower_bound
    assert 1 <= certificate.ratio < 1.2


def test_the_ratio_is_unknown_without_a_lower_bound():
    assert certified(noisy_butterfly(16, eps=0))[0].certificate.ratio == math.inf
    assert Certificate(0.0, 0.0, True, 0.0).ratio == 1


def test_it_says_what_it_proves():
    assert str(Certificate(0.5, 0.25, False, 3.0)) == (
        "error bound 0.5, no product of this chain is below 0.25, ratio 2.0000 (relative Frobenius norm)"
    )
    assert str(Certificate(0.5, 0.0, True, 3.0)).startswith("error 0.5, no product")
    assert "ratio" not in str(Certificate(0.5, 0.0, True, 3.0))


def good_at_the_root(side, rank, shape=(64, 64)):
    """Blocks of the root cut are of the rank of the chain, with right (left) parts that are alike: no product fits."""
    (p, u, q, v, r), *_ = Chain.chainable(shape, rank).cut(3)
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((u, q, p, r)), rng.standard_normal((u, q, r, v))
    if side == "left":
        right[:] = right[:1]
    else:
        left[:] = left[:, :1]
    return np.ascontiguousarray((left @ right).transpose(2, 0, 1, 3)).reshape(shape)


@functools.cache
def least_known(side, rank):
    """Error of the best of three trees, after sweeps."""
    matrix, chain = good_at_the_root(side, rank), Chain.chainable((64, 64), rank)
    found = [
        dbf.factorize(matrix, chain, tree=tree, sweeps=8, check_fit=False) for tree in ("balanced", "left", "right")
    ]
    return min(dense_error(fact, matrix) for fact in found)


@pytest.mark.parametrize("place", ["memory", "store", "stack"])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("side", ["left", "right"])
def test_cuts_below_the_root_bound_the_error_where_the_root_cut_tells_nothing(side, rank, passes, place, tmp_path):
    matrix, chain = good_at_the_root(side, rank), Chain.chainable((64, 64), rank)
    arguments = {"passes": passes, "check_fit": False}
    if place == "stack":
        fact = dbf.factorize(np.stack([matrix, matrix]), chain, **arguments)[1]
    else:
        store = {"store": tmp_path / "run.zarr"} if place == "store" else {}
        fact = dbf.factorize(matrix, chain, **arguments, **store)
    least = least_known(side, rank)
    assert len(fact.tree[0]) == 2  # cut 3 is the root cut
    assert 0.7 * least < fact.certificate.lower_bound <= least <= fact.certificate.error_bound


def test_json_goes_both_ways():
    certificate = dbf.factorize(random_matrix((16, 16)), passes=2).certificate
    assert Certificate.from_json(certificate.to_json()) == certificate


def test_the_rounding_allowance_grows_with_the_factors():
    stats = BlockStats.from_array(np.array([[[4.0, 1.0, 0.0]]])).of_rank(0)
    nothing = np.zeros((1, 1, 2))
    few, many = (certify(stats, nothing, nothing, None, factors=k, eps=1e-3) for k in (1, 10))
    assert few.error_bound < many.error_bound
    assert few.lower_bound > many.lower_bound
    assert few.lower_bound < 0.5 < few.error_bound


def test_the_bound_of_one_read_is_near_the_error_of_noise():
    """Without the largest singular values of residuals, which bound what these add, it is 1.12 times the error."""
    matrix = random_matrix((1024, 1024))
    fact = dbf.factorize(matrix, check_fit=False)
    assert dense_error(fact, matrix) <= fact.certificate.error_bound <= 1.06 * dense_error(fact, matrix)


def test_the_guarantee_counts_the_cuts():
    assert guarantee_of(0, 1) == 0
    assert guarantee_of((0, 1), 1) == guarantee_of((0, 1), 2) == 1
    for tree in [((0, 1), (2, 3)), (0, (1, (2, 3))), (((0, 1), 2), 3)]:
        assert guarantee_of(tree, 2) == pytest.approx(math.sqrt(3))
    assert guarantee_of(((0, 1), (2, 3)), 1) == pytest.approx(math.sqrt(1 + 9))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["random", "noisy", "steep"])
def test_bounds_best_known_error_and_guarantee_are_in_order(kind, rank):
    """Lower bound <= least error known, by any tree or sweeps <= every error <= its bound; ratio <= guarantee."""
    matrix = MATRICES[kind]((64, 64))
    chain = Chain.chainable((64, 64), rank)
    runs = [
        dbf.factorize(matrix, chain, tree=tree, passes=passes, sweeps=sweeps)
        for tree in ("balanced", "left", "right")
        for passes, sweeps in ((1, 0), (2, 0), (1, 8))
    ]
    errors = [dense_error(fact, matrix) for fact in runs]
    best = min(errors)
    assert max(fact.certificate.lower_bound for fact in runs) <= best * (1 + 1e-12)
    for fact, error in zip(runs, errors, strict=True):
        assert best <= error <= fact.certificate.error_bound
        assert error <= fact.certificate.guarantee * best * 1.001
