"""Orderings that were found, as a notebook shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structure.drawings import (
    ACCENT,
    ALARM,
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
from ..structure.pictures import draw_orderings

if TYPE_CHECKING:
    from .result import IdentifiedOrderings

__all__ = ["identified_html"]

HEIGHT = 96.0
"""Pixels of the axis of the residuals."""

STEP, BAR = 22.0, 14.0
"""Pixels from the bar of one cut to the next, and of the bar."""

MOST_LABELS = 12
"""Decades or cuts that get a number; of more, some. Not tuned."""


def identified_html(found: IdentifiedOrderings) -> str:
    """HTML of orderings that were found: a verdict, the residual of every cut, and a picture of both sides."""
    lines = [
        ("method", f"{found.method}, {found.attempts} attempts, {found.seconds:.2f} s"),
        ("confidence", f"{found.confidence:.3f}"),
    ]
    drawn = [_draw_residuals(found)] if len(found.levels) else []
    return card(
        "Identified orderings",
        verdict_line(_verdict(found), is_alarm=not found.found),
        row_of(*drawn, draw_orderings(found)),
        table(lines),
    )


def _verdict(found: IdentifiedOrderings) -> str:
    if found.found:
        return (
            f"Found: every cut leaves at most {found.residual:.3g} of the norm of the matrix, about as much as noise "
            "in a butterfly matrix would."
        )
    return (
        f"Not found: the worst cut leaves {found.residual:.3g} of the norm of the matrix. These orderings are the best "
        "that were seen, and may be worth nothing."
    )


def _draw_residuals(found: IdentifiedOrderings) -> Element:
    """Draw the residual of every cut, and what noise would leave, on a logarithmic axis up to one."""
    values, colour = [*found.residuals.tolist(), *found.floors.tolist()], ACCENT if found.found else ALARM
    least, left, width = least_decade(values), 44.0, STEP * len(found.levels)
    drawn: list[Element] = []
    for exponent in range(least, 1, -(least // MOST_LABELS)):
        y = 8 + HEIGHT * (1 - log_place(10.0**exponent, least))
        drawn.append(
            element(
                "path", d=f"M{amount(left)} {amount(y)}h{amount(width)}", stroke="currentColor", stroke_opacity=0.25
            )
        )
        drawn.append(label_at(left - 6, y + 4, decade(exponent), anchor="end"))
    every = -(-len(found.levels) // MOST_LABELS)
    for number, (level, residual, floor) in enumerate(zip(found.levels, found.residuals, found.floors, strict=True)):
        x, tall = left + STEP * number + (STEP - BAR) / 2, HEIGHT * log_place(float(residual), least)
        bar = element("rect", x=x, y=8 + HEIGHT - tall, width=BAR, height=max(tall, 1), fill=colour)
        bar.append(element("title", f"cut {level}: residual {residual:.4g}, {floor:.4g} if the noise were all"))
        y = 8 + HEIGHT * (1 - log_place(float(floor), least))
        mark = element(
            "path", d=f"M{amount(x - 3)} {amount(y)}h{amount(BAR + 6)}", stroke="currentColor", stroke_width=2
        )
        drawn += [bar, mark]
        if number % every == 0:
            drawn.append(label_at(x + BAR / 2, HEIGHT + 22, str(level)))
    drawing = svg(left + width + 4, HEIGHT + 28, *drawn, label="residual of every cut")
    note = "Residual of every cut (number of factors to its left), relative to the norm of the matrix."
    says = legend((colour, "residual", 1.0), ("currentColor", "if the noise were all", 1.0))
    return element("div", explanation(note), drawing, says, style="max-width:440px")
