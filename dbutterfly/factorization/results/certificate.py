r"""How good a factorization is: a proven error bound, a proven lower bound, and their ratio.

Let the root cut leave blocks ``Z_b = A_b V_b^H + R_b`` with ``R_b V_b = 0`` (their approximations of rank r), ``x`` the
r orthonormal columns that the product X of the left factors has for a block, ``B`` what the right factors were fitted
to and ``B'`` their product. The blocks are disjoint, hence

- after one read, with ``e1^2 = sum ||R_b||^2``, ``e2^2 = sum ||(I - x x^H) A_b||^2`` and ``e3 = ||B - B'||``:

  ``||Z - X B'||^2 = e2^2 + ||(residual of the cut) + X (B - B')||^2``,

  since ``R_b`` is orthogonal to the rows of ``V_b^H``, and so to the first term. The cross term of the second one,
  ``sum Re <R_b, x (b - b')>``, is small because x nearly spans the range U of ``A_b``, to which ``R_b`` is nearly
  orthogonal: ``||U^H R_b||^2 <= slack``, or U would capture more than the best approximation does. With ``sin_j`` the
  sine of the angle between column j of x and U, and ``sigma`` the largest singular value of ``R_b``,

  ``|<R_b, x (b - b')>| <= sqrt(slack) ||b - b'|| + sigma sum_j sin_j ||(b - b')_j||``, hence
  ``||Z - X B'||^2 <= e1^2 + e2^2 + e3^2 + 2 sum_b (the same)``,

  where ``sigma^2 <= ||A_b||^2 + slack``, since R_b, which is Z_b times a projection, has no larger singular value than
  Z_b, and what r directions capture of that is bounded: in blocks of noise, far less than ``||R_b||^2``. The same holds
  with ``b'_j`` in place of ``(b - b')_j``, and the shorter one counts: the rows b are combinations of those of
  ``V_b^H``, so that ``<R_b, x_j b_j> = 0``. Of noise, the factors keep little, and miss nearly all of B;
- after a second read, where ``B = X^H Z``: ``||Z - X B'||^2 = sum ||Z_b - x x^H Z_b||^2 + e3^2``, exactly;
- any product of the same chain leaves blocks of rank r at the root cut, so none has an error below that of their best
  approximations, which :mod:`dbutterfly.kernels.low_rank.rank_one` and :mod:`dbutterfly.kernels.low_rank.subspace`
  bound from below. The cuts below the root cut may prove more (:mod:`dbutterfly.factorization.results.other_cuts`).

All sums are taken in float64. A discarded energy is the difference ``||Z_b||^2 - ||Z_b v||^2``, or where that cancels
formed from the residual. A rounding allowance of two units in the last place per factor and rank, and of some units of
the energies that were subtracted, is added to the error and taken from the lower bound.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.linalg import SUBTRACTED
from ...structure.tree import Tree, tree_leaves
from ..block_stats import BlockStats, total_of

__all__ = ["Certificate", "certify", "guarantee_of", "least_energy", "rounding_of_products"]

ROUNDING = 2
"""Units in the last place per factor and rank by which a product may be off."""


class Words(NamedTuple):
    """What texts call a result, and what is compared with it.

    Attributes
    ----------
    result : str
        The result.
    peer : str
        What may be as good: any of those, the lower bound says, has at least that error.
    limit : str
        What limits them.
    remedy : str
        What helps where all of them are useless.
    """

    result: str
    peer: str
    limit: str
    remedy: str


WORDS = {
    "butterfly": Words(
        "product",
        "product of this chain",
        "this chain",
        "Other orderings, another chain or a higher rank are needed",
    ),
    "hierarchical": Words(
        "hierarchical matrix",
        "matrix of these blocks and ranks",
        "these blocks and ranks",
        "A smaller tolerance or a higher rank is needed",
    ),
}
"""Words of each form."""


@dataclass(frozen=True)
class Certificate:
    """Quality of a factorization; all errors are relative to the Frobenius norm of the matrix.

    Attributes
    ----------
    error_bound : float
        The relative error ``||Z - product|| / ||Z||`` is at most this.
    lower_bound : float
        No product of factors with this chain, or no matrix of these blocks and ranks, has a smaller relative error.
    exact : bool
        Whether ``error_bound`` is the error itself up to rounding, as it is after two reads.
    norm : float
        ``||Z||`` in the Frobenius norm.
    deviation : float or None
        For a matrix of which some entries only were evaluated: ``error_bound`` and ``norm`` are estimates then, this is
        the standard deviation of ``error_bound``, and no lower bound is known. None where the bounds are proven,
        infinite where the sample cannot tell, since a few of its rows or columns hold most of the error.
    guarantee : float or None
        What is known before any matrix is seen: the error is at most this many times the least one of any product of
        this chain (:func:`guarantee_of`). None where not all entries are looked at.
    weighted : bool
        Whether rows or columns have weights: errors, bounds and norm are then those of ``D1 (Z - product) D2`` and
        ``D1 Z D2``, with the weights as diagonals.
    lower_bound_from : str or None
        How the lower bound was obtained, where :func:`dbutterfly.prove` has raised it: from all cuts of the chain
        together. None for that of the run, which bounds every part of the matrix by one cut.
    form : {"butterfly", "hierarchical"}
        Of what it is the certificate. Blocks of the hierarchical form are disjoint, so that the squares of their errors
        and of their lower bounds add up.
    """

    error_bound: float
    lower_bound: float
    exact: bool
    norm: float
    deviation: float | None = None
    guarantee: float | None = None
    weighted: bool = False
    lower_bound_from: str | None = None
    form: str = "butterfly"

    @property
    def words(self) -> Words:
        """What texts call the result."""
        return WORDS[self.form]

    @property
    def ratio(self) -> float:
        """Error bound over lower bound: within this factor of the best that any method can reach (inf if unknown)."""
        if self.lower_bound > 0:
            return self.error_bound / self.lower_bound
        return 1.0 if self.error_bound == 0 else math.inf

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Certificate:
        """Inverse of :meth:`to_json`; entries that this version does not know are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def proven(self) -> bool:
        """Whether the bounds are proven; if not, ``error_bound`` is an estimate."""
        return self.deviation is None

    def _repr_html_(self) -> str:
        """Show a verdict and the bounds in a notebook."""
        from .pictures import certificate_html

        return certificate_html(self)

    def __str__(self) -> str:
        norm = f"relative {'weighted ' if self.weighted else ''}Frobenius norm"
        if self.deviation == math.inf:
            return f"error about {self.error_bound:.4g}, by a sample that cannot tell how well, estimated ({norm})"
        if self.deviation is not None:
            return f"error {self.error_bound:.4g} +- {self.deviation:.2g}, estimated ({norm})"
        error = "error" if self.exact else "error bound"
        best = f"no {self.words.peer} is below {self.lower_bound:.4g}"
        known = "" if self.guarantee is None else f" (a priori {self.guarantee:.3g})"
        ratio = f", ratio {self.ratio:.4f}{known}" if math.isfinite(self.ratio) else ""
        proof = "" if self.lower_bound_from is None else f", proven from {self.lower_bound_from}"
        return f"{error} {self.error_bound:.4g}, {best}{ratio}{proof} ({norm})"


