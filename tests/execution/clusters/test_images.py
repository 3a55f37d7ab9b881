"""The Dockerfiles: linted, and their installation carried out in virtual environments of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dbutterfly import __version__
from dbutterfly.errors import how_to_install
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters.configuration import default_text
from dbutterfly.execution.clusters.kubernetes import USER

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
FILES = ["Dockerfile", "Dockerfile.cuda"]
CUDA = ROOT / "deploy" / "cuda"
IMAGES = {"Dockerfile": "dbutterfly", "Dockerfile.cuda": "dbutterfly-cuda"}

CHECK_CUDA = """
import inspect, json
import cupy, dask_cuda
from distributed import LocalCluster, Worker
print(json.dumps({
    "available": bool(cupy.is_available()),
    "keywords": [name for taker in (dask_cuda.LocalCUDACluster, LocalCluster, Worker)
                 for name in inspect.signature(taker).parameters],
}))
"""


def console(readme):
    return [
        line.removeprefix("$ ")
        for block in re.findall(r"```console\n(.*?)\n```", readme.read_text(), re.S)
        for line in block.splitlines()
    ]


def instructions(name):
    """Instructions of a Dockerfile: (word, rest), continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]


@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name, tmp_path):
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip(f"needs hadolint: {how_to_install('test-kubernetes')}")

    def lint(path):
        return subprocess.run(
            [hadolint, "--failure-threshold", "info", path], capture_output=True, text=True, check=False
        )

    done = lint(DOCKER / name)
    assert done.returncode == 0, done.stdout
    (tmp_path / name).write_text((DOCKER / name).read_text().replace(f"USER {USER}:{USER}", "USER root"))
    assert "DL3002" in lint(tmp_path / name).stdout  # the last user is root


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned_and_run_as_a_user(name):
    found = instructions(name)
    assert all(re.search(r":[\w.-]*\d+\.\d+\.\d+[\w.-]*( |$)", rest) for word, rest in found if word == "FROM")
    (user,) = [rest for word, rest in found if word == "USER"]
    assert user == f"{USER}:{USER}"
    assert [word for word, _ in found].index("USER") > max(i for i, (word, _) in enumerate(found) if word == "RUN")
    (variables,) = [rest for word, rest in found if word == "ENV"]
    assert "OMP_NUM_THREADS=1" in variables
    versions = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+-]+", version) for version in versions)


def test_images_have_the_names_that_others_use():
    built = [command for command in console(DOCKER / "README.md") if command.startswith("docker build")]
    for command, name in zip(built, FILES, strict=True):
        assert command == f"docker build --file deploy/docker/{name} --tag {IMAGES[name]}:{__version__} ."
        assert command in (DOCKER / name).read_text()
    assert yaml.safe_load(default_text())["dbutterfly"]["kubernetes"]["image"] == f"dbutterfly:{__version__}"
    for command in console(DOCKER / "README.md")[2:]:
        assert re.search(rf" dbutterfly(-cuda)?:{re.escape(__version__)} dbutterfly (generate|factorize) ", command)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_what_is_installed_works(name, tmp_path):
    """Copies and installation of an image, with its paths moved into a directory."""
    source, target = tmp_path / "src", tmp_path / "installed"
    source.mkdir()
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            *copied, place = rest.split()
            for path in copied:
                to = source / path if place == "./" else source / place
                subprocess.run(["cp", "--recursive", ROOT / path, to], check=True)
    (install,) = [rest for word, rest in instructions(name) if word == "RUN" and "pip install" in rest]
    moved = install.replace("/opt/dbutterfly", str(target)).replace("python3 -m venv", f"{sys.executable} -m venv")
    moved = moved.replace("pip install", "pip install --quiet --disable-pip-version-check")
    moved = moved.replace("--no-cache-dir ", "")  # the tests have fetched some of it already
    quick = {**os.environ, "PIP_NO_COMPILE": "0"}  # pip's way to say --no-compile
    subprocess.run(["bash", "-euc", moved], cwd=source, env=quick, capture_output=True, check=True)

    def run(*command):
        done = subprocess.run(
            [target / "bin" / command[0], *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert run("pip", "check")[0] == 0
    assert run("dbutterfly", "generate", "dft", "z.zarr", "--n", "256", "--quiet")[0] == 0
    line = ("dbutterfly", "factorize", "z.zarr", "run.zarr", "--orderings", "none,bitreversal", "--quiet", "--verify")
    code, out, err = run(*line, "--cluster", "local", "--workers", "1", "--tls", "temporary")
    assert code == 0, err
    assert "verified" in out
    if name == "Dockerfile.cuda":
        answer = json.loads(run("python", "-c", CHECK_CUDA)[1])
        assert set(clusters.choose("cuda").keywords(None)) <= set(answer["keywords"])
        if not answer["available"]:  # without a driver, the script says so
            code, out, err = run("dbutterfly", "factorize", "z.zarr", "gpu.zarr", "--cluster", "cuda", "--quiet")
            assert code == 1
            assert "error: cluster='cuda' does not start" in err


def test_the_script_for_a_node_runs_what_it_is_given(tmp_path):
    """The commands of the README, with a program in place of dbutterfly that says what it was asked."""
    program = tmp_path / "dbutterfly"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    commands = [command for command in console(CUDA / "README.md") if command.startswith("bash run.sh")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=CUDA,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        given = command.removeprefix("bash run.sh ")
        assert done.stdout == f"factorize --cluster cuda --backend cupy --verify {given}\n"
