"""Orderings that are chosen by a sample of the matrix: those of ``orderings="auto"``."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import InputError
from ...execution.engine import Engine
from ...identification.unknown_sides import read_orderings
from ...kernels.backend.blas import single_threaded_blas
from ...planning.fit import FitSampler
from ...planning.sizes import format_bytes
from ...sources.base import MatrixSource
from ...sources.windows import open_window
from ...storage.run_store import RunStore
from ...structure.chain import Chain
from ...structure.chain_names import chain_for
from ...structure.orderings import AUTO, Orderings
from ..request import Request
from .advise import READ, advise_on
from .pairs import OrderingPair, list_pairs

__all__ = ["choose_orderings", "predict_pairs", "read_orderings_or_auto"]

_log = logging.getLogger("dbutterfly")


def read_orderings_or_auto(name: str, value: Any) -> Any:
    """Read orderings, or ``"auto"``, which leaves the choice.

    Raises
    ------
    InputError
        If they are none.
    """
    return value if isinstance(value, str) and value == AUTO else read_orderings(name, value)


def choose_orderings(request: Request, source: MatrixSource, engine: Engine, stored: RunStore | None = None) -> Request:
    """Choose the orderings of a request that asks for the best ones.

    Parameters
    ----------
    request : Request
        What is asked for; returned as it is where its orderings are given.
    source : MatrixSource
        The matrix, of which some blocks are read.
    engine : Engine
        Where the run will be.
    stored : RunStore or None
        Run that continues, whose orderings are taken.
    """
    if not isinstance(request.orderings, str) or request.orderings != AUTO:
        return request
    pairs = list_pairs(request.points)
    if request.points is not None:
        request.points.validate(source.shape)
    chosen = _stored_pair(pairs, stored) or _best_pair(request, source, engine, pairs)
    _log.info("orderings that fit best: rows %s, columns %s", chosen.rows, chosen.cols)
    orderings = Orderings.from_any(chosen.arguments.get("orderings"))
    return replace(request, orderings=orderings, points=chosen.points)


def _stored_pair(pairs: list[OrderingPair], stored: RunStore | None) -> OrderingPair | None:
    """Pair that an earlier call has chosen for a run that continues."""
    if stored is None:
        return None
    sides = stored.manifest.orderings
    return next((pair for pair in pairs if pair.sides_of_run == sides), None)


def _best_pair(request: Request, source: MatrixSource, engine: Engine, pairs: list[OrderingPair]) -> OrderingPair:
    """Pair with the fewest values for the tolerance, or the least error of the chain."""
    if request.tol is not None:
        advice = advise_on(source, request.points, request.tol, engine.budget(request.memory))
        return pairs[0] if advice.best is None else advice.pair_of(advice.best)
    chain = chain_for(request.chain, source.shape, request.rank)
    if len(chain) == 1:
        return pairs[0]
    window = open_window(source, READ, np.random.default_rng(0))
    if window is None:
        raise InputError(
            f'orderings="{AUTO}" reads at most {format_bytes(READ)}, which is less than a chunk of {source.name}; let '
            "dbutterfly.advise read more, and give the orderings that it names"
        )
    errors = predict_pairs(FitSampler(window), chain, pairs)
    return min(pairs, key=lambda pair: errors[pair.rows, pair.cols])


def predict_pairs(sampler: FitSampler, chain: Chain, pairs: list[OrderingPair]) -> dict[tuple[str, str], float]:
    """Predict the error of a chain in some pairs of orderings; infinite where the sample does not tell."""
    found = {}
    with single_threaded_blas():
        for pair in pairs:
            error = sampler.predict_error(chain, pair.orderings)
            found[pair.rows, pair.cols] = math.inf if error is None else error
    return found
