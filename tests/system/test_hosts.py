"""Scheduler, workers and client on four hosts: network namespaces with limited links, one of which is cut."""

import sys
from contextlib import ExitStack

import pytest

import dbutterfly as dbf
from tests.support.comparisons import assert_same
from tests.support.dask_processes import start_process
from tests.support.disturbed_runs import Trial, finished, read_in_vain
from tests.support.logged_sources import held
from tests.support.network_hosts import Hosts, spaces, why_not
from tests.support.patience import PATIENCE, wait_until
from tests.support.run_processes import attempt

PORT = 8786
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "15s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s",
}
"""Much shorter than by default, and long enough for processes that share their cores with others."""


@pytest.fixture
def hosts():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Hosts(("scheduler", "first", "second", "client")) as hosts:
        yield hosts
    assert spaces() == []


@pytest.fixture
def cluster(hosts, tmp_path):
    """Scheduler and two workers, each on its host; the processes by the names of their hosts."""
    with ExitStack() as stack:

        def start(name, kind, *arguments):
            command = [*hosts.within(name), sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard"]
            command += ["--host", hosts.address(name), *map(str, arguments)]
            process = start_process(command, tmp_path / f"{name}.log", environment=QUICK)
            stack.callback(process.kill)
            return process

        found = {"scheduler": start("scheduler", "scheduler", "--port", PORT)}
        for name in ("first", "second"):
            scratch = ["--local-directory", tmp_path / name]
            found[name] = start(name, "worker", address(hosts), "--nthreads", 1, "--memory-limit", "1GiB", *scratch)
        wait_until(lambda: _are_there(found, 2), what="two workers arrive")
        yield found


def _are_there(processes, workers):
    for process in processes.values():
        assert process.is_alive, process.said()
    return processes["scheduler"].said().count("Starting worker compute stream") == workers


def address(hosts):
    return f"tcp://{hosts.address('scheduler')}:{PORT}"


def on_client(hosts, trial, run, **options):
    """The call on its host."""
    return attempt(trial, run, address(hosts), within=hosts.within("client"), environment=QUICK, **options)


BYTES_OF_A_TASK = 1 << 14
"""Most that messages about one task may take, at each host."""


@pytest.mark.slow
def test_what_hosts_move_grows_with_the_tasks_and_not_with_the_matrix(hosts, cluster, tmp_path):
    """No byte of Z crosses the scheduler, nor the links between the workers, which read it from the storage.

    What stages hand on goes through the store: of the N^1.5 values too, nothing is on these links. So twice the side
    and as many tasks may move more only as far as messages do, and never more than N^1.5 allows.
    """
    moved = {}
    for side in (1024, 2048):
        trial, run = Trial(tmp_path / str(side), side=side), tmp_path / f"run-{side}"
        before = {name: hosts.bytes_moved(name) for name in hosts.names}
        process = on_client(hosts, trial, run, kind="zarr")
        assert process.popen.wait(PATIENCE) == 0, process.said()
        moved[side] = {name: hosts.bytes_moved(name) - before[name] for name in hosts.names}
        found = dbf.open(run)
        assert_same(found, trial.expected)
        tasks = {stage: done["tasks"] for stage, done in found.record["stages"].items()}
        assert tasks["tiles"] == 64
        assert max(moved[side].values()) < BYTES_OF_A_TASK * sum(tasks.values()), moved
        assert moved[side]["scheduler"] < 8 * side**2 / 8, moved  # an entry has 8 bytes
    workers = [moved[side]["first"] + moved[side]["second"] for side in (1024, 2048)]
    assert workers[1] < 2**1.5 * workers[0], moved


@pytest.mark.slow
def test_a_cut_link_costs_time_only(hosts, cluster, tmp_path):
    trial, run, gate = Trial(tmp_path), tmp_path / "run", tmp_path / "gate"
    gate.touch()
    process = on_client(hosts, trial, run, gate=str(gate), after=8)
    wait_until(lambda: len(held(gate)) == 2, what="both workers are held in the middle of the run")
    assert len(finished(run)) >= 8
    hosts.cut("second")
    gate.unlink()
    assert process.popen.wait(PATIENCE) == 0, process.said()
    assert_same(dbf.open(run), trial.expected)
    assert read_in_vain(run) == []
