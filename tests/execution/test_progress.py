import re

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.execution.progress import ProgressBar
from tests.support.comparisons import noisy_butterfly


def test_nothing_is_shown_unless_asked_for(capfd, engine):
    matrix = noisy_butterfly(64)
    dbf.verify(dbf.factorize(matrix, **engine), matrix, **engine)
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr(capfd, engine, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    matrix = noisy_butterfly(256)
    fact = dbf.factorize(matrix, passes=2, progress=True, **engine)
    out, err = capfd.readouterr()
    assert out == ""
    for stage, tasks in fact.record["plan"]["tasks"].items():
        assert re.search(rf"{stage} .*{tasks}/{tasks}", err)
    for stage in ("tiles", "project"):
        assert re.search(rf"{stage} .* \d+ MB/s", err)
    dbf.verify(fact, matrix, progress=True, **engine)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"verify .* \d+ MB/s", err)


def test_a_resumed_stage_starts_where_it_stopped(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(True) as bar:
        bar.start("tiles", 8, 5)
        bar.advance(1000)
    assert "6/8" in capfd.readouterr().err


def test_the_bar_is_closed_when_the_run_fails(capfd):
    with pytest.raises(dbf.errors.NonFiniteError):
        dbf.factorize(np.full((16, 16), np.nan), progress=True)
    assert "0/1" in capfd.readouterr().err


def test_advancing_before_a_stage_does_nothing(capfd):
    with ProgressBar(False) as bar:
        bar.advance(10)
    assert capfd.readouterr() == ("", "")
