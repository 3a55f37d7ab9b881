"""The command ``compile``: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from dbutterfly.cli import main
from dbutterfly.cli.commands import compile as command
from dbutterfly.kernels.compilation import compiled_kernels

pytestmark = pytest.mark.skipif(compiled_kernels() is None, reason="needs Numba")


@pytest.mark.slow  # Numba compiles for most of its time
def test_it_says_what_is_kept_and_where(capsys):
    two = ["--dtype", "float32", "--dtype", "complex128"]
    assert main(["compile", *two]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["float32", "complex128", "kept"]
    assert lines[-1].endswith(compiled_kernels().cache_directory())
    assert main(["compile", *two, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["dtypes"]) == ["float32", "complex128"]
    assert all(dtype["was_kept"] for dtype in found["dtypes"].values())


def test_other_dtypes_are_refused(capsys):
    assert main(["compile", "--dtype", "int8"]) == 2
    assert "--dtype 'int8' has no compiled kernels; choose among float32, float64" in capsys.readouterr().err


def test_it_says_why_nothing_can_be_compiled(capsys, monkeypatch):
    monkeypatch.setattr(command, "compiled_kernels", lambda: None)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert main(["compile"]) == 2
    assert "nothing can be compiled: NUMBA_DISABLE_JIT is set" in capsys.readouterr().err


@pytest.mark.slow
def test_it_says_that_nothing_can_be_kept(capsys, monkeypatch):
    def refuse():
        raise RuntimeError("no place")

    monkeypatch.setattr(compiled_kernels(), "cache_directory", refuse)
    assert main(["compile", "--dtype", "float32"]) == 0
    assert "Numba finds no directory that it may write; set NUMBA_CACHE_DIR" in capsys.readouterr().out
