"""When kernels are compiled: beforehand, from the cache on disk, or beside the plain ones."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import numpy as np
import pytest

from dbutterfly.kernels import compilation
from dbutterfly.kernels.products import packed
from dbutterfly.operator.butterfly import ButterflyOperator
from dbutterfly.structure.chain import Chain
from tests.support.patience import PATIENCE, wait_until

FLOAT64 = np.dtype("float64")


class Loops:
    """The loops of a dtype, whose compilation takes until a test lets it end."""

    def __init__(self, kept=False, error=None):
        self.kept, self.error, self.gate, self.compilations = kept, error, threading.Event(), 0

    def loops_of(self, char):
        assert char == "d"
        return [self, self]

    def is_kept(self):
        return self.kept

    @property
    def compiled(self):
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.compilations += 1


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that has not multiplied yet."""
    for name, value in {"_compiled": set(), "_seconds": {}, "_begun": set(), "_under_way": set()}.items():
        monkeypatch.setattr(compilation, name, value)
    yield
    wait_until(lambda: not compiling())


def compiling():
    return [thread for thread in threading.enumerate() if thread.name == "dbutterfly-compile"]


def test_what_is_kept_is_loaded_at_once():
    loops = Loops(kept=True)
    loops.gate.set()
    assert compilation.is_compiled(loops, FLOAT64)
    assert (loops.compilations, compiling()) == (2, [])


def test_nothing_is_compiled_for_a_few_small_products():
    loops = Loops()
    for _ in range(100):
        assert not compilation.is_compiled(loops, FLOAT64)
        compilation.count_seconds(loops, FLOAT64, 1e-6)
    assert compiling() == []


def test_what_pays_is_compiled_once_beside_the_products(monkeypatch):
    loops = Loops()
    monkeypatch.setattr(compilation, "SECONDS_BEFORE", 0.0)
    assert not compilation.is_compiled(loops, FLOAT64)
    compilation.count_seconds(loops, FLOAT64, 1e-6)
    assert not any(compilation.is_compiled(loops, FLOAT64) for _ in range(5))
    assert len(compiling()) == 1
    loops.gate.set()
    wait_until(lambda: compilation.is_compiled(loops, FLOAT64))
    assert loops.compilations == 2


def test_a_compiler_that_fails_leaves_the_plain_kernels(monkeypatch, caplog):
    loops = Loops(error=MemoryError("no room"))
    loops.gate.set()
    monkeypatch.setattr(compilation, "SECONDS_BEFORE", -1.0)
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        assert not compilation.is_compiled(loops, FLOAT64)
        wait_until(lambda: not compiling())
        assert not compilation.is_compiled(loops, FLOAT64)
    assert caplog.messages == ["the kernels cannot be compiled (MemoryError: no room): they stay slower"]


@pytest.fixture
def compiler(monkeypatch):
    """Compilation of the true kernels, with a cache that holds none until the test says so."""
    jit = compilation.compiled_kernels()
    if jit is None:
        pytest.skip("needs Numba")
    loops = Loops()
    monkeypatch.setattr(compilation, "_is_kept", lambda *_: loops.kept)
    monkeypatch.setattr(jit, "loops_of", loops.loops_of)
    return loops


def operator():
    rng = np.random.default_rng(0)
    return ButterflyOperator([rng.standard_normal(pattern) for pattern in Chain.square_dyadic(64)])


def test_an_operator_changes_to_the_compiled_kernels_when_they_are_there(compiler, monkeypatch):
    monkeypatch.setattr(compilation, "SECONDS_BEFORE", 0.0)
    op, x = operator(), np.ones(64)
    plain = op @ x
    assert {kernels for kernels, _ in op._products._packed.values()} == {packed}
    op @ x
    compiler.gate.set()
    wait_until(lambda: not compiling())
    assert op @ x == pytest.approx(plain, rel=1e-13)
    assert [kernels for kernels, _ in op._products._packed.values()] == [compilation.compiled_kernels()]


def test_an_operator_can_be_compiled_beforehand(compiler):
    op, x = operator(), np.ones(64)
    plain = op @ x
    compiler.gate.set()
    op.compile()
    assert compiler.compilations == 2
    assert op @ x == pytest.approx(plain, rel=1e-13)
    assert [kernels for kernels, _ in op._products._packed.values()] == [compilation.compiled_kernels()]


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BEGIN = """
import os, sys, threading, time
import numpy as np
from dbutterfly.kernels import compilation

class Loop:
    is_kept = lambda self: False

    @property
    def compiled(self):
        print("begins", flush=True)
        while threading.main_thread().is_alive():
            time.sleep(0.01)

class Kernels:
    loops_of = lambda self, char: [Loop(), Loop()]

compilation.SECONDS_BEFORE = -1.0
assert not compilation.is_compiled(Kernels(), np.dtype("float64"))
"""


def test_a_program_that_ends_waits_for_one_loop_at_most():
    assert run(BEGIN) == "begins\n"


def test_a_forked_process_compiles_nothing_of_what_its_parent_is_at():
    program = """
while not compilation._under_way:
    time.sleep(0.01)
child = os.fork()
if child == 0:
    assert not compilation.is_compiled(Kernels(), np.dtype("float64"))
    assert not compilation.is_compiled(Kernels(), np.dtype("float32"))
    os._exit(threading.active_count() - 1)
assert os.waitpid(child, 0)[1] == 0
"""
    assert run(BEGIN + program) == "begins\n"
