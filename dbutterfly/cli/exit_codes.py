"""Exit codes of the program, beside 0 for success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from .messages import show_error

if TYPE_CHECKING:
    from ..factorization.results.estimates import VerifiedError
    from ..factorization.results.stacked import StackedFactorization

__all__ = ["ABOVE_TOLERANCE", "BAD_INPUT", "FAILED", "INTERRUPTED", "check_certificates", "check_tolerance"]

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


def check_certificates(found: StackedFactorization, tol: float | None, log_json: bool = False) -> None:
    """End the program with :data:`ABOVE_TOLERANCE` where matrices of a stack failed, or miss the tolerance."""
    bounds = [certificate.error_bound for certificate in found.certificates if certificate is not None]
    above = [] if tol is None else [bound for bound in bounds if bound > tol]
    if not above and not found.failed:
        return
    failed = f"{len(found.failed)} of {len(found)} matrices have no factors" if found.failed else ""
    missed = f"{len(above)} of {len(found)} error bounds are above --tol {tol:g}" if above else ""
    show_error("; ".join(filter(None, (failed, missed))), log_json)
    raise typer.Exit(ABOVE_TOLERANCE)
