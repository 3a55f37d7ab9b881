"""What has come of a proof, and the certificate with it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..results.certificate import Certificate, rounding_of_products
from ..results.factorization import Factorization
from ..weighted_factors import ROUNDED_FACTORS
from .bound import EPS, NORM_UNITS

__all__ = ["BUDGET", "RATIO_REACHED", "ROUNDING", "STANDSTILL", "Proof", "bound_error", "certify_proof"]

BUDGET, RATIO_REACHED, STANDSTILL, ROUNDING = "budget", "ratio", "standstill", "rounding"
"""How a proof has ended: it may go on; it is good enough for who asked; its bound rises no further; and the error is
rounding, of which there is no least one to prove."""


class Proof(NamedTuple):
    """What has come of a proof, relative to the norm of the matrix where that is the unit.

    Attributes
    ----------
    error : float
        The error.
    norm : float
        ``||Z||`` itself, with scaled weights.
    bound, slack : float
        Lower bound on the error of every product, and what was taken off for rounding.
    origin : str or None
        What a certificate says of where the bound comes from.
    steps : int
        Steps of the ascent.
    ended : {"ratio", "budget", "standstill", "rounding"}
        Why it has ended.
    least_error : float or None
        Error that sweeps come to; None where they were not made.
    """

    error: float
    norm: float
    bound: float
    slack: float
    origin: str | None
    steps: int
    ended: str
    least_error: float | None

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Plain values that a record keeps."""
        kept = {"ended": self.ended, "steps": self.steps, "seconds": seconds, "slack": self.slack}
        return kept if self.least_error is None else {**kept, "least_error": self.least_error}


def _rounding(found: Factorization) -> float:
    """Rounding of weights, of the weighted matrix and of the factors that were divided by them."""
    eps = float(np.finfo(found.dtype).eps)
    return 0.0 if found.weights is None else rounding_of_products(ROUNDED_FACTORS, found.chain.rank, eps)


def bound_error(found: Factorization, error: float) -> float:
    """Bound on the relative error of the operator, which rounds in the dtype of the factors."""
    if error == 0:
        return 0.0
    eps = float(np.finfo(found.dtype).eps)
    measured = error + rounding_of_products(len(found.chain), found.chain.rank, eps) + _rounding(found)
    known = found.certificate.error_bound if found.certificate.proven else math.inf
    return min(measured, known)


def certify_proof(found: Factorization, proof: Proof) -> Certificate:
    """Certificate with the exact error, and with the bound where that is better than the one before."""
    before = found.certificate
    known = before.lower_bound if before.proven else 0.0
    bound = max(proof.bound * (1 - NORM_UNITS * EPS) - _rounding(found), 0.0)
    norm = before.norm
    if not before.proven:
        norm = proof.norm if found.weights is None else found.weights.unscale(proof.norm)
    error = bound_error(found, proof.error)
    proven = replace(before, error_bound=error, exact=True, deviation=None, norm=norm)
    if bound > known:
        return replace(proven, lower_bound=bound, lower_bound_from=proof.origin)
    return replace(proven, lower_bound=known)
