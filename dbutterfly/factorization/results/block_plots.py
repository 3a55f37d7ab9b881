"""Plots of the blocks of a hierarchical form, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...structure.arguments import read_choice
from ...structure.drawings import GAIN
from ...structure.figures import matplotlib_module, take_axes
from .block_pictures import BUTTERFLY, DECADES, mirrored_blocks
from .verdict import verdict_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .hierarchical import HierarchicalFactorization

__all__ = ["KINDS_OF_PLOTS", "plot_blocks"]

KINDS_OF_PLOTS = ("ranks", "errors")
"""What can be drawn of the blocks."""


def plot_blocks(found: HierarchicalFactorization, kind: Any = "ranks", ax: Any = None) -> Axes:
    """Draw the map of the blocks (:meth:`dbutterfly.HierarchicalFactorization.plot`)."""
    chosen = read_choice("kind", kind, choices=KINDS_OF_PLOTS)
    (axes,) = take_axes("ax", ax, (4.8, 4.0))
    is_useless = verdict_on(found.certificate).is_useless
    (_draw_ranks if chosen == "ranks" else _draw_errors)(found, axes, "Reds" if is_useless else "Blues")
    axes.set(
        xlim=(0, found.shape[1]),
        ylim=(found.shape[0], 0),
        aspect="equal",
        xlabel="position of the column",
        ylabel="position of the row",
        title="useless" if is_useless else "",
    )
    return axes


def _draw_ranks(found: HierarchicalFactorization, axes: Axes, colours: str) -> None:
    """Draw kinds and ranks: one colour for dense blocks and butterflies, a scale for the others."""
    kinds = [block.kind for block in found.blocks]
    low = [number for number, kind in enumerate(kinds) if kind == "low rank"]
    if low:
        most = max(found.blocks[number].rank for number in low)
        norm = matplotlib_module("colors").LogNorm(1, max(most, 2))
        ranks = {number: found.blocks[number].rank for number in low}
        drawn = _draw(found, axes, ranks, norm=norm, cmap=colours)
        _add_scale(axes, drawn, "rank")
    for kind, colour in (("dense", GAIN), ("butterfly", BUTTERFLY)):
        numbers = {number: 1.0 for number, each in enumerate(kinds) if each == kind}
        if numbers:
            _draw(found, axes, numbers, facecolor=colour)
            axes.plot([], [], "s", color=colour, label=kind)  # for the legend
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")


def _draw_errors(found: HierarchicalFactorization, axes: Axes, colours: str) -> None:
    errors = found.errors
    most = float(errors.max(initial=0.0)) or 1.0
    norm = matplotlib_module("colors").LogNorm(most * 10.0**-DECADES, most, clip=True)
    shown = dict(enumerate(np.maximum(errors, most * 10.0**-DECADES).tolist()))
    _add_scale(axes, _draw(found, axes, shown, norm=norm, cmap=colours), "error, relative to the whole matrix")


def _draw(found: HierarchicalFactorization, axes: Axes, values: Mapping[int, float], **style: Any) -> Any:
    """Draw the blocks that have a value; with a scale, in its colours."""
    places = [place for place in mirrored_blocks(found) if place[0] in values]
    corners = [
        [(left, top), (right, top), (right, bottom), (left, bottom)] for _, (top, bottom), (left, right) in places
    ]
    shown = {"array": np.array([values[number] for number, *_ in places])} if "norm" in style else {}
    made = matplotlib_module("collections").PolyCollection(corners, edgecolor="0.4", linewidth=0.1, **shown, **style)
    return axes.add_collection(made)


def _add_scale(axes: Axes, drawn: Any, label: str) -> None:
    if (figure := axes.get_figure(root=True)) is not None:
        figure.colorbar(drawn, ax=axes, label=label)
