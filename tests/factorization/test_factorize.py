import functools
import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import DTYPES, assert_same, dense_error, least_memory, noisy_butterfly, random_matrix

TOLERANCE = {"float32": 2e-6, "complex64": 2e-6, "float64": 1e-13, "complex128": 1e-13}

KNOWN = {
    "dft": dbf.matrices.dft,
    "hadamard": dbf.matrices.hadamard,
    "gaussian": functools.partial(dbf.matrices.gaussian_butterfly, seed=0),
    "orthogonal": functools.partial(dbf.matrices.orthogonal_butterfly, seed=0),
    "complex gaussian": functools.partial(dbf.matrices.gaussian_butterfly, dtype="complex128", seed=0),
    "unitary": functools.partial(dbf.matrices.orthogonal_butterfly, dtype="complex128", seed=0),
}


def recovered(known, **arguments):
    """Factorization of a matrix that is a butterfly: its error is rounding."""
    fact = dbf.factorize(known, known.chain, orderings=known.orderings, **arguments)
    tolerance = TOLERANCE[known.dtype.name]
    assert fact.dtype == known.dtype
    assert fact.chain == known.chain
    assert [values.shape for values in fact.ks_values] == [tuple(pattern) for pattern in known.chain]
    assert fact.certificate.error_bound <= 2 * tolerance
    assert fact.certificate.norm == pytest.approx(known.norm, rel=1e-7)
    return fact


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("kind", KNOWN)
def test_a_butterfly_is_recovered(kind, n):
    known = KNOWN[kind](n)
    assert dense_error(recovered(known), known) <= TOLERANCE[known.dtype.name]


@pytest.mark.slow
@pytest.mark.parametrize("n", [1024, 2048, 4096])
def test_a_large_butterfly_is_recovered(n):
    known = dbf.matrices.dft(n)
    fact = recovered(known, workers=2)
    x = random_matrix((n, 3), "complex128")
    expected = np.fft.fft(x, axis=0)
    assert np.linalg.norm(fact.operator @ x - expected) <= 1e-13 * np.linalg.norm(expected)
    assert dbf.verify(fact, known) <= 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_is_kept_at_large_sizes(dtype):
    known = dbf.matrices.orthogonal_butterfly(8192, dtype=dtype, seed=0)
    assert dbf.verify(recovered(known, workers=2), known) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_is_kept(dtype):
    known = dbf.matrices.gaussian_butterfly(1024, dtype=dtype, seed=0)
    assert dense_error(recovered(known), known) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    "tree",
    ["balanced", "left", "right", ((0, 1), (2, ((3, 4), 5))), (0, (((1, 2), (3, 4)), 5)), [[[0, [1, 2]], 3], [4, 5]]],
)
@pytest.mark.parametrize("passes", [1, 2])
def test_every_tree_recovers(tree, passes):
    known = dbf.matrices.dft(64)
    fact = recovered(known, tree=tree, passes=passes)
    assert fact.tree == dbf.plan(known, tree=tree, orderings=known.orderings).tree
    assert dense_error(fact, known) <= 1e-13


@pytest.mark.parametrize(
    "chain",
    [
        Chain.square_dyadic(32),
        Chain.monarch((32, 32)),
        Chain.monarch((21, 16), p=7, q=2),
        Chain.monarch((12, 100), p=1, q=100),
        Chain.chainable((21, 16)),
        Chain.chainable((1000, 1000)),
        Chain.chainable((30, 36)),
        Chain.chainable((12, 90)),
        Chain.chainable((1, 16)),
        Chain.chainable((16, 1)),
        Chain([(1, 1, 4, 8), (4, 8, 1, 1), (4, 1, 3, 1)]),
        Chain([(1, 7, 5, 1)]),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "orderings", [None, (None, "bitreversal"), ("bitreversal", None), ("bitreversal", "bitreversal")]
)
def test_every_chain_recovers(chain, orderings):
    known = dbf.matrices.butterfly(random_values(chain), orderings)
    for tree in ("balanced", "left", "right"):
        assert dense_error(recovered(known, tree=tree), known) <= 1e-13


def random_values(chain):
    rng = np.random.default_rng(5)
    return [rng.standard_normal(pattern) for pattern in chain]


@pytest.mark.parametrize("dtype", DTYPES)
def test_permuted_rows_and_columns_are_put_back(dtype):
    known = dbf.matrices.shuffled(dbf.matrices.gaussian_butterfly(64, dtype=dtype, seed=3), seed=4)
    assert dense_error(recovered(known), known) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (1, 2), (2, 1), (7, 7), (7, 5), (1, 13), (64, 1), (1, 64), (2, 64), (64, 2)]
)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_small_and_thin_matrices(shape, dtype, engine):
    matrix = random_matrix(shape, dtype)
    fact = dbf.factorize(matrix, **engine)
    if min(shape) == 1 or len(fact.chain) == 1:
        assert dense_error(fact, matrix) <= TOLERANCE[dtype]
    assert dense_error(fact, matrix) <= fact.certificate.error_bound
    assert fact.operator.to_dense().shape == shape


