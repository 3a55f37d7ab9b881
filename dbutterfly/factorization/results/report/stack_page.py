"""The page of a stack: a verdict, the certificates of all matrices in a picture and a table, and the worst of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ....planning.sizes import format_bytes
from ....structure.drawings import (
    ACCENT,
    ALARM,
    Element,
    decade,
    element,
    label_at,
    least_decade,
    log_place,
    round_ticks,
    svg,
    to_html,
)
from ..certificate import Certificate
from ..stacked_text import verdict_on_stack
from ..verdict import verdict_on
from .cut_bars import cut_bars
from .page import facts_of_certificate, facts_of_run, render, time_card

if TYPE_CHECKING:
    from ..stacked import StackedFactorization

__all__ = ["stack_page"]

MOST_ROWS = 2000
"""Matrices that the table shows. Not tuned: a page of so many is some 400 KB, which browsers show at once."""

MOST_DETAILED = 12
"""Matrices of which more is shown than a row: those with the largest error bounds. Not tuned."""

MOST_MARKS = 500
"""Marks of the picture; of more matrices, each mark is the worst of some neighbours. Two pixels each are told apart."""

WIDTH, HEIGHT = 1000.0, 180.0
"""Pixels of the picture, on a page that is wide enough."""

MARGIN = 56.0
"""Pixels on its left for the numbers of its axis."""


def stack_page(found: StackedFactorization) -> str:
    """HTML page of a stack, complete in itself."""
    record, verdict = _record_with_stages(found.record), verdict_on_stack(found)
    (rows, cols), is_alike = found.shapes[0], len(set(found.shapes)) == 1
    matrices = f"{len(found)} {'matrix' if len(found) == 1 else 'matrices'}"
    return render(
        facts_of_run(record, None)
        | {
            "form": "Stack of butterfly factorizations",
            "title": f"{matrices} of {rows} x {cols}" if is_alike else matrices,
            "verdict": verdict.text,
            "is_useless": verdict.is_useless,
            "cards": [*_cards(found), *time_card(record)],
            "stack": _stack(found),
        }
    )


def _record_with_stages(record: dict[str, Any]) -> dict[str, Any]:
    """Record of a run with its rounds as stages: later ones take matrices that had missed the tolerance."""
    rounds = enumerate(record.get("rounds", ()), 1)
    stages = {f"matrices, round {number}" if number > 1 else "matrices": summary for number, summary in rounds}
    return {**record, "stages": stages | record.get("stages", {})}


def _cards(found: StackedFactorization) -> list[tuple[str, str]]:
    """Numbers that a reader looks for first."""
    bounds = [each.error_bound for each in found.certificates if each is not None]
    ratios = [each.ratio for each in found.certificates if each is not None and math.isfinite(each.ratio)]
    weighted = "weighted error" if found.weights is not None else "error"
    return [
        (f"largest {weighted} bound", f"{max(bounds):.4g}"),
        ("median of the bounds", f"{np.median(bounds):.4g}"),
        ("largest ratio", f"{max(ratios):.4f}" if ratios else "–"),
        *([("without factors", str(len(found.failed)))] if found.failed else []),
        ("times smaller", f"{found.compression:.1f}"),
        ("in all factors", format_bytes(found.nbytes)),
    ]


def _stack(found: StackedFactorization) -> dict[str, Any]:
    """What the page says of the matrices."""
    table = found.table()
    order = sorted(range(len(found)), key=lambda number: -table[number].get("error_bound", math.inf))
    worst = [number for number in order if number not in found.failed][:MOST_DETAILED]
    shown, certificates = order[:MOST_ROWS], found.certificates
    rows = [_row(table[number], certificates[number], number in worst) for number in shown]
    others = f" {len(found) - len(shown)} more have smaller bounds." if len(found) > len(shown) else ""
    return {
        "drawing": to_html(_draw(found, set(shown))),
        "note": "Error bound of each matrix, in the order of the stack, above the lower bound of its chain: what lies "
        "between the two is left to gain. A mark leads to its row in the table.",
        "shown": f"Those without factors first, then by their error bounds, the largest first.{others}",
        "rows": rows,
        "worst": [_details(found, number, _name(table[number])) for number in worst],
        "how": "The page of one matrix: dbutterfly report STORE FILE --matrix NUMBER, or fact[number].report(file).",
    }


def _name(row: dict[str, Any]) -> str:
    return f"{row['matrix']}" if row["name"] is None else f"{row['matrix']} ({row['name']})"


def _row(row: dict[str, Any], certificate: Certificate | None, is_detailed: bool) -> dict[str, Any]:
    """A row of the table."""
    made = {"number": row["matrix"], "name": _name(row), "failed": row.get("failed"), "is_detailed": is_detailed}
    if certificate is None:
        return made | {"is_alarm": True}
    ratio = f"{row['ratio']:.4f}" if math.isfinite(row["ratio"]) else "–"
    bounds = [f"{row['error_bound']:.4g}", f"{row['lower_bound']:.4g}", ratio]
    sizes = [f"{row['factors']}", f"{row['values']:,}", f"{row['compression']:.1f}"]
    return made | {"is_alarm": verdict_on(certificate).is_useless, "texts": [*bounds, *sizes]}


def _details(found: StackedFactorization, number: int, name: str) -> dict[str, Any]:
    """What is shown of one of the worst matrices."""
    one = found[number]
    return {"number": number, "name": name, "levels": cut_bars(one), **facts_of_certificate(one.certificate)}


# ---------------------------------------------------------------- the picture


def _draw(found: StackedFactorization, shown: set[int]) -> Element:
    """Draw the bounds of all matrices on a logarithmic axis; marks lead to the rows of those that are shown."""
    known = [(number, each) for number, each in enumerate(found.certificates) if each is not None]
    values = [value for _, each in known for value in (each.error_bound, each.lower_bound)]
    least, width = least_decade(values), (WIDTH - MARGIN) / len(found)
    groups = np.array_split(np.arange(len(known)), min(MOST_MARKS, len(known)))
    worst = [max((known[at] for at in group), key=lambda each: each[1].error_bound) for group in groups]
    size = max(width * len(found) / len(groups) * 0.7, 1.2)
    marks = [_mark(number, each, least, (width, size), number in shown) for number, each in worst]
    return svg(
        WIDTH, HEIGHT + 24, *_axes(len(found), least), *marks, label="error bounds and lower bounds of all matrices"
    )


def _axes(count: int, least: int) -> list[Element]:
    """Lines of the decades, and numbers of matrices below."""
    step = -(least // 6) or 1
    drawn = []
    for exponent in range(0, least - 1, -step):
        y = _height(10.0**exponent, least)
        drawn.append(
            element("path", d=f"M{MARGIN:g} {y:.2f}H{WIDTH:g}", stroke="currentColor", stroke_opacity=0.15),
        )
        drawn.append(label_at(MARGIN - 6, y + 4, decade(exponent), anchor="end"))
    ticks = [tick for tick in round_ticks(max(count - 1, 1), 8) if tick <= count - 1 and tick == int(tick)]
    return [*drawn, *(label_at(_place(int(tick), count), HEIGHT + 18, f"{tick:.0f}") for tick in ticks)]


def _mark(number: int, certificate: Certificate, least: int, widths: tuple[float, float], is_shown: bool) -> Element:
    """Draw the bounds of one matrix: what is left to gain, and the error bound on top."""
    width, size = widths
    x = MARGIN + (number + 0.5) * width - size / 2
    top, bottom = _height(certificate.error_bound, least), _height(certificate.lower_bound, least)
    colour = ALARM if verdict_on(certificate).is_useless else ACCENT
    parts = [
        element("rect", x=x, y=top, width=size, height=max(bottom - top, 0), fill=colour, fill_opacity=0.3),
        element("rect", x=x, y=top - 1.5, width=size, height=3, fill=colour),
        element("title", f"matrix {number}: {certificate}"),
    ]
    return element("a", *parts, href=f"#matrix-{number}") if is_shown else element("g", *parts)


def _place(number: int, count: int) -> float:
    return MARGIN + (number + 0.5) * (WIDTH - MARGIN) / count


def _height(value: float, least: int) -> float:
    """Place of a value from above, which leaves room for the mark of the largest."""
    return 4 + (HEIGHT - 8) * (1 - log_place(value, least))
