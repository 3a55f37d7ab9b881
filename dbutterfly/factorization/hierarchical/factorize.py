"""The main job in the hierarchical form: source, plan and engine give blocks with one certificate."""

from __future__ import annotations

import logging
import math
from typing import Any

from ...errors import FitWarning, RangeError, warn_caller
from ...execution.engine import Engine
from ...planning.hierarchical_plan import HierarchicalPlan
from ...sources.base import MatrixSource
from ...sources.magnitude import bring_into_range
from ...sources.weighted import rescale
from ...storage.run_store import RunStore
from ..request import Request
from ..results.hierarchical import HierarchicalFactorization
from ..run import MOST_SCALES
from .planning import predict_form
from .promise import Promise
from .resume import MakePlan, open_hierarchical_run
from .run import NoRoom, complete_hierarchical

__all__ = ["factorize_hierarchical"]

_log = logging.getLogger("dbutterfly")


def factorize_hierarchical(
    request: Request,
    source: MatrixSource,
    engine: Engine,
    *,
    store: Any = None,
    stored: RunStore | None = None,
    resume: bool = True,
    check_fit: bool | None = None,
    prediction: tuple[HierarchicalPlan, Promise | None] | None = None,
) -> HierarchicalFactorization:
    """Factorize a matrix in the hierarchical form; see :func:`dbutterfly.factorize`.

    Parameters
    ----------
    request : Request
        What is asked for.
    source : MatrixSource
        The matrix, scaled as a stored run does, or in range if it is looked at first.
    engine : Engine
        Where the tasks run.
    store, stored, resume
        As for :func:`.resume.open_hierarchical_run`.
    check_fit : bool or None
        Whether to warn, before anything is read in full, where samples promise no fewer values than a dense matrix has.
    prediction : (HierarchicalPlan, Promise), optional
        What :func:`.planning.predict_form` has found, where it was asked.
    """

    def make_plan(matrix: MatrixSource) -> HierarchicalPlan:
        plan, promise = prediction or predict_form(request, matrix, engine, copies_all=copies_all)
        if promise is not None and check_fit is not False:
            _warn_of_no_structure(plan, promise.values)
        return plan

    if stored is None or not resume:
        source = source if request.looks_first else bring_into_range(source)
    copies_all = False
    for _ in range(MOST_SCALES):
        try:
            return _run(request, source, engine, make_plan, store, stored, resume)
        except NoRoom:
            _log.info("%s: begins again with a copy of all entries: far parts have higher ranks", source.name)
            copies_all = True
        except RangeError as error:
            if error.exponent == source.exponent:
                raise
            _log.info("%s: begins again, divided by 2^%d, to stay in range", source.name, error.exponent)
            source = rescale(source, error.exponent)
        prediction, resume = None, False
        stored = stored or (None if store is None else RunStore.open(store, mode="r+"))
    return _run(request, source, engine, make_plan, store, stored, resume)


def _run(
    request: Request,
    source: MatrixSource,
    engine: Engine,
    make_plan: MakePlan,
    store: Any,
    stored: RunStore | None,
    resume: bool,
) -> HierarchicalFactorization:
    """Begin or continue the run, and complete it."""
    with open_hierarchical_run(request, source, engine, make_plan, store=store, stored=stored, resume=resume) as run:
        return run.result or complete_hierarchical(run, engine, progress=request.progress)


def _warn_of_no_structure(plan: HierarchicalPlan, values: float) -> None:
    """Warn where blocks promise no fewer values than a dense matrix has."""
    dense = math.prod(plan.source.shape) / (2 if plan.is_half else 1)
    if values >= dense:
        warn_caller(
            f"a look at some blocks says that the hierarchical form is no smaller than dense: {values:.3g} values for "
            f"tol={plan.tol:g}, and {dense:.3g} entries. Clusters that are far apart show no structure here; "
            "a larger tol may find some, and check_fit=False does without the look",
            FitWarning,
        )
