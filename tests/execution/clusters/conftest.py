"""Fixtures: a real Slurm cluster, and the configuration without what a user of this machine has set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dask.config
import pytest

from tests.support import slurm_node
from tests.support.parts import require
from tests.support.slurm_node import SlurmNode


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """A real Slurm cluster whose commands this process, and what it starts, find; its schedulers stay on loopback."""
    require("dask_jobqueue", "slurm")
    reason = slurm_node.why_not()
    if reason is not None:
        if os.environ.get("DBUTTERFLY_SLURM") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm_node.slurm_node(tmp_path_factory.mktemp("slurm")) as node, pytest.MonkeyPatch.context() as patch:
        for name, value in node.environment.items():
            patch.setenv(name, value)
        patch.setenv("DASK_DBUTTERFLY__SLURM__HOST", "127.0.0.1")
        with dask.config.set({"dbutterfly.slurm.host": "127.0.0.1"}):
            yield node
