"""All cuts of a chain, one inside the other: a cut that is solved leaves smaller problems of the same kind.

The blocks of a solved cut have left parts, columns over the column groups, and right parts, rows over the row groups.
The left parts of a row group form a matrix whose rows are to be split further while its columns, the groups, come
together; all row groups share the tree of these columns. So a grid of matrices that share trees along its rows and
columns falls into two grids of the same kind, one for the cuts to the left and one for the cuts to the right, and each
has all members of a side as witnesses. Trees are valid by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrangement import Arrangement
from .cuts import Cut, left_of, right_of
from .parts import composed, parts_of
from .search import Search, solve_cut

__all__ = ["nested"]


def nested(
    now: Arrangement, cuts: Sequence[Cut], search: Search, rng: np.random.Generator, solved: int | None = None
) -> Arrangement:
    """Arrange rows and columns in tree order for all cuts.

    Parameters
    ----------
    now : Arrangement
        The matrices.
    cuts : sequence of Cut
        Cuts, from the most row groups to the most column groups.
    search : Search
        How each is searched.
    rng : numpy.random.Generator
        For all choices.
    solved : int, optional
        Cut whose groups are contiguous already, and stay.

    Returns
    -------
    Arrangement
        The same matrices, in which the groups of all cuts are contiguous.
    """
    if not cuts:
        return now
    root = solved
    if root is None:
        root = {"middle": len(cuts) // 2, "left": 0, "right": len(cuts) - 1}[search.order]
        now = solve_cut(now, cuts[root], search, rng).arrangement
    left, right = parts_of(now, cuts[root])
    left = nested(left, left_of(cuts, root), search, rng)
    right = nested(right, right_of(cuts, root), search, rng)
    return composed(now, cuts[root], left, right)
