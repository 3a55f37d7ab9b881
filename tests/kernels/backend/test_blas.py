"""BLAS is held to one thread, whichever thread asks for it and whichever library is loaded by then."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from dbutterfly.kernels.backend.blas import single_threaded_blas


def count():
    return max((info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"), default=1)


def held():
    with single_threaded_blas():
        return count()


before = count()
held()
import scipy.linalg  # a BLAS library of its own
pools = [ThreadPoolExecutor(1) for _ in range(2)]
assert [held(), *(pool.submit(held).result() for pool in pools), held()] == [1, 1, 1, 1]
assert count() == before
with threadpool_limits(limits=2):  # this thread's
    now = count()
    assert pools[0].submit(held).result() == 1
    assert count() == now
assert count() == before
"""


def test_every_thread_can_hold_it():
    """In a process of its own: which thread of a process was the first to set a number matters."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
