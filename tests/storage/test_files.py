"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from dbutterfly.storage.files import write_whole


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_written_under_exactly_its_name(tmp_path, kind):
    write_whole(kind(tmp_path / "product"), lambda file: file.write(b"new"))
    assert (tmp_path / "product").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["product"]


def test_a_file_that_is_there_is_replaced(tmp_path):
    place = tmp_path / "report.html"
    place.write_bytes(b"an older, longer text")
    write_whole(place, lambda file: file.write(b"new"))
    assert place.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("no such number"), OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, error):
    place = tmp_path / "y.npy"
    place.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        file.flush()
        assert place.read_bytes() == b"old"
        raise error

    with pytest.raises(type(error)) as caught:
        write_whole(place, write)
    assert caught.value is error
    assert place.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["y.npy"]


def test_places_where_no_file_can_be_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for place, error in (
        (tmp_path / "lost" / "y.npy", FileNotFoundError),
        (tmp_path / "file" / "y.npy", NotADirectoryError),
        (tmp_path / "folder", IsADirectoryError),
        (tmp_path / ("y" * 300), OSError),
    ):
        with pytest.raises(error):
            write_whole(place, lambda file: file.write(b"new"))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"
