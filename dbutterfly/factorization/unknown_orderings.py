"""Orderings that are to be identified before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import OrderingsWarning, StoreError, warn_caller
from ..identification.result import IdentifiedOrderings
from ..identification.unknown_sides import are_unknown, is_unknown
from ..sources.base import MatrixSource
from ..storage.run_store import RunStore
from .manifests import describe_matrix
from .request import Request

__all__ = ["find_orderings"]

RANKS_TRIED = (1, 4)
"""Ranks for which orderings are looked for where a tolerance chooses the ranks afterwards. Not tuned: with rank 4, the
order of shuffled points is found."""


def find_orderings(
    request: Request, source: MatrixSource, stored: RunStore | None, identify: Callable[[int], IdentifiedOrderings]
) -> Request:
    """Find the orderings that are to be identified.

    Parameters
    ----------
    request : Request
        What is asked for.
    source : MatrixSource
        The matrix.
    stored : RunStore or None
        Run that may have kept what an earlier call has identified.
    identify : callable
        Identifies them for the chain of a rank.

    Warns
    -----
    OrderingsWarning
        If they were not found.
    """
    if not is_unknown(request.orderings):
        return request
    request.check(source)
    found = _load_identified(stored, source, request.orderings)
    if found is None:
        found = _identify_for_ranks((request.rank,) if request.tol is None else RANKS_TRIED, identify)
    if not found.found:
        warn_caller(
            f"orderings were not found in which {source.name} is a butterfly: the factors are for the best that were "
            "met, and the certificate says how far they are from the matrix; give the points of its rows and columns "
            "(points=), if there are some, or another rank",
            OrderingsWarning,
        )
    return request.with_orderings(found)


def _identify_for_ranks(ranks: Sequence[int], identify: Callable[[int], IdentifiedOrderings]) -> IdentifiedOrderings:
    """Orderings for the first of some ranks for which they are found; else those for the last."""
    found = identify(ranks[0])
    for rank in ranks[1:]:
        if found.found:
            break
        found = identify(rank)
    return found


def _load_identified(stored: RunStore | None, source: MatrixSource, orderings: Any) -> IdentifiedOrderings | None:
    """Orderings of both sides that an earlier call has identified for the run of the same matrix."""
    if stored is None or not are_unknown(orderings):
        return None
    manifest = stored.manifest
    if manifest.identified is None or manifest.identity is None or manifest.matrix is None:
        return None
    if any(manifest.matrix.get(name) != value for name, value in describe_matrix(source).items()):
        return None  # another matrix: the store is refused once its plan is known
    try:
        return IdentifiedOrderings.from_json(manifest.identified, stored.side("rows"), stored.side("cols"))
    except StoreError:  # the call was cut off before it had stored them
        return None
