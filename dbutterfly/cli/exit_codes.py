"""Exit codes of the program, beside 0 for success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from .messages import show_error

if TYPE_CHECKING:
    from ..factorization.results.estimates import VerifiedError

__all__ = ["ABOVE_TOLERANCE", "BAD_INPUT", "FAILED", "INTERRUPTED", "check_tolerance"]

FAILED: Final = 1
"""The program failed, or was interrupted."""

BAD_INPUT: Final = 2
"""The program was used in a wrong way, or its input cannot be used."""

ABOVE_TOLERANCE: Final = 3
"""The program ended well, but the error is above ``--tol``, no orderings were found, or versions differ."""

INTERRUPTED: Final = 130
"""Exit code by which newer versions of typer report a Ctrl-C that no command caught; earlier ones raise an Abort."""


def check_tolerance(verified: VerifiedError | None, tol: float | None, log_json: bool = False) -> None:
    """End the program with :data:`ABOVE_TOLERANCE` where a verified error is above the tolerance asked for."""
    if verified is None or tol is None or verified <= tol:
        return
    show_error(f"the verified error {float(verified):.4g} is above --tol {tol:g}", log_json)
    raise typer.Exit(ABOVE_TOLERANCE)
