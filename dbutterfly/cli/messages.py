"""What the program says while it works: plan, log and errors."""

from __future__ import annotations

import contextlib
import logging
import sys

from ..planning.plan import Plan
from .logs import logging_to_stderr

__all__ = ["say_error", "say_plan", "show_log"]

_log = logging.getLogger("dbutterfly")


def show_log(quiet: bool, log_json: bool) -> contextlib.AbstractContextManager[None]:
    """Log what is asked for: JSON, lines for people, or nothing; the error that ends a run is shown anyway."""
    return logging_to_stderr(logging.CRITICAL if quiet else logging.INFO, as_json=log_json)


def say_plan(planned: Plan, quiet: bool, log_json: bool) -> None:
    """Show a plan on stderr, or log it."""
    if log_json:
        _log.info("plan", extra={"fields": {"event": "plan", "plan": planned.to_json()}})
    elif not quiet:
        print(planned, file=sys.stderr)


def say_error(message: str, log_json: bool) -> None:
    """Show an error on stderr, in the form of the rest of the log."""
    with logging_to_stderr(as_json=log_json):
        _log.error("error: %s", message, extra={"fields": {"event": "error"}})
