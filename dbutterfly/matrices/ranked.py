"""Chains of a rank above one, for matrices whose blocks have that rank to a tolerance only."""

from __future__ import annotations

from collections.abc import Mapping

from ..structure.arguments import read_number
from ..structure.chain import Chain

__all__ = ["ranked_chain"]


def ranked_chain(n: int, ranks: Mapping[float, int], tol: float) -> Chain:
    """Build the chain of an ``n x n`` matrix with the least rank that was measured to reach ``tol``.

    Parameters
    ----------
    n : int
        Rows and columns, at least 1.
    ranks : mapping of float to int
        For some tolerances, the largest numerical rank of a block of ``n`` entries.
    tol : float
        Relative tolerance.

    Returns
    -------
    Chain
        Chain of that rank at every junction. It is a single pattern where no cut leaves two sides of as many rows and
        columns.

    Raises
    ------
    InputError
        If ``tol`` is below all tolerances of ``ranks``.

    Notes
    -----
    The chain is balanced: ``p v = n`` at every cut, as in a chain of rank one, since the rank of an oscillatory block
    grows with its area.
    """
    fault = "is no tolerance whose rank is known"
    remedy = f"use {min(ranks)} or more, or give factorize a chain of higher rank"
    tol = read_number("tol", tol, least=min(ranks), fault=fault, remedy=remedy)
    fitting = [rank for reached, rank in ranks.items() if reached <= tol]
    return Chain.chainable((n, n), min(*fitting, n), balanced=True, longer=False)
