"""The groups of one cut: several starts, each improved, then shaken and improved again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...structure.chain import Cut
from .arrangement import Arrangement
from .descent import BestArrangement, descend, is_gain, regroup, shake
from .starts import alternate, cluster_rows, pair_columns

__all__ = ["Search", "solve_cut"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the shakes. Not tuned one by one.

    Attributes
    ----------
    shaken : float
        Part of the groups of a side whose members are shuffled.
    exact : float
        Part of the energy that may be left where there is nothing to improve: rounding in double precision.
    resettled : tuple of float
        Parts of the groups that are shuffled in every row of a grid, one after the other; 0 for the groups as they are.
    """

    shaken: float = 0.3
    exact: float = 1e-12
    resettled: tuple[float, ...] = (0.0, 0.5, 1.0)


TUNING = Tuning()


@dataclass(frozen=True)
class Search:
    """Settings of the search for the groups of a cut.

    Attributes
    ----------
    order : {"middle", "left", "right"}
        The cut of several that is solved first: the middle one, the leftmost (groups are pairs of rows where digits are
        binary) or the rightmost (pairs of columns).
    alphas : tuple of float
        Contrasts of the similarities that clustering starts from.
    shakes : int
        Times without a gain that groups are shaken before a cut is left as it is.
    anchors : int
        Columns whose best partner is looked for where groups are pairs; 0 for none.
    cols_known : bool
        Whether the columns are arranged, and stay.
    """

    order: str = "middle"
    alphas: tuple[float, ...] = (1.0,)
    shakes: int = 1
    anchors: int = 4
    cols_known: bool = False


def solve_cut(
    now: Arrangement, cut: Cut, search: Search, rng: np.random.Generator, tolerated: float = 0.0
) -> BestArrangement:
    """Find the groups of one cut, of both sides or of the rows alone.

    Nothing more is tried once they leave no more than the energy ``tolerated``.
    """
    found = BestArrangement(now)
    if cut.row_groups == 1 and (cut.col_groups == 1 or search.cols_known):
        return found
    total = float(now.row_energies.sum())
    enough = min(total * (1 - TUNING.exact), total - tolerated)
    for start in _starts(now, cut, search, rng):
        better = descend(start, cut, cols_known=search.cols_known)
        found.offer(better.arrangement, better.captured)
        if found.captured >= enough:
            return found
    stale = 0
    while stale < search.shakes and found.captured < enough:
        gained = _shake(found, cut, rng, cols_known=search.cols_known)
        if now.rows.shape[0] > 1:
            gained |= _resettle(found, cut, rng, cols_known=search.cols_known)
        if now.cols.shape[0] > 1 and not search.cols_known:
            turned = BestArrangement(found.arrangement.T, found.captured)
            if _resettle(turned, cut.T, rng):
                gained |= found.offer(turned.arrangement.T, turned.captured)
        stale = 0 if gained else stale + 1
    return found


def _starts(now: Arrangement, cut: Cut, search: Search, rng: np.random.Generator) -> Iterator[Arrangement]:
    row_items, col_items = now.rows.shape[1], now.cols.shape[1]
    if search.cols_known:
        for alpha in search.alphas or (1.0,):
            yield cluster_rows(now, cut, alpha, rng)
        return
    simple = cut.rank == 1 and now.lines == (1, 1) and search.anchors > 0
    if simple and cut.row_groups == 2 and col_items == 2 * cut.col_groups and row_items > 2:
        yield pair_columns(now, cut, search.anchors, rng).arrangement
    if simple and cut.col_groups == 2 and row_items == 2 * cut.row_groups and col_items > 2:
        yield pair_columns(now.T, cut.T, search.anchors, rng).arrangement.T
    for alpha in search.alphas:
        # First the side whose tree more matrices share: from random groups of the other side, it is seen best.
        if now.rows.shape[0] > now.cols.shape[0]:
            yield alternate(now.T, cut.T, alpha, rng).arrangement.T
        else:
            yield alternate(now, cut, alpha, rng).arrangement


def _shake(found: BestArrangement, cut: Cut, rng: np.random.Generator, *, cols_known: bool) -> bool:
    """Shuffle the members of some groups of one side and descend again."""
    now = found.arrangement
    if cols_known or rng.random() < 0.5:
        now = now.with_grouped_rows(shake(now.row_labels(cut), TUNING.shaken, rng))
    else:
        now = now.T.with_grouped_rows(shake(now.T.row_labels(cut.T), TUNING.shaken, rng)).T
    better = descend(now, cut, cols_known=cols_known)
    return found.offer(better.arrangement, better.captured)


def _resettle(found: BestArrangement, cut: Cut, rng: np.random.Generator, *, cols_known: bool = False) -> bool:
    """Shuffle groups in every row of the grid, and let each of these keep what captures more, given the columns."""
    base = found.arrangement
    best_rows, best = base.rows.copy(), np.full(base.rows.shape[0], -1.0)
    changed = False
    for fraction in TUNING.resettled:
        now = base.with_grouped_rows(shake(base.row_labels(cut), fraction, rng)) if fraction else base
        for leave_out in (True, True, True, False, False) if fraction else (False,):
            moved, caught = regroup(now, cut, leave_out=leave_out)
            better = is_gain(caught, best)
            changed |= bool(fraction and better.any())
            best_rows[better], best[better] = now.rows[better], caught[better]
            now = moved
    if not changed:
        return False
    places = np.argsort(base.rows, axis=1)
    again = descend(base.with_rows(np.take_along_axis(places, best_rows, axis=1)), cut, cols_known=cols_known)
    return found.offer(again.arrangement, again.captured)
