import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from dbutterfly.kernels import compilation
from dbutterfly.kernels.products import choose, packed
from dbutterfly.structure.chain import Chain, Pattern
from tests.support.patience import PATIENCE

needs_numba = pytest.mark.skipif(compilation.compiled_kernels() is None, reason="needs Numba")


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_compiled_kernels_are_chosen_where_they_suit(dtype):
    assert choose.kernels_for(Chain.square_dyadic(4096).patterns, np.dtype(dtype)) is compilation.compiled_kernels()
    assert choose.kernels_for(Chain.square_dyadic(16).patterns, np.dtype(dtype)) is compilation.compiled_kernels()


@needs_numba
def test_half_empty_bundles_are_not_chosen():
    few = [Pattern(1, 200, 200, 5), Pattern(4, 250, 200, 1)]
    assert choose.kernels_for(few, np.dtype("float64")) is packed


def test_other_dtypes_are_multiplied_by_plain_kernels():
    assert choose.kernels_for(Chain.square_dyadic(16).patterns, np.dtype("longdouble")) is packed


def test_without_numba_plain_kernels_are_chosen(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    assert compilation.compiled_kernels.__wrapped__() is None


def test_numba_that_cannot_be_imported_is_done_without(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "dbutterfly.kernels.products.jit", None)
    assert compilation.compiled_kernels.__wrapped__() is None


@pytest.mark.slow
@needs_numba
def test_switch_of_numba_is_heeded():
    code = "from dbutterfly.kernels.compilation import compiled_kernels; assert compiled_kernels() is None"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(("rank", "wide"), [(1, False), (4, False), (9, True), (24, True)])
def test_blocks_of_high_ranks_are_wide(rank, wide):
    assert choose.has_wide_blocks(Chain.chainable((4096, 4096), rank, balanced=True).patterns) == wide
