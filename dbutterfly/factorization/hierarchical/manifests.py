"""Manifests of hierarchical runs: what was asked, and the choices of the plan by which a run goes on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...planning.bands import BandCopy
from ...planning.hierarchical_plan import HierarchicalPlan
from ...sources.base import MatrixSource
from ...storage.manifest import HIERARCHICAL, Manifest
from ...storage.result_arrays import digest_of
from ..manifests import describe_matrix, running_version
from ..request import Request

__all__ = ["begin_manifest", "layout_entry", "plan_entry"]


def begin_manifest(request: Request, source: MatrixSource) -> Manifest:
    """Manifest of a run that begins, without a plan."""
    points = request.points
    asked = {
        "rank": request.rank,
        "eta": None if request.eta is None else str(request.eta),
        "leaf": request.leaf,
        "symmetric": request.symmetric,
        "points": None if points is None else [_digest(side) for side in points.sides.values()],
        "period": None if points is None else list(points.period),
    }
    return Manifest(
        kind=HIERARCHICAL,
        version=running_version(),
        matrix=describe_matrix(source),
        exponent=source.exponent or None,
        tol=request.tol,
        hierarchical={"asked": asked},
    )


def _digest(side: Any) -> str | None:
    return None if side is None else digest_of(np.ascontiguousarray(side))


def layout_entry(plan: HierarchicalPlan) -> dict[str, Any]:
    """Choices of a plan, by which a run that was cut off is continued with the same tasks."""
    return {
        "eta": plan.eta if math.isfinite(plan.eta) else None,
        "leaf": plan.leaf,
        "symmetry": plan.symmetry,
        "level": plan.level,
        "sizes": list(plan.sizes),
        "panel_bytes": 0 if plan.copy is None else plan.copy.limit,
        "strip_level": plan.copy.levels.strip if isinstance(plan.copy, BandCopy) else None,
        "prefetch": plan.prefetch,
        "looked_at": plan.looked_at,
        "in_full": plan.source.in_full,
    }


def plan_entry(plan: HierarchicalPlan) -> dict[str, Any]:
    """Entry ``plan`` of the manifest."""
    whole = plan.to_json()
    return {name: whole[name] for name in ("tasks", "split", "notes", "chunks", "peak_bytes")}
