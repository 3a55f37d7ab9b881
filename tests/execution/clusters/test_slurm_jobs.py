"""Runs on a real Slurm cluster, by the job scripts of ``deploy/slurm`` and from Python."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.config
import psutil
import pytest

import dbutterfly as dbf
from dbutterfly.cli.app import main
from dbutterfly.errors import ClusterError, InputError
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters.slurm import JOB_NAME
from tests.support.comparisons import assert_same
from tests.support.disturbed_runs import finished
from tests.support.patience import PATIENCE
from tests.support.slurm_node import SlurmNode, eventually

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[3] / "deploy" / "slurm"
FOURIER = ("--orderings", "none,bitreversal")
MANY_TILES = ("--memory", "9900000")
"""With chunks of 128 x 128, 64 tiles, each of which reads 16 MiB."""


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    place = tmp_path_factory.mktemp("matrix") / "z.zarr"
    noisy = dbf.matrices.noisy(dbf.matrices.dft(2048, dtype="complex64"), 0.01, seed=0)
    dbf.matrices.write(noisy, place, chunks=(128, 128))
    return place


@pytest.fixture(scope="module")
def expected(matrix):
    """What threads of this process find."""
    return dbf.factorize(matrix, orderings=(None, "bitreversal"), memory=int(MANY_TILES[1]), workers=2)


@pytest.fixture
def work(tmp_path, slurm):
    """A directory with the job scripts, where nothing runs when the test is over."""
    for script in SCRIPTS.iterdir():
        shutil.copy(script, tmp_path)
    yield tmp_path
    slurm.run("scancel", "--user=root")
    eventually(lambda: not slurm.run("squeue", "--noheader"), what="all jobs are gone")


def submitted(slurm: SlurmNode, work: Path, *command: object, **environment: str) -> int:
    """Number of the job that a command submits."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return int(slurm.run("sbatch", "--parsable", *command, cwd=work, environment={"PATH": path, **environment}))


def log(work: Path, job: int) -> str:
    return (work / f"dbutterfly-{job}.log").read_text()


