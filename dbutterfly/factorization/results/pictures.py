"""Certificates and factorizations as a notebook shows them; the report draws its bounds with the same function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...planning.sizes import format_bytes
from ...structure.drawings import (
    ACCENT,
    ALARM,
    GAIN,
    Element,
    axis_below,
    card,
    element,
    explanation,
    legend,
    round_ticks,
    svg,
    table,
    verdict_line,
)
from ...structure.pictures import draw_chain
from .certificate import Certificate
from .verdict import verdict_on

if TYPE_CHECKING:
    from .factorization import Factorization

__all__ = ["certificate_html", "certificate_parts", "draw_bounds", "factorization_html"]

WIDTH = 440.0
"""Pixels of the axis of the bounds in a notebook."""

HEIGHT = 12.0
"""Pixels of the bar of the bounds."""


def certificate_html(certificate: Certificate) -> str:
    """HTML of a certificate: a verdict in words, its bounds as a bar, and its numbers."""
    return card("Certificate", *certificate_parts(certificate))


def certificate_parts(certificate: Certificate) -> list[Element]:
    """Elements of a certificate: a verdict in words, its bounds as a bar, and its numbers."""
    verdict, bounds = verdict_on(certificate), draw_bounds(certificate, WIDTH)
    return [
        verdict_line(verdict.text, is_alarm=verdict.is_useless),
        *([] if bounds is None else [bounds]),
        explanation(str(certificate)),
    ]


def draw_bounds(certificate: Certificate, width: float) -> Element | None:
    """Draw the bounds of a certificate on an axis from zero; None where there is no axis for them."""
    error = certificate.error_bound
    if not 0 < error < math.inf:
        return None
    spread = certificate.deviation if certificate.deviation is not None else 0.0
    ticks = round_ticks(error + (spread if math.isfinite(spread) else 0.0))
    scale, useless = width / ticks[-1], verdict_on(certificate).is_useless
    if certificate.proven:
        bars, says = _proven_bars(certificate, scale, ALARM if useless else GAIN)
    else:
        bars, says = _estimated_bars(error, min(spread, error), scale, ALARM if useless else ACCENT)
    axis = axis_below(0, HEIGHT + 6, width, [(tick / ticks[-1], f"{tick:.3g}") for tick in ticks])
    drawing = svg(width, HEIGHT + 26, *bars, *axis, label=str(certificate))
    norm = f"{'weighted ' if certificate.weighted else ''}Frobenius norm"
    note = f"Relative error of the product ({norm}), from zero."
    return element("div", explanation(note), element("div", drawing, style="padding:0 16px"), says)


def _proven_bars(certificate: Certificate, scale: float, colour: str) -> tuple[list[Element], Element]:
    """What is impossible, what is left to gain, and what their colours say."""
    low, high = certificate.lower_bound * scale, certificate.error_bound * scale
    bars = [
        element("rect", x=0, y=2, width=low, height=HEIGHT, fill="currentColor", fill_opacity=0.22),
        element("rect", x=low, y=2, width=max(high - low, 2), height=HEIGHT, fill=colour),
    ]
    most = "the error" if certificate.exact else "the error bound"
    says = legend(
        ("currentColor", f"impossible for {certificate.words.limit}: below {certificate.lower_bound:.4g}", 0.35),
        (colour, f"left to gain: up to {most}, {certificate.error_bound:.4g}", 1.0),
    )
    return bars, says


def _estimated_bars(error: float, spread: float, scale: float, colour: str) -> tuple[list[Element], Element]:
    """The error that was estimated, its standard deviation, and what their colours say."""
    low, wide = (error - spread) * scale, 2 * spread * scale
    bars = [
        element("rect", x=0, y=2, width=error * scale, height=HEIGHT, fill=colour),
        element("rect", x=low, y=HEIGHT / 2, width=wide, height=4, fill="currentColor", fill_opacity=0.6),
    ]
    says = legend(
        (colour, f"estimated error, {error:.4g}", 1.0),
        ("currentColor", f"within a standard deviation of {spread:.2g}", 0.6),
    )
    return bars, says


def factorization_html(factorization: Factorization) -> str:
    """HTML of a factorization: a verdict, its bounds, its size, and on demand the supports of its factors."""
    rows, cols = factorization.shape
    chain = factorization.chain
    lines = [
        (
            "factors",
            f"{len(chain)}, {format_bytes(factorization.nbytes)}: {factorization.compression:.1f} times smaller",
        ),
        ("orderings", factorization.orderings.describe()),
    ]
    if factorization.weights is not None:
        lines.append(("weights", str(factorization.weights)))
    seconds = sum(stage["seconds"] for stage in factorization.record.get("stages", {}).values())
    if seconds:
        lines.append(("time", f"{seconds:.2f} s in all stages"))
    factors = element(
        "details", element("summary", "Factors", style="cursor:pointer;margin-top:6px"), draw_chain(chain)
    )
    title = f"Factorization of a {rows} x {cols} {factorization.dtype.name} matrix"
    return card(title, *certificate_parts(factorization.certificate), table(lines), factors)
