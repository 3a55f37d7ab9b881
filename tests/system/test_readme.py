"""Every command and every session of the README, run as a reader would run them."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SETUP = re.findall(r"```sh\n(.*?)\n```", README, re.S)
CONSOLE = re.findall(r"```console\n(.*?)\n```", README, re.S)


def run(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PIP_NO_COMPILE": "0", **environment}  # pip's way to say --no-compile
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a fresh clone holds."""
    place = tmp_path / "clone"
    ignore = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", "results")
    shutil.copytree(ROOT, place, ignore=ignore)
    return place


def test_readme_has_two_set_up_commands():
    assert len(SETUP) == 2
    assert all(command.count("\n") == 0 for command in SETUP)
    assert "dbutterfly demo" in SETUP[0]
    assert "pytest" in SETUP[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_first_command_sets_up_and_runs_the_demo(checkout):
    done = run(SETUP[0], checkout)
    for words in ("amplification 1.00", "certificate", "verified", "op @ x"):
        assert words in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_second_command_sets_up_and_finds_the_tests(checkout):
    done = run(SETUP[1], checkout, PYTEST_ADDOPTS="--collect-only -q")
    assert re.search(r"\d+ tests collected", done.stdout)


def test_session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    session = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", "README.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(session, out=report.append)
    assert runner.tries > 10
    assert runner.failures == 0, "".join(report)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(CONSOLE)))
def test_console_commands(index, tmp_path):
    commands = [line.removeprefix("$ ") for line in CONSOLE[index].splitlines()]
    ends = "trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT"
    done = run("\n".join([ends, *commands]), tmp_path)
    assert "error" in done.stdout


def test_picture_of_the_house_names_every_module():
    package = ROOT / "dbutterfly"
    rooms = [f"{path.name}/" if path.is_dir() else path.name for path in package.iterdir()]
    for room in rooms:
        if not room.startswith("__"):
            assert f"`{room}`" in README or f"`{room.removesuffix('.py')}`" in README, room
