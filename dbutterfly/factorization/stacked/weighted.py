"""Factors of the matrices of a stack, from those of the weighted matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...structure.weights import Weights
from ..results.factorized_batch import FactorizedBatch
from ..weighted_factors import allow_for_rounding, out_of_range, scale_outer, unweigh_certificate

__all__ = ["divide_batch"]


def divide_batch(batch: FactorizedBatch, weights: Weights | None) -> tuple[FactorizedBatch, dict[int, str]]:
    """Divide the outermost factors of all matrices of a batch by weights.

    Parameters
    ----------
    batch : FactorizedBatch
        What a run has made of the weighted matrices.
    weights : Weights or None
        The weights; None leaves it as it is.

    Returns
    -------
    FactorizedBatch
        Factors and certificates of the matrices themselves, of those whose values stay in the range of the dtype.
    dict of str
        What is wrong with each of the others.
    """
    if weights is None or not batch.numbers.size:
        return batch, {}
    dtype = batch.ks_values[0].dtype
    factors = scale_outer(batch.ks_values, batch.chain, batch.orderings, weights.scaled(dtype), np.divide)
    axes = tuple(range(1, factors[0].ndim))
    is_sound = np.isfinite(factors[0]).all(axis=axes) & np.isfinite(factors[-1]).all(axis=axes)
    certificates = tuple(
        unweigh_certificate(allow_for_rounding(each, batch.chain, dtype), weights) for each in batch.certificates
    )
    divided = replace(batch, ks_values=factors, certificates=certificates)
    failed = {int(number): out_of_range(weights, dtype) for number in batch.numbers[~is_sound]}
    return divided.take(np.flatnonzero(is_sound)), failed