def guarantee_of(tree: Tree, passes: int) -> float:
    r"""Factor by which the error of the algorithm may exceed the least one, whatever the matrix.

    Parameters
    ----------
    tree : Tree
        Where the chain is cut.
    passes : {1, 2}
        Times that Z is read.

    Notes
    -----
    Let E be the least error of a product ``X* B*`` of the chain. At a node, ``e1 <= E``; the left child is fitted to
    ``Z V``, which ``X* (B* V)`` approximates to E; the right one to ``X^H Z``, which ``(X^H X*) B*`` does. With
    constants ``C_L`` and ``C_R`` of the children, and 0 at a leaf, therefore

    ``||Z - X B'||^2 = ||Z - X X^H Z||^2 + e3^2 <= e1^2 + e2^2 + e3^2 <= (1 + C_L^2 + C_R^2) E^2``:

    the root of the number of cuts, ``sqrt(J - 1)``, for every tree. Zheng, Le, Riccietti and Gribonval (arXiv
    2411.04506, theorem on the algorithm with orthonormalisation) have the same for cuts from left to right. Where Z is
    read once, the right child of the root is fitted to ``X^H Z V V^H``, which is within ``e1`` of ``X^H Z``, hence

    ``||Z - X B'||^2 <= e2^2 + (e1 + e3)^2 <= (C_L^2 + (1 + 2 C_R)^2) E^2``.

    Blocks are taken to be approximated at the optimum; the certificate itself does not rely on it.
    """
    if isinstance(tree, int):
        return 0.0
    left, right = (len(tree_leaves(child)) - 1 for child in tree)
    return math.sqrt(1 + left + right) if passes == 2 else math.sqrt(left + (1 + 2 * math.sqrt(right)) ** 2)


