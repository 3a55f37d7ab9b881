"""The chains of every rank that fit a matrix best in some orderings, with their predicted errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..structure.chain import Chain
from ..structure.known_chains import longer_shapes
from ..structure.orderings import Orderings
from ..structure.point_orderings import PointOrderings
from .fit import HIGHEST_RANK, FitSampler

__all__ = ["FittingChain", "find_fitting_chains", "leaves_noise", "rounding_of"]

RANKS = tuple(rank for rank in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if rank <= HIGHEST_RANK)
"""Ranks that are tried. Not tuned: a higher one is half as much again at most."""

LEAVES = (1, 2, 4)
"""Divisors of the rank, which give the least size of the digits at the ends of a chain, as for a tolerance."""

NEAR = 2.0
"""Error, relative to the least one of a rank, up to which the chain with the fewest values is taken: predictions are
not better than that."""

ROUNDING = 128
"""Units in the last place up to which an error is rounding, so that no higher rank is tried. Not tuned."""

PATIENCE = 3
"""Ranks in a row that do not halve the error, after which orderings are given up: of noise, or by it. Not tuned."""

OF_NOISE = 0.5
"""Part of what a chain leaves of noise, from which on it has found nothing else. Not tuned."""


class FittingChain(NamedTuple):
    """A chain, and its predicted relative error."""

    chain: Chain
    error: float


def find_fitting_chains(sampler: FitSampler, orderings: Orderings | PointOrderings) -> Iterator[FittingChain]:
    """Find for every rank the chain with the fewest values of those that fit about as well as any, by ascending rank.

    Parameters
    ----------
    sampler : FitSampler
        Predicts errors.
    orderings : Orderings or PointOrderings
        Orderings of the matrix.

    Yields
    ------
    FittingChain
        Chains with fewer values than the matrix.
    """
    least_of_all, waited = math.inf, 0
    for rank in RANKS:
        predicted = ((chain, sampler.predict_error(chain, orderings)) for chain in _chains(sampler, rank))
        found = [FittingChain(chain, error) for chain, error in predicted if error is not None]
        if not found:
            continue
        least = min(fitting.error for fitting in found)
        yield min((fitting for fitting in found if fitting.error <= NEAR * least), key=_by_values)
        has_fallen = least <= least_of_all / 2
        least_of_all, waited = (least, 0) if has_fallen else (least_of_all, waited + 1)
        if waited == PATIENCE or least <= rounding_of(sampler):
            return


def rounding_of(sampler: FitSampler) -> float:
    """Error below which there is nothing but rounding, and chance."""
    return ROUNDING * float(np.finfo(sampler.window.source.info.work_dtype).eps)


def _by_values(fitting: FittingChain) -> tuple[int, float]:
    return fitting.chain.nnz, fitting.error


def _chains(sampler: FitSampler, rank: int) -> list[Chain]:
    """Chains of a rank with fewer values than the matrix, fewest first."""
    shape = sampler.window.source.shape
    if rank > min(shape):
        return []
    found = {
        Chain.chainable(sides, rank, max(1, rank // part), balanced=balanced)
        for sides in (shape, *longer_shapes(shape))
        for part in LEAVES
        for balanced in (False, True)
    }
    fewer = [chain for chain in found if len(chain) > 1 and chain.nnz < math.prod(shape)]
    return sorted(fewer, key=lambda chain: (chain.nnz, chain.patterns))


def leaves_noise(error: float, values: int, entries: int) -> bool:
    """Whether an error is about that which as many values leave of a matrix of noise."""
    return error > OF_NOISE * math.sqrt(max(1 - values / entries, 0.0))
