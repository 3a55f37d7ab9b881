"""Results in the hierarchical form on the command line."""

import json
import shlex

import numpy as np
import pytest
import zarr

from dbutterfly.cli import main
from tests.support.hierarchical_blocks import make_factorization


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line beside a result, its matrix and columns; returns stdout."""
    monkeypatch.chdir(tmp_path)
    found, matrix = make_factorization()
    found.save(tmp_path / "fact.zarr")
    np.save("z.npy", matrix)
    zarr.create_array("x.zarr", data=np.ones((200, 6)), chunks=(200, 2))

    def call(line):
        capsys.readouterr()
        assert main(shlex.split(line)) == 0
        return capsys.readouterr().out

    return call


def test_info_and_report(run, tmp_path):
    out = run("info fact.zarr")
    assert [line.split()[0] for line in out.splitlines()] == ["matrix", "dense", "low", "certificate"]
    values = json.loads(run("info fact.zarr --json"))
    assert values["kinds"]["dense"]["blocks"] > 0
    assert values["certificate"]["form"] == "hierarchical"
    run("report fact.zarr page.html")
    assert "Blocks by kind" in (tmp_path / "page.html").read_text()


def test_apply_and_verify(run):
    matrix = np.load("z.npy")
    run("apply fact.zarr x.zarr y.npy --transpose")
    np.testing.assert_allclose(np.load("y.npy"), matrix @ np.ones((200, 6)), rtol=1e-3)
    run("apply fact.zarr x.zarr y.zarr --workers 2 --quiet")
    np.testing.assert_allclose(zarr.open_array("y.zarr")[:], np.load("y.npy"))
    values = json.loads(run("verify fact.zarr z.npy --tol 1e-3 --json --quiet"))
    assert values["exact"]
    assert values["error"] < 1e-4
