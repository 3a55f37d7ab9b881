"""The job script of a worker, and the limits of Slurm; jobs are run in ``test_slurm_jobs.py``."""

import math
import re
import signal
import sys

import pytest

from dbutterfly.errors import ClusterError, InputError, how_to_install
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters import slurm_limits
from dbutterfly.execution.clusters.slurm_limits import Nodes, Request, check_request, partitions
from dbutterfly.execution.clusters.walltimes import parse_walltime
from tests.support.parts import require

require("dask_jobqueue", "slurm")

GIB = 1 << 30
NODES = [
    Nodes("cpu*", 86400.0, 64, 256 * GIB, 0),
    Nodes("gpu", 3600.0, 32, 128 * GIB, 4),
    Nodes("gpu", 3600.0, 8, 512 * GIB, 2),
]


def test_the_script_of_a_job(tmp_path):
    options = {
        "threads": 4,
        "processes": 2,
        "memory": "6 GiB",
        "gpu": True,
        "partition": "gpu",
        "account": "physics",
        "walltime": "1-12:00:00",
        "margin": "5 minutes",
        "directives": ["--constraint=a100"],
        "prologue": ["module load python"],
        "python": "/opt/python",
        "scratch": "/scratch",
        "directory": str(tmp_path / "jobs"),
    }
    script = clusters.choose("slurm", **options).text()
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert [line for line in lines if line.startswith("#SBATCH")] == [
        "#SBATCH -J dbutterfly-worker",
        "#SBATCH -p gpu",
        "#SBATCH -A physics",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=12G",
        "#SBATCH -t 1-12:00:00",
        f"#SBATCH --output={tmp_path}/jobs/dbutterfly-worker-%j.log",
        "#SBATCH --gres=gpu:2",
        "#SBATCH --constraint=a100",
    ]
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[:-1] == [
        "export OMP_NUM_THREADS=1",
        "export OPENBLAS_NUM_THREADS=1",
        "export MKL_NUM_THREADS=1",
        "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False",
        "module load python",
    ]
    assert commands[-1] == (
        "/opt/python -m distributed.cli.dask_worker SCHEDULER --name WORKER --nthreads 4 --memory-limit 6.00GiB "
        "--nworkers 2 --nanny --death-timeout 60 --local-directory /scratch --resources GPU=1 "
        f"--lifetime {36 * 3600 - 300}s --lifetime-stagger 75s --dashboard-address 127.0.0.1:0"
    )
    assert not (tmp_path / "jobs").exists()


def test_the_scheduler_keeps_its_dashboard_on_loopback():
    assert clusters.choose("slurm").keywords(None)["scheduler_options"] == {"dashboard_address": "127.0.0.1:0"}
    chosen = clusters.choose("slurm", interface="ib0").keywords(None)
    assert chosen["scheduler_options"]["interface"] == chosen["interface"] == "ib0"
    assert clusters.choose("slurm", host="10.0.0.1").keywords(None)["scheduler_options"]["host"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("1:30", 90),
        ("01:00:00", 3600),
        ("26:00:00", 93600),
        ("2-0", 172800),
        ("1-12:30", 131400),
        ("1-02:03:04", 93784),
        ("infinite", math.inf),
        ("UNLIMITED", math.inf),
        ("", None),
        ("1h", None),
        ("1:2:3:4", None),
        ("-5", None),
        ("1-", None),
    ],
)
def test_times_as_slurm_writes_them(text, seconds):
    assert parse_walltime(text) == seconds


def test_partitions_are_read_from_sinfo(monkeypatch):
    lines = "cpu*|infinite|64+|256000+|(null)\ngpu|1:00:00|32|128000|gpu:a100:4(S:0-1),nic:2\ngpu|30:00|8|1000|gpu:2\n"
    monkeypatch.setattr(slurm_limits, "slurm", lambda *_: lines)
    assert partitions() == [
        Nodes("cpu*", math.inf, 64, 256000 << 20, 0),
        Nodes("gpu", 3600.0, 32, 128000 << 20, 4),
        Nodes("gpu", 1800.0, 8, 1000 << 20, 2),
    ]


@pytest.mark.parametrize("request_", [Request(None, "1-00:00:00", 64, 256 * GIB, 0), Request("gpu", "60", 32, GIB, 4)])
def test_jobs_that_can_run(request_):
    check_request(request_, NODES)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("long", "60", 1, GIB, 0), r"slurm.partition='long' is not here; there are \['cpu', 'gpu'\]"),
        (Request(None, "2-0", 1, GIB, 0), "walltime='2-0' is longer than the 86400 s that partition cpu allows"),
        (Request(None, "60", 65, GIB, 0), "asks for 65 cores; a node of partition cpu has 64"),
        (Request(None, "60", 1, 257 * GIB, 0), "memory times processes asks for .* bytes"),
        (Request(None, "60", 1, GIB, 1), "asks for 1 GPUs; a node of partition cpu has 0"),
        (Request("gpu", "60", 32, 200 * GIB, 1), "no node of partition gpu has cores, memory and GPUs"),
    ],
)
def test_jobs_that_can_never_run(request_, message):
    with pytest.raises(InputError, match=message):
        check_request(request_, NODES)
    with pytest.raises(InputError, match="there is no default partition"):
        check_request(Request(None, "60", 1, GIB, 0), NODES[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum": 3}, "slurm.minimum=3 is more than workers=2"),
        ({"workers": 3, "processes": 2}, "workers=3 is no multiple of processes=2"),
        ({"walltime": "00:03:00"}, "walltime='00:03:00' leaves no time to work before margin=120 s"),
        ({"host": "a", "interface": "b"}, "exclude each other"),
        ({"directory": "my jobs"}, "slurm.directory='my jobs' has a space in it"),
    ],
)
def test_options_that_do_not_fit_each_other(options, message):
    with pytest.raises(InputError, match=message):
        clusters.choose("slurm", **options).check()


def test_a_machine_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs the command sinfo, which is not here; run it where jobs are submitted"):
        clusters.choose("slurm").check()


def test_a_command_that_fails(tmp_path, monkeypatch):
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho controller is down >&2\nexit 1\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ClusterError, match=r"sinfo .* failed: controller is down"):
        partitions()


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("slurm", "dask_jobqueue", "slurm"), ("kubernetes", "dask_kubernetes.operator", "kubernetes"),
     ("cuda", "dask_cuda", "cuda")],
)  # fmt: skip
def test_a_missing_extra_is_named(kind, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"cluster='{kind}' needs dask-.*: {re.escape(how_to_install(extra))}"):
        clusters.choose(kind).check()


def test_ctrl_c_stays_what_it_is(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    clusters.choose("slurm").cluster_class()
    assert signal.getsignal(signal.SIGINT) is before
