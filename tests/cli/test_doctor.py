"""What the command ``doctor`` finds, and that it fails at nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

import dbutterfly as dbf
from dbutterfly.cli import diagnosis, main
from dbutterfly.errors import how_to_install

FOR_DEVELOPERS = ("test", "lint", "bench", "docs")


@pytest.fixture
def doctor(capsys):
    """Run the command; returns exit code and what it printed, as values with ``--json``."""

    def call(*arguments):
        code = main(["doctor", *arguments])
        out, err = capsys.readouterr()
        assert err == "" or code not in (0, 3)
        return code, json.loads(out) if "--json" in arguments and out else out + err

    return call


def test_it_tells_what_is_here(doctor):
    code, found = doctor("--json")
    assert code == 0
    assert found["dbutterfly"]["version"] == dbf.__version__
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert found["cores"]["usable"] == len(os.sched_getaffinity(0))
    assert 0 < found["memory"]["of_a_thread"] < found["memory"]["free"] < found["memory"]["machine"]
    assert {Path(blas["filepath"]).is_file() for blas in found["blas"]} == {True}
    code, text = doctor()
    assert code == 0
    for words in (f"numpy {found['packages']['numpy']}", "[tls] ", "kernels ", "gpu  "):
        assert words in text


def test_it_tells_what_is_missing_and_how_to_get_it(doctor, monkeypatch, tmp_path):
    there = importlib.util.find_spec
    gone = {"numba", "cupy", "obstore"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else there(name))
    monkeypatch.setattr(diagnosis, "compiled_kernels", lambda: None)
    monkeypatch.setattr(diagnosis, "SECONDS_FOR_COMMAND", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, script in {"sbatch": "echo slurm 22.05.8", "sinfo": "echo no controller >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "squeue").write_text("#!/bin/sh\nwhile :; do :; done\n")
    (tmp_path / "squeue").chmod(0o755)
    code, text = doctor()
    assert code == 0
    for name in ("gpu", "s3"):
        assert re.search(rf"^\[{name}\] .*{re.escape(how_to_install(name))}$", text, re.M)
    assert re.search(r"^kernels +plain: Numba is not installed", text, re.M)
    assert re.search(r"^gpu +none: CuPy is not installed", text, re.M)
    told = "sbatch: slurm 22.05.8; sinfo: no controller; squeue: TimeoutExpired: .*; scancel: not here"
    assert re.search(rf"^slurm +{told}$", text, re.M)
    assert re.search(r"^kubernetes +kubectl: not here$", text, re.M)


@pytest.mark.slow
def test_it_describes_the_device(doctor, device, monkeypatch):
    monkeypatch.setattr(diagnosis.cuda, "is_installed", lambda: True)
    assert doctor("--json")[1]["gpu"] == {"device": "simulated, 2.0 GiB; CUDA driver 12.8", "reason": None}

    def fail():
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(device, "is_available", fail)
    assert "CuPy does not work: ImportError: libcudart" in doctor()[1]


@pytest.mark.slow
def test_it_compares_versions_with_those_of_a_cluster(doctor, client):
    address = client.scheduler.address
    assert f"{address}: all versions are the same" in doctor("--cluster", address)[1]
    worker = min(client.nthreads())
    try:
        client.run(_pretend, "0.0.1", workers=[worker])
        code, found = doctor("--cluster", address, "--json")
        assert code == 3
        here = importlib.metadata.version("zarr")
        versions = found["cluster"]["different"].pop("zarr")
        assert found["cluster"]["different"] == {}
        assert versions.pop(worker) == "0.0.1"
        assert set(versions.values()) == {here}
        assert {"client", "scheduler"} < set(versions)
        assert f"{worker} 0.0.1" in doctor("--cluster", address)[1]
    finally:
        client.run(_pretend, None, workers=[worker])


def _pretend(version):
    """Have a worker take another version of zarr for installed."""
    from distributed import versions

    real = versions.__dict__.setdefault("_real", versions._version_cached)
    versions._version_cached = real if version is None else lambda name: version if name == "zarr" else real(name)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "slurm", "threads"])
def test_it_compares_only_with_a_cluster_that_runs(doctor, where):
    code, text = doctor("--cluster", where)
    assert code == 2
    assert f"--cluster '{where}' is no cluster that runs" in text


def test_every_extra_for_users_is_known():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for_users = {name for name in project["optional-dependencies"] if not name.startswith(FOR_DEVELOPERS)}
    assert set(diagnosis.EXTRAS) == for_users
