"""The log of a run: lines for people, or one JSON object per line for whatever collects the logs of a cluster.

What the package has to say goes to the logger ``dbutterfly``; what is more than a sentence (stage, seconds, bytes) is
in the attribute ``fields`` of its records. Programs that use the package set up logging as they like; the command line
uses :func:`logging_to_stderr`.
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

__all__ = ["JsonLines", "logging_to_stderr"]


class JsonLines(logging.Formatter):
    """A record as one JSON object on one line: time, level, message, its fields, and an exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
            **{name: _plain(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class _ToStderr(logging.Handler):
    """Writes to what ``sys.stderr`` is at the moment: progress bars put themselves in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def logging_to_stderr(level: int = logging.INFO, *, as_json: bool = False) -> Iterator[None]:
    """Write what the package logs to stderr, and Python's warnings with it, for a ``with`` block.

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
    heard = [ours, logging.getLogger("py.warnings")] if as_json else [ours]
    before, propagated = ours.level, ours.propagate
    for logger in heard:
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
        for logger in heard:
            logger.removeHandler(handler)


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
