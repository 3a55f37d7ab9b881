"""Spectral clustering into groups of equal size."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import ArpackError, eigsh

from ..cuts import Index
from .assignment import equal_groups

__all__ = ["equal_means", "landmark_groups", "laplacian_eigenvectors", "laplacian_embedding", "spectral_groups"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the clustering. No measurement of a single one was recorded.

    Attributes
    ----------
    largest_dense : int
        Items up to which a dense eigensolver is the faster one; above, Lanczos, unless many vectors are wanted.
    lanczos_share : int
        One in so many items: where more vectors are wanted, the dense solver serves all sizes.
    smallest_partial : int
        Items above which a part of the spectrum is cheaper than all of it.
    lanczos_tolerance : float
        Relative accuracy of eigenvalues by Lanczos.
    rounds : int
        Rounds of means and assignments at most.
    floor : float
        Part of the largest squared singular value up to which the next ones count as rounding.
    """

    largest_dense: int = 512
    lanczos_share: int = 8
    smallest_partial: int = 64
    lanczos_tolerance: float = 1e-3
    rounds: int = 20
    floor: float = 1e-12


TUNING = Tuning()


def spectral_groups(similarity: NDArray[np.floating], groups: int, rng: np.random.Generator) -> Index:
    """Cluster items into equal groups, by the eigenvectors of the Laplacian of their similarities.

    Parameters
    ----------
    similarity : array, shape (m, m)
        Symmetric and not negative.
    groups : int
        Number k of groups.
    rng : numpy.random.Generator
        For the first means.

    Returns
    -------
    ndarray of int64, shape (m,)
        Group of each item.

    References
    ----------
    von Luxburg, "A tutorial on spectral clustering", Statistics and Computing 17 (2007): unnormalised Laplacian.
    """
    return equal_means(laplacian_embedding(similarity, groups), groups, rng)


def landmark_groups(similarity: NDArray[np.floating], groups: int, rng: np.random.Generator) -> Index:
    """Cluster items into equal groups, by their similarities to some landmarks.

    Parameters
    ----------
    similarity : array, shape (m, l)
        Not negative.
    groups : int
        Number k of groups, at most l.
    rng : numpy.random.Generator
        For the first means.

    Returns
    -------
    ndarray of int64, shape (m,)
        Group of each item.

    References
    ----------
    Dhillon, "Co-clustering documents and words using bipartite spectral graph partitioning", KDD 2001: the leading
    singular vectors of the similarities, normalised by the degrees of both sides. In ``O(m l^2)``.
    """
    weights = similarity.astype(np.float64)
    for axis in (0, 1):
        degrees = np.sqrt(similarity.sum(axis=axis, keepdims=True, dtype=np.float64))
        weights /= np.where(degrees > 0, degrees, 1)
    values, vectors = linalg.eigh(weights.T @ weights, driver="evd")
    floor = values[-1] * TUNING.floor
    leading = vectors[:, -groups:] / np.sqrt(np.maximum(values[-groups:], floor if floor > 0 else 1.0))
    return equal_means(weights @ leading, groups, rng)


def laplacian_embedding(similarity: NDArray[np.floating], groups: int) -> NDArray[np.float64]:
    """Eigenvectors 2 .. k + 1 of the Laplacian ``D - W``, as the rows of the items: shape (m, k)."""
    if similarity.shape[0] <= TUNING.largest_dense or groups > similarity.shape[0] // TUNING.lanczos_share:
        return laplacian_eigenvectors(similarity, groups)[0]
    with contextlib.suppress(ArpackError):  # no items are alike, or it does not converge
        return _leading_embedding(similarity, groups)
    return laplacian_eigenvectors(similarity, groups)[0]


def _leading_embedding(similarity: NDArray[np.floating], groups: int) -> NDArray[np.float64]:
    """The same by Lanczos iteration.

    Raises
    ------
    ArpackError
        If that fails.
    """
    negative = -_laplacian(similarity)
    top = 2 * float(-negative.min())  # no eigenvalue of the Laplacian is above
    negative[np.diag_indices_from(negative)] += top
    start = np.random.default_rng(0).standard_normal(negative.shape[0])
    vectors: NDArray[np.float64] = eigsh(negative, k=groups + 1, which="LA", v0=start, tol=TUNING.lanczos_tolerance)[1]  # type: ignore[call-overload]  # the stubs know float starts only
    return vectors[:, ::-1][:, 1:]


def laplacian_eigenvectors(
    similarity: NDArray[np.floating], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvectors 2 .. k + 1 of the Laplacian, shape (m, k), with their eigenvalues, to working precision."""
    count = min(count, similarity.shape[0] - 1)
    laplacian = _laplacian(similarity)
    if similarity.shape[0] > TUNING.smallest_partial:
        try:
            values, vectors = linalg.eigh(laplacian, subset_by_index=[1, count], driver="evr")
        except linalg.LinAlgError:  # of the driver for parts of a spectrum, where eigenvalues coincide
            pass
        else:
            return vectors, values
    values, vectors = linalg.eigh(laplacian, driver="evd")
    return vectors[:, 1 : count + 1], values[1 : count + 1]


def _laplacian(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unnormalised Laplacian ``D - W``, whose diagonal does not depend on that of W."""
    laplacian: NDArray[np.float64] = np.negative(similarity, dtype=np.float64)
    np.fill_diagonal(laplacian, 0)
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    return laplacian


def equal_means(points: NDArray[np.floating], groups: int, rng: np.random.Generator) -> Index:
    """Cluster points by balanced k-means: means, and the assignment of equal groups that is nearest to them, by turns.

    References
    ----------
    Bradley, Bennett and Demiriz, "Constrained k-means clustering", Microsoft Research (2000), for the assignment under
    constraints; Arthur and Vassilvitskii, "k-means++", SODA 2007, for the first means.
    """
    means = points[_draw_distant(points, groups, rng)]
    labels = None
    for _ in range(TUNING.rounds):
        found = equal_groups(2 * points @ means.T - np.sum(means**2, axis=1), groups)
        if labels is not None and np.array_equal(found, labels):
            break
        labels = found
        order = np.argsort(labels, kind="stable").reshape(groups, -1)
        means = points[order].mean(axis=1)
    assert labels is not None
    return labels


def _draw_distant(points: NDArray[np.floating], count: int, rng: np.random.Generator) -> list[int]:
    """Draw points one after the other, each with a probability as its squared distance from those drawn before."""
    chosen = [int(rng.integers(len(points)))]
    distances = np.sum((points - points[chosen[0]]) ** 2, axis=1)
    for _ in range(count - 1):
        total = np.cumsum(distances)
        if total[-1] > 0:
            chosen.append(min(int(np.searchsorted(total, rng.random() * total[-1])), len(points) - 1))
        else:
            chosen.append(int(rng.integers(len(points))))
        distances = np.minimum(distances, np.sum((points - points[chosen[-1]]) ** 2, axis=1))
    return chosen
