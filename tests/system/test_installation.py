"""How the package was installed, and what it says of that."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

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
