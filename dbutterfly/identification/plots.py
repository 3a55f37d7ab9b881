"""Pictures of an identification: similarities before and after ordering, and the residual of each level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..kernels.grouping.similarity import row_similarity
from ..sources.arrays import ArraySource
from ..sources.base import PaddedSource
from ..structure.chain import Chain
from ..structure.drawings import least_decade
from ..structure.figures import take_axes
from ..structure.orderings import Orderings
from ..structure.padding import has_place, place
from ..structure.plain_arrays import as_plain_array
from .cuts import cuts_of, from_standard

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .result import IdentifiedOrderings

__all__ = ["plot_identified", "plot_residuals", "plot_similarity"]

SMALLEST = float(np.finfo(np.float64).eps)
"""Relative residuals below this are drawn here: the axis is logarithmic."""


def plot_similarity(
    matrix: ArrayLike,
    orderings: Orderings,
    chain: Chain,
    level: int,
    *,
    alpha: float = 1.0,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw how alike the rows of a matrix are on the column groups of a level, before and after ordering.

    Parameters
    ----------
    matrix : array, shape (M, N)
        Matrix in memory.
    orderings : Orderings
        Orderings that were found, or the true ones. Both pictures use the column groups that they give.
    chain : Chain
        Chain of the matrix.
    level : int
        Cut of the chain, the number of factors to the left of it. Its row groups are framed.
    alpha : float
        Contrast of the similarities.
    axes : two Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    before, after : Axes
        The rows as they are, and with those of a group next to each other: squares along the diagonal where the
        orderings are right.

    Raises
    ------
    InputError
        If the level is no cut of the chain, the orderings do not fit the matrix, there are not two axes, or matplotlib
        is not installed.
    """
    (cut,) = cuts_of(chain, [level])
    before, after = take_axes("axes", axes, (8, 3.6), count=2)
    z, rows, cols = _place_on_chain(as_plain_array(matrix, "matrix"), orderings, chain)
    similarity = row_similarity(z[None, None, :, cols], cut.col_groups, alpha)[0] / cut.col_groups
    for drawing, order, title in ((before, np.arange(len(z)), "as given"), (after, rows, "ordered")):
        drawing.imshow(similarity[np.ix_(order, order)], vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        drawing.set(title=f"level {level}, {title}", xlabel="row", ylabel="row")
    size = len(z) // cut.row_groups
    for edge in range(size, len(z), size):
        after.axhline(edge - 0.5, color="white", linewidth=0.5)
        after.axvline(edge - 0.5, color="white", linewidth=0.5)
    return before, after


def plot_residuals(
    residuals: ArrayLike,
    floor: ArrayLike | None = None,
    *,
    levels: Sequence[int] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the residual of each level beside the noise floor.

    Parameters
    ----------
    residuals : array, shape (L,)
        Relative residuals: norm of what the blocks of each cut leave over that of the matrix.
    floor : array, shape (L,), or float, optional
        Noise floor of each level, or of all.
    levels : sequence of int, optional
        Cuts of the chain; by default 1 .. L.
    axes : Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Axes
        Logarithmic; what is below rounding is drawn at 2e-16.

    Raises
    ------
    InputError
        If the numbers of residuals, levels and floors differ, or matplotlib is not installed.
    """
    heights = np.atleast_1d(np.asarray(residuals, np.float64))
    places = np.arange(1, heights.size + 1) if levels is None else np.asarray(levels)
    if places.shape != heights.shape:
        raise InputError(f"levels={levels!r} names {places.size} levels and residuals has {heights.size}; give as many")
    (drawing,) = take_axes("axes", axes, (4, 3.6))
    drawing.semilogy(places, np.maximum(heights, SMALLEST), marker="o", label="residual")
    if floor is not None:
        drawing.semilogy(places, np.maximum(_per_level(floor, heights.size), SMALLEST), "--", label="noise floor")
    drawing.set(xlabel="level", ylabel="relative residual", xticks=places)
    drawing.legend()
    return drawing


def plot_identified(found: IdentifiedOrderings, ax: Any = None) -> Axes:
    """Draw the residual of every cut beside the noise (:meth:`dbutterfly.IdentifiedOrderings.plot`)."""
    axes = plot_residuals(found.residuals, found.floors, levels=found.levels, axes=take_axes("ax", ax, (4.8, 3.6))[0])
    verdict = "found" if found.found else "NOT found"
    axes.set(title=f"orderings {verdict}, confidence {found.confidence:.3f}", xlabel="cut")
    axes.set_ylim(10.0 ** least_decade([*found.residuals, *found.floors]), 1.2)
    return axes


def _per_level(floor: ArrayLike, levels: int) -> NDArray[np.float64]:
    """One floor for each level."""
    floors = np.asarray(floor, np.float64)
    if floors.shape not in ((), (levels,)):
        raise InputError(f"floor has shape {floors.shape} and residuals has {levels} levels; give one floor or as many")
    return np.broadcast_to(floors, (levels,))


def _place_on_chain(
    matrix: NDArray[Any], orderings: Orderings, chain: Chain
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Matrix with zeros at its gaps, and orders in which the groups of all cuts are contiguous, on both sides."""
    shape = matrix.shape
    if len(shape) != 2 or not has_place(shape, chain):
        raise InputError(
            f"matrix has shape {shape} and chain={chain!r} is one of {chain.shape}; give a chain that fits"
        )
    orderings.validate(shape, chain)
    placed = place(orderings, shape, chain)
    rows, cols = (
        np.arange(size) if side is None else side
        for side, size in zip(placed.orderings.permutations(chain), chain.shape, strict=True)
    )
    padded = PaddedSource(ArraySource(matrix), placed.paddings)
    whole = padded.read_range(slice(0, chain.shape[0]), slice(0, chain.shape[1]))
    return whole, from_standard(rows, chain), cols
