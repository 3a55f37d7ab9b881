"""What the tests of whole runs compare."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dbutterfly as dbf

DTYPES = ["float32", "float64", "complex64", "complex128"]


def dense_error(fact: dbf.Factorization, matrix: Any) -> float:
    """Relative Frobenius error, from the dense product in double precision."""
    factors = [np.asarray(values, np.result_type(values, np.float64)) for values in fact.ks_values]
    product = dbf.ButterflyOperator(factors, fact.orderings).to_dense()
    exact = np.asarray(matrix, np.result_type(np.asarray(matrix), product))
    return float(np.linalg.norm(product - exact) / np.linalg.norm(exact))


def assert_same(left: dbf.Factorization, right: dbf.Factorization) -> None:
    """Equal to the bit."""
    assert left.chain == right.chain
    assert left.tree == right.tree
    for index, (x, y) in enumerate(zip(left.ks_values, right.ks_values, strict=True)):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y), f"factor {index} differs"
    assert left.certificate == right.certificate


def noisy_butterfly(
    shape: Any, dtype: str = "float64", eps: float = 0.1, seed: int = 0, orderings: Any = None
) -> NDArray[Any]:
    """Gaussian butterfly with noise, as an array, stored such that ``orderings`` bring it to standard order."""
    known = dbf.matrices.noisy(dbf.matrices.gaussian_butterfly(shape, dtype=dtype, seed=seed), eps, seed=seed + 1)
    standard = np.asarray(known)
    stored = np.empty_like(standard)
    sides = dbf.Orderings.from_any(orderings).permutations(known.chain)
    stored[np.ix_(*(np.arange(n) if i is None else i for n, i in zip(standard.shape, sides, strict=True)))] = standard
    return stored


def random_matrix(shape: tuple[int, int], dtype: str = "float64", seed: int = 0) -> NDArray[Any]:
    """Independent normal entries."""
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def least_memory(source: Any, **arguments: Any) -> int:
    """Least memory that a plan accepts, as it says itself."""
    with pytest.raises(dbf.errors.MemoryBudgetError) as caught:
        dbf.plan(source, memory=1, **arguments)
    found = re.search(r"the least that works is memory=(\d+) ", str(caught.value))
    assert found is not None
    return int(found[1])


def snapshot(directory: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def memory_for(tiles: int, source: Any, **arguments: Any) -> int:
    """Memory with which a plan has at most so many tiles, but more than a quarter of them."""
    least = least_memory(source, **arguments)
    for extra in range(8, 28):
        memory = least + (1 << extra)
        count = dbf.plan(source, memory=memory, **arguments).tasks["tiles"]
        if count <= tiles:
            assert count > tiles // 4
            return memory
    raise AssertionError(f"no plan has at most {tiles} tiles")
