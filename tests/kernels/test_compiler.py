"""Numba's cache on disk, damaged, full or out of reach: products cost a compilation, and are right."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from dbutterfly.kernels import compiler


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler, "_faults", [])
    return tmp_path / "cache"


def multiply(times):
    """Compile a loop, and run it; 2 and 3 are kept apart in the cache."""
    real = compiler.array_type(compiler.number_type("d"))

    def loop(x, y):
        for k in range(x.shape[0]):
            y[k] = times * x[k]

    x, y = np.arange(4.0), np.zeros(4)
    compiler.compile_loop(loop, compiler.types.void, (real, real))(x, y)
    np.testing.assert_array_equal(y, times * x)


@pytest.mark.parametrize("content", [b"", b"no pickle", None], ids=["empty", "other bytes", "cut"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_cost_a_compilation_and_one_warning(suffix, content, cache, caplog):
    multiply(2.0)
    damaged = list(cache.rglob(f"*{suffix}"))
    assert damaged
    for file in damaged:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    assert caplog.text == ""
    multiply(2.0)
    multiply(3.0)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Numba's cache {cache} cannot be used (")


def test_a_directory_in_the_place_of_a_file_costs_a_compilation(cache, caplog):
    multiply(2.0)
    for file in list(cache.rglob("*.nbi")):
        file.unlink()
        file.mkdir()
    multiply(2.0)
    assert "cannot be used (IsADirectoryError" in caplog.text


def test_a_cache_that_is_a_file_is_no_fault(cache):
    """Numba has other places, or none."""
    cache.touch()
    multiply(2.0)


def test_a_full_cache_costs_no_second_compilation(cache, monkeypatch, caplog):
    """A full disk is simulated: nothing can be written."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    compiled = []
    genuine = numba.core.compiler.compile_extra
    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_open_for_write", fail)
    monkeypatch.setattr(numba.core.compiler, "compile_extra", lambda *a, **o: compiled.append(1) or genuine(*a, **o))
    multiply(2.0)
    assert len(compiled) == 1
    assert "No space left on device): the compiled kernels are compiled in every process anew" in caplog.text


def test_a_loop_tells_whether_the_cache_holds_it(cache):
    real = compiler.array_type(compiler.number_type("d"))

    def make(times):
        def loop(x):
            for k in range(x.shape[0]):
                x[k] *= times

        return compiler.Loop(loop, compiler.types.void, (real,))

    first = make(2.0)
    assert not first.is_kept()
    x = np.ones(3)
    first.compiled(x)
    np.testing.assert_array_equal(x, [2, 2, 2])
    assert make(2.0).is_kept()
    assert not make(3.0).is_kept()
    for file in cache.rglob("*.nbi"):
        file.write_bytes(b"no pickle")
    assert not make(2.0).is_kept()


FIT = """
import numpy as np
from dbutterfly.kernels.low_rank.compiled import round_grid
rng = np.random.default_rng(0)
stack = (rng.standard_normal((64, 64, 64)) + 1j * rng.standard_normal((64, 64, 64))).astype(np.complex64)
left, right, numbers = round_grid(stack[None], stack.dtype, stack_bytes=1 << 20, certified=True)
print(left.tobytes().hex(), right.tobytes().hex(), numbers.tobytes().hex())
"""


@pytest.mark.slow
def test_a_process_that_compiles_gives_the_bits_of_one_that_loads(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = [subprocess.check_output([sys.executable, "-c", FIT], env=environment) for _ in range(2)]
    assert found[0] == found[1]
