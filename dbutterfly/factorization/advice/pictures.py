"""Advice as a notebook shows it: the verdict, the predicted errors over the values, and the rows as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...planning.sizes import format_bytes
from ...structure.drawings import (
    ACCENT,
    GAIN,
    Element,
    amount,
    card,
    decade,
    element,
    explanation,
    label_at,
    least_decade,
    legend,
    log_place,
    row_of,
    svg,
    table,
    verdict_line,
)
from .text import advice_lines, python_call, table_rows

if TYPE_CHECKING:
    from .result import Advice, AdviceRow

__all__ = ["advice_html"]

WIDTH, HEIGHT = 260.0, 120.0
"""Pixels of the axes of values and errors."""

MOST_LABELS = 6
"""Decades that get a number; of more, some. Not tuned."""


def advice_html(advice: Advice) -> str:
    """HTML of advice: its verdict, a drawing of errors over values, and what else there is to say."""
    verdict = advice.verdict
    lines = [(name, text) for name, text in advice_lines(advice) if name != "verdict"]
    if advice.best is not None and advice.fits:
        lines.append(("call", python_call(advice, advice.best)))
    rows, cols = advice.shape
    parts = [table(lines), *([_draw_rows(advice)] if advice.rows else [])]
    title = f"Advice for a {rows} x {cols} {advice.dtype} matrix"
    shown = [table(_line(row, advice) for row in table_rows(advice))] if advice.rows else []
    return card(title, verdict_line(verdict.text, is_alarm=verdict.is_useless), row_of(*parts), *shown)


def _line(row: AdviceRow, advice: Advice) -> tuple[str, str]:
    """Name and text of a row."""
    seconds = "" if math.isnan(row.seconds) else f", {row.seconds:.3g} s"
    best = " (best)" if row is advice.best else ""
    text = f"error {row.error:.2g}, {row.smaller:.3g} times smaller, {format_bytes(row.nbytes)}{seconds}"
    return f"{row.orderings}, rank {row.rank}{best}", text


def _draw_rows(advice: Advice) -> Element:
    """Draw the predicted error of every row over its part of the values of the matrix, both logarithmic."""
    entries = math.prod(advice.shape)
    low, few = least_decade(row.error for row in advice.rows), least_decade(row.values / entries for row in advice.rows)
    drawn: list[Element] = [
        element("path", d=f"M40 8v{amount(HEIGHT)}h{amount(WIDTH)}", fill="none", stroke="currentColor")
    ]
    drawn += [
        label_at(36, 12 + HEIGHT * (1 - log_place(10.0**exponent, low)), decade(exponent), anchor="end")
        for exponent in range(low, 1, max(1, -low // MOST_LABELS))
    ]
    drawn += [
        label_at(40 + WIDTH * log_place(10.0**exponent, few), HEIGHT + 24, decade(exponent))
        for exponent in range(few, 1, max(1, -few // MOST_LABELS))
    ]
    for row in advice.rows:
        x, y = 40 + WIDTH * log_place(row.values / entries, few), 8 + HEIGHT * (1 - log_place(row.error, low))
        is_best = advice.best is not None and row.orderings == advice.best.orderings
        dot = element("circle", cx=x, cy=y, r=5 if row is advice.best else 3, fill=ACCENT if is_best else GAIN)
        dot.append(element("title", f"{row.orderings}, rank {row.rank}: error {row.error:.2g}"))
        drawn.append(dot)
    drawing = svg(WIDTH + 60, HEIGHT + 30, *drawn, label="predicted errors over values")
    note = "Predicted error over the part of the values of the matrix that factors store."
    return element("div", explanation(note), drawing, legend((ACCENT, "best orderings", 1.0), (GAIN, "others", 1.0)))
