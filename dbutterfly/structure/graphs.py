"""Graphs of which rows and columns are the vertices, and the order of their recursive spectral bisection.

Each part of the vertices is sorted along the Fiedler vector of its subgraph, the eigenvector of the second eigenvalue
of the Laplacian, and split as :mod:`dbutterfly.structure.points` splits parts of space.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee
from scipy.sparse.linalg import ArpackError, eigsh

from ..errors import ChainError, InputError
from .plain_arrays import as_plain_array
from .points import part_bounds, prime_splits

__all__ = ["Graph"]

Index: TypeAlias = NDArray[np.int64]

DENSE = 256
"""Vertices up to which all of the Laplacian is taken for its second eigenvector. Not tuned."""


class Graph:
    """Weights of the edges between vertices, symmetric, without loops.

    Parameters
    ----------
    name : str
        What error messages call it.
    adjacency : sparse or dense matrix
        Weights.

    Raises
    ------
    InputError
        If it is not square, or weights are not finite, real and at least 0.
    """

    def __init__(self, name: str, adjacency: Any) -> None:
        given: Any = adjacency if sparse.issparse(adjacency) else as_plain_array(adjacency, name)
        if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] == 0:
            raise InputError(f"{name} has shape {given.shape}; give a square matrix, a row for each vertex")
        if given.dtype.kind not in "biuf":
            raise InputError(f"{name} has dtype {given.dtype}; the weights of edges are real numbers")
        one_way: Any = sparse.csr_array(given).astype(np.float64)
        if not (np.isfinite(one_way.data).all() and (one_way.data >= 0).all()):
            raise InputError(f"{name} has weights that are negative or not finite; give 0 where there is no edge")
        loops: Any = sparse.dia_array((one_way.diagonal()[None], [0]), shape=one_way.shape)
        self._weights: Any = sparse.csr_array(one_way + one_way.T - 2 * loops)
        self._weights.eliminate_zeros()

    @property
    def count(self) -> int:
        """Number of vertices."""
        return int(self._weights.shape[0])

    def order(self, name: str, length: int, radices: Sequence[int]) -> Index:
        """Order of the vertices, part by part.

        Parameters
        ----------
        name : str
            Side of the chain.
        length : int
            Positions of the side.
        radices : sequence of int
            Parts into which each part is split, the first split first.
        """
        if self.count > length:
            raise ChainError(f"chain has {length} {name} for {self.count} vertices; give a chain of at least as many")
        order, parts = np.arange(self.count), 1
        for split in prime_splits(radices):
            bounds = part_bounds(parts, self.count, length)
            parts *= split
            inner = part_bounds(parts, self.count, length)
            for start, stop in itertools.pairwise(bounds):
                cuts = inner[(inner > start) & (inner < stop)] - start
                if cuts.size:
                    order[start:stop] = self._sort(order[start:stop], cuts)
        return order

    def _sort(self, part: Index, cuts: Index) -> Index:
        """Sort a part component by component, those of its components along their Fiedler vector that are cut."""
        inside = self._weights[part][:, part]
        count, labels = connected_components(inside, directed=False)
        if count == 1:
            return part[np.argsort(_fiedler_vector(inside), kind="stable")]
        sizes = np.bincount(labels)
        by_size = np.argsort(-sizes, kind="stable")
        found = np.argsort(np.argsort(by_size)[labels], kind="stable")  # vertices, component after component
        ends = np.cumsum(sizes[by_size])
        for which in np.unique(np.searchsorted(ends, cuts)):
            start, stop = int(ends[which] - sizes[by_size[which]]), int(ends[which])
            if ((cuts > start) & (cuts < stop)).any():
                members = found[start:stop]
                found[start:stop] = members[np.argsort(_fiedler_vector(inside[members][:, members]), kind="stable")]
        return part[found]


def _fiedler_vector(weights: Any) -> NDArray[np.float64]:
    """Eigenvector of the second eigenvalue of the Laplacian of a connected graph; its largest entry is positive."""
    count = weights.shape[0]
    laplacian: Any = sparse.dia_array((weights.sum(axis=1)[None], [0]), shape=weights.shape) - weights
    if count > DENSE:
        vector = _sparse_vector(laplacian)
        if vector is None:  # a numbering in which neighbours are near each other; no such graph is known
            return np.argsort(reverse_cuthill_mckee(weights, symmetric_mode=True)).astype(np.float64)
    else:
        vector = linalg.eigh(laplacian.toarray(), subset_by_index=[0, min(1, count - 1)])[1][:, -1]
    found: NDArray[np.float64] = vector if vector[np.argmax(np.abs(vector))] > 0 else -vector
    return found


def _sparse_vector(laplacian: Any) -> NDArray[np.float64] | None:
    """Second eigenvector by Lanczos iteration on the inverse; None where it does not converge.

    The Laplacian is singular. It is shifted by about the least that the second eigenvalue of a connected graph can be,
    that of a path.
    """
    count = laplacian.shape[0]
    start = np.random.default_rng(0).standard_normal(count)  # the same graph has the same order
    shift = laplacian.diagonal().mean() / count**2
    try:
        values, vectors = eigsh(sparse.csc_array(laplacian), k=2, sigma=-shift, v0=start, tol=1e-6)
    except (ArpackError, RuntimeError):  # no convergence, or a factor that is singular after rounding
        return None
    vector: NDArray[np.float64] = vectors[:, np.argmax(values)]
    return vector
