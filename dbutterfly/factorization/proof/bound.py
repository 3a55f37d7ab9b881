r"""The lower bound from all cuts together, and what rounding may add to it.

Each of the K cuts of the chain gets a target of its own, a matrix ``T_k`` of the shape of Z, and a share ``w_k``, a
positive number for each of its blocks, such that ``sum_k w_k = 1`` and ``sum_k w_k T_k = Z`` in every entry. Equal
shares are 1/K each. Let ``||A||_w`` be the norm in which the square of every entry counts w times, and ``d_k(T)`` the
distance of T, in that of ``w_k``, to the matrices whose blocks at cut k have the rank of the chain. Every product X of
the chain obeys

    (1)  ||Z - X||^2 = sum_k (||T_k - X||_w^2 - ||T_k - Z||_w^2) >= sum_k (d_k(T_k)^2 - ||T_k - Z||_w^2),

since ``sum_k w_k (T_k - Z) = 0`` and X is one of those matrices, at every cut. As a share is one number in each block,
``d_k^2`` is the sum over the blocks of what lies beyond the rank, times the share. Any targets and shares will do;
where all targets are Z, the bound is a mean of the bounds of single cuts. The right side is concave in the targets.

In floating point, the sum of the shares is one up to a number nu at most, and that of shares times targets is ``Z`` up
to a matrix of which delta is the norm, with that of ``nu Z``. Then

    (2)  (1 + nu) ||Z - X||^2 + 2 delta ||Z - X|| >= D,    D the right side of (1).

Singular values are those of a matrix that differs from ``T_k`` by some units in the last place of its norm (Golub and
Van Loan, "Matrix Computations", section 8.6), so that ``d_k`` is off by no more. Energies are off by some units too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...kernels.linalg import SUBTRACTED

__all__ = ["EPS", "NORM_UNITS", "CutSums", "bound_from_cuts"]

EPS = float(np.finfo(np.float64).eps)
"""Rounding unit of double precision, in which targets are computed whatever the dtype of the matrix."""

SINGULAR_UNITS = 64
"""Units in the last place of the norm of a matrix by which its distance to a rank, found from singular values, may be
off.

Measured on stacks of normal, graded and nearly exact blocks of 2 x 2 to 16 x 16 against extended precision: at most 0.3
units (tests/factorization/proof/test_bound.py). The rest is room for larger blocks and other LAPACKs.
"""


NORM_UNITS = SUBTRACTED
"""Units in the last place by which a norm, by which bounds are divided, may be too small."""


class CutSums(NamedTuple):
    """What the bound needs of the target T of a cut: sums over its blocks, each times the share of the cut there.

    Attributes
    ----------
    trailing : float
        ``d(T)^2`` as computed: the energies of the singular values of its blocks beyond the rank.
    spread : float
        ``||T - Z||^2``.
    energy : float
        ``||T||^2``.
    """

    trailing: float
    spread: float
    energy: float


def bound_from_cuts(cuts: list[CutSums], gap: float, norm: float, uneven: float = 0.0) -> tuple[float, float]:
    """Bound (2) on ``||Z - X||``.

    Parameters
    ----------
    cuts : list of CutSums
        Of every cut.
    gap : float
        ``||sum_k w_k T_k - Z||`` as computed.
    norm : float
        ``||Z||``.
    uneven : float
        The most by which the shares in an entry miss one, as computed.

    Returns
    -------
    bound : float
        No product of the chain has a smaller error.
    slack : float
        What was taken off for rounding.
    """
    units, count = SUBTRACTED * EPS, len(cuts)
    below = above = plain = 0.0
    for trailing, spread, energy in cuts:
        distance = math.sqrt(trailing) * (1 - units) - SINGULAR_UNITS * EPS * math.sqrt(energy)
        below += max(distance, 0.0) ** 2
        above += spread * (1 + units)
        plain += trailing - spread
    # Sums of shares, and of targets times shares, are rounded once for every cut, and so are products and differences.
    nu = uneven + (count + 1) * EPS
    delta = gap * (1 + units) + nu * norm + (count + 2) * EPS * (norm + sum(math.sqrt(cut.energy) for cut in cuts))
    difference = (below * (1 - units) - above * (1 + units)) * (1 + nu)
    # The root without a difference of numbers that are nearly the same.
    bound = difference / (math.hypot(math.sqrt(difference), delta) + delta) / (1 + nu) if difference > 0 else 0.0
    return bound, math.sqrt(max(plain, 0.0)) - bound
