"""Coordinates of shuffled points, from the correlations of the rows that belong to them.

Where nearby points give correlated rows, ``-log`` of the squared correlation of two rows is about the squared distance
of their points, in the metric in which the kernel tells them apart. That holds while the rows are correlated; an
oscillating kernel has side lobes beyond, so longer distances are the lengths of shortest paths over near points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree

from ..cuts import Index

__all__ = ["Points"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the geometry. Not tuned one by one: the benchmark ``identification`` has 72 kernels, all found.

    Attributes
    ----------
    near : float
        Squared distance up to which a distance is taken from the squared correlation, which is ``exp(-near)`` there.
    farthest : float
        Squared distance of rows that have nothing in common.
    landmarks : int
        Points from which coordinates are computed.
    dimensions : int
        Coordinates at most.
    flat : float
        Ratio of squared extents below which there is no further one.
    thin : float
        Ratio of the second extent to the first below which points lie on a line.
    hollow : float
        Ratio of the least distance from the middle to the largest above which a curve is closed.
    """

    near: float = 1.0
    farthest: float = 36.0
    landmarks: int = 32
    dimensions: int = 4
    flat: float = 1e-9
    thin: float = 0.02
    hollow: float = 0.5


TUNING = Tuning()


class Points:
    """Points of the rows of a matrix.

    Parameters
    ----------
    squared_correlations : ndarray of float, shape (m, m)
        Of the rows, between 0 and 1.

    Attributes
    ----------
    axes : ndarray of float64, shape (m, k)
        Coordinates along the principal axes of all points, the longest extent first.
    """

    def __init__(self, squared_correlations: NDArray[np.floating]) -> None:
        correlations = np.clip(squared_correlations, math.exp(-TUNING.farthest), 1.0).astype(np.float64)
        self._squared = -np.log(correlations)
        np.fill_diagonal(self._squared, 0)
        every = np.arange(len(self._squared))
        self.axes = _principal_coordinates(
            _path_coordinates(self._squared) if self._is_far(every) else self._near_coordinates(every)
        )

    @property
    def count(self) -> int:
        """Number m of points."""
        return len(self._squared)

    @property
    def has_near_points_only(self) -> bool:
        """Whether all distances are taken from correlations."""
        return not self._is_far(np.arange(self.count))

    @property
    def is_closed(self) -> bool:
        """Whether the points lie on a closed curve."""
        if self.axes.shape[1] < 2:
            return False
        radii = np.hypot(self.axes[:, 0], self.axes[:, 1])
        return bool(radii.min() > TUNING.hollow * radii.max())

    @property
    def is_area(self) -> bool:
        """Whether the points have a second extent."""
        extents = np.std(self.axes, axis=0)
        return len(extents) > 1 and bool(extents[1] > TUNING.thin * extents[0]) and not self.is_closed

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angle (m,) of each point of a closed curve."""
        return np.arctan2(self.axes[:, 1], self.axes[:, 0])

    def coordinate(self, part: Index, axis: int | None = None) -> NDArray[np.float64]:
        """Coordinate of each point of a part, along an axis of all points or along the longest extent of the part."""
        local = _principal_coordinates(self.axes[part] if self._is_far(part) else self._near_coordinates(part))
        if axis is None:
            return local[:, 0]
        whole = self.axes[part, min(axis, self.axes.shape[1] - 1)]
        spread = np.sum(local**2, axis=0)
        projected: NDArray[np.float64] = local @ ((whole @ local) / np.where(spread > 0, spread, 1))
        return projected

    def _is_far(self, part: Index) -> bool:
        """Whether some points of a part are too far from each other to take distances from correlations."""
        return bool(self._squared[np.ix_(part, part)].max() > TUNING.near)

    def _near_coordinates(self, part: Index) -> NDArray[np.float64]:
        """Coordinates of the points of a part whose distances are all taken from correlations."""
        landmarks = part[:: -(-part.size // TUNING.landmarks)]
        return _landmark_coordinates(
            self._squared[np.ix_(landmarks, part)], self._squared[np.ix_(landmarks, landmarks)]
        )


def _path_coordinates(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates whose distances are about the lengths of shortest paths, from landmarks far from one another.

    References
    ----------
    Tenenbaum, de Silva and Langford, "A global geometric framework for nonlinear dimensionality reduction", Science 290
    (2000).
    """
    graph = _near_graph(squared)
    landmarks: list[int] = []
    paths: list[NDArray[np.float64]] = []
    nearest = dijkstra(graph, indices=np.array([0]))[0]
    for _ in range(min(TUNING.landmarks, len(squared))):
        landmarks.append(int(np.argmax(nearest)))
        paths.append(dijkstra(graph, indices=np.array(landmarks[-1:]))[0])
        nearest = np.min(paths, axis=0)
    lengths = np.square(paths)
    return _landmark_coordinates(lengths, lengths[:, landmarks])


def _near_graph(squared: NDArray[np.float64]) -> csr_array:
    """Graph of near points, with the edges of a spanning tree where it would fall apart."""
    lengths = np.sqrt(squared) + 1e-9  # an edge without a length would be none
    edges = np.where(squared <= TUNING.near, lengths, 0)
    np.fill_diagonal(edges, 0)
    graph = csr_array(edges)
    if connected_components(graph, directed=False)[0] == 1:
        return graph
    tree = minimum_spanning_tree(csr_array(lengths)).tocoo()
    edges[tree.row, tree.col] = edges[tree.col, tree.row] = tree.data
    return csr_array(edges)


def _landmark_coordinates(squared: NDArray[np.float64], between: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates (m, k) from squared distances (L, m) from landmarks, and those (L, L) between landmarks.

    References
    ----------
    de Silva and Tenenbaum, "Sparse multidimensional scaling using landmark points", Stanford University (2004).
    """
    mean = between.mean(axis=1, keepdims=True)
    values, vectors = linalg.eigh(-0.5 * (between - mean - mean.T + mean.mean()))
    values, vectors = values[::-1][: TUNING.dimensions], vectors[:, ::-1][:, : TUNING.dimensions]
    kept = values > TUNING.flat * max(values[0], math.ulp(1.0))
    kept[0] = True
    scale = np.sqrt(np.where(values > 0, values, 1))
    coordinates: NDArray[np.float64] = -0.5 * (squared - mean).T @ (vectors / scale)[:, kept]
    return coordinates


def _principal_coordinates(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred coordinates along principal axes."""
    centred = coordinates - coordinates.mean(axis=0)
    _, axes = linalg.eigh(centred.T @ centred)
    rotated: NDArray[np.float64] = centred @ axes[:, ::-1]
    return rotated
