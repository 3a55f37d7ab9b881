"""The look at a few blocks before a run, which warns where the run promises nothing, or other orderings much more."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

from ...errors import DButterflyError, FitWarning, warn_caller
from ...kernels.backend.blas import single_threaded_blas
from ...planning.fit import FitSampler
from ...planning.fitting_chains import find_fitting_chains, rounding_of
from ...planning.plan import Plan
from ...sources.base import MatrixSource
from ...sources.windows import open_window
from ...structure.orderings import Orderings
from ..results.certificate import WORDS
from ..results.verdict import USELESS, part_of_norm
from .advise import BANDWIDTH, READ
from .choose import predict_pairs
from .pairs import STANDARD, OrderingPair, list_pairs

__all__ = ["check_fit"]

SECONDS = 0.25
"""Time of a core that the look takes: .16 to .22 s, N = 1024 to 16384, of noise, ranks 1 and 8 (one core of a Xeon)."""

SHARE = 0.02
"""Part of the predicted time of a run that the look may take; without a tolerance, shorter runs go without it."""

PART_READ = 50
"""Of so many bytes of the matrix, one is read."""

FEW_TIMES = 8
"""Times that a matrix is smaller for a tolerance from which on other orderings are not looked at. Not tuned."""

LARGE = 1 << 20
"""Entries of a matrix from which on other orderings are looked at for a tolerance.

A search for a chain of N = 1024 takes .5 s of a core, the look at the others .3 s. Nested skeletons go without: of a
Fourier integral of N = 4096, the look would take .5 s, and the run takes .9 s.
"""

SEVERAL = 3.0
"""Times by which other orderings must be better to be named: predictions are within a factor of two. Not tuned."""


def check_fit(source: MatrixSource, plan: Plan, tol: float | None, wanted: bool | None) -> None:
    """Warn where a few blocks of a matrix promise nothing of a run that is planned, or much more of other orderings.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    plan : Plan
        Plan of the run.
    tol : float or None
        Tolerance for which its chain was found.
    wanted : bool or None
        Whether to look; None where that takes little beside the run.

    Warns
    -----
    FitWarning
        If the error is predicted to be above one half, the factors to have more values than the matrix, or other
        orderings to be several times better.
    """
    if plan.split is None or source.probed or not (_is_cheap(plan, tol) if wanted is None else wanted):
        return
    entries = math.prod(source.shape)
    if plan.chain.nnz >= entries:
        _warn(f"the factors will have {plan.chain.nnz} values, and the matrix {entries} entries", "a lower rank")
        return
    with contextlib.suppress(DButterflyError):  # what cannot be read, the run will name
        least = 0 if wanted is None else READ
        window = open_window(source, max(least, min(READ, source.info.nbytes // PART_READ)), np.random.default_rng(0))
        if window is not None and tol is None:
            _compare_errors(FitSampler(window), plan)
        elif window is not None and tol is not None and FEW_TIMES * plan.chain.nnz > entries:
            _compare_values(FitSampler(window), plan, tol)


def _is_cheap(plan: Plan, tol: float | None) -> bool:
    """Whether the look takes little beside the run, or beside what it may spare."""
    entries = math.prod(plan.source.shape)
    if tol is not None and plan.nested is None and entries >= LARGE and FEW_TIMES * plan.chain.nnz > entries:
        return True
    return SHARE * plan.seconds(BANDWIDTH) >= SECONDS


def _compare_errors(sampler: FitSampler, plan: Plan) -> None:
    """Predict the error of the plan, and compare it with that in other orderings."""
    error = sampler.predict_error(plan.chain, plan.orderings)
    if error is None:
        return
    pairs = list_pairs(None)
    errors = predict_pairs(sampler, plan.chain, pairs)
    best = min(pairs, key=lambda pair: errors[pair.rows, pair.cols])
    least = max(errors[best.rows, best.cols], rounding_of(sampler))
    better = f"orderings {best.arguments.get('orderings')} promise {part_of_norm(least)}"
    if error > USELESS:
        _warn(f"the product will miss the matrix by about {part_of_norm(error)}", better if least < USELESS else "")
    elif SEVERAL * least < error:
        _warn(f"the product will miss the matrix by about {part_of_norm(error)}", better)


def _compare_values(sampler: FitSampler, plan: Plan, tol: float) -> None:
    """Look for orderings that reach the tolerance with several times fewer values, both with chains of one rank."""
    entries = math.prod(plan.source.shape)
    pairs = {(pair.rows, pair.cols): pair for pair in list_pairs(None)}
    with single_threaded_blas():
        fewest = {name: _fewest_values(sampler, pair, tol) for name, pair in pairs.items()}
    now = fewest.get(_names(plan.orderings), plan.chain.nnz)
    best = min(fewest, key=lambda name: fewest[name])
    if SEVERAL * fewest[best] <= min(now, entries) and fewest[best] < plan.chain.nnz:
        smaller = f"{entries / plan.chain.nnz:.3g} times smaller than the matrix"
        better = (
            f"orderings {pairs[best].arguments.get('orderings')} promise {entries / fewest[best]:.3g} times or more"
        )
        _warn(f"the factors for tol={tol:g} will be {smaller}", better)


def _names(orderings: Orderings) -> tuple[Any, Any]:
    """Names of orderings that have some, as pairs of orderings have them."""
    rows, cols = (STANDARD if side is None else side for side in orderings.sides.values())
    return (rows, cols) if isinstance(rows, str) and isinstance(cols, str) else (None, None)


def _fewest_values(sampler: FitSampler, pair: OrderingPair, tol: float) -> float:
    """Fewest values that reach the tolerance in some orderings with a chain of one rank; infinite if none does."""
    found = (chain.nnz for chain, error in find_fitting_chains(sampler, pair.orderings) if error <= tol)
    return next(found, math.inf)


def _warn(what: str, better: str) -> None:
    """Warn the caller, with what is better."""
    known = WORDS["butterfly"].remedy
    remedy = better or known[0].lower() + known[1:]
    warn_caller(
        f"a look at some blocks says that {what}: {remedy}. dbutterfly.advise shows the choices; check_fit=False does "
        "without the look",
        FitWarning,
    )
