"""Cuts of a chain as group counts, and the orders of trees: integers only.

An *ordering in tree order* lists the rows (or columns) such that the groups of every cut are contiguous. In standard
order (:mod:`dbutterfly.structure.orderings`) column groups are contiguous too, while the row groups of a cut are the
residues of the position: the two differ by a reversal of digits on the side of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ChainError, InputError
from ..structure.chain import Chain
from ..structure.digits import digit_reversal

__all__ = ["GroupedCut", "Index", "cuts_of", "from_standard", "left_of", "right_of", "to_standard", "transposed"]

Index: TypeAlias = NDArray[np.int64]


class GroupedCut(NamedTuple):
    """One cut of a chain: all blocks of ``row_groups x col_groups`` equal groups have rank ``rank`` at most."""

    row_groups: int
    col_groups: int
    rank: int

    @property
    def T(self) -> GroupedCut:
        """The same cut of the transposed matrix."""
        return GroupedCut(self.col_groups, self.row_groups, self.rank)

    def degrees_of_freedom(self, shape: tuple[int, int]) -> int:
        """Parameters of the matrices whose blocks have this rank."""
        p, v = shape[0] // self.row_groups, shape[1] // self.col_groups
        rank = min(self.rank, p, v)
        return self.row_groups * self.col_groups * rank * (p + v - rank)


def cuts_of(chain: Chain, levels: Sequence[int] | None = None) -> tuple[GroupedCut, ...]:
    """Cuts of a chain, from the one with the most row groups to the one with the most column groups.

    Parameters
    ----------
    chain : Chain
        A chainable chain of full matrices.
    levels : sequence of int, optional
        Positions of the cuts that count, each the number of factors to the left of it; by default all.

    Raises
    ------
    ChainError
        If the chain cannot be cut.
    InputError
        If a level is no cut of the chain.
    """
    if not chain.is_dense:
        raise ChainError(
            f"chain={chain!r} is no chain of full matrices; orderings are identified for chainable chains that start "
            "with a = 1 and end with d = 1"
        )
    inner = range(1, len(chain))
    wanted = list(inner) if levels is None else sorted(set(levels))
    if not set(wanted) <= set(inner) or (levels is not None and not wanted):
        raise InputError(
            f"levels={levels!r} are no cuts of a chain of {len(chain)} factors; name some of 1 .. {len(chain) - 1}"
        )
    splits = [chain.cut(position)[0] for position in wanted]
    return tuple(GroupedCut(split.u, split.q, split.rank) for split in splits)


def left_of(cuts: Sequence[GroupedCut], root: int) -> tuple[GroupedCut, ...]:
    """Cuts of the left parts of the blocks of ``cuts[root]``: its rows fall apart, its column groups come together."""
    at = cuts[root]
    return tuple(GroupedCut(u // at.row_groups, q, rank) for u, q, rank in cuts[:root])


def right_of(cuts: Sequence[GroupedCut], root: int) -> tuple[GroupedCut, ...]:
    """Cuts of the right parts of the blocks of ``cuts[root]``."""
    at = cuts[root]
    return tuple(GroupedCut(u, q // at.col_groups, rank) for u, q, rank in cuts[root + 1 :])


def transposed(cuts: Sequence[GroupedCut]) -> tuple[GroupedCut, ...]:
    """Cuts of the transposed matrix."""
    return tuple(cut.T for cut in reversed(cuts))


def to_standard(rows: Index, chain: Chain) -> Index:
    """Row ordering in standard order, from one in tree order."""
    return rows[digit_reversal(chain.row_radices)]


def from_standard(rows: Index, chain: Chain) -> Index:
    """Row ordering in tree order, from one in standard order."""
    return rows[np.argsort(digit_reversal(chain.row_radices))]
