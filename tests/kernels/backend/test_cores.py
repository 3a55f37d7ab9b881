"""The number of cores of this process."""

import os

import pytest

from dbutterfly.kernels.backend.cores import available_cores


def test_cores_are_those_to_which_the_process_is_pinned(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5} if process == 0 else set(), raising=False)
    assert available_cores() == 3


@pytest.mark.parametrize(("machine", "cores"), [(6, 6), (None, 1)])
def test_all_cores_of_the_machine_count_where_processes_are_not_pinned(machine, cores, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    assert available_cores() == cores
