"""The result for a stack as a table for people, the worst matrices first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .verdict import Verdict, verdict_on

if TYPE_CHECKING:
    from .stacked import StackedFactorization
    from .verified_stack import VerifiedStack

__all__ = ["format_table", "format_verified", "summarize_stack", "summarize_verified", "verdict_on_stack"]

MOST_ROWS = 20
"""Matrices that a table shows, besides their number."""


def format_table(found: StackedFactorization) -> str:
    """Show a row for each matrix that failed or is among the worst, a summary, and a verdict on what is useless."""
    header = "error bound  lower bound   ratio  smaller"
    lines = _worst_rows(found.table(), header, "error_bound", _columns, "with smaller error bounds")
    verdict = verdict_on_stack(found)
    return "\n".join([*lines, summarize_stack(found), *([verdict.text] if verdict.is_useless else [])])


def _worst_rows(
    rows: list[dict[str, Any]], header: str, by: str, columns: Callable[[dict[str, Any]], str], others: str
) -> Iterator[str]:
    """Lines of a table: a row for each matrix that failed, or is among the worst by one of its values."""
    failed = [row for row in rows if "failed" in row]
    sound = sorted((row for row in rows if "failed" not in row), key=lambda row: -row[by])
    shown = [*failed[:MOST_ROWS], *sound[: max(0, MOST_ROWS - len(failed))]]
    width = max([6, *(len(_name(row)) for row in shown)])
    yield f"{'matrix':<{width}}  {header}"
    for row in shown:
        text = f"failed: {row['failed']}" if "failed" in row else columns(row)
        yield f"{_name(row):<{width}}  {text}"
    if len(rows) > len(shown):
        yield f"and {len(rows) - len(shown)} more, {others}"


def summarize_stack(found: StackedFactorization) -> str:
    """Show how many matrices there are, how good they are and how much smaller."""
    bounds = [certificate.error_bound for certificate in found.certificates if certificate is not None]
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    return (
        f"{len(found)} matrices, error bounds {min(bounds):.4g} to {max(bounds):.4g}, {found.compression:.1f} times "
        f"smaller{failed}"
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['matrix']}" if row["name"] is None else f"{row['matrix']} ({row['name']})"


def _columns(row: dict[str, Any]) -> str:
    bounds = f"{row['error_bound']:11.4g}  {row['lower_bound']:11.4g}  {row['ratio']:6.4g}"
    return f"{bounds}  {row['compression']:7.1f}"


def verdict_on_stack(found: StackedFactorization) -> Verdict:
    """Judge a stack by the certificate of its worst matrix, and say how many are useless or have no factors."""
    certificates = [(number, each) for number, each in enumerate(found.certificates) if each is not None]
    useless = [each for each in certificates if verdict_on(each[1]).is_useless]
    number, worst = max(useless or certificates, key=lambda each: each[1].error_bound)
    text = verdict_on(worst).text
    failed = f" {len(found.failed)} of {len(found)} have no factors." if found.failed else ""
    if useless:
        return Verdict(f"{len(useless)} of {len(found)} are useless; matrix {number}: {text}{failed}", True)
    return Verdict(f"The worst of {len(found)} is matrix {number}. {text}{failed}", False)


def format_verified(found: VerifiedStack) -> str:
    """Show a row for each matrix that failed or has one of the largest errors, a summary, and errors above bounds."""
    header = "      error  error bound"
    lines = _worst_rows(found.table(), header, "error", _measured_columns, "with smaller errors")
    return "\n".join([*lines, summarize_verified(found), *_surprises(found)])


def summarize_verified(found: VerifiedStack) -> str:
    """Show how many matrices there are, how large their errors, and how these were measured."""
    errors = [error for error in found if error is not None]
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    how = "exact" if all(error.exact for error in errors) else "estimated from some rows or products of each"
    weighted = ", weighted" if errors[0].weighted else ""
    return f"{len(found)} matrices, errors {min(errors):.4g} to {max(errors):.4g} ({how}{weighted}){failed}"


def _measured_columns(row: dict[str, Any]) -> str:
    spread = "" if row["exact"] else f"  +- {row['deviation']:.2g} of {row['samples']} {row['compared']}"
    return f"{row['error']:11.4g}  {row['error_bound']:11.4g}{spread}"


def _surprises(found: VerifiedStack) -> Iterator[str]:
    """What is said where errors are above proven bounds: these are not the matrices that were factorized."""
    above = [
        number
        for number, (error, certificate) in enumerate(zip(found, found.certificates, strict=True))
        if error is not None and certificate is not None and certificate.proven and error.exact
        if error > certificate.error_bound
    ]
    if above:
        yield (
            f"{len(above)} of {len(found)} errors are above their proven bounds (matrix {above[0]}): these are not the "
            "matrices that were factorized"
        )
