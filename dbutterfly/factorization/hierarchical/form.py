"""Which form a result gets: that of a butterfly, or the hierarchical one."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import NamedTuple

from ...errors import InputError
from ...execution.engine import Engine
from ...planning.hierarchical_plan import HierarchicalPlan
from ...sources.base import MatrixSource
from ...storage.manifest import HIERARCHICAL as KIND
from ...storage.run_store import RunStore
from ...structure.arguments import show_value
from ..request import Request
from .planning import is_unfit, predict_form
from .promise import Promise

__all__ = ["AUTO", "BUTTERFLY", "HIERARCHICAL", "Choice", "check_form", "choose_form"]

BUTTERFLY, HIERARCHICAL, AUTO = "butterfly", "hierarchical", "auto"
"""Names of the forms, and of the choice between them."""

_log = logging.getLogger("dbutterfly")


def check_form(request: Request, *, is_stack: bool) -> None:
    """Refuse a form for several matrices, and what is for the hierarchical form beside another one.

    Raises
    ------
    InputError
        If that is so.
    """
    if is_stack and request.form == HIERARCHICAL:
        raise InputError('form="hierarchical" is for one matrix; factorize the matrices of the stack by themselves')
    is_open = request.form in (HIERARCHICAL, AUTO) or (request.form is None and _asks_for_choice(request))
    for name, default in (("eta", None), ("leaf", None), ("symmetric", False)):
        given = getattr(request, name)
        if given != default and (is_stack or not is_open):
            raise InputError(f'{name}={show_value(given)} is for form="hierarchical", of one matrix; give that with it')


def _asks_for_choice(request: Request) -> bool:
    """Whether the form is chosen where none is given: for a tolerance, where both sides have points."""
    has_points = request.points is not None and all(side is not None for side in request.points.sides.values())
    return request.tol is not None and has_points and not is_unfit(request)


class Choice(NamedTuple):
    """A form, and what was found out for it.

    Attributes
    ----------
    form : {"butterfly", "hierarchical"}
        The form.
    request : Request
        The request, with the chain of the butterfly where that was looked for and is taken.
    prediction : (HierarchicalPlan, Promise) or None
        Plan of the hierarchical form, where that was compared and is taken.
    """

    form: str
    request: Request
    prediction: tuple[HierarchicalPlan, Promise | None] | None = None


def choose_form(request: Request, source: MatrixSource, engine: Engine, stored: RunStore | None = None) -> Choice:
    """Choose the form of a result.

    Parameters
    ----------
    request : Request
        What is asked for.
    source : MatrixSource
        The matrix, of which some blocks are read where there is a choice.
    engine : Engine
        Where the run will be.
    stored : RunStore or None
        Run that continues, whose form is taken where there is a choice.

    Notes
    -----
    With ``"auto"``, and where no form is given for points of both sides and a tolerance, the values that sampled blocks
    promise are compared: those of a hierarchical form, in which blocks far from the diagonal are of low rank, and those
    of the chain that the same tolerance leads to. The form with fewer is taken, the butterfly where they are equal.
    """
    if request.form in (BUTTERFLY, HIERARCHICAL):
        return Choice(str(request.form), request)
    can_choose = request.tol is not None and not source.probed and not is_unfit(request)
    if not can_choose or (request.form is None and not _asks_for_choice(request)):
        return Choice(BUTTERFLY, request)
    if stored is not None:
        return Choice(HIERARCHICAL if stored.manifest.kind == KIND else BUTTERFLY, request)
    plan, promise = predict_form(request, source, engine)
    if promise is None or promise.values >= math.prod(source.shape):
        return Choice(BUTTERFLY, request)
    chain = None
    with contextlib.suppress(InputError):  # no chain seems to reach the tolerance
        chain = request.plan(source, engine).chain
    others = "none" if chain is None else str(chain.nnz)
    _log.info("values promised: %.3g hierarchical, %s butterfly", promise.values, others)
    if chain is None or promise.values < chain.nnz:
        return Choice(HIERARCHICAL, request, (plan, promise))
    return Choice(BUTTERFLY, request if source.sampled else request.with_chain(chain))
