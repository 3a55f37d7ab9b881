"""What macOS and Windows lack of Linux is done without: it is taken away, in a process of its own and its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

PROGRAM = """
import json
import os
import sys

import numpy as np
import dbutterfly as dbf
from dbutterfly.cli import main
from dbutterfly.storage import lease


def work():
    assert not hasattr(lease.os, "fork")
    z = dbf.matrices.hadamard(16)[:, :]
    fact = dbf.factorize(z, store="run", workers=2)
    assert fact.certificate.error_bound < 1e-12
    assert dbf.factorize(z, store="run").certificate.error_bound == fact.certificate.error_bound
    assert len(dbf.plan(z).tiles) >= 1
    assert dbf.verify(fact, z) < 1e-12
    assert dbf.identify(z).found
    op = fact.operator
    x = np.arange(16.0)
    np.testing.assert_allclose(op.apply(x), z @ x, atol=1e-12)
    np.testing.assert_allclose(op @ x, z @ x, atol=1e-12)
    np.save("z.npy", z)
    dbf.stream_product(op, "z.npy", "product.zarr")
    assert main(["factorize", "z.npy", "other", "--quiet"]) == 0
    assert main(["verify", "other", "z.npy", "--quiet"]) == 0
    assert dbf.clusters.choose("local").expected().workers >= 1
    with dbf.clusters.opened("local", workers=1) as cluster:
        assert dbf.factorize(z, cluster=cluster).certificate.error_bound == fact.certificate.error_bound
        assert cluster.client().submit(hides_linux).result()


def hides_linux():
    return not hasattr(os, "sched_getaffinity")


if __name__ == "__main__":
    work()
    print("all done")
"""


@pytest.mark.slow
def test_everything_runs_without_what_only_linux_has(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("from tests.support.other_systems import hide_linux\nhide_linux()\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    ended = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "NUMBA_DISABLE_JIT": "1"},  # compiling takes seconds
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.stdout.splitlines()[-1:] == ["all done"], ended.stdout + ended.stderr
