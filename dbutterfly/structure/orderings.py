"""Orderings of rows and columns: which permutation brings a matrix into the standard order of its chain.

``Z[rows][:, cols]`` is in standard order. A side is None (it already is), ``"bitreversal"`` (the digits of the index
are reversed, in the radices of the chain: bit reversal for dyadic chains) or an index array. The discrete Fourier
transform is ``(None, "bitreversal")``; a smooth or oscillatory kernel on sorted points is ``("bitreversal", None)``.

Where the rows or columns belong to points, or to the vertices of a graph, the order follows from these
(:mod:`dbutterfly.structure.points`, :mod:`dbutterfly.structure.graphs`).

A chain may be longer than the matrix: positions to which no row or column belongs are gaps
(:mod:`dbutterfly.structure.padding`). An index array has -1 there.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .arguments import show_value
from .chain import Chain, read_chain
from .digits import digit_reversal
from .graphs import Graph
from .plain_arrays import as_plain_array
from .points import Points

__all__ = ["AUTO", "BITREVERSAL", "GAP", "Orderings", "Side", "orderings_of_parts"]

BITREVERSAL = "bitreversal"

AUTO = "auto"
"""In place of orderings: those that fit best, by a sample of the matrix."""

MOST_INDICES_SHOWN = 8
"""Longest index array that a representation shows whole. Not tuned: some thirty letters."""

GAP = -1
"""Entry of an index array at a position to which nothing belongs."""

Side: TypeAlias = "str | NDArray[np.int64] | None"


@dataclass(frozen=True, eq=False)
class Orderings:
    """Row and column orderings of a matrix: ``Z[rows][:, cols]`` is in the standard order of its chain.

    Parameters
    ----------
    rows, cols : None, "bitreversal" or array of int, shape (M,) and (N,)
        None leaves a side as it is; ``"bitreversal"`` reverses the digits of the index; an array names, for each
        position in standard order, the row or column of the matrix. Where the chain is longer than the matrix, an array
        has an entry for each position of the chain, -1 for one to which nothing belongs; without such entries, as with
        None and ``"bitreversal"``, these gaps are spread evenly.

    Raises
    ------
    InputError
        If a side is an unknown name or not one-dimensional integers.
    """

    rows: Side = None
    cols: Side = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _check_side(self.rows, "rows"))
        object.__setattr__(self, "cols", _check_side(self.cols, "cols"))

    @classmethod
    def from_any(cls, orderings: Any) -> Orderings:
        """Return ``orderings`` as an Orderings: one already, None, or a pair ``(rows, cols)``."""
        if isinstance(orderings, Orderings):
            return orderings
        if orderings is None:
            return cls()
        if isinstance(orderings, str) or not isinstance(orderings, Sequence) or len(orderings) != 2:
            raise InputError(f"orderings={show_value(orderings)} is not None, an Orderings, or a pair (rows, cols)")
        return cls(*orderings)

    @classmethod
    def from_points(cls, rows: Any = None, cols: Any = None, *, chain: Any, period: Any = None) -> Orderings:
        """Orderings in which the groups of a chain are parts of space, by recursive bisection of points.

        Parameters
        ----------
        rows, cols : array_like of float, shape (M, d) and (N, d), optional
            Coordinates of the points to which rows and columns belong: NumPy, Zarr, xarray, or lists; (M,) and (N,) in
            one dimension. A side without points stays standard.
        chain : Chain, list of patterns, or lazylinop chain
            Chain of at least as many rows and columns as there are points. Gaps are spread evenly over the parts.
        period : float or sequence of float or None, optional
            Length after which coordinates wrap: of all coordinates, or one for each, None where one does not wrap.
            Each part is cut as if such a coordinate began behind its largest gap.

        Returns
        -------
        Orderings
            Index arrays, -1 at gaps. Points that are in order already give the names of their orderings,
            ``("bitreversal", None)``, which cost no copy of a stored matrix.

        Raises
        ------
        InputError
            If coordinates are no finite real numbers or a period is not positive; ChainError if the chain does not fit.

        Notes
        -----
        Each part is cut across its longest extent; points in one place keep their order. Extents give the same order on
        every machine. Principal axes in their place are no better, except on grids. Error over that in the order of
        ``dbf.matrices``, for Helmholtz kernels of 1024 points and ranks 3, 6 and 9, with the dyadic and the balanced
        chain (geometric means over seeds 0 to 5 of random points):

        ======================  ============  ==============
        points                  extents       principal axes
        ======================  ============  ==============
        squares, random         0.73 to 1.08  0.92 to 1.09
        squares turned by 0.5   0.86 to 1.07  0.92 to 1.09
        squares, grid           1.00          0.51 to 0.92
        circles, random         0.90 to 1.05  0.88 to 1.11
        ======================  ============  ==============

        Examples
        --------
        >>> import dbutterfly as dbf
        >>> chain = dbf.Chain.square_dyadic(4)
        >>> dbf.Orderings.from_points([0.3, 0.9, 0.1, 0.7], [0.1, 0.2, 0.3, 0.4], chain=chain).sides
        {'rows': array([2, 3, 0, 1]), 'cols': None}
        """
        read = read_chain("chain", chain)
        return orderings_of_parts(read, *Points(rows, cols, period).orders(read))

    @classmethod
    def from_graph(cls, adjacency: Any, cols: Any = "same", *, chain: Any) -> Orderings:
        """Orderings in which the groups of a chain are parts of a graph, by recursive spectral bisection.

        Parameters
        ----------
        adjacency : sparse or dense matrix of float, shape (M, M)
            Weights of the edges between the vertices to which the rows belong, not negative; an edge counts in both
            directions. None leaves the rows as they are.
        cols : "same", None, or matrix of float, shape (N, N)
            The same of the columns; by default they belong to the same vertices.
        chain : Chain, list of patterns, or lazylinop chain
            Chain of at least as many rows and columns as there are vertices. Gaps are spread evenly over the parts.

        Returns
        -------
        Orderings
            As those of :meth:`from_points`.

        Raises
        ------
        InputError
            If a matrix is not square, or has weights that are not finite, real and at least 0; ChainError if the chain
            does not fit.

        Notes
        -----
        Each part is sorted along the Fiedler vector of its subgraph, the eigenvector of the second eigenvalue of the
        Laplacian, and cut into parts of equal size. Components without edges between them are laid one after the other,
        the largest first.

        References
        ----------
        Fiedler, "A property of eigenvectors of nonnegative symmetric matrices and its application to graph theory",
        Czechoslovak Mathematical Journal 25, 1975. Pothen, Simon and Liou, "Partitioning sparse matrices with
        eigenvectors of graphs", SIAM Journal on Matrix Analysis and Applications 11, 1990.
        """
        same = isinstance(cols, str) and cols == "same"
        row_graph = None if adjacency is None else Graph("adjacency", adjacency)
        col_graph = row_graph if same else None if cols is None else Graph("cols", cols)
        read = read_chain("chain", chain)
        row_order = None if row_graph is None else row_graph.order("rows", read.shape[0], read.row_radices[::-1])
        col_order = None if col_graph is None else col_graph.order("cols", read.shape[1], read.col_radices)
        return orderings_of_parts(read, row_order, col_order)

    def validate(self, shape: tuple[int, int], chain: Chain | None = None) -> None:
        """Raise InputError unless every index array names each row, or column, of ``shape`` once.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the matrix.
        chain : Chain, optional
            Chain for whose positions the arrays are.
        """
        lengths = (None, None) if chain is None else chain.shape
        for name, side, size, length in zip(("rows", "cols"), (self.rows, self.cols), shape, lengths, strict=True):
            if isinstance(side, np.ndarray):
                _check_index(side, name, size, length)

    def for_chain(self, chain: Chain) -> Orderings:
        """Orderings for a chain: these, whatever the chain (those of points are others for each)."""
        del chain
        return self

    def permutations(self, chain: Chain) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Index arrays of both sides for ``chain``, None where a side is already in standard order."""
        reversed_rows = digit_reversal(chain.row_radices) if isinstance(self.rows, str) else self.rows
        reversed_cols = digit_reversal(chain.col_radices) if isinstance(self.cols, str) else self.cols
        return reversed_rows, reversed_cols

    def shape(self, chain: Chain) -> tuple[int, int]:
        """Rows and columns of the matrix: positions of the chain but for the gaps of the index arrays."""
        gaps = (np.count_nonzero(side == GAP) if isinstance(side, np.ndarray) else 0 for side in (self.rows, self.cols))
        rows, cols = (length - int(count) for length, count in zip(chain.shape, gaps, strict=True))
        return rows, cols

    @property
    def sides(self) -> dict[str, Side]:
        """Both sides by name: ``rows`` and ``cols``."""
        return {"rows": self.rows, "cols": self.cols}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={_show_side(self.rows)}, cols={_show_side(self.cols)})"

    def _repr_html_(self) -> str:
        """Show both sides in a notebook, with a picture of each."""
        from .pictures import orderings_html

        return orderings_html(self)

    def describe(self) -> str:
        """One line, such as ``rows standard, columns bitreversal``."""
        return f"rows {_describe_side(self.rows)}, columns {_describe_side(self.cols)}"


