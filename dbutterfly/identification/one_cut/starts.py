"""First groups of one cut: from random columns by alternating clustering, or from pairs of columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...kernels.backend import host_array, namespace
from ...kernels.grouping.pairs import pair_residuals, two_line_fits
from ...kernels.grouping.similarity import row_similarity
from ...structure.chain import Cut
from ..cuts import Index
from .arrangement import Arrangement
from .assignment import best_pairs
from .clustering import spectral_groups
from .descent import BestArrangement, regroup

__all__ = ["alternate", "cluster_rows", "pair_columns", "shuffle_columns"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the starts. Not tuned one by one.

    Attributes
    ----------
    rounds, patience : int
        Rounds of clustering at most, and rounds without a gain after which it ends.
    many_rows, sampled_groups : int
        Rows above which similarities are summed over so many of the column groups only, to save time.
    followed : int
        Anchors whose halves of the rows are followed: those of the best pairs.
    pair_rounds : int
        Turns of pairs and halves at most.
    sampled_rows : int
        Rows from which partners of anchors are chosen where there are more.
    """

    rounds: int = 10
    patience: int = 2
    many_rows: int = 1024
    sampled_groups: int = 16
    followed: int = 3
    pair_rounds: int = 4
    sampled_rows: int = 256


TUNING = Tuning()


def shuffle_columns(now: Arrangement, rng: np.random.Generator) -> Arrangement:
    """Shuffle the columns."""
    t, n = now.cols.shape
    return now.with_cols(np.stack([rng.permutation(n) for _ in range(t)]))


def cluster_rows(now: Arrangement, cut: Cut, alpha: float, rng: np.random.Generator) -> Arrangement:
    """Cluster the rows into the groups of a cut, given those of the columns."""
    sample = None
    if now.rows.shape[1] > TUNING.many_rows and cut.col_groups > TUNING.sampled_groups:
        sample = sorted(rng.permutation(cut.col_groups)[: TUNING.sampled_groups].tolist())
    similarity = host_array(row_similarity(now.grid, cut.col_groups, alpha, lines=now.lines[0], sample=sample))
    return now.with_grouped_rows(np.stack([spectral_groups(one, cut.row_groups, rng) for one in similarity]))


def alternate(now: Arrangement, cut: Cut, alpha: float, rng: np.random.Generator) -> BestArrangement:
    """Cluster rows and columns by turns, from random column groups, while that captures more."""
    now, stale = shuffle_columns(now, rng), 0
    found = BestArrangement(now)
    for _ in range(TUNING.rounds):
        now = cluster_rows(now, cut, alpha, rng)
        now = cluster_rows(now.T, cut.T, alpha, rng).T
        captured = float(host_array(now.row_fit(cut).captured).sum())
        stale = 0 if found.offer(now, captured) else stale + 1
        if stale >= TUNING.patience:
            break
    return found


def pair_columns(now: Arrangement, cut: Cut, anchors: int, rng: np.random.Generator) -> BestArrangement:
    """Find pairs of columns and halves of the rows, each by way of the other.

    A pair that stands out gives the halves, the halves give all pairs.

    The cut must have two row groups and column groups of two, and rank one.
    """
    found = BestArrangement(now)
    for half in _halve_by_anchors(now, anchors, rng)[: TUNING.followed]:
        tried = now.with_grouped_rows(half)
        for _ in range(TUNING.pair_rounds):
            pairs = np.stack([best_pairs(cost) for cost in host_array(pair_residuals(tried.grid, 2))])
            tried = tried.T.with_grouped_rows(pairs).T
            moved, captured = regroup(tried, cut, leave_out=False)
            gained = found.offer(tried, float(captured.sum()))
            if moved.has_same_order(tried) or not gained:
                break
            tried = moved
    return found


def _halve_by_anchors(now: Arrangement, count: int, rng: np.random.Generator) -> list[Index]:
    """Halve the rows, in (S, m), by some columns and the best partner of each; the pair that fits best comes first."""
    m = now.rows.shape[1]
    t, n = now.cols.shape
    grid, xp = now.grid, namespace(now.grid)
    halves = []
    for _ in range(count):
        k, c = int(rng.integers(t)), int(rng.integers(n))
        rows = np.sort(rng.permutation(m)[: TUNING.sampled_rows])
        here = grid[:, k, :, :] if m <= TUNING.sampled_rows else xp.take(grid[:, k, :, :], xp.asarray(rows), axis=1)
        columns = xp.permute_dims(here, (0, 2, 1))
        residual, half = two_line_fits(columns[:, c : c + 1, :], columns)
        energy = host_array(xp.sum(xp.real(xp.conj(columns) * columns), axis=(0, 2)))
        ratio = host_array(xp.sum(residual, axis=0)) / np.maximum(np.minimum(energy, energy[c]), np.finfo(float).tiny)
        ratio[c] = np.inf
        best = int(np.argmin(ratio))
        if m > TUNING.sampled_rows:
            both = xp.permute_dims(grid[:, k, :, :], (0, 2, 1))
            half = two_line_fits(both[:, c : c + 1, :], both[:, best : best + 1, :])[1]
            halves.append((ratio[best], host_array(half)[:, 0].astype(np.int64)))
        else:
            halves.append((ratio[best], host_array(half)[:, best].astype(np.int64)))
    return [half for _, half in sorted(halves, key=lambda pair: pair[0])]
