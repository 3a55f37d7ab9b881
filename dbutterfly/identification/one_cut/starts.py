"""First groups of one cut: from random columns by alternating clustering, or from pairs of columns."""

from __future__ import annotations

import numpy as np

from ...kernels.backend import host_array, namespace
from ...kernels.grouping.pairs import pair_residuals, two_line_fits
from ...kernels.grouping.similarity import row_similarity
from ...structure.chain import Cut
from ..cuts import Index
from .arrangement import Arrangement
from .assignment import best_pairs
from .clustering import spectral_groups
from .descent import Found, regroup

__all__ = ["alternate", "cluster", "pair", "random_columns"]

ROUNDS = 10
STALE = 2
SAMPLED_GROUPS = 16
"""Column groups that the similarity of many rows is summed over."""
MANY_ROWS = 1024
FOLLOWED = 3
"""Anchors whose halves are followed, those of the best pairs."""
SAMPLED_ROWS = 256
"""Rows from which anchors and first costs of pairs are taken where there are more."""


def random_columns(now: Arrangement, rng: np.random.Generator) -> Arrangement:
    """Shuffle the columns."""
    t, n = now.cols.shape
    return now.with_cols(np.stack([rng.permutation(n) for _ in range(t)]))


def cluster(now: Arrangement, cut: Cut, alpha: float, rng: np.random.Generator) -> Arrangement:
    """Cluster the rows, given the columns."""
    sample = None
    if now.rows.shape[1] > MANY_ROWS and cut.col_groups > SAMPLED_GROUPS:
        sample = sorted(rng.permutation(cut.col_groups)[:SAMPLED_GROUPS].tolist())
    similarity = host_array(row_similarity(now.grid, cut.col_groups, alpha, lines=now.lines[0], sample=sample))
    return now.grouped_rows(np.stack([spectral_groups(one, cut.row_groups, rng) for one in similarity]))


def alternate(now: Arrangement, cut: Cut, alpha: float, rng: np.random.Generator) -> Found:
    """Cluster rows and columns by turns, from random column groups, while that captures more."""
    now, stale = random_columns(now, rng), 0
    found = Found(now)
    for _ in range(ROUNDS):
        now = cluster(now, cut, alpha, rng)
        now = cluster(now.T, cut.T, alpha, rng).T
        captured = float(host_array(now.row_fit(cut).captured).sum())
        stale = 0 if found.offer(now, captured) else stale + 1
        if stale >= STALE:
            break
    return found


def pair(now: Arrangement, cut: Cut, anchors: int, rng: np.random.Generator) -> Found:
    """Find pairs of columns and halves of the rows: a pair that stands out gives the halves, the halves the pairs.

    The cut must have two row groups and column groups of two, and rank one.
    """
    found = Found(now)
    for half in _anchor(now, anchors, rng)[:FOLLOWED]:
        tried = now.grouped_rows(half)
        for _ in range(4):
            pairs = np.stack([best_pairs(cost) for cost in host_array(pair_residuals(tried.grid, 2))])
            tried = tried.T.grouped_rows(pairs).T
            moved, captured = regroup(tried, cut, leave_out=False)
            gained = found.offer(tried, float(captured.sum()))
            if moved.same_as(tried) or not gained:
                break
            tried = moved
    return found


def _anchor(now: Arrangement, count: int, rng: np.random.Generator) -> list[Index]:
    """Halves (S, m) of the rows by the best partner of some columns, the pair that fits best first."""
    m = now.rows.shape[1]
    t, n = now.cols.shape
    grid, xp = now.grid, namespace(now.grid)
    halves = []
    for _ in range(count):
        k, c = int(rng.integers(t)), int(rng.integers(n))
        rows = np.sort(rng.permutation(m)[:SAMPLED_ROWS])
        here = grid[:, k, :, :] if m <= SAMPLED_ROWS else xp.take(grid[:, k, :, :], xp.asarray(rows), axis=1)
        columns = xp.permute_dims(here, (0, 2, 1))
        residual, half = two_line_fits(columns[:, c : c + 1, :], columns)
        energy = host_array(xp.sum(xp.real(xp.conj(columns) * columns), axis=(0, 2)))
        ratio = host_array(xp.sum(residual, axis=0)) / np.maximum(np.minimum(energy, energy[c]), np.finfo(float).tiny)
        ratio[c] = np.inf
        best = int(np.argmin(ratio))
        if m > SAMPLED_ROWS:
            both = xp.permute_dims(grid[:, k, :, :], (0, 2, 1))
            half = two_line_fits(both[:, c : c + 1, :], both[:, best : best + 1, :])[1]
            halves.append((ratio[best], host_array(half)[:, 0].astype(np.int64)))
        else:
            halves.append((ratio[best], host_array(half)[:, best].astype(np.int64)))
    return [half for _, half in sorted(halves, key=lambda pair: pair[0])]
