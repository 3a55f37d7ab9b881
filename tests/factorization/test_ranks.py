"""Chains of any rank, end to end: exact recovery, certificates, both engines, out of core."""

import math

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbutterfly as dbf
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import DTYPES, assert_same, dense_error, random_matrix

EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


def product_of(chain, dtype="float64", seed=0):
    """A dense matrix that is a product of the chain."""
    rng = np.random.default_rng(seed)
    real = np.dtype(dtype).kind == "f"
    factors = [rng.standard_normal(p) + (0 if real else 1j * rng.standard_normal(p)) for p in chain]
    return np.asarray(dense_product([(f / np.sqrt(f.shape[2])).astype(dtype) for f in factors]))


def oscillatory(n, dtype="complex128"):
    """Helmholtz kernel between points of two parallel segments, rows in bit-reversed order already."""
    x = (np.arange(n) + 0.5) / n
    distance = np.sqrt((x[:, None] - x) ** 2 + 1)
    matrix = np.exp(2j * np.pi * n / 10 * distance) / np.sqrt(distance)
    return (matrix if np.dtype(dtype).kind == "c" else matrix.real).astype(dtype)


def least_split_error(matrix, chain):
    """Largest error that a single cut of the chain forces: no product of the chain has a smaller one."""
    errors = []
    for position in range(1, len(chain)):
        (p, u, q, v, rank), *_ = chain.cut(position)
        blocks = matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        values = np.linalg.svd(blocks.astype(np.result_type(matrix, np.float64)), compute_uv=False)
        errors.append(math.sqrt(np.sum(values[..., rank:] ** 2)) / np.linalg.norm(matrix))
    return max(errors, default=0.0)


@st.composite
def chains(draw):
    """Chains of any digits and ranks, redundant ones among them, of matrices up to 200 x 200."""
    factors = draw(st.integers(1, 5))
    digits = st.lists(st.sampled_from([1, 2, 2, 2, 3, 3, 4, 5, 7, 11]), min_size=factors, max_size=factors)
    rows, cols = draw(digits.filter(lambda d: math.prod(d) <= 200)), draw(digits.filter(lambda d: math.prod(d) <= 200))
    ranks = [1, *draw(st.lists(st.integers(1, 4), min_size=factors - 1, max_size=factors - 1)), 1]
    return Chain(
        (math.prod(cols[:k]), rows[k] * ranks[k], cols[k] * ranks[k + 1], math.prod(rows[k + 1 :]))
        for k in range(factors)
    )


@st.composite
def trees(draw, first, last):
    if last - first == 1:
        return first
    cut = draw(st.integers(first + 1, last - 1))
    return draw(trees(first, cut)), draw(trees(cut, last))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_products_are_recovered_and_certificates_hold_for_every_chain(data):
    chain = data.draw(chains())
    tree = data.draw(trees(0, len(chain)))
    dtype = data.draw(st.sampled_from(DTYPES))
    passes = data.draw(st.sampled_from([1, 2]))
    seed = data.draw(st.integers(0, 1 << 16))
    matrix = product_of(chain, dtype, seed)
    fact = dbf.factorize(matrix, chain, tree=tree, passes=passes)
    error = dense_error(fact, matrix)
    assert [values.shape for values in fact.ks_values] == [tuple(pattern) for pattern in chain]
    assert {values.dtype for values in fact.ks_values} == {np.dtype(dtype)}
    assert error <= 2e4 * EPS[dtype]
    assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound
    rough = random_matrix(chain.shape, dtype, seed)
    fact = dbf.factorize(rough, chain, tree=tree, passes=passes)
    error = dense_error(fact, rough)
    assert fact.certificate.lower_bound <= least_split_error(rough, chain) + 1e2 * EPS[dtype]
    assert fact.certificate.lower_bound <= error <= fact.certificate.error_bound
    if passes == 2:
        assert fact.certificate.error_bound == pytest.approx(error, rel=1e-5, abs=1e3 * EPS[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_oscillatory_kernel_is_compressed(dtype, passes):
    matrix = oscillatory(512, dtype)
    errors = {}
    for rank in (2, 4, 6):
        fact = dbf.factorize(matrix, rank=rank, orderings=("bitreversal", None), passes=passes)
        errors[rank] = dense_error(fact, matrix)
        assert fact.chain.rank == rank
        assert fact.certificate.lower_bound <= errors[rank] <= fact.certificate.error_bound
    if np.dtype(dtype).kind == "c":
        assert errors[2] < 3e-2
        assert errors[4] < 1e-4
        assert errors[6] < (1e-6 if dtype == "complex128" else 4e-6)


@pytest.mark.slow
def test_the_result_does_not_depend_on_engine_store_or_budget(engine, tmp_path):
    matrix, orderings = oscillatory(512), ("bitreversal", None)
    array = zarr.create_array(tmp_path / "z", data=matrix, chunks=(64, 64))
    tree = (((0, 1), 2), ((3, 4), (5, (6, 7))))
    chain = Chain.chainable((512, 512), rank=3)
    plain = dbf.factorize(matrix, chain, orderings=orderings, tree=tree)
    run = dbf.factorize(array, chain, orderings=orderings, tree=tree, store=tmp_path / "run", memory="13 MiB", **engine)
    assert run.record["plan"]["tasks"]["tiles"] > 1
    assert_same(plain, run)
    assert float(dbf.verify(run, array, **engine)) == pytest.approx(dense_error(plain, matrix), rel=1e-6)
    assert_same(run, dbf.open(tmp_path / "run"))


def test_arbitrary_orderings_of_both_sides():
    matrix, rng = oscillatory(128), np.random.default_rng(0)
    rows, cols = rng.permutation(128), rng.permutation(128)
    known = dbf.Orderings.from_any(("bitreversal", None)).permutations(Chain.chainable((128, 128), rank=4))[0]
    shuffled = matrix[np.ix_(rows, cols)]
    orderings = np.argsort(rows)[known], np.argsort(cols)
    fact = dbf.factorize(shuffled, rank=4, orderings=orderings, passes=2)
    straight = dbf.factorize(matrix, rank=4, orderings=("bitreversal", None), passes=2)
    assert dense_error(fact, shuffled) == pytest.approx(dense_error(straight, matrix), rel=1e-6)
