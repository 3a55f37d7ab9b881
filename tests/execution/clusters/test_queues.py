"""The job scripts of PBS, Grid Engine and LSF, and what is submitted to them; none of them is here to run jobs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dbutterfly.errors import ClusterError, InputError
from dbutterfly.execution import clusters
from tests.support.parts import require

require("dask_jobqueue", "jobqueue")

OPTIONS = {
    "threads": 4,
    "processes": 2,
    "memory": "6 GiB",
    "queue": "long",
    "account": "physics",
    "walltime": "1-12:00:30",
    "margin": "5 minutes",
    "prologue": ["module load python"],
    "python": "/opt/python",
    "scratch": "/scratch",
}

SCRIPTS = {
    "pbs": (
        {"gpu": True, "directives": ["-m n"]},
        [
            "#PBS -N dbutterfly-worker",
            "#PBS -q long",
            "#PBS -A physics",
            "#PBS -l select=1:ncpus=8:ngpus=2:mem=12288mb",
            "#PBS -l walltime=36:00:30",
            "#PBS -j oe",
            "#PBS -o JOBS/",
            "#PBS -m n",
        ],
    ),
    "sge": (
        {"directives": ["-m n"]},
        [
            "#$ -N dbutterfly-worker",
            "#$ -q long",
            "#$ -P physics",
            "#$ -l mem_free=1536M",
            "#$ -l h_rt=36:00:30",
            "#$ -cwd",
            "#$ -j y",
            "#$ -pe smp 8",
            "#$ -o JOBS/",
            "#$ -m n",
        ],
    ),
    "lsf": (
        {"gpu": True, "units": "mb", "resource": "rusage[mem=12GB]", "directives": ["-N"]},
        [
            "#BSUB -J dbutterfly-worker",
            "#BSUB -q long",
            '#BSUB -P "physics"',
            "#BSUB -n 8",
            '#BSUB -R "span[hosts=1]"',
            "#BSUB -M 12885",
            "#BSUB -W 36:01",
            "#BSUB -o JOBS/dbutterfly-worker-%J.log",
            '#BSUB -gpu "num=2"',
            '#BSUB -R "rusage[mem=12GB]"',
            "#BSUB -N",
        ],
    ),
}
"""Options, and the directives that follow from them, by the manuals of qsub (of PBS, of Grid Engine) and bsub."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_of_a_job(name, tmp_path):
    own, directives = SCRIPTS[name]
    script = clusters.choose(name, **OPTIONS, **own, directory=str(tmp_path / "jobs")).text()
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    found = [line for line in lines[1:] if line.startswith("#")]
    assert found == [line.replace("JOBS", str(tmp_path / "jobs")) for line in directives]
    commands = [line for line in lines if line and not line.startswith("#")]
    assert "export OPENBLAS_NUM_THREADS=1" in commands
    assert commands[-2] == "module load python"
    gpu = "--resources GPU=1 " if own.get("gpu") else ""
    assert commands[-1] == (
        "/opt/python -m distributed.cli.dask_worker SCHEDULER --name WORKER --nthreads 4 --memory-limit 6.00GiB "
        f"--nworkers 2 --nanny --death-timeout 60 --local-directory /scratch {gpu}"
        f"--lifetime {36 * 3600 + 30 - 300}s --lifetime-stagger 75s --dashboard-address 127.0.0.1:0"
    )
    assert not (tmp_path / "jobs").exists()


def test_what_a_job_asks_for_can_be_said_in_the_words_of_the_manager():
    assert "#PBS -l nodes=1:ppn=8,mem=32gb\n" in clusters.choose("pbs", resource="nodes=1:ppn=8,mem=32gb").text()
    assert "#$ -l h_vmem=8G,gpu=1\n" in clusters.choose("sge", resource="h_vmem=8G,gpu=1").text()
    assert " -pe " not in clusters.choose("sge").text()


SUBMITTED = {
    "pbs": ("qsub", "123.server"),
    "sge": ("qsub", 'Your job 123 ("dbutterfly-worker") has been submitted'),
    "lsf": ("bsub", "Job <123> is submitted to default queue <normal>."),
}
"""Commands that submit jobs, and what they answer."""

CANCELS = {"qsub": "qdel", "bsub": "bkill"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBMITTED)
def test_jobs_are_submitted_and_cancelled(name, tmp_path, monkeypatch):
    """Programs in the place of the manager's keep what they are given, and run nothing."""
    submits, answer = SUBMITTED[name]
    read = "cat" if name == "lsf" else 'cat "$1"'
    (tmp_path / submits).write_text(f"#!/bin/sh\n{read} > {tmp_path}/script\necho '{answer}'\n")
    (tmp_path / CANCELS[submits]).write_text(f"#!/bin/sh\necho $@ > {tmp_path}/cancelled\n")
    for command in (submits, CANCELS[submits]):
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    options = {"workers": 1, "host": "127.0.0.1", "wait": "2 s", "directory": str(tmp_path / "jobs")}
    kind = clusters.choose(name, **options)
    late = rf"'{name}' has had no worker for 2 s .*; see (qstat|bjobs).*; logs are in {tmp_path}/jobs"
    with clusters.opened(kind) as cluster, pytest.raises(ClusterError, match=late):
        cluster.client()
    submitted = (tmp_path / "script").read_text()
    shown = re.sub(r"tcp://127.0.0.1:\d+ --name \S+", "SCHEDULER --name WORKER", submitted)
    assert shown == kind.text()
    assert (tmp_path / "cancelled").read_text() == "123\n"
    assert Path(tmp_path / "jobs").is_dir()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pbs", {"walltime": "unlimited"}, "pbs.walltime='unlimited' is no time; use HOURS:MINUTES:SECONDS"),
        ("sge", {"gpu": True}, "sge.gpu=True: .* say it, and the memory, by the option resource"),
        ("lsf", {"workers": 3, "processes": 2}, "lsf.workers=3 is no multiple of processes=2"),
        ("pbs", {}, "cluster='pbs' needs the command qsub, which is not here; run it where jobs are submitted"),
        ("lsf", {}, "cluster='lsf' needs the command bsub"),
    ],
)
def test_what_cannot_be_had_is_refused(name, options, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=message):
        clusters.choose(name, **options).check()
