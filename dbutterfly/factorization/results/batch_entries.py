"""What a manifest says of a batch: matrices of a stack that share a chain and orderings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...storage.manifest import name_sides
from ...storage.run_store import RunStore
from ...structure.axes import Index
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.tree import Tree
from ..manifests import nest

__all__ = ["batch_entry", "from_runs", "orderings_of_entry", "to_runs"]


def batch_entry(numbers: Index, chain: Chain, tree: Tree, orderings: Orderings, **more: Any) -> dict[str, Any]:
    """What the manifest says of matrices that share a chain and orderings."""
    return {
        "numbers": to_runs(numbers),
        "chain": [list(pattern) for pattern in chain],
        "tree": nest(tree),
        "orderings": name_sides(orderings.sides),
        **more,
    }


def to_runs(numbers: Index) -> list[list[int]]:
    """Ascending numbers as runs: the first of each, and how many follow each other."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    ends = [0, *breaks.tolist(), int(numbers.size)]
    return [[int(numbers[first]), last - first] for first, last in itertools.pairwise(ends)]


def from_runs(runs: Iterable[Sequence[int]]) -> Index:
    """Inverse of :func:`to_runs`."""
    return np.concatenate([np.arange(first, first + count, dtype=np.int64) for first, count in runs])


def orderings_of_entry(store: RunStore, place: str, entry: dict[str, Any]) -> Orderings:
    """Orderings of a batch, with index arrays that are below a place.

    Raises
    ------
    CheckpointError
        If an index array is missing or damaged.
    """
    chain = Chain(entry["chain"])
    lengths = dict(zip(("rows", "cols"), chain.shape, strict=True))
    sides: list[NDArray[Any] | str | None] = []
    for name in ("rows", "cols"):
        side = entry["orderings"].get(name)
        sides.append(store.read_array(f"{place}/{name}", (lengths[name],), "int64") if side == "array" else side)
    return Orderings(*sides)
