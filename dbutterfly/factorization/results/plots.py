"""Plots of a factorization, by matplotlib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...planning.tilings import root_position
from ...structure.arguments import read_choice
from ...structure.drawings import ACCENT, ALARM, GAIN
from ...structure.figures import matplotlib_module, take_axes
from .trace import LEAST_DECADE, root_groups
from .verdict import verdict_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .factorization import Factorization

__all__ = ["KINDS", "plot_factorization"]

KINDS = ("cuts", "residuals")
"""What can be drawn of a factorization."""


def plot_factorization(factorization: Factorization, kind: Any = "cuts", ax: Any = None) -> Axes:
    """Draw where the error of a factorization arises (:meth:`dbutterfly.Factorization.plot`)."""
    chosen = read_choice("kind", kind, choices=KINDS)
    return _plot_cuts(factorization, ax) if chosen == "cuts" else _plot_residuals(factorization, ax)


def _plot_cuts(factorization: Factorization, ax: Any) -> Axes:
    """Draw the error of every cut, beside the bounds of the whole."""
    certificate, tree = factorization.certificate, factorization.tree
    errors = factorization.record.get("errors_by_cut", [])
    root = root_position(tree)
    (axes,) = take_axes("ax", ax, (5.2, 3.4))
    colours = [GAIN if cut == root else ACCENT for cut in range(1, len(errors) + 1)]
    axes.bar(range(1, len(errors) + 1), errors, color=colours, label="error of a cut" if errors else None)
    alarm = verdict_on(certificate).is_useless
    words = "estimated error" if not certificate.proven else "error" if certificate.exact else "error bound"
    axes.axhline(
        certificate.error_bound, color=ALARM if alarm else "0.3", label=f"{words} {certificate.error_bound:.3g}"
    )
    if certificate.proven:
        axes.axhline(
            certificate.lower_bound, color="0.3", linestyle=":", label=f"lower bound {certificate.lower_bound:.3g}"
        )
    axes.set(
        xlabel="cut after factor (root cut in orange)",
        ylabel=f"relative {'weighted ' if certificate.weighted else ''}error",
        title="useless" if alarm else "",
    )
    axes.set_xticks(range(1, len(errors) + 1))
    finite = [error for error in (certificate.error_bound, *errors) if math.isfinite(error)]
    axes.set_ylim(bottom=0, top=1.5 * max(finite, default=0.0) or None)  # room for the legend
    axes.legend(loc="upper left")
    return axes


def _plot_residuals(factorization: Factorization, ax: Any) -> Axes:
    """Draw the map of the residuals, on a scale up to 1 whatever they are."""
    if factorization.trace is None:
        raise InputError(
            'kind="residuals": this factorization was saved without the record of its run; factorize again, or draw '
            'kind="cuts"'
        )
    (axes,) = take_axes("ax", ax, (4.8, 4.0))
    least, is_useless = 10.0**LEAST_DECADE, verdict_on(factorization.certificate).is_useless
    residuals = np.maximum(factorization.trace.residuals, least)
    norm, colours = matplotlib_module("colors").LogNorm(least, 1.0), "Reds" if is_useless else "Blues"
    rows, cols = root_groups(factorization.chain, factorization.tree)
    place: dict[str, Any] = {"extent": (0, cols, rows, 0), "aspect": cols / rows}
    image = axes.imshow(residuals, norm=norm, cmap=colours, interpolation="nearest", **place)
    axes.set(
        xlabel="column group",
        ylabel="row group",
        title="residuals at the root cut" + (", useless" if is_useless else ""),
    )
    if (figure := axes.get_figure(root=True)) is not None:
        figure.colorbar(image, ax=axes, label="relative residual")
    return axes
