"""The log of a run: lines for people, or one JSON object a line for the collector of the logs of a cluster.

The package logs to the logger ``dbutterfly``. The attribute ``fields`` of a record has stage, seconds and bytes
as values. Programs that use the package set up this logger as they like; the command line uses :func:`log_to_stderr`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import math
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["JsonLines", "log_to_stderr"]


class JsonLines(logging.Formatter):
    """Formatter of a record as one line of JSON: time, level, message, fields, and an exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Line of a record."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
            **{name: _json_number(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class _ToStderr(logging.Handler):
    """Handler that looks up ``sys.stderr`` for every record, since progress bars replace it while they are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def log_to_stderr(level: int = logging.INFO, *, as_json: bool = False) -> Iterator[None]:
    """Write the log of the package to stderr for a ``with`` block; as JSON, with Python's warnings in it.

    Parameters
    ----------
    level : int
        Least level that is written.
    as_json : bool
        Whether every line is a JSON object.
    """
    handler = _ToStderr(level)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(message)s"))
    ours = logging.getLogger("dbutterfly")
    loggers = [ours, logging.getLogger("py.warnings")] if as_json else [ours]
    before, propagated = ours.level, ours.propagate
    for logger in loggers:
        logger.addHandler(handler)
    ours.setLevel(level)
    ours.propagate = False
    if as_json:
        logging.captureWarnings(True)
    try:
        yield
    finally:
        if as_json:
            logging.captureWarnings(False)
        ours.setLevel(before)
        ours.propagate = propagated
        for logger in loggers:
            logger.removeHandler(handler)


def _json_number(value: Any) -> Any:
    """Value with None in place of NaN and infinities, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
