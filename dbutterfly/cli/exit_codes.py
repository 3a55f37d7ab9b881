"""Exit codes of the program, beside 0 for success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from .messages import show_error

if TYPE_CHECKING:
    from ..factorization.results.estimates import VerifiedError
    from ..factorization.results.stacked import StackedFactorization
    from ..factorization.results.verified_stack import VerifiedStack

__all__ = [
    "ABOVE_TOLERANCE",
    "BAD_INPUT",
    "FAILED",
    "INTERRUPTED",
    "check_certificates",
    "check_verified",
]

FAILED: Final = 1
"""The program failed, or was interrupted."""

BAD_INPUT: Final = 2
"""The program was used in a wrong way, or its input cannot be used."""

ABOVE_TOLERANCE: Final = 3
"""The program ended well, but the error is above ``--tol``, no orderings were found, or versions differ."""

INTERRUPTED: Final = 130
"""Exit code by which newer versions of typer report a Ctrl-C that no command caught; earlier ones raise an Abort."""


def check_certificates(found: StackedFactorization, tol: float | None, log_json: bool = False) -> None:
    """End the program with :data:`ABOVE_TOLERANCE` where matrices of a stack failed, or miss the tolerance."""
    bounds = [certificate.error_bound for certificate in found.certificates if certificate is not None]
    above = 0 if tol is None else sum(bound > tol for bound in bounds)
    _check_stack(len(found), len(found.failed), above, f"error bounds are above --tol {tol}", log_json)


def check_verified(verified: VerifiedError | VerifiedStack | None, tol: float | None, log_json: bool = False) -> None:
    """End the program with :data:`ABOVE_TOLERANCE` where a verified error is above the tolerance asked for.

    Of a stack, also where matrices have no factors.
    """
    if verified is None:
        return
    if isinstance(verified, float):
        if tol is not None and not verified <= tol:
            show_error(f"the verified error {float(verified):.4g} is above --tol {tol:g}", log_json)
            raise typer.Exit(ABOVE_TOLERANCE)
        return
    above = 0 if tol is None else len(verified.above(tol))
    _check_stack(len(verified), len(verified.failed), above, f"verified errors are above --tol {tol}", log_json)


def _check_stack(count: int, failed: int, missed: int, what: str, log_json: bool) -> None:
    """End the program where matrices of a stack failed, or missed what was asked for."""
    lines = [f"{failed} of {count} matrices have no factors"] if failed else []
    lines += [f"{missed} of {count} {what}"] if missed else []
    if lines:
        show_error("; ".join(lines), log_json)
        raise typer.Exit(ABOVE_TOLERANCE)
