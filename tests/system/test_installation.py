"""How the package was installed, and what it says of that."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

import dbutterfly as dbf
from dbutterfly.errors import how_to_install

ROOT = Path(__file__).parents[2]
GIT = {"vcs": "git", "commit_id": "0" * 40}
HERE, FILE = ROOT.as_uri(), Path(__file__).as_uri()


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "dbutterfly[tls]"'),
        ({"url": HERE, "dir_info": {"editable": True}}, f'pip install -e "{ROOT}[tls]"'),
        ({"url": HERE, "dir_info": {}}, f'pip install "{ROOT}[tls]"'),
        ({"url": "file:///no/clone/any/more", "dir_info": {}}, 'pip install "dbutterfly[tls]"'),
        ({"url": FILE, "archive_info": {}}, f'pip install "dbutterfly[tls] @ {FILE}"'),
        ({"url": "https://host/d.whl", "archive_info": {}}, 'pip install "dbutterfly[tls] @ https://host/d.whl"'),
        (
            {"url": "https://host/d.git", "vcs_info": GIT | {"requested_revision": "v1"}},
            'pip install "dbutterfly[tls] @ git+https://host/d.git@v1"',
        ),
        ({"url": "ssh://host/d", "vcs_info": GIT}, 'pip install "dbutterfly[tls] @ git+ssh://host/d"'),
    ],
    ids=["index", "editable", "clone", "lost clone", "wheel", "remote wheel", "tag", "repository"],
)
def test_an_extra_is_installed_from_where_the_package_came(origin, command, monkeypatch):
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: text))
    assert how_to_install.__wrapped__("tls") == command
    wanted = command.split('"')[1]
    if not wanted.startswith("/"):
        assert Requirement(wanted).extras == {"tls"}


def test_a_clone_that_is_not_installed_says_so(monkeypatch):
    def fail(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "distribution", fail)
    assert how_to_install.__wrapped__("tls") == f'pip install -e "{ROOT}[tls]"'


# ---- what the repository says of its version, its extras and its parts


def test_version_and_date_are_the_same_everywhere():
    """The date of a release is that of its heading in the changelog; a version that is not released has none."""
    heading = re.search(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    images = (ROOT / "dbutterfly" / "execution" / "clusters" / "dbutterfly.yaml").read_text()
    assert heading is not None
    assert {heading[1], citation["version"], *re.findall(r"image: dbutterfly:(\S+)", images)} == {dbf.__version__}
    assert str(citation.get("date-released", "unreleased")) == heading[2]


def test_the_changelog_has_the_sections_of_its_form():
    sections = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert sections
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_extra_of_the_tests_is_the_union_of_its_parts():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [whole] = extras["test"]
    parts = Requirement(whole).extras
    assert parts <= set(extras)
    assert {name for name in extras if name.startswith("test-")} <= parts


def test_pages_and_templates_of_the_repository_lead_somewhere():
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]
    assert sum("body" in form for form in forms) == 3
    for form in (form for form in forms if "body" in form):
        assert {"name", "description", "body"} <= set(form)
        assert all({"type", "attributes"} <= set(part) and part["attributes"]["label"] for part in form["body"])
