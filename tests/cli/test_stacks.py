"""Stacks on the command line: a plan, a table, and an exit code that says whether all is well."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
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


def test_a_digit_that_is_no_number_names_no_matrix(run):
    run("factorize z.zarr run.zarr --quiet")
    code, _, err = run("report run.zarr page.html --matrix ²")
    assert (code, "names no matrix of the stack" in err) == (2, True)


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


def test_stacks_are_verified_reported_and_applied(run):
    code, out, _ = run("factorize z.zarr run.zarr --quiet --verify --report all.html")
    assert code == 0
    assert "5 matrices, errors 0.0" in out.splitlines()[-1]
    assert "matrix-4" in Path("all.html").read_text()
    code, table, err = run("verify run.zarr z.zarr --quiet --tol 0.05")
    assert (code, err) == (3, "error: 3 of 5 verified errors are above --tol 0.05\n")
    assert table.splitlines()[1].split()[0] == "4"
    values = json.loads(run("verify run.zarr z.zarr --quiet --json")[1])
    assert (len(values["matrices"]), values["worst"]) == (5, 4)
    assert run("report run.zarr all.html")[0] == run("report run.zarr one.html --matrix 3")[0] == 0
    assert "Butterfly factorization, 32 x 32 complex64" in Path("one.html").read_text()
    fact, x = dbf.open("run.zarr"), np.ones((5, 32, 3), np.float32)
    np.save("x.npy", x)
    for more, wanted in (("", fact @ x), (" --adjoint", fact.operator.H @ x), (" --transpose", fact.operator.T @ x)):
        code, out, _ = run(f"apply run.zarr x.npy y.npy --overwrite{more}")
        assert "5 x 32 x 3 complex64 in y.npy" in out
        np.testing.assert_array_equal(np.load("y.npy"), wanted)
    assert run("apply run.zarr x.npy y.zarr --quiet")[0] == 0
    np.testing.assert_allclose(zarr.open_array("y.zarr")[:], fact @ x, rtol=1e-5)
    np.save("v.npy", x[3])
    assert run("apply run.zarr v.npy y.npy --overwrite --matrix 3")[0] == 0
    np.testing.assert_array_equal(np.load("y.npy"), fact[3] @ x[3])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prove run.zarr z.zarr", "holds a stack"),
        ("plan z.zarr --read-bandwidth 1GB/s", "--read-bandwidth predicts the time of one matrix"),
        ("report run.zarr r.html --matrix 9", "number=9 is beyond the 5 matrices"),
        ("report run.zarr r.html --matrix first", "number='first' names no matrix of the stack"),
        ("apply run.zarr z.zarr y.npy --matrix 2", "a 32 x 32 operator takes 32 rows"),
    ],
)
def test_what_does_not_fit_is_refused(run, line, message):
    assert run("factorize z.zarr run.zarr --quiet")[0] == 0
    code, _, err = run(line)
    assert code in (1, 2)
    assert message in err