def wait_while_running(slurm: SlurmNode, work: Path, job: int, condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that must happen before a job ends."""

    def happened() -> Any:
        found = condition()
        assert found or slurm.state(job)["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), log(work, job)
        return found

    return eventually(happened, what=what)


def seconds_of(time: str) -> int:
    """A time as Slurm shows it, ``HOURS:MINUTES:SECONDS``."""
    hours, minutes, seconds = map(int, time.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def record(store: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "dbutterfly", "info", str(store), "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["record"]


@contextlib.contextmanager
def stopped_workers(work: Path) -> Iterator[None]:
    """Workers whose jobs log into a directory neither compute nor answer."""
    processes = [process for process in psutil.process_iter() if _logs_into(process, work)]
    assert processes
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _logs_into(process: psutil.Process, work: Path) -> bool:
    try:
        is_worker = any("dask_worker" in word or "spawn_main" in word for word in process.cmdline())
        return is_worker and process.cwd() == str(work)
    except psutil.Error:
        return False


def test_two_jobs_are_workers_and_one_that_is_cancelled_is_replaced(slurm, work, matrix, expected):
    options = ("--workers", 2, "--cluster-option", "minimum=2", "--tls", "temporary")
    job = submitted(slurm, work, "cpu.sbatch", matrix, "run.zarr", *FOURIER, *MANY_TILES, *options)
    run = work / "run.zarr"
    wait_while_running(slurm, work, job, lambda: len(slurm.jobs(JOB_NAME)) == 2, "two jobs of workers")
    wait_while_running(slurm, work, job, lambda: len(finished(run)) > 2, "tiles are finished")
    with stopped_workers(work):
        assert 2 < len(finished(run)) < 64
        cancelled = slurm.jobs(JOB_NAME)[1][0]
        slurm.run("scancel", cancelled)
        assert slurm.state(cancelled)["JobState"] in ("CANCELLED", "COMPLETING")
    assert slurm.wait_for_end(job) == "COMPLETED", log(work, job)
    assert slurm.wait_for_end(cancelled) == "CANCELLED"
    assert re.search(r"^verified +error 0\.0099\d+ \(exact\)$", log(work, job), re.MULTILINE)
    assert_same(dbf.open(run), expected)
    assert {path.suffix for path in (work / "dbutterfly-jobs").iterdir()} == {".log"}  # credentials are gone
    eventually(lambda: not slurm.jobs(JOB_NAME), what="the workers' jobs are gone")


def test_a_run_out_of_time_goes_on_in_the_next_job(slurm, work, matrix, expected):
    limit = ("--time=30", "--signal=B:USR1@240")  # the signal comes so many seconds before the end of the time
    job = submitted(slurm, work, *limit, "cpu.sbatch", matrix, "run.zarr", *FOURIER, *MANY_TILES, "--workers", 1)
    run = work / "run.zarr"
    wait_while_running(slurm, work, job, lambda: len(finished(run)) > 2, "tiles are finished")
    with stopped_workers(work):
        kept = finished(run)
        assert len(kept) < 64
        minutes = 4 + seconds_of(slurm.state(job)["RunTime"]) // 60  # so that the signal is due, and the end is not
        slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")  # Slurm looks every thirty seconds
        eventually(lambda: slurm.state(job)["Restarts"] == "1", "the job is queued again")
        eventually(lambda: not slurm.jobs(JOB_NAME), what="the workers' jobs are gone")
        said = log(work, job)
    assert "the time of this job is nearly up" in said
    assert "finished tasks are kept in run.zarr, and the same command resumes" in said
    assert kept <= finished(run)
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=30")  # Slurm would wait for two minutes
    assert slurm.wait_for_end(job) == "COMPLETED", log(work, job)
    assert record(run)["stages"]["tiles"]["resumed"] >= len(kept)
    assert_same(dbf.open(run), expected)


def test_the_commands_of_the_readme(slurm, work):
    blocks = re.findall(r"```console\n(.*?)\n```", (SCRIPTS / "README.md").read_text(), re.S)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    said = slurm.run("bash", "-euc", "\n".join(commands), cwd=work, environment={"PATH": path})
    assert "#SBATCH -p cpu" in said
    jobs = [int(number) for number in re.findall(r"^Submitted batch job (\d+)$", said, re.MULTILINE)]
    assert len(jobs) == 2
    for job in jobs:
        assert slurm.wait_for_end(job) == "COMPLETED", log(work, job)
        assert re.search(r"^verified +error 0\.0099", log(work, job), re.MULTILINE)


def test_an_error_is_not_tried_again(slurm, work, matrix):
    job = submitted(slurm, work, "cpu.sbatch", matrix, "run.zarr", "--chain", "monarch:5,7")
    assert slurm.wait_for_end(job) == "FAILED"
    assert slurm.state(job)["ExitCode"] == "2:0"
    assert slurm.state(job)["Restarts"] == "0"
    assert "error: " in log(work, job)


def test_a_cancelled_job_takes_its_workers_with_it(slurm, work, matrix):
    job = submitted(slurm, work, "cpu.sbatch", matrix, "run.zarr", *FOURIER, *MANY_TILES, "--workers", 1)
    wait_while_running(slurm, work, job, lambda: finished(work / "run.zarr"), "tiles are finished")
    slurm.run("scancel", job)
    assert slurm.wait_for_end(job) == "CANCELLED"
    eventually(lambda: not slurm.jobs(JOB_NAME), "the workers' jobs are gone")
    assert slurm.state(job)["Restarts"] == "0"


def test_workers_with_gpus(slurm, tmp_path, matrix):
    kind = clusters.choose("slurm", gpu=True, partition="gpu", directory=str(tmp_path), minimum=2)
    with clusters.opened(kind) as cluster:
        planned = dbf.plan(matrix, orderings=(None, "bitreversal"), cluster=cluster)
        assert not cluster.is_started
        assert planned.budget.workers == 2
        found = dbf.factorize(matrix, orderings=(None, "bitreversal"), cluster=cluster, store=tmp_path / "run.zarr")
        client = cluster.client()
        client.wait_for_workers(2, timeout=PATIENCE)
        devices = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(devices.values()) == ["0", "1"]
        assert set(client.run(dask.config.get, "distributed.worker.profile.enabled").values()) == {False}
        assert {info["resources"]["GPU"] for info in client.scheduler_info(n_workers=-1)["workers"].values()} == {1}
        assert dbf.verify(found, matrix, cluster=cluster) < 0.01
    eventually(lambda: not slurm.jobs(JOB_NAME), "the workers' jobs are gone")


def test_a_plan_submits_nothing(slurm, matrix, capsys):
    options = ("--workers", "4", *(f"--cluster-option={text}" for text in ("threads=2", "processes=2", "memory=3GiB")))
    assert main(["plan", str(matrix), "--cluster", "slurm", *options, "--json"]) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert budget == {"memory": int(0.55 * 1.5 * 2**30), "workers": 8, "device_memory": None}
    assert main(["plan", str(matrix), "--cluster", "slurm", "--cluster-option", "partition=long"]) == 2
    assert "slurm.partition='long' is not here" in capsys.readouterr().err
    assert not slurm.jobs(JOB_NAME)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "long"}, r"slurm\.partition='long' is not here; there are \['cpu', 'gpu'\]"),
        ({"walltime": "3-00:00:00"}, r"walltime='3-00:00:00' is longer than the 172800 s that partition cpu allows"),
        ({"threads": 17}, "asks for 17 cores; a node of partition cpu has 16"),
        ({"memory": "100 GiB"}, "asks for 107374182400 bytes; a node of partition cpu has"),
        ({"directives": ["--constraint=nowhere"]}, "would refuse jobs with these options: .*Invalid feature"),
        ({"gpu": True, "processes": 3, "workers": 3}, "asks for 3 GPUs; a node of partition cpu has 2"),
    ],
)
def test_what_slurm_cannot_give_is_refused_before_anything_is_submitted(slurm, matrix, options, message):
    with (
        pytest.raises(InputError, match=message),
        clusters.opened("slurm", **options),
    ):
        pass
    assert not slurm.jobs(JOB_NAME)


def test_jobs_that_do_not_start_are_named_with_the_reason(slurm, matrix, tmp_path):
    kind = clusters.choose("slurm", wait="3s", directives=["--begin=now+1hour"], directory=str(tmp_path))
    with pytest.raises(
        ClusterError, match=r"has had no worker for 3 s \(option wait\); jobs: \d+ PENDING \(BeginTime\)"
    ):
        dbf.factorize(matrix, orderings=(None, "bitreversal"), cluster=kind)
    assert not slurm.jobs(JOB_NAME)
