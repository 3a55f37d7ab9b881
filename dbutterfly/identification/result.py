"""The result of an identification: orderings, their residuals and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Cut
from ..structure.orderings import Orderings
from .cuts import Index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["IdentifiedOrderings", "Trees"]


@dataclass(frozen=True, eq=False)
class Trees:
    """Cluster trees of the rows and columns: nested partitions into equal groups.

    Attributes
    ----------
    rows, cols : dict of int to ndarray of int64, shape (groups, members)
        For each number of groups, from few to many, the rows (columns) of the matrix in each of them. Group g of one
        partition is the union of neighbouring groups of the next.
    """

    rows: dict[int, Index]
    cols: dict[int, Index]

    def __repr__(self) -> str:
        rows, cols = (", ".join(map(str, side)) or "no" for side in (self.rows, self.cols))
        return f"<Trees: rows in {rows} groups, columns in {cols} groups>"

    @classmethod
    def of(cls, rows: Index, cols: Index, cuts: tuple[Cut, ...]) -> Trees:
        """Trees from orders in which the groups of every cut are contiguous."""
        return cls(
            {groups: rows.reshape(groups, -1) for groups in sorted({cut.row_groups for cut in cuts})},
            {groups: cols.reshape(groups, -1) for groups in sorted({cut.col_groups for cut in cuts})},
        )


@dataclass(frozen=True, eq=False)
class IdentifiedOrderings(Orderings):
    """Row and column orderings that were found: ``Z[rows][:, cols]`` is in the standard order of the chain.

    Attributes
    ----------
    rows, cols : ndarray of int64, shape (M,) and (N,)
        Index arrays.
    found : bool
        Whether nothing is left but rounding, or the error is what noise outside the butterfly explains. That is so if
        the groups of every cut speak against noise, and against every matrix of low rank with noise and fewer
        parameters than the butterfly; and if all cuts leave noise of one size. A matrix of noise, or of low rank with
        noise, counts as found with a probability of at most 0.01. If False, the orderings are the best that were seen,
        and may be worth nothing.
    confidence : float
        Probability, between 0 and 1, that the factorization in these orderings has at most 1.001 times the error of
        that in the true ones: fitted to known instances (``benchmarks/README.md``, "confidence").
    levels : tuple of int
        Cuts of the chain that count: the number of factors to the left of each. Those whose blocks may have full rank
        are left out.
    residuals : ndarray of float64
        For each level, ``||Z - Z_l|| / ||Z||`` for the best matrix whose blocks have the rank of that cut.
    floors : ndarray of float64
        Residuals of a true butterfly matrix with as much noise as the level that sees least.
    trees : Trees
        Cluster trees of both sides.
    method : str
        Method of the search.
    attempts : int
        Number of attempts.
    seconds : float
        Time that the search took.
    """

    found: bool = False
    confidence: float = 0.0
    levels: tuple[int, ...] = ()
    residuals: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    floors: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    trees: Trees = field(default_factory=lambda: Trees({}, {}))
    method: str = ""
    attempts: int = 0
    seconds: float = 0.0

    @property
    def residual(self) -> float:
        """Largest of the residuals: no product of the chain is closer to ``Z`` in these orderings."""
        return float(self.residuals.max(initial=0.0))

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the orderings themselves."""
        return {
            "found": self.found,
            "confidence": self.confidence,
            "levels": list(self.levels),
            "residuals": self.residuals.tolist(),
            "floors": self.floors.tolist(),
            "method": self.method,
            "attempts": self.attempts,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], rows: Index, cols: Index) -> Self:
        """Read the values of :meth:`to_json`, and add the orderings; the trees are not kept."""
        arrays = {name: np.array(values[name]) for name in ("residuals", "floors")}
        known = {each.name for each in fields(cls)} - {"rows", "cols", "trees"}
        plain = {name: value for name, value in values.items() if name in known}
        return cls(rows, cols, **{**plain, **arrays, "levels": tuple(values["levels"])})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the residual of every cut beside the noise.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The drawing, logarithmic up to 1; its title is the verdict.

        Raises
        ------
        InputError
            If ``ax`` is no Axes, or matplotlib is not installed.
        """
        from .plots import plot_identified

        return plot_identified(self, ax)

    def _repr_html_(self) -> str:
        """Show the verdict, the residuals and both sides in a notebook."""
        from .pictures import identified_html

        return identified_html(self)

    def __repr__(self) -> str:
        verdict = str(self).removeprefix("orderings ")
        sizes = (f"{side.size} {name}" for name, side in self.sides.items() if isinstance(side, np.ndarray))
        return f"<{type(self).__name__} of {' and '.join(sizes)}: {verdict}>"

    def __str__(self) -> str:
        verdict = "found" if self.found else "NOT found"
        return (
            f"orderings {verdict} by method {self.method} in {self.seconds:.2f} s, {self.attempts} attempts; "
            f"residual at most {self.residual:.4g} in {len(self.levels)} cuts, confidence {self.confidence:.3f}"
        )
