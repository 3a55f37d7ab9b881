"""Orderings of rows and columns: which permutation brings a matrix into the standard order of its chain.

``Z[rows][:, cols]`` is in standard order. A side is None (it already is), ``"bitreversal"`` (the digits of the index
are reversed, in the radices of the chain: bit reversal for dyadic chains) or an index array. The discrete Fourier
transform is ``(None, "bitreversal")``; a smooth or oscillatory kernel on sorted points is ``("bitreversal", None)``.
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
from .chain import Chain
from .digits import digit_reversal
from .plain_arrays import as_plain_array

__all__ = ["BITREVERSAL", "Orderings", "Side"]

BITREVERSAL = "bitreversal"

MOST_INDICES_SHOWN = 8
"""Longest index array that a representation shows whole. Not tuned: some thirty letters."""

Side: TypeAlias = "str | NDArray[np.int64] | None"


@dataclass(frozen=True, eq=False)
class Orderings:
    """Row and column orderings of a matrix: ``Z[rows][:, cols]`` is in the standard order of its chain.

    Parameters
    ----------
    rows, cols : None, "bitreversal" or array of int, shape (M,) and (N,)
        None leaves a side as it is; ``"bitreversal"`` reverses the digits of the index; an array names, for each
        position in standard order, the row or column of the matrix.

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

    def validate(self, shape: tuple[int, int]) -> None:
        """Raise InputError unless every index array is a permutation of its side of ``shape``."""
        for name, side, size in zip(("rows", "cols"), (self.rows, self.cols), shape, strict=True):
            if isinstance(side, np.ndarray) and not (
                side.size == size and np.array_equal(np.sort(side), np.arange(size))
            ):
                raise InputError(
                    f"orderings: {name} is not a permutation of 0 .. {size - 1} (it has {side.size} entries); "
                    f"each of the {size} indices must occur once"
                )

    def permutations(self, chain: Chain) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Index arrays of both sides for ``chain``, None where a side is already in standard order."""
        reversed_rows = digit_reversal(chain.row_radices) if isinstance(self.rows, str) else self.rows
        reversed_cols = digit_reversal(chain.col_radices) if isinstance(self.cols, str) else self.cols
        return reversed_rows, reversed_cols

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
    return side if isinstance(side, str) else f"permuted ({operator.index(side.size)} indices)"
