"""One process for each GPU: what it is going to be. It runs on no machine of these tests."""

import sys
import types

import numpy as np
import pytest
from distributed.system import MEMORY_LIMIT

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.execution import clusters
from dbutterfly.planning.budget import Budget


@pytest.fixture
def dask_cuda(monkeypatch):
    """The package in name only: its cluster is chosen, planned for, and never started."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "dask_cuda", types.SimpleNamespace(LocalCUDACluster=None))


@pytest.mark.parametrize(
    ("options", "workers"),
    [({"devices": "0,1"}, 2), ({"workers": 3}, 3), ({"devices": "0,1,2", "workers": 2}, 2), ({"devices": "GPU-5a"}, 1)],
)
def test_a_node_is_planned_for(dask_cuda, options, workers):
    planned = dbf.plan(np.eye(64), cluster=clusters.choose("cuda", memory="2 GiB", threads=2, **options))
    assert planned.budget == Budget(int(0.55 * 2**30), 2 * workers)
    memory = clusters.choose("cuda", **options).expected().memory
    assert memory == int(MEMORY_LIMIT * (1 / workers))


def test_a_node_is_not_started_to_be_planned_for(dask_cuda, monkeypatch):
    with pytest.raises(InputError, match=r"only the running cluster='cuda' knows how many workers it has; .*: workers"):
        dbf.plan(np.eye(64), cluster="cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert dbf.plan(np.eye(64), cluster="cuda").budget.workers == 2


def test_a_node_is_described(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    kind = clusters.choose("cuda", devices="0,1", threads=2, memory="8 GiB")
    assert kind.text().splitlines() == [
        "LocalCUDACluster:",
        "  CUDA_VISIBLE_DEVICES: 0,1",
        "  n_workers: 2",
        "  threads_per_worker: 2",
        f"  memory_limit: {8 << 30}",
        "  host: 127.0.0.1",
        "  dashboard_address: 127.0.0.1:0",
        "  resources:",
        "    GPU: 1",
    ]
    assert kind.resources["GPU"] > 0
    assert "memory_limit: auto" in clusters.choose("cuda").text()
