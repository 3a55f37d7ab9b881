"""Certificates of the matrices of a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Backend
from ...kernels.factors.halves import LeftHalves, RightHalves
from ...planning.plan import Plan
from ..block_stats import BlockStats
from ..results.certificate import certify, guarantee_of
from ..results.cut_errors import error_of_each_cut
from ..results.other_cuts import raise_by_other_cuts
from .outcomes import Outcome

__all__ = ["certify_matrices"]


def certify_matrices(
    stats: BlockStats,
    left: LeftHalves,
    right: RightHalves,
    second: NDArray[np.float64] | None,
    plan: Plan,
    backend: Backend,
) -> tuple[list[Outcome], list[list[float]]]:
    """Certificate of each matrix, and the error of each of its cuts.

    Parameters
    ----------
    stats : BlockStats, shapes (n, u, q)
        Energies of the blocks of n matrices.
    left : LeftHalves
        Of all row groups, those of a matrix together.
    right : RightHalves
        Of all column groups, likewise.
    second : array, shape (n, u, q, 1), or None
        What a second pass leaves of the blocks.
    plan : Plan
        Of one matrix.
    backend : Backend
        Where the halves are.
    """
    assert plan.split is not None
    (_, u, q, _, rank), count = plan.split, stats.energy.shape[0]
    eps = float(np.finfo(plan.source.work_dtype).eps)
    left_errors = backend.to_host(left.errors).reshape(count, u, q, 1 + rank)
    right_errors = backend.to_host(right.errors)
    left_missed = backend.to_host(left.missed).reshape(count, u, -1)
    right_missed = backend.to_host(right.missed).reshape(count, q, -1)
    left_least, right_least = (backend.to_host(half.least).reshape(count, -1) for half in (left, right))
    guarantee = guarantee_of(plan.tree, plan.passes)
    outcomes, cuts = [], []
    for k in range(count):
        of_one = BlockStats(stats.energy[k], stats.discarded[k], stats.slack[k])
        seen = None if second is None else second[k]
        certificate = certify(
            of_one,
            left_errors[k],
            right_errors[k],
            seen,
            factors=len(plan.chain),
            eps=eps,
            rank=plan.chain.rank,
            guarantee=guarantee,
        )
        certificate = raise_by_other_cuts(certificate, of_one, left_least[k], right_least[k], plan)
        outcomes.append(Outcome.of(certificate))
        cuts.append(error_of_each_cut(plan.tree, of_one, left_missed[k], right_missed[k], seen, eps=eps))
    return outcomes, cuts
