"""Stacks on the command line: a plan, a table, and an exit code that says whether all is well."""

import json
import shlex

import numpy as np
import pytest

from dbutterfly.cli import main
from dbutterfly.errors import FailedMatricesWarning
from tests.support.stacked_runs import make_stack, store_stack


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in a directory with a stack; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    store_stack(make_stack(5), tmp_path / "z.zarr", (1, 32, 32))

    def call(line):
        capsys.readouterr()
        code = main(shlex.split(line))
        return code, *capsys.readouterr()

    return call


def test_a_table_is_printed(run):
    code, out, err = run("factorize z.zarr run.zarr --workers 2")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:6]] == ["matrix", "4", "3", "2", "1", "0"]
    assert "5 of 32 x 32 complex64" in err
    assert run("info run.zarr")[1] == out
    assert run("factorize z.zarr run.zarr --quiet")[1] == out
    values = json.loads(run("info run.zarr --json")[1])
    assert [row["matrix"] for row in values["matrices"]] == list(range(5))
    code, out, _ = run("plan z.zarr --own")
    assert code == 0
    assert "5 matrices, 40.00 KiB" in out
    assert json.loads(run("plan z.zarr --json")[1])["matrices"] == 5


@pytest.mark.slow
def test_a_tolerance_that_is_missed_and_matrices_that_fail_are_said(run, tmp_path):
    chained = "--chain dyadic"
    assert run(f"factorize z.zarr run.zarr --tol 0.5 {chained} --quiet")[0] == 0
    code, _, err = run(f"factorize z.zarr other.zarr --tol 0.05 {chained} --quiet")
    assert code == 3
    assert "error bounds are above --tol 0.05" in err
    stack = make_stack(5)
    stack[1] = np.nan
    store_stack(stack, tmp_path / "bad.zarr", (1, 32, 32))
    with pytest.warns(FailedMatricesWarning):
        code, out, err = run("factorize bad.zarr bad_run.zarr")
    assert code == 3
    assert "1       failed: matrix 1 of Zarr array" in out
    assert "1 of 5 matrices have no factors" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("factorize z.zarr run2.zarr --verify", "--verify and --report are for one matrix"),
        ("factorize z.zarr run2.zarr --report r.html", "--verify and --report are for one matrix"),
        ("verify run.zarr z.zarr", "holds a stack"),
        ("report run.zarr r.html", "holds a stack of 5 matrices"),
        ("plan z.zarr --read-bandwidth 1GB/s", "--read-bandwidth predicts the time of one matrix"),
    ],
)
def test_what_is_for_one_matrix_is_refused(run, line, message):
    assert run("factorize z.zarr run.zarr --quiet")[0] == 0
    code, _, err = run(line)
    assert code in (1, 2)
    assert message in err
