"""The lower bound of the cuts below the root cut, in a certificate.

Every row group takes the better bound, of its blocks at the root cut or of the left cuts, or every column group, of its
blocks or of the right cuts (:mod:`dbutterfly.kernels.factors.cut_bounds`). After a single read, the right cuts have met
the column groups of ``X^H (Z - R)``, with what the approximations of the blocks leave as R. Their distance to what
products of the chain have there is off by ``||R||`` at most, column group by column group.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from ...kernels.linalg import SUBTRACTED
from ...planning.plan import Plan
from ..block_stats import BlockStats, total_of
from .certificate import Certificate, rounding_of_products

__all__ = ["raise_by_other_cuts"]


def raise_by_other_cuts(
    certificate: Certificate, stats: BlockStats, left: NDArray[np.float64], right: NDArray[np.float64], plan: Plan
) -> Certificate:
    """Certificate with the lower bound of the cuts below the root cut, where that is higher.

    Parameters
    ----------
    certificate : Certificate
        Of the run, with the bound of the root cut.
    stats : BlockStats, shapes (u, q)
        Energies of the blocks of the root cut for the rank of the chain.
    left, right : array, shapes (u,) and (q,)
        Energies that any product misses of each row group, by the left cuts, and of what the right cuts have met of
        each column group; zero where nothing is known.
    plan : Plan
        Chain, dtype and reads of the run.
    """
    if certificate.norm == 0:
        return certificate
    eps = float(np.finfo(plan.source.work_dtype).eps)
    if plan.passes == 1:
        off = np.sum(np.maximum(stats.discarded, 0) + SUBTRACTED * eps * stats.energy, axis=0)
        right = np.maximum(np.sqrt(right) - np.sqrt(off), 0) ** 2
    sides = np.maximum(stats.least(eps, 1), left), np.maximum(stats.least(eps, 0), right)
    energy = max(total_of(groups) for groups in sides)
    rounding = rounding_of_products(len(plan.chain), plan.chain.rank, eps)
    lower = math.sqrt(energy) / certificate.norm * (1 - SUBTRACTED * eps) - rounding
    return dataclasses.replace(certificate, lower_bound=max(lower, certificate.lower_bound))
