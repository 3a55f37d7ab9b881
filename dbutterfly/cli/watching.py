"""What a run says while it works, and the page that shows it afterwards."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Annotated, TypeAlias

import typer

import dbutterfly as dbf

from ..logs import logging_to_stderr
from ..planning.plan import Plan
from .options import Store
from .values import absolute

__all__ = ["LogJson", "ReportFile", "report", "say_error", "say_plan", "watched"]

_log = logging.getLogger("dbutterfly")

LogJson: TypeAlias = Annotated[
    bool,
    typer.Option("--log-json", help="Log to stderr, one JSON object per line, in place of plan and progress bars."),
]
ReportFile: TypeAlias = Annotated[
    str | None, typer.Option("--report", metavar="FILE", help="Save an HTML page that shows plan, error and timeline.")
]


def report(
    store: Store,
    file: Annotated[str, typer.Argument(help="The HTML file to write; it is replaced if it is there.")],
) -> None:
    """Save a page that shows a run: plan, certificate, timeline of the workers, map of the residuals.

    It is one HTML file that needs neither other files nor a network.
    """
    dbf.open(absolute(store)).report(file)
    print(f"written: {file}")


def watched(quiet: bool, log_json: bool) -> contextlib.AbstractContextManager[None]:
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
