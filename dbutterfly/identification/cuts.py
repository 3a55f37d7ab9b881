"""The cuts of a chain and of the parts of its blocks, and the orders of trees: integers only.

An *ordering in tree order* lists the rows (or columns) such that the groups of every cut are contiguous. In standard
order (:mod:`dbutterfly.structure.orderings`) column groups are contiguous too, while the row groups of a cut are the
residues of the position: the two differ by a reversal of digits on the side of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ChainError, InputError
from ..structure.chain import Chain, Cut
from ..structure.digits import digit_reversal

__all__ = ["Index", "cuts_of", "from_standard", "left_cuts", "right_cuts", "to_standard", "transpose_cuts"]

Index: TypeAlias = NDArray[np.int64]


def cuts_of(chain: Chain, levels: Sequence[int] | None = None) -> tuple[Cut, ...]:
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
    return tuple(chain.cut(position)[0] for position in wanted)


def left_cuts(cuts: Sequence[Cut], root: int) -> tuple[Cut, ...]:
    """Cuts of the left parts of the blocks of ``cuts[root]``.

    The left parts of one row group of ``cuts[root]`` form a matrix: its rows are those of the group, its columns stand
    for the column groups. The cuts before ``root`` divide the rows further and join the columns.
    """
    at = cuts[root]
    shape = at.block_shape[0], at.col_groups
    return tuple(Cut.of_groups(shape, cut.row_groups // at.row_groups, cut.col_groups, cut.rank) for cut in cuts[:root])


def right_cuts(cuts: Sequence[Cut], root: int) -> tuple[Cut, ...]:
    """Cuts of the right parts of the blocks of ``cuts[root]``: rows stand for the row groups, columns are those of one.

    The cuts after ``root`` join the rows and divide the columns further.
    """
    at = cuts[root]
    shape = at.row_groups, at.block_shape[1]
    return tuple(
        Cut.of_groups(shape, cut.row_groups, cut.col_groups // at.col_groups, cut.rank) for cut in cuts[root + 1 :]
    )


def transpose_cuts(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Cuts of the transposed matrix, from the one with the most row groups on."""
    return tuple(cut.T for cut in reversed(cuts))


def to_standard(rows: Index, chain: Chain) -> Index:
    """Row ordering in standard order, from one in tree order."""
    return rows[digit_reversal(chain.row_radices)]


def from_standard(rows: Index, chain: Chain) -> Index:
    """Row ordering in tree order, from one in standard order."""
    return rows[np.argsort(digit_reversal(chain.row_radices))]
