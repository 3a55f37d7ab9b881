"""The result for a stack as a table for people, the worst matrices first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .verdict import verdict_on

if TYPE_CHECKING:
    from .stacked import StackedFactorization

__all__ = ["format_table", "summarize_stack"]

MOST_ROWS = 20
"""Matrices that a table shows, besides their number."""


def format_table(found: StackedFactorization) -> str:
    """Show a row for each matrix that failed or is among the worst, a summary, and a verdict on what is useless."""
    rows = found.table()
    failed = [row for row in rows if "failed" in row]
    sound = sorted((row for row in rows if "failed" not in row), key=lambda row: -row["error_bound"])
    shown = [*failed[:MOST_ROWS], *sound[: max(0, MOST_ROWS - len(failed))]]
    width = max([6, *(len(_name(row)) for row in shown)])
    lines = [f"{'matrix':<{width}}  error bound  lower bound   ratio  smaller"]
    lines += [f"{_name(row):<{width}}  {_columns(row)}" for row in shown]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} more, with smaller error bounds")
    return "\n".join([*lines, summarize_stack(found), *_verdict(found)])


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
    if "failed" in row:
        return f"failed: {row['failed']}"
    bounds = f"{row['error_bound']:11.4g}  {row['lower_bound']:11.4g}  {row['ratio']:6.4g}"
    return f"{bounds}  {row['compression']:7.1f}"


def _verdict(found: StackedFactorization) -> Iterator[str]:
    """What is said of factorizations that are useless."""
    certificates = ((number, each) for number, each in enumerate(found.certificates) if each is not None)
    useless = [(number, each) for number, each in certificates if verdict_on(each).is_useless]
    if useless:
        number, worst = max(useless, key=lambda each: each[1].error_bound)
        yield f"{len(useless)} of {len(found)} are useless; matrix {number}: {verdict_on(worst).text}"
