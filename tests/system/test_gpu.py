"""The library on a CUDA device: ``pytest -m gpu`` runs these, and every kernel test on CuPy's arrays.

Elsewhere they are skipped: the kernels' proof is then array-api-strict, and the signatures of CuPy
(``tests/kernels/test_cupy_calls.py``).
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.execution import thread_engine
from tests.support.devices import has_device
from tests.support.hierarchical_blocks import make_operator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_device(), reason="needs CuPy and a CUDA device"),
]

M = dbf.matrices
TOLERANCE = {"float32": 2e-5, "complex64": 2e-5, "float64": 1e-12, "complex128": 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rank", [1, 2])
def test_factors_are_those_of_numpy(dtype, rank):
    chain = dbf.Chain.chainable((256, 128), rank=rank)
    z = np.asarray(M.gaussian_butterfly(chain=chain, dtype=dtype, seed=1))
    noisy = (z + 0.01 * np.std(z) * np.random.default_rng(2).standard_normal(z.shape)).astype(dtype)
    on_host = dbf.factorize(noisy, chain, backend="numpy", passes=2)
    on_device = dbf.factorize(noisy, chain, backend="cupy", passes=2)
    assert all(values.dtype == dtype for values in on_device.ks_values)
    assert on_device.certificate.error_bound == pytest.approx(on_host.certificate.error_bound, rel=1e-3)
    dense = [fact.operator.to_dense() for fact in (on_host, on_device)]
    assert np.linalg.norm(dense[1] - dense[0]) <= 100 * TOLERANCE[dtype] * np.linalg.norm(z)


def test_a_stored_matrix(tmp_path):
    M.write(M.dft(512), tmp_path / "z.zarr", chunks=(128, 128))
    fact = dbf.factorize(
        str(tmp_path / "z.zarr"), orderings=(None, "bitreversal"), backend="cupy", store=tmp_path / "run.zarr"
    )
    assert float(dbf.verify(fact, str(tmp_path / "z.zarr"))) < 1e-12


def test_the_device_is_used_within_its_limit_and_given_back(tmp_path):
    cupy = importlib.import_module("cupy")
    path = tmp_path / "z.zarr"
    M.write(M.noisy(M.orthogonal_butterfly(4096, dtype="float32", seed=1), 0.1, seed=2), path, chunks=(512, 512))
    free = cupy.cuda.runtime.memGetInfo()[0]
    least = []
    cupy.get_default_memory_pool().free_all_blocks()

    def watch(job, outputs):
        least.append(cupy.cuda.runtime.memGetInfo()[0])
        write(job, outputs)

    write = thread_engine.write_outputs
    limit = 64 << 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_engine, "write_outputs", watch)
        found = dbf.factorize(path, backend="cupy", workers=1, device_memory=limit)
    assert found.record["plan"]["device_peak_bytes"] <= limit
    assert free - min(least) <= limit + (512 << 20)  # the context, and what the libraries hold
    assert cupy.get_default_memory_pool().used_bytes() == 0
    on_host = dbf.factorize(path, backend="numpy")
    assert found.certificate.error_bound == pytest.approx(on_host.certificate.error_bound, rel=1e-3)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("columns", [(), (3,), (64,)])
def test_products_stay_on_the_device(dtype, columns):
    cupy = importlib.import_module("cupy")
    z = np.asarray(M.gaussian_butterfly(256, dtype=dtype, seed=3))
    operator = dbf.factorize(z).operator
    x = np.random.default_rng(4).standard_normal((256, *columns)).astype(dtype)
    y = operator @ cupy.asarray(x)
    assert isinstance(y, cupy.ndarray)
    assert y.dtype == dtype
    expected = z @ x
    assert np.linalg.norm(cupy.asnumpy(y) - expected) <= 10 * TOLERANCE[dtype] * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("dtype", "symmetry"), [("float32", "none"), ("float64", "symmetric"), ("complex128", "hermitian")]
)
def test_products_of_blocks_stay_on_the_device(dtype, symmetry):
    cupy = importlib.import_module("cupy")
    operator, _ = make_operator(dtype, symmetry)
    for one in (operator, operator.T, operator.H, operator.conj()):
        x = np.random.default_rng(4).standard_normal((one.shape[1], 3)).astype(dtype)
        y = one @ cupy.asarray(x)
        assert isinstance(y, cupy.ndarray)
        assert y.dtype == dtype
        expected = one @ x
        assert np.linalg.norm(cupy.asnumpy(y) - expected) <= 10 * TOLERANCE[dtype] * np.linalg.norm(expected)


@pytest.mark.parametrize("target", ["dft", "orthogonal"])
@pytest.mark.parametrize("n", [64, 512])
def test_orderings_are_found(target, n):
    hidden = M.shuffled(M.dft(n) if target == "dft" else M.orthogonal_butterfly(n, seed=5), seed=6)
    z = np.asarray(M.noisy(hidden, 0.1, seed=7))
    found = dbf.identify(z, backend="cupy", workers=1)
    errors = [float(dbf.verify(dbf.factorize(z, orderings=o), z)) for o in (found, hidden.orderings)]
    assert errors[0] <= 1.001 * errors[1]
