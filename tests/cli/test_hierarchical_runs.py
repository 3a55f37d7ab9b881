"""The hierarchical form on the command line: a plan, a run, and what is told of them."""

import json
import shlex

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.cli import main
from tests.support.hierarchical_runs import CHUNKS, draw_points, make_covariance

POINTS = "--row-points p.npy --col-points p.npy"
ASKED = f"--tol 1e-3 --form hierarchical --leaf 20 {POINTS}"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in a directory with a kernel and its points; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    points = draw_points()
    np.save("p.npy", points)
    dbf.matrices.write(make_covariance(points), tmp_path / "z.zarr", chunks=CHUNKS)

    def call(line):
        capsys.readouterr()
        code = main(shlex.split(line))
        return code, *capsys.readouterr()

    return call


def test_a_plan_and_a_run_are_shown(run):
    code, out, _ = run(f"plan z.zarr {ASKED} --store run.zarr --memory 2560KiB --eta 2")
    assert code == 0
    assert "hierarchical, tol=0.001, eta 2, leaves of up to 20" in out
    assert "for a copy in the order of the clusters" in out
    assert json.loads(run(f"plan z.zarr {ASKED} --symmetric --json")[1])["symmetry"] == "symmetric"
    code, out, err = run(f"factorize z.zarr run.zarr {ASKED} --symmetric --workers 2")
    assert code == 0
    assert "320 x 320 float64" in out
    assert "symmetric: one half" in err
    assert "low rank" in out
    assert "verified" in out
    found = dbf.open("run.zarr")
    assert found.symmetry == "symmetric"
    values = json.loads(run(f"factorize z.zarr run.zarr {ASKED} --symmetric --quiet --json")[1])
    assert values["verified"]["error"] <= 1e-3
    assert values["certificate"]["error_bound"] == found.certificate.error_bound
    assert "matrix_check" in values["record"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"factorize z.zarr run.zarr {ASKED} --passes 2", "passes=2 is not for"),
        ("factorize z.zarr run.zarr --rank 2 --eta 2", "eta=2.0 is for form="),
        ("factorize z.zarr run.zarr --form tree", "form='tree' is unknown"),
        (f"plan z.zarr {ASKED} --read-bandwidth 1GB/s", "--read-bandwidth predicts"),
    ],
)
def test_what_does_not_fit_is_refused(run, line, message):
    code, _, err = run(line)
    assert code == 2
    assert message in err
