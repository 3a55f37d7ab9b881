"""Texts that name places of this file system, and those that were meant as something else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dbutterfly.errors import InputError
from dbutterfly.storage.local_paths import is_url, local_path, text_of
from dbutterfly.storage.places import as_store


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("run", "run"),
        ("./~/run", "~/run"),
        ("a/~b", "a/~b"),
        ("~", "home"),
        ("~/run", "home/run"),
        ("a b%20c", "a b%20c"),
        ("2024-01-01T10:00:00", "2024-01-01T10:00:00"),
        ("./s3:/bucket", "s3:/bucket"),
        ("über/run", "über/run"),
    ],
)
def test_paths_are_absolute(given: str, path: str, tmp_path: Path) -> None:
    assert local_path(given) == as_store(given) == str(tmp_path / path)
    if not given.startswith("./"):
        assert local_path(Path(given)) == as_store(Path(given)) == str(tmp_path / path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("FILE:///a/b/", "/a/b"),
        ("file:///a%20b/%C3%BC", "/a b/ü"),
        ("file://localhost/a/b", "/a/b"),
        ("file:///a/b?c#d", "/a/b?c#d"),
    ],
)
def test_file_urls_are_decoded(url: str, path: str) -> None:
    assert not is_url(url)
    assert local_path(url) == as_store(url) == path
    assert local_path(Path(path).as_uri()) == path


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("", "names no place; name a path or a URL"),
        ("run\n", r"holds the control character '\\n'; write the place without it"),
        ("a\tb", "control character"),
        ("a\0b", "control character"),
        ("a\x7f", "control character"),
        ("a\u2028b", "control character"),
        ("s3://bucket/a\nb", "control character"),
        ("file:///a%0Ab", "control character"),
        ("s3:/bucket/run", r"write s3://bucket/run, or \./s3:/bucket/run for a directory of this name"),
        ("S3:bucket", "write S3://bucket"),
        ("https:/host/z", "write https://host/z"),
        ("file:/data/run", "write file:///data/run"),
        ("file://host/data", "names the host 'host'; a file URL has three slashes"),
        ("file://run", "names the host 'run'"),
        ("file://", "names no path"),
        ("~nobody-of-this-name/run", r"names a user that is not known; write \./~nobody"),
    ],
)
def test_what_is_no_place_is_refused_with_the_remedy(given: str, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy) as caught:
        as_store(given, argument="store")
    assert str(caught.value).startswith("store=")
    assert os.listdir() == []


@pytest.mark.skipif(os.name == "nt", reason="paths of Windows are at home there")
@pytest.mark.parametrize("given", [r"C:\data\run", "c:/data/run", r"\\server\share\run"])
def test_paths_of_windows_are_refused_elsewhere(given: str) -> None:
    with pytest.raises(InputError, match="is a path of Windows, which this system has not"):
        as_store(given)


@pytest.mark.parametrize("given", [None, 3, 1.5])
def test_what_is_neither_text_nor_path_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=f"page is of type {type(given).__name__}, which names no place"):
        text_of(given, "page")


def test_urls_are_no_files() -> None:
    for url in ("s3://bucket/y.npy", "https://host/report.html", "memory://z"):
        assert is_url(url)
        with pytest.raises(InputError, match="is a URL; name a file or directory of this machine"):
            local_path(url)
