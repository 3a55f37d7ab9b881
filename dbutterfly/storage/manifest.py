"""The manifest of a run: what a store says of itself, typed, and as the JSON that it keeps.

The JSON is an attribute of the run's Zarr group. Entries that are None are left out of it, and entries that this
version does not know are handed on. What is read is checked (:mod:`dbutterfly.storage.manifest_checks`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .manifest_checks import check_entries

__all__ = [
    "FACTORIZATION",
    "FORMAT",
    "HIERARCHICAL",
    "KEY",
    "OPERATOR",
    "STACK",
    "Manifest",
    "Sides",
    "index_arrays",
    "name_sides",
]

KEY = "dbutterfly"
"""Attribute of a Zarr group that holds the manifest of a run, or of an operator."""

FORMAT: Final = 2
"""Version of the stored format: of the manifest, of the arrays and of their names."""

FACTORIZATION: Final = "factorization"
"""Kind of a store that holds a run, or a factorization that was saved."""

OPERATOR: Final = "operator"
"""Kind of a store that holds factors without a certificate."""

STACK: Final = "stack"
"""Kind of a store that holds a run for a stack of matrices."""

HIERARCHICAL: Final = "hierarchical"
"""Kind of a store that holds a run for the hierarchical form, or a result in that form."""

LAYOUT = ("root", "tile_rows", "tile_cols", "left_groups", "right_groups", "prefetch", "copy", "compiled")
"""Names of the choices of a plan, in the order of the list that the JSON has."""

Sides: TypeAlias = Mapping[str, "NDArray[Any] | str | None"]
"""Orderings of the ``rows`` and ``cols``: an index array, a name, or None for the standard order."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a store says of the run, or of the factors, that it holds.

    Attributes
    ----------
    kind : str
        :data:`FACTORIZATION`, :data:`OPERATOR`, :data:`STACK` or :data:`HIERARCHICAL`.
    status : {"running", "complete"}
        Whether the factors are there.
    epoch : str
        Name of the place of the intermediate arrays; each beginning of a run has one of its own.
    version : str
        Version of the package that began the run.
    dtype : str
        Dtype of the factors.
    chain : list of [a, b, c, d]
        Patterns of the factors.
    tree : nested lists
        Where the chain is cut.
    orderings : dict
        What each of the ``rows`` and ``cols`` has: ``"array"``, a name, or None.
    matrix : dict
        ``shape`` and ``dtype`` of the matrix, the ``way`` in which it is looked at, and digests of the index arrays
        (``orderings``).
    weights : dict
        Digests of the weights of the ``rows`` and ``cols``, of each side that has some.
    exponent : int
        Power of two by which the entries of the matrix are divided when they are read; None for 0.
    identity : dict
        By what the matrix is known again: a ``sample`` of its entries, and the kind of its ``stamps``.
    passes : {1, 2}
        Times that the matrix is read.
    tol : float
        Tolerance that was asked for.
    out_of_reach : float
        Least error that the run has proven, if it has stopped since that is above the tolerance.
    sweeps : int or "converged"
        Sweeps that were asked for.
    rank : int
        Rank to which the tolerance has raised that of the plan.
    layout : dict
        Choices of the plan, by name (:data:`LAYOUT`).
    nested : dict
        Of a run by nested skeletons: what its steps may leave, and the sizes that skeletons may have.
    plan : dict
        The plan as plain numbers.
    stages : dict
        Summary of every stage that has ended.
    identified : dict
        How the search for the orderings went.
    certificate, record : dict
        What came out.
    checksums : dict
        Digest of every array of the result, by its path.
    stack : dict
        Of a run for a stack: what was ``asked``, the ``rounds`` that have begun, each a list of batches of matrices
        that share a chain, and of one that has ended the ``result``.
    hierarchical : dict
        Of the hierarchical form: what was ``asked``, the ``layout`` of the plan, and of a run that has ended the
        ``result``.
    damaged : str
        Array of the result that was found damaged and told: the next call computes everything again.
    others : dict
        Entries of the JSON that this version does not know.
    """

    kind: str = FACTORIZATION
    status: str = "running"
    epoch: str | None = None
    version: str | None = None
    dtype: str | None = None
    chain: list[list[int]] = field(default_factory=list)
    tree: Any = None
    orderings: dict[str, str | None] = field(default_factory=dict)
    matrix: dict[str, Any] | None = None
    weights: dict[str, str] = field(default_factory=dict)
    exponent: int | None = None
    identity: dict[str, Any] | None = None
    passes: int | None = None
    tol: float | None = None
    out_of_reach: float | None = None
    sweeps: int | str | None = None
    rank: int | None = None
    layout: dict[str, Any] | None = None
    nested: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    stages: dict[str, Any] | None = None
    identified: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    checksums: dict[str, str] | None = None
    stack: dict[str, Any] | None = None
    hierarchical: dict[str, Any] | None = None
    damaged: str | None = None
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its factors are there."""
        return self.status == "complete"

    @property
    def asked(self) -> dict[str, Any] | None:
        """What was asked of a run for a stack, or for the hierarchical form; None of any other."""
        entry = self.stack if self.stack is not None else self.hierarchical
        return None if entry is None else dict(entry["asked"])

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage; none of what was saved without a run."""
        return {} if self.plan is None else dict(self.plan["tasks"])

    @property
    def first_rank(self) -> int | None:
        """Rank of the root cut with which the run began; None where there is no such cut."""
        split = None if self.plan is None else self.plan["split"]
        return None if split is None else int(split["rank"])

    def may_have_tolerance(self, tol: float | None) -> bool:
        """Whether a run with a tolerance goes on from here: one with the same, or a larger one after it has stopped."""
        if tol is None or self.out_of_reach is None:
            return tol == self.tol
        return tol == self.tol or tol > self.out_of_reach

    def to_json(self) -> dict[str, Any]:
        """Plain values, as format 2 has them."""
        left_out = ("others",) if self.weights else ("others", "weights")
        values = {name: value for name, value in vars(self).items() if value is not None and name not in left_out}
        if self.layout is not None:
            values["layout"] = [self.layout[name] for name in LAYOUT if name in self.layout]
        return {"format": FORMAT, **self.others, **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`, of a manifest of this format.

        Raises
        ------
        ManifestError
            If an entry is not what it must be.
        """
        check_entries(values)
        names = {known.name for known in dataclasses.fields(cls)} - {"others"}
        given = {name: value for name, value in values.items() if name in names}
        if given.get("layout") is not None:
            given["layout"] = dict(zip(LAYOUT, given["layout"], strict=False))
        others = {name: value for name, value in values.items() if name not in names and name != "format"}
        return cls(**{name: value for name, value in given.items() if value is not None}, others=others)


def index_arrays(sides: Sides) -> dict[str, NDArray[Any]]:
    """Sides that are index arrays, by name."""
    return {name: side for name, side in sides.items() if isinstance(side, np.ndarray)}


def name_sides(sides: Sides) -> dict[str, str | None]:
    """What the manifest says of each side: ``"array"``, its name, or None."""
    return {name: "array" if isinstance(side, np.ndarray) else side for name, side in sides.items()}
