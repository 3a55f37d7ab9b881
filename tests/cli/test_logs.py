import json
import logging
import sys
import warnings

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.cli.logs import JsonLines, log_to_stderr
from dbutterfly.factorization import stages
from tests.support.comparisons import noisy_butterfly


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_every_stage_is_logged_when_it_ends(caplog, tmp_path):
    dbf.matrices.write(noisy_butterfly(256), tmp_path / "z.zarr", chunks=(64, 64))
    with caplog.at_level(logging.INFO, "dbutterfly"):
        fact = dbf.factorize(tmp_path / "z.zarr", store=tmp_path / "run")
    done = {record.fields["stage"]: record for record in caplog.records if record.fields["event"] == "stage"}
    assert list(done) == list(fact.record["stages"]) == ["tiles", "left", "right"]
    assert done["tiles"].fields["bytes_read"] == 256 * 256 * 8
    assert done["tiles"].fields["tasks"] == fact.record["stages"]["tiles"]["tasks"]
    assert done["tiles"].fields["gb_per_s"] == pytest.approx(256 * 256 * 8e-9 / done["tiles"].fields["seconds"])
    assert "512.00 KiB read" in done["tiles"].getMessage()
    assert "read" not in done["left"].getMessage()


def test_a_long_stage_is_logged_under_way(caplog, monkeypatch):
    monkeypatch.setattr(stages, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "dbutterfly"):
        dbf.factorize(noisy_butterfly(256), workers=1, memory="30MiB")
    left = [record.fields for record in caplog.records if record.fields["stage"] == "left"]
    assert [entry["ended"] for entry in left[:-1]] == list(range(1, left[-1]["tasks"] + 1))
    assert [entry["event"] for entry in left] == ["progress"] * left[-1]["tasks"] + ["stage"]


def test_json_lines_are_objects_one_a_line(capsys):
    log = logging.getLogger("dbutterfly")
    with log_to_stderr(as_json=True):
        log.info("two\nlines", extra={"fields": {"seconds": 1.5, "ratio": np.inf, "path": sys}})
        log.debug("too little")
        with warnings.catch_warnings(action="always"):
            warnings.warn("something is odd", UserWarning, stacklevel=1)
    first, second = lines(capsys.readouterr().err)
    assert (first["message"], first["level"], first["seconds"], first["ratio"]) == ("two\nlines", "info", 1.5, None)
    assert "something is odd" in second["message"]
    assert second["level"] == "warning"


def test_an_exception_is_part_of_its_line():
    try:
        raise ZeroDivisionError("no such entry")
    except ZeroDivisionError:
        record = logging.LogRecord("dbutterfly", logging.ERROR, "", 1, "failed", (), sys.exc_info())
    assert "no such entry" in json.loads(JsonLines().format(record))["exception"]


@pytest.mark.parametrize("as_json", [True, False])
def test_logging_is_left_as_it_was_found(as_json, capsys):
    log = logging.getLogger("dbutterfly")
    before = log.level, log.propagate, list(log.handlers), warnings.showwarning
    with log_to_stderr(logging.WARNING, as_json=as_json):
        log.info("not wanted")
    assert (log.level, log.propagate, list(log.handlers), warnings.showwarning) == before
    assert capsys.readouterr().err == ""