@pytest.mark.parametrize("passes", [1, 2])
def test_a_zero_matrix_has_zero_factors(passes):
    fact = dbf.factorize(np.zeros((16, 16)), passes=passes)
    assert np.array_equal(fact.operator.to_dense(), np.zeros((16, 16)))
    assert (fact.certificate.error_bound, fact.certificate.norm) == (0, 0)


@pytest.mark.parametrize("passes", [1, 2])
def test_zero_blocks_do_no_harm(passes):
    matrix = np.asarray(dbf.matrices.gaussian_butterfly(64, seed=0)).copy()
    matrix[:, 16:40] = 0
    matrix[3::8] = 0
    assert dense_error(dbf.factorize(matrix, passes=passes), matrix) <= 1e-13


def noise_of(matrix, known):
    """Norm of the noise over that of the matrix."""
    return np.linalg.norm(matrix - np.asarray(known)) / np.linalg.norm(matrix)


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_removed_as_well_as_by_the_best_peers(seed):
    known = dbf.matrices.gaussian_butterfly(512, seed=seed)
    matrix = np.asarray(dbf.matrices.noisy(known, 0.01, seed=seed + 10))
    assert dense_error(dbf.factorize(matrix), matrix) <= 0.991 * noise_of(matrix, known)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "eps"), [(256, 0.1), (512, 0.1), (512, 0.01), (1024, 0.03)])
def test_noise_on_a_transform_leaves_what_the_degrees_of_freedom_say(n, eps):
    known = dbf.matrices.dft(n)
    matrix = np.asarray(dbf.matrices.noisy(known, eps, seed=0))
    fact = dbf.factorize(matrix, orderings=known.orderings)
    expected = noise_of(matrix, known) * math.sqrt(1 - (math.log2(n) + 1) / n)
    assert dense_error(fact, matrix) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_a_second_read_does_not_harm():
    for seed in range(5):
        matrix = random_matrix((64, 64), seed=seed)
        tree = (
            (
                0,
                1,
            ),
            (2, (3, (4, 5))),
        )
        once, twice = (dbf.factorize(matrix, tree=tree, passes=passes) for passes in (1, 2))
        assert dense_error(twice, matrix) < dense_error(once, matrix)


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
def test_results_do_not_depend_on_tiles_and_workers(passes):
    matrix = noisy_butterfly(512, "float32")
    tree = (((0, 1), (2, 3)), ((4, 5), (6, (7, 8))))
    arguments = {"tree": tree, "passes": passes}
    least = least_memory(matrix, tree=tree)
    expected = dbf.factorize(matrix, workers=1, memory="1 GiB", **arguments)
    plans = {expected.record["plan"]["tile_groups"].__repr__()}
    for memory, workers in ((least, 1), (least, 3), (2 * least, 2), (8 * least, 8)):
        fact = dbf.factorize(matrix, workers=workers, memory=memory, **arguments)
        assert_same(fact, expected)
        plans.add(fact.record["plan"]["tile_groups"].__repr__())
    assert len(plans) > 1


def test_the_run_is_recorded(tmp_path):
    matrix = noisy_butterfly(256)
    fact = dbf.factorize(matrix, passes=2, store=tmp_path / "run")
    planned = dbf.plan(matrix, passes=2)
    assert fact.record["plan"] == planned.to_json() | {"budget": fact.record["plan"]["budget"]}
    stages = fact.record["stages"]
    assert {stage: record["tasks"] for stage, record in stages.items()} == planned.tasks
    assert sum(record["bytes_read"] for record in stages.values()) == planned.bytes_read == 2 * matrix.nbytes
    assert all(record["seconds"] > 0 and record["resumed"] == 0 for record in stages.values())


def test_the_source_is_left_as_it_is():
    matrix = noisy_butterfly(128)
    before = matrix.copy()
    matrix.flags.writeable = False
    dbf.factorize(matrix, passes=2)
    assert np.array_equal(matrix, before)


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(dtype, exponent) for dtype in DTYPES for exponent in (-30, -20, -10, 10, 15, 25, 36)]
    + [(dtype, exponent) for dtype in ("float64", "complex128") for exponent in (-300, -100, -60, 60, 140, 300)],
)
@pytest.mark.parametrize("passes", [1, 2])
def test_entries_of_any_size_are_certified(dtype, exponent, passes):
    scale = 10.0**exponent
    matrix = (noisy_butterfly(16, np.result_type(dtype, "float64").name, eps=1e-3) * scale).astype(dtype)
    assert np.isfinite(matrix).all()
    fact = dbf.factorize(matrix, passes=passes)
    factors = [np.asarray(values, np.result_type(values, np.float64)) for values in fact.ks_values]
    product = dbf.ButterflyOperator(factors).to_dense() / scale
    error = np.linalg.norm(product - matrix / scale) / np.linalg.norm(matrix / scale)
    assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound
    assert error < 1e-3


def test_blocks_that_underflow_are_no_obstacle():
    x = np.linspace(0, 25, 64)
    kernel = np.exp(-((x[:, None] - x) ** 2))
    assert 0 < kernel.min() < 1e-200
    fact = dbf.factorize(kernel, orderings=("bitreversal", None), memory=least_memory(kernel))
    assert fact.certificate.lower_bound <= dense_error(fact, kernel) <= fact.certificate.error_bound
