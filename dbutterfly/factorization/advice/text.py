"""Advice in words: the verdict, the table, and the calls that do what rows say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...planning.other_forms import LOW_RANK, SPARSE_STORAGE, OtherForm
from ...planning.sizes import format_bytes
from ..results.verdict import Verdict, part_of_norm
from .result import Advice, AdviceRow

__all__ = ["advice_lines", "describe_form", "format_advice", "python_call", "table_rows", "verdict_of"]

HEADINGS = ("orderings", "rank", "error", "values", "smaller", "factors", "time")

TRY = (
    "dbutterfly.identify finds orderings from the entries alone, points order rows and columns that belong to some "
    "(points=), and a larger tolerance may be reached"
)
"""What to try where no butterfly fits."""


def verdict_of(advice: Advice) -> Verdict:
    """Say whether a butterfly fits, and what to do if not."""
    best, entries = advice.best, math.prod(advice.shape)
    if best is None:
        return Verdict("No chain has fewer values than this matrix: there is nothing to gain.", True)
    leaves = f"leaves about {part_of_norm(best.error)}"
    if not advice.fits:
        return Verdict(
            f"No butterfly of these orderings fits: the best, {best.orderings} with rank {best.rank}, {leaves}. {TRY}.",
            True,
        )
    says = f"{best.orderings} with rank {best.rank} {leaves}, {_times(entries / best.values)}"
    if advice.tol is not None and best.error > advice.tol:
        return Verdict(f"No rank that was tried reaches tol={advice.tol:g}: {says}. {TRY}.", False)
    smaller = [form for form in advice.others if form.values < best.values]
    if smaller:
        return Verdict(f"A butterfly fits: {says}; {smaller[0].name} would be smaller still.", False)
    return Verdict(f"A butterfly fits: {says}.", False)


def table_rows(advice: Advice) -> Iterator[AdviceRow]:
    """Rows that are shown: all of the best pair of orderings, and of each other one that with the least error."""
    best = advice.best
    for pair in advice.pairs:
        own = [row for row in advice.rows if row.orderings == f"{pair.rows},{pair.cols}"]
        if best is not None and own and own[0].orderings == best.orderings:
            yield from own
        elif own:
            yield min(own, key=lambda row: row.error)


def advice_lines(advice: Advice) -> Iterator[tuple[str, str]]:
    """Names and texts of what there is to say besides the table."""
    rows, cols = advice.shape
    yield "matrix", f"{rows} x {cols} {advice.dtype}, {format_bytes(rows * cols * np.dtype(advice.dtype).itemsize)}"
    allowed = format_bytes(advice.bytes_allowed)
    yield (
        "looked at",
        f"{advice.blocks} blocks, {format_bytes(advice.bytes_read)} read of {allowed} allowed, {advice.seconds:.1f} s",
    )
    yield "verdict", advice.verdict.text
    for form in advice.others:
        yield "or", describe_form(form, advice)


def format_advice(advice: Advice, call: str | None = None) -> str:
    """Text of advice: the verdict, the call to make, and the table.

    Parameters
    ----------
    advice : Advice
        The advice.
    call : str, optional
        How to do what the best row says, by default a call in Python. It is not shown where nothing fits.
    """
    lines = list(advice_lines(advice))
    if advice.best is not None and advice.fits:
        lines.append(("call", python_call(advice, advice.best) if call is None else call))
    text = [f"{name:<13} {line}" for name, line in lines]
    if not advice.rows:
        return "\n".join(text)
    cells = [HEADINGS, *(_cells(row) for row in table_rows(advice))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    marks = ["", *("*" if row is advice.best else "" for row in table_rows(advice))]
    table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    return "\n".join([*text, "", *(f"{line} {mark}".rstrip() for line, mark in zip(table, marks, strict=True))])


def python_call(advice: Advice, row: AdviceRow) -> str:
    """Call in Python that does what a row says."""
    arguments = advice.arguments(row)
    return f"dbf.factorize({', '.join(['z', *(f'{name}={_show(name, value)}' for name, value in arguments.items())])})"


def describe_form(form: OtherForm, advice: Advice) -> str:
    """Say how small another form is, and how to have it."""
    rows, cols = advice.shape
    smaller = _times(rows * cols / max(form.values, 1))
    if form.name == LOW_RANK:
        chain = f"chain=[(1, {rows}, {form.rank}, 1), (1, {form.rank}, {cols}, 1)]"
        return f"low rank {form.rank}: {smaller}, error about {form.error:.2g}: dbf.factorize(z, {chain})"
    if form.name == SPARSE_STORAGE:
        zeros = 1 - form.values / (rows * cols)
        return f"sparse storage: {100 * zeros:.3g} % of the entries are zero: scipy.sparse.csr_array"
    return f"{form.name}: its diagonals are constant, {smaller}: an FFT multiplies by it (scipy.linalg.matmul_toeplitz)"


def _cells(row: AdviceRow) -> tuple[str, ...]:
    seconds = "-" if math.isnan(row.seconds) else f"{row.seconds:.3g} s"
    smaller, factors = f"{row.smaller:.3g}", format_bytes(row.nbytes)
    return row.orderings, str(row.rank), f"{row.error:.2g}", str(row.values), smaller, factors, seconds


def _show(name: str, value: Any) -> str:
    if name in ("points", "weights"):
        return name
    return f"{list(map(tuple, value))}" if name == "chain" else repr(value)


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times smaller"
