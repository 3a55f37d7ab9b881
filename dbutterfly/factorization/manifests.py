"""Manifests of runs and of saved factorizations, from chain, plan and matrix."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import metadata
from typing import Any

from ..planning.plan import Layout, Plan
from ..sources.base import MatrixSource
from ..storage.manifest import Manifest, index_arrays, name_sides
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.tree import Tree

__all__ = ["build_manifest", "describe_factors", "installed_version", "layout_of", "nest"]


def describe_factors(chain: Chain, tree: Tree, orderings: Orderings, dtype: str) -> Manifest:
    """Manifest of factors alone."""
    return Manifest(
        dtype=dtype,
        chain=[list(pattern) for pattern in chain],
        tree=nest(tree),
        orderings=name_sides(orderings.sides),
    )


def build_manifest(source: MatrixSource, plan: Plan, *, tol: float | None, sweeps: int) -> Manifest:
    """Manifest of a run that begins.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    plan : Plan
        What the run will do.
    tol : float or None
        Tolerance that was asked for.
    sweeps : int
        Sweeps that were asked for.
    """
    arrays = index_arrays(plan.orderings.sides)
    digests = {name: hashlib.blake2b(side.tobytes(), digest_size=16).hexdigest() for name, side in arrays.items()}
    return replace(
        describe_factors(plan.chain, plan.tree, plan.orderings, plan.source.work_dtype),
        version=installed_version(),
        matrix={
            "shape": list(source.shape),
            "dtype": source.dtype.name,
            "fingerprint": source.fingerprint(),
            "orderings": digests,
        },
        passes=plan.passes,
        tol=tol,
        sweeps=sweeps or None,
        layout=plan.layout._asdict(),
        plan=plan.to_json(),
    )


def layout_of(manifest: Manifest) -> Layout:
    """Choices of the plan of a run."""
    assert manifest.layout is not None
    choices = dict(manifest.layout)
    if choices["copy"] is not None:
        choices["copy"] = tuple(choices["copy"])
    return Layout(**choices)


def nest(tree: Tree) -> Any:
    """Tree as nested lists, as JSON keeps it."""
    return tree if isinstance(tree, int) else [nest(tree[0]), nest(tree[1])]


def installed_version() -> str:
    """Version of the installed package; the top package, which states it, imports this module."""
    try:
        return metadata.version("dbutterfly")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"
