import logging
import re

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.execution import progress
from dbutterfly.execution.progress import ProgressBar, late_bar, run_under_bar
from dbutterfly.execution.task import Record
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


def test_a_search_shows_how_much_it_has_done_and_that_nobody_knows_how_much_is_left(capfd, engine, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    matrix = np.asarray(dbf.matrices.dft(16))
    found = dbf.identify(matrix, progress=True, **engine)
    shown = re.search(r"search .*?(\d+)/(\d+)", capfd.readouterr().err)
    assert int(shown[1]) == int(shown[2]) >= found.attempts >= 1
    dbf.factorize(matrix, orderings="identify", progress=True, **engine)
    assert re.fullmatch(r"(?s)search .*tiles .*", capfd.readouterr().err.strip())


def test_a_stage_of_unknown_length_is_finished_by_a_block_that_ends_well(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with pytest.raises(ZeroDivisionError), ProgressBar(True) as bar:  # noqa: PT012
        bar.start("search", None, 0)
        bar.advance(0)
        bar.advance(1 // 0)
    assert re.search(r"search: 1 tasks\n.*search .* 1/\?", capfd.readouterr().err, re.S)


def test_advancing_before_a_stage_does_nothing(capfd):
    with ProgressBar(False) as bar:
        bar.advance(10)
    assert capfd.readouterr() == ("", "")


class ReadyTasks:
    """An engine whose tasks are done in the order in which they are given."""

    def __init__(self, error=None):
        self.error = error

    def announce(self, show):
        pass

    def run(self, job, tasks, on_done):  # noqa: ARG002
        for number, task in tasks:
            on_done(number, Record(task, 0, 0, 0, 0, 0, 0, 0))
        if self.error is not None:
            raise self.error


def test_tasks_run_under_a_bar_that_counts_those_of_an_earlier_run(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    told = []
    with ProgressBar(True) as bar:
        bytes_read = run_under_bar(
            bar, ReadyTasks(), None, "tiles", [(3, 1000), (5, 24)], finished=6, on_done=lambda *done: told.append(done)
        )
    assert bytes_read == 1024
    assert [(number, record.bytes_read) for number, record in told] == [(3, 1000), (5, 24)]
    assert re.search(r"tiles .*8/8", capfd.readouterr().err)


def test_an_engine_is_not_asked_for_no_tasks(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(True) as bar:
        assert run_under_bar(bar, ReadyTasks(RuntimeError("asked")), None, "tiles", [], finished=4) == 0
    assert re.search(r"tiles .*4/4", capfd.readouterr().err)


def test_a_failing_engine_leaves_the_bar_where_it_was(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(True) as bar, pytest.raises(RuntimeError, match="no more"):
        run_under_bar(bar, ReadyTasks(RuntimeError("no more")), None, "tiles", [(0, 1)], finished=1)
    assert re.search(r"tiles .*2/2", capfd.readouterr().err)


def test_a_plain_log_has_a_line_now_and_then_unless_the_log_of_the_package_is_seen(capfd, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)

    def lines():
        with ProgressBar(True) as bar:
            run_under_bar(bar, ReadyTasks(), None, "left", [(0, 0), (1, 0)], finished=1)
        return [line for line in capfd.readouterr().err.splitlines() if "tasks" in line]

    assert lines() == ["left: 2 of 3 tasks", "left: 3 of 3 tasks"]
    with caplog.at_level(logging.INFO, "dbutterfly"):
        assert lines() == []


def test_short_work_has_no_bar(capfd):
    with late_bar(True, "sampling") as advance:
        advance(10)
    assert capfd.readouterr() == ("", "")


def test_long_work_has_one(capfd, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", 0)
    matrix = noisy_butterfly(64, eps=1e-3)
    dbf.factorize(matrix, tol=1e-2, progress=True)
    assert re.search(r"sampling .*\d+/\d+ .* \d+ MB/s", capfd.readouterr().err)
    dbf.factorize(matrix, tol=1e-2)
    assert capfd.readouterr() == ("", "")