def certify(
    stats: BlockStats,
    left_error: NDArray[np.float64],
    right_error: NDArray[np.float64],
    second: NDArray[np.float64] | None,
    *,
    factors: int,
    eps: float,
    rank: int = 1,
    guarantee: float | None = None,
) -> Certificate:
    """Certificate of a run.

    Parameters
    ----------
    stats : BlockStats, shapes (u, q)
        Energies of the blocks for the rank of the chain.
    left_error : array, shape (u, q, 1 + r)
        ``||(I - x x^H) A_b||^2`` of each block, and the squared sines of the columns of x.
    right_error : array, shape (q, u, 2 r)
        ``||(b - b')_j||^2`` of each row, and after these ``||b'_j||^2``.
    second : array, shape (u, q, 1), or None
        ``||Z_b - x x^H Z_b||^2`` from a second read.
    factors : int
        Number of factors, for the rounding allowance.
    eps : float
        Machine epsilon of the dtype of the factors.
    rank : int
        Largest rank of the chain, for the rounding allowance.
    guarantee : float, optional
        See :func:`guarantee_of`.
    """
    energy, discarded = (total_of(part) for part in (stats.energy, stats.discarded))
    if energy == 0:
        return Certificate(0.0, 0.0, True, 0.0, guarantee=guarantee)
    missed, kept = np.split(right_error, 2, axis=-1)
    e3, doubt = total_of(missed), _rounding_of_differences(stats, eps)
    if second is None:
        e2 = total_of(left_error[..., 0])
        cross = _cross_term(stats, left_error[..., 1:], np.minimum(missed, kept), eps)
        error = math.sqrt(discarded + doubt + e2 + e3 + 2 * cross)
    else:
        error = math.sqrt(total_of(second) + e3)
    norm, rounding = math.sqrt(energy), rounding_of_products(factors, rank, eps)
    error *= 1 + SUBTRACTED * eps  # energies are themselves sums of rounded squares
    lower = math.sqrt(max(least_energy(stats, eps), 0.0)) / norm * (1 - SUBTRACTED * eps)
    exact = second is not None
    return Certificate(error / norm + rounding, max(lower - rounding, 0.0), exact, norm, guarantee=guarantee)


def least_energy(stats: BlockStats, eps: float) -> float:
    """Energy that the best approximations of blocks leave at least, up to the rounding of the energies themselves."""
    discarded, slack = total_of(stats.discarded), total_of(stats.slack)
    return discarded - slack - _rounding_of_differences(stats, eps)


def rounding_of_products(factors: int, rank: int, eps: float) -> float:
    """Bound on the relative rounding error of a product of so many factors of a rank, formed with such an epsilon."""
    return ROUNDING * eps * factors * rank


def _rounding_of_differences(stats: BlockStats, eps: float) -> float:
    """Bound on the rounding errors of the discarded energies that are differences of energies."""
    return SUBTRACTED * eps * total_of(stats.subtracted(eps))


def _cross_term(stats: BlockStats, sines: NDArray[np.float64], rows: NDArray[np.float64], eps: float) -> float:
    """Bound on ``sum |<R_b, x (b - b')>|`` (see the module docstring), by the shorter of the rows there."""
    discarded = np.maximum(stats.discarded, 0)
    slack = np.minimum(np.maximum(stats.slack, 0), discarded)
    largest = np.minimum(stats.energy - discarded + slack + SUBTRACTED * eps * stats.energy, discarded)  # sigma^2
    sigma = np.sqrt(np.maximum(largest, 0))
    squares = rows.swapaxes(0, 1)
    whole, single = np.sqrt(squares.sum(axis=-1)), np.sqrt(squares)
    leaning = np.sqrt(slack) * whole + sigma * (np.sqrt(np.minimum(sines, 1)) * single).sum(axis=-1)
    return total_of(np.minimum(leaning, np.minimum(np.sqrt(discarded) * whole, sigma * single.sum(axis=-1))))