def orderings_of_parts(chain: Chain, rows: NDArray[np.int64] | None, cols: NDArray[np.int64] | None) -> Orderings:
    """Orderings of a matrix whose rows and columns are known in an order part by part, None where they stay standard.

    The first split of a row is its lowest digit, that of a column its highest.
    """
    sides: list[Side] = [None, None]
    if rows is not None:
        in_parts = _spread(rows, chain.shape[0])
        sides[0] = BITREVERSAL if in_parts is None else in_parts[digit_reversal(chain.row_radices)]
    if cols is not None:
        sides[1] = _spread(cols, chain.shape[1])
    return Orderings(*sides)


def _spread(order: NDArray[np.int64], length: int) -> NDArray[np.int64] | None:
    """Index array of an order, with gaps spread evenly; None where the order is that of the matrix."""
    if np.array_equal(order, np.arange(order.size)):
        return None
    found = np.full(length, GAP, np.int64)
    found[np.arange(order.size, dtype=np.int64) * length // order.size] = order
    return found


def _check_index(index: NDArray[np.int64], name: str, size: int, length: int | None) -> None:
    """Refuse an index array that does not name each of ``size`` rows once, or has the wrong length for a chain."""
    named = index[index != GAP]
    if named.size != size or not np.array_equal(np.sort(named), np.arange(size)):
        raise InputError(
            f"orderings: {name} is not a permutation of 0 .. {size - 1} (it has {index.size} entries); each of the "
            f"{size} indices must occur once, and -1 where nothing belongs to a position"
        )
    if length is not None and index.size not in ((size, length) if named.size == index.size else (length,)):
        raise InputError(
            f"orderings: {name} has {index.size} entries, of which {index.size - size} are -1, and the chain has "
            f"{length} positions; give an entry for each of them, or {size} without gaps"
        )


def _check_side(side: Any, name: str) -> Side:
    if side is None or (isinstance(side, str) and side == BITREVERSAL):
        return side
    if isinstance(side, str):
        raise InputError(f'orderings: {name}={show_value(side)} is unknown; use None, "bitreversal" or an index array')
    index = as_plain_array(side, f"orderings: {name}")
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise InputError(
            f"orderings: {name} has dtype {index.dtype} and {index.ndim} dimensions; an index array has one dimension "
            "of integers"
        )
    index = index.astype(np.int64, copy=True)
    index.flags.writeable = False
    return index


def _show_side(side: Side) -> str:
    """Show a side in a representation: short arrays whole, others by their number of indices."""
    if not isinstance(side, np.ndarray):
        return repr(side)
    return str(side.tolist()) if side.size <= MOST_INDICES_SHOWN else f"<{side.size} indices>"


def _describe_side(side: Side) -> str:
    if side is None:
        return "standard"
    if isinstance(side, str):
        return side
    gaps = int(np.count_nonzero(side == GAP))
    return f"permuted ({operator.index(side.size - gaps)} indices{f', {gaps} gaps' if gaps else ''})"
