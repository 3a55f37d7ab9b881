"""Where plots are drawn: the axes that a caller gives, or those of a new figure of matplotlib."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, how_to_install
from .shown_values import show_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["matplotlib_module", "take_axes"]


def matplotlib_module(name: str) -> Any:
    """Import a module of matplotlib, such as ``"collections"``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module(f"matplotlib.{name}")
    except ModuleNotFoundError:
        raise InputError(f"plots need matplotlib; install it with: {how_to_install('plot')}") from None


def take_axes(name: str, value: Any, size: tuple[float, float] = (4.8, 3.6), count: int = 1) -> list[Axes]:
    """Take the axes that were given, or those of a new figure.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : Axes, sequence of Axes, or None
        What was given for it: one Axes, or as many as ``count`` says. None makes a new figure, which a notebook shows.
    size : (float, float)
        Inches of a new figure.
    count : int
        Number of axes, side by side.

    Raises
    ------
    InputError
        If it is something else, or matplotlib is not installed.
    """
    kind = matplotlib_module("axes").Axes
    if value is None:
        _, axes = matplotlib_module("pyplot").subplots(1, count, figsize=size, layout="constrained", squeeze=False)
        return list(axes[0])
    given = list(value) if count > 1 and isinstance(value, (list, tuple, np.ndarray)) else [value]
    if len(given) != count or not all(isinstance(each, kind) for each in given):
        wanted = "an Axes" if count == 1 else f"{count} Axes"
        raise InputError(
            f"{name}={show_value(value)} is not {wanted} of matplotlib; give {wanted}, or None for a new figure"
        )
    return given
