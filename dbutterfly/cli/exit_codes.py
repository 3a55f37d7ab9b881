"""Exit codes of the program."""

from __future__ import annotations

from typing import Final

import typer

from ..factorization.results.estimates import VerifiedError
from .messages import say_error

__all__ = ["ABOVE_TOLERANCE", "BAD_INPUT", "FAILED", "INTERRUPTED", "check_tolerance"]

FAILED: Final = 1
"""The program failed, or was interrupted."""

BAD_INPUT: Final = 2
"""The program was used in a wrong way, or was given what it cannot use."""

ABOVE_TOLERANCE: Final = 3
"""The program did what it was asked for, and the result is not good enough."""

INTERRUPTED: Final = 130
"""What typer makes of a Ctrl-C that no command caught; earlier versions make it an Abort."""


def check_tolerance(verified: VerifiedError | None, tol: float | None, log_json: bool = False) -> None:
    """End the program with :data:`ABOVE_TOLERANCE` where a verified error is above the tolerance asked for."""
    if verified is None or tol is None or verified <= tol:
        return
    say_error(f"the verified error {float(verified):.4g} is above --tol {tol:g}", log_json)
    raise typer.Exit(ABOVE_TOLERANCE)
