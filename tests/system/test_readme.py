"""Every command and every session of the README and of the site, run as a reader would run them.

A page is run from its top to its end, in a directory of its own. What a page includes from elsewhere is tested there.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import dbutterfly

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in path.parts
}
ROOMS = PAGES["docs/contributing/rooms.md"]
SETUP = re.findall(r"```sh\n(.*?)\n```", README, re.S)


def blocks(language: str) -> list[tuple[str, list[str]]]:
    """Pages that have blocks of a language, and these blocks."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.S | re.M)
    return [(page, found) for page, text in PAGES.items() if (found := pattern.findall(text))]


QUICK = ("README.md", "docs/start.md")
"""Pages whose sessions are run by the quick tests."""

SESSIONS = [
    pytest.param(page, session, id=page, marks=[] if page in QUICK else pytest.mark.slow)
    for page, session in blocks("python")
]
CONSOLE = [(page, block) for page, found in blocks("console") for block in found]


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
    ignore = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", "_build")
    shutil.copytree(ROOT, place, ignore=ignore)
    return place


def test_readme_has_two_set_up_commands():
    assert len(SETUP) == 2
    assert all(command.count("\n") == 0 for command in SETUP)
    assert "dbutterfly demo" in SETUP[0]
    assert "pytest" in SETUP[1]


@pytest.mark.slow
def test_first_command_sets_up_and_runs_the_demo(checkout):
    done = run(SETUP[0], checkout)
    for words in ("amplification 1.00", "certificate", "verified", "op @ x"):
        assert words in done.stdout


@pytest.mark.slow
def test_second_command_sets_up_and_finds_the_tests(checkout):
    done = run(SETUP[1], checkout, PYTEST_ADDOPTS="--collect-only -q")
    assert re.search(r"\d+ tests collected", done.stdout)


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", PAGES[page])
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_session_that_nobody_runs(page):
    """Commands and sessions are in the blocks that are run below; directives of Sphinx, and plain text, are none."""
    text = re.sub(r"^```(python|console)\n.*?^```", "", PAGES[page], flags=re.S | re.M)
    if page == "README.md":
        text = re.sub(r"^```sh\n.*?^```", "", text, flags=re.S | re.M)
    assert re.findall(r"^ *(?:\$|>>>) .*", text, re.M) == []
    assert [
        mark for mark in re.findall(r"^ *```(\S+)$", text, re.M) if mark[0] != "{" and mark not in ("text", "yaml")
    ] == []


@pytest.mark.parametrize(("page", "session"), SESSIONS)
def test_session(page, session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest("\n".join(session), {}, page, page, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=report.append)
    assert runner.tries >= len(session)
    assert runner.failures == 0, "".join(report)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), CONSOLE, ids=[page for page, _ in CONSOLE])
def test_console_commands(page, block, tmp_path):
    commands = [line.removeprefix("$ ") for line in block.splitlines()]
    ends = "trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT"
    assert run("\n".join([ends, *commands]), tmp_path).stdout.strip()


@pytest.mark.parametrize(
    ("page", "configurations"), blocks("yaml"), ids=lambda value: value if isinstance(value, str) else ""
)
def test_configurations_name_options_that_there_are(page, configurations):
    known = yaml.safe_load((ROOT / "dbutterfly/execution/clusters/dbutterfly.yaml").read_text())
    for text in configurations:
        given = yaml.safe_load(text)
        assert given.keys() <= known.keys()
        for name, value in given["dbutterfly"].items():
            assert name in known["dbutterfly"]
            assert not isinstance(value, dict) or value.keys() <= known["dbutterfly"][name].keys()


# ---- the folder tree and the way through the code


def layers() -> list[set[str]]:
    """Rooms of the contract that the imports keep, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [rooms] = [contract["layers"] for contract in contracts if contract.get("containers") == ["dbutterfly"]]
    return [set(layer.split(" | ")) for layer in rooms if layer != "__main__"]


def tree_of_the_house() -> list[str]:
    """Every path of the tree on the page of the rooms, from the root of the repository."""
    tree = re.search(r"```text\n(dbutterfly/\n.*?)```", ROOMS, re.S)
    assert tree is not None
    place: list[str] = []
    paths = []
    for line in tree.group(1).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        place = [*place[:depth], line.split()[0].removesuffix("/")]
        paths.append("/".join(place))
    return paths


def test_the_tree_names_every_room_in_the_order_of_the_imports_and_nothing_else():
    rooms = [Path(path).stem for path in tree_of_the_house() if path.count("/") == 1]
    there = {path.stem for path in (ROOT / "dbutterfly").iterdir() if path.suffix in ("", ".py")}
    assert set(rooms) == {name for name in there if not name.startswith("__")}
    for layer in layers():
        assert set(rooms[: len(layer)]) == layer
        rooms = rooms[len(layer) :]
    assert rooms == []


def test_the_tree_is_short_and_names_what_there_is():
    tree = tree_of_the_house()
    assert len(tree) <= 40
    assert [path for path in tree if not (ROOT / path).exists()] == []
    assert [name for name in re.findall(r"`([a-z_/]+\.py)`", ROOMS) if not (ROOT / "dbutterfly" / name).exists()] == []


def test_the_package_shows_the_same_rooms():
    picture = (dbutterfly.__doc__ or "").partition("this list only")[2].partition("::\n\n")[2]
    shown = [re.split(r"  +", line.strip())[0] for line in picture.splitlines() if line.startswith("    ")]
    assert [set(layer.split(" | ")) for layer in shown] == layers()


def test_the_way_through_the_code_is_there():
    """The three steps name files, and what is found in them."""
    steps = re.findall(r"^\d\. (.*?)\n(?=\d\.|\n)", ROOMS[ROOMS.index("in three files") :], re.S | re.M)
    assert len(steps) == 3
    source = ""
    for step in steps:
        [file] = re.findall(r"`([a-z_/]+\.py)`", step)
        source += (ROOT / "dbutterfly" / file).read_text()
        for name in re.findall(r"`([A-Za-z_.]+)`", step):
            for part in [] if name == file else name.split("."):
                assert re.search(rf"\b{part}\b", source), f"{part} is not in {file}"
