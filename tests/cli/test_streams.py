"""Standard streams that are closed or full, and Ctrl-C before the program has begun."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.cli import main, streams
from tests.support.dask_processes import surroundings
from tests.support.patience import PATIENCE


def run(directory, redirection, *arguments, path=None):
    """Run the command line by a shell, with a redirection."""
    command = f'"$0" -m dbutterfly "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments],
        cwd=directory,
        env=surroundings() | ({} if path is None else {"PYTHONPATH": path}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def matrix(tmp_path):
    np.save(tmp_path / "z.npy", np.eye(16))
    return "z.npy"


@pytest.mark.slow
def test_a_run_ends_well_with_all_streams_closed(matrix, tmp_path):
    ended = run(tmp_path, "<&- >&- 2>&-", "factorize", matrix, "run")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert dbf.open(tmp_path / "run").certificate.error_bound < 1e-12


@pytest.mark.slow
def test_what_goes_to_a_closed_stderr_does_not_go_to_stdout(matrix, tmp_path):
    ended = run(tmp_path, "2>&-", "factorize", matrix, "run", "--json")
    assert ended.returncode == 0
    assert ended.stdout.startswith("{")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_results_that_cannot_be_written_are_told(matrix, tmp_path):
    ended = run(tmp_path, ">/dev/full", "factorize", matrix, "run", "--quiet")
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: the results cannot be written to standard output: No space left on device; what the command has stored "
        "is there\n"
    )
    assert dbf.open(tmp_path / "run").certificate.error_bound < 1e-12


def test_streams_of_this_process_that_are_closed_are_opened(matrix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["factorize", matrix, "run"]) == 0
    assert main(["info", "nowhere"]) == 2
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


class Refusing:
    """A stream that cannot be written, and has no number."""

    def flush(self):
        raise OSError(28, "No space left on device")

    def fileno(self):
        raise ValueError


def test_a_stream_without_a_number_is_let_be(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing())
    streams.discard_results()
    with pytest.raises(streams.UnwrittenResultsError, match="No space left on device; what the command has stored"):
        streams.flush_results()


INTERRUPT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "zarr":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


def test_ctrl_c_during_imports_ends_the_program_in_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    path = os.pathsep.join([str(tmp_path), surroundings()["PYTHONPATH"]])
    ended = run(tmp_path, "", "info", "run.zarr", path=path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "error: interrupted\n")


@pytest.mark.slow
def test_ctrl_c_during_imports_of_another_program_is_its_own(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    path = os.pathsep.join([str(tmp_path), surroundings()["PYTHONPATH"]])
    program = "try:\n    import dbutterfly\n    dbutterfly.factorize\nexcept KeyboardInterrupt:\n    print('mine')"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(
        command,
        env=surroundings() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "mine\n")
