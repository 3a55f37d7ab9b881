"""Messages of the program on stderr: plan, log and errors."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from .logs import log_to_stderr

if TYPE_CHECKING:
    from ..planning.hierarchical_plan import HierarchicalPlan
    from ..planning.plan import Plan
    from ..planning.stacked_plan import StackedPlan

__all__ = ["Interrupted", "show_error", "show_log", "show_plan"]

_log = logging.getLogger("dbutterfly")


class Interrupted(Exception):
    """The user pressed Ctrl-C; the message says what is left."""


def show_log(quiet: bool, log_json: bool) -> contextlib.AbstractContextManager[None]:
    """Show the log for a ``with`` block, as JSON or as lines for people; when quiet, only the error that ends a run."""
    return log_to_stderr(logging.CRITICAL if quiet else logging.INFO, as_json=log_json)


def show_plan(planned: Plan | StackedPlan | HierarchicalPlan, quiet: bool, log_json: bool) -> None:
    """Show a plan on stderr, or log it."""
    if log_json:
        _log.info("plan", extra={"fields": {"event": "plan", "plan": planned.to_json()}})
    elif not quiet:
        print(planned, file=sys.stderr)


def show_error(message: str, log_json: bool) -> None:
    """Show an error on stderr, in the form of the log."""
    with log_to_stderr(as_json=log_json):
        _log.error("error: %s", message, extra={"fields": {"event": "error"}})
