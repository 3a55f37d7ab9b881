"""Drawings for notebooks and reports: HTML and SVG that need no scripts and no files, on light and on dark pages.

Lines and texts take the colour of the page about them (``currentColor``), and fills are of middle lightness. Elements
are those of ``xml.etree``, which escapes what they hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

__all__ = [
    "ACCENT",
    "ALARM",
    "GAIN",
    "Element",
    "amount",
    "axis_below",
    "card",
    "decade",
    "element",
    "explanation",
    "label_at",
    "least_decade",
    "legend",
    "log_place",
    "round_ticks",
    "row_of",
    "svg",
    "table",
    "to_html",
    "verdict_line",
]

ACCENT = "#3a8bc0"
"""Colour of what is drawn: three times as light as a dark page, and a third as light as a white one."""

GAIN = "#d98032"
"""Colour of what is left to gain."""

ALARM = "#d03b3b"
"""Colour of what is useless."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"

SOFT = 0.7
"""Opacity of what explains, beside what is shown. Not tuned: it is read on white and on black."""


def element(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """Make an element of HTML or SVG.

    Parameters
    ----------
    tag : str
        Its name.
    *children : Element or str
        What it holds; texts are escaped.
    **attributes : str or float
        Its attributes; an underscore stands for a hyphen.
    """
    made = Element(tag, {name.replace("_", "-"): amount(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def amount(value: str | float) -> str:
    """Text of an attribute: numbers with at most two places behind the point."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def to_html(*elements: Element) -> str:
    """Text of elements."""
    return "".join(tostring(each, encoding="unicode", method="html") for each in elements)


def svg(width: float, height: float, *children: Element, label: str) -> Element:
    """Make a drawing of a size in pixels, which a narrow page makes smaller; ``label`` is read out."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {amount(width)} {amount(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        style=f"max-width:100%;height:auto;overflow:visible;font:11px {FONT}",
    )


def label_at(x: float, y: float, text: str, *, anchor: str = "middle", turned: bool = False) -> Element:
    """Write a text into a drawing: its middle, start or end is at x; turned, it is read from below."""
    turn = {"transform": f"rotate(-90 {amount(x)} {amount(y)})"} if turned else {}
    return element("text", text, x=x, y=y, text_anchor=anchor, fill="currentColor", fill_opacity=SOFT, **turn)


def axis_below(x: float, y: float, width: float, ticks: Iterable[tuple[float, str]]) -> list[Element]:
    """Draw an axis from ``x`` to ``x + width``, with numbers below; ticks are at parts of it, from 0 to 1."""
    drawn = [element("path", d=f"M{amount(x)} {amount(y)}h{amount(width)}", stroke="currentColor", stroke_opacity=0.5)]
    for place, text in ticks:
        at = x + place * width
        drawn.append(
            element("path", d=f"M{amount(at)} {amount(y)}v4", stroke="currentColor", stroke_opacity=0.5),
        )
        drawn.append(label_at(at, y + 15, text))
    return drawn


def round_ticks(most: float, count: int = 4) -> list[float]:
    """Round numbers from zero to the first that is not below ``most``, about ``count`` steps of one, two or five."""
    rough = most / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def table(lines: Iterable[tuple[str, str]]) -> Element:
    """Make a table of names and texts."""
    cell = (
        "text-align:left;vertical-align:top;padding:1px 10px 1px 0;border:0;background:transparent;white-space:normal"
    )
    rows = [
        element(
            "tr",
            element("th", name, scope="row", style=f"{cell};font-weight:600;opacity:{SOFT};white-space:nowrap"),
            element("td", text, style=cell),
            style="background:transparent",
        )
        for name, text in lines
    ]
    return element("table", element("tbody", *rows), style="border-collapse:collapse;border:0;margin:0")


def explanation(text: str) -> Element:
    """Make a line that explains a drawing."""
    return element("div", text, style=f"opacity:{SOFT};font-size:12px;margin:2px 0 6px")


def verdict_line(text: str, *, is_alarm: bool) -> Element:
    """Make the line with which something begins: what it is worth, in words."""
    colour = ALARM if is_alarm else ACCENT
    return element("div", text, style=f"border-left:4px solid {colour};padding:2px 0 2px 8px;margin:2px 0 8px")


def row_of(*elements: Element, gap: int = 24) -> Element:
    """Put elements side by side, and below each other where the page is narrow."""
    style = f"display:flex;flex-wrap:wrap;gap:{gap}px;align-items:flex-start"
    return element("div", *elements, style=style)


def card(title: str, *elements: Element) -> str:
    """HTML of an object in a notebook: its title, and what is shown of it."""
    heading = element("div", title, style="font-weight:650;margin-bottom:4px")
    return to_html(element("div", heading, *elements, style=f"font:13px/1.45 {FONT};max-width:960px;padding:2px 0"))


def legend(*entries: tuple[str, str, float]) -> Element:
    """Make a line that says what colours mean: colour, text and opacity of each."""
    swatch = "display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px"
    made = [
        element("span", element("span", style=f"{swatch};background:{colour};opacity:{amount(opacity)}"), text)
        for colour, text, opacity in entries
    ]
    return element("div", *made, style="display:flex;flex-wrap:wrap;gap:4px 18px;font-size:12px;margin:2px 0 6px")


def log_place(value: float, least: int) -> float:
    """Place of a value between 0 and 1 on a logarithmic axis from ``10**least`` to 1; what is below lies at 0."""
    if not value > 0:
        return 0.0
    return min(max(1 - math.log10(value) / least, 0.0), 1.0)


def least_decade(values: Iterable[float]) -> int:
    """Where a logarithmic axis up to 1 begins, for some values: at 0.001, or below the least of them."""
    positive = [value for value in values if value > 0]
    return max(min([-3, *(math.floor(math.log10(value)) for value in positive)]), -17)


def decade(exponent: int) -> str:
    """Write a power of ten as numbers are written: ``0.01``, ``1e-05``."""
    return f"{10.0**exponent:g}"
