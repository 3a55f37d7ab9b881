"""Manifests of runs and of saved factorizations, from chain, plan and matrix."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from ..planning.nested import Nested
from ..planning.plan import Layout, Plan
from ..sources.base import MatrixSource
from ..storage.manifest import Manifest, index_arrays, name_sides
from ..storage.result_arrays import digest_of
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.tree import Tree
from ..structure.weights import Weights

__all__ = [
    "build_manifest",
    "describe_factors",
    "describe_matrix",
    "digest_weights",
    "layout_of",
    "nest",
    "nested_of",
    "running_version",
]


def describe_factors(chain: Chain, tree: Tree, orderings: Orderings, dtype: str) -> Manifest:
    """Manifest of factors alone."""
    return Manifest(
        dtype=dtype,
        chain=[list(pattern) for pattern in chain],
        tree=nest(tree),
        orderings=name_sides(orderings.sides),
    )


def describe_matrix(source: MatrixSource) -> dict[str, Any]:
    """What the manifest says of a matrix, besides by what it is known again."""
    sampled = "sampled by crosses" if source.crossed else "sampled"
    way = "probed" if source.probed else sampled if source.sampled else "read"
    return {"shape": list(source.shape), "dtype": source.dtype.name, "way": way}


def digest_weights(weights: Weights | None) -> dict[str, str]:
    """Digests of weights, of each side that has some, by which a run knows them again."""
    sides = {} if weights is None else weights.sides
    return {name: digest_of(side) for name, side in sides.items() if side is not None}


def build_manifest(source: MatrixSource, plan: Plan, *, tol: float | None, sweeps: int | str) -> Manifest:
    """Manifest of a run that begins.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    plan : Plan
        What the run will do.
    tol : float or None
        Tolerance that was asked for.
    sweeps : int or "converged"
        Sweeps that were asked for.
    """
    arrays = index_arrays(plan.orderings.sides)
    digests = {name: digest_of(side) for name, side in arrays.items()}
    return replace(
        describe_factors(plan.chain, plan.tree, plan.orderings, plan.source.work_dtype),
        version=running_version(),
        matrix={**describe_matrix(source), "orderings": digests},
        weights=digest_weights(source.weights),
        exponent=source.exponent or None,
        passes=plan.passes,
        tol=tol,
        sweeps=sweeps or None,
        layout=plan.layout._asdict(),
        nested=None if plan.nested is None else plan.nested.to_json(),
        plan=plan.to_json(),
    )


def layout_of(manifest: Manifest) -> Layout:
    """Choices of the plan of a run."""
    assert manifest.layout is not None
    choices = dict(manifest.layout)
    if choices["copy"] is not None:
        choices["copy"] = tuple(choices["copy"])
    return Layout(**choices)


def nested_of(manifest: Manifest) -> Nested | None:
    """How the skeletons of a run are nested; None of a run without any."""
    return None if manifest.nested is None else Nested.from_json(manifest.nested)


def nest(tree: Tree) -> Any:
    """Tree as nested lists, as JSON keeps it."""
    return tree if isinstance(tree, int) else [nest(tree[0]), nest(tree[1])]


def running_version() -> str:
    """Version of this package. The top package states it, and imports this module: it is looked up when it is there."""
    return str(sys.modules[__name__.partition(".")[0]].__version__)
