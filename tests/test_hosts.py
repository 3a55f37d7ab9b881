"""Scheduler, workers and client on four hosts: network namespaces with limited links, one of which is cut."""

import sys
from contextlib import ExitStack

import pytest
from attempt import attempt
from cluster import PATIENCE, start_process, wait_until
from comparing import assert_same
from hosts import Hosts, spaces, why_not
from trial import Trial, finished, read_in_vain, readers

import dbutterfly as dbf

PORT = 8786
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s",
}


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


@pytest.mark.slow
def test_a_run_on_several_hosts_moves_little(hosts, cluster, tmp_path):
    trial, run = Trial(tmp_path, side=2048), tmp_path / "run"
    before = {name: hosts.bytes_moved(name) for name in hosts.names}
    process = on_client(hosts, trial, run, kind="zarr")
    assert process.popen.wait(PATIENCE) == 0, process.said()
    moved = {name: hosts.bytes_moved(name) - before[name] for name in hosts.names}
    assert_same(dbf.open(run), trial.expected)
    assert dbf.open(run).record["stages"]["tiles"]["tasks"] > 8
    assert max(moved.values()) < 8 * trial.side**2 / 16, moved  # an entry has 8 bytes


@pytest.mark.slow
def test_a_cut_link_costs_time_only(hosts, cluster, tmp_path):
    trial, run = Trial(tmp_path), tmp_path / "run"
    process = on_client(hosts, trial, run, seconds=0.2)
    wait_until(lambda: len(finished(run)) >= 8 and len(readers(run)) == 2, what="both workers compute")
    hosts.cut("second")
    assert process.popen.wait(PATIENCE) == 0, process.said()
    assert_same(dbf.open(run), trial.expected)
    assert read_in_vain(run) == []
