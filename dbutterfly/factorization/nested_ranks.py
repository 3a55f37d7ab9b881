"""When and how a run by nested skeletons is repeated: with the ranks that its blocks wanted, or with a lower floor."""

from __future__ import annotations

import math

import numpy as np

from ..planning.nested import Nested, limit_capacities
from ..planning.nested_steps import count_proxies
from .job import FactorizationJob
from .nested_result import wanted_ranks

__all__ = ["next_nested"]

LOWER = 0.5
"""Part of what would just do that the floor of a repeated run is. Not tuned."""

FAR = 3.0
"""Times the tolerance from which an error is not that of skeletons without room alone: the floor is lowered too.

Measured on waves between plates in space (N = 4096, 1e-4), whose first error is 5.3 times the tolerance: two runs
instead of five, with :data:`ROOM`.
"""

ROOM = 1.1
"""Factor by which the skeletons of a repeated run have room for more than was wanted; what is not taken is trimmed."""

LEAST_FLOOR = 4.0
"""Units in the last place below which a floor is rounding. Not tuned."""

PER_DECADE = 0.15
"""Part by which skeletons are taken to grow where the floor is ten times as low.

Not tuned; on a Helmholtz kernel (N = 4096), ranks grow by .06 of theirs for a decade, from 1e-6 to 1e-9.
"""


def next_nested(job: FactorizationJob, error: float, tol: float) -> Nested | None:
    """Choose how skeletons are nested in another run, where one may reach the tolerance.

    Parameters
    ----------
    job : FactorizationJob
        A job that has been run.
    error : float
        Estimated error of its result.
    tol : float
        What it should be.

    Returns
    -------
    Nested or None
        None if the tolerance is reached, or out of reach since the floor is rounding.
    """
    plan = job.plan
    assert plan.nested is not None
    if error <= tol:
        return None
    wanted = wanted_ranks(job)
    short = any(want > room for want, room in zip(wanted, plan.nested.capacities, strict=True))
    # Where skeletons were too small, and the error is not far above the tolerance, the others may do as they are.
    keeps = short and error < FAR * tol
    floor = plan.nested.floor if keeps else plan.nested.floor * max(LOWER * tol / error, 1e-3)
    if floor < LEAST_FLOOR * float(np.finfo(plan.source.work_dtype).eps):
        return None
    grown = 1 + PER_DECADE * math.log10(plan.nested.floor / floor)
    ranks = [
        max(room, _enough(math.ceil(ROOM * grown * want), room))
        for want, room in zip(wanted, plan.nested.capacities, strict=True)
    ]
    return plan.nested._replace(floor=floor, capacities=limit_capacities(plan.chain, ranks))


def _enough(wanted: int, room: int) -> int:
    """Size of skeletons for what blocks wanted: half as many more where their proxies could tell of no more."""
    if wanted >= count_proxies(room):
        return wanted + wanted // 2
    return wanted + 1 if wanted >= room else wanted
