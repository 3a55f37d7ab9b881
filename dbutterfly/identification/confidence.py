"""The probability that the orderings are right, from what a search has seen.

It is a logistic model, fitted to known instances and held against others.

Right means that the factorization in these orderings has at most 1.001 times the error of that in the true ones. The
verdict is a test of what is in the matrix; that the search has found the best of what is there, it cannot prove. What
speaks for it: evidence for the groups of all cuts; cuts that see the same noise, and little of it; and starts that
agree.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .verdict import Solution, Verdict

__all__ = ["WEIGHTS", "features_of", "rate_confidence"]

WEIGHTS = (-1.17, 1.833, -0.241, 6.008, -0.929, 2.913, 1.06, -0.811)
"""Weights of the features, fitted as ``python -m benchmarks.confidence fit`` does to 1252 instances of 16 to 64 rows.

The benchmark ``confidence`` holds them against 500 others: of 54 that were given .85 to .95, 49 were right.
"""

MOST_UNEVEN = 12.0
"""Unevenness, in standard deviations, beyond which more of it says nothing more."""

MOST_EVIDENCE = 1.6e4
"""Evidence beyond which more of it says nothing more: the most that was seen where the weights were fitted."""

LEAST_NOISE, MOST_NOISE = 1e-4, 0.99
"""Part of the energy that noise leaves, below and beyond which less, or more, of it says nothing more.

Noise of a hundredth of the norm was the least where the weights were fitted.
"""

MOST_AGAINST = 2.0
"""Evidence against the groups, for each number of the matrix, beyond which more of it says nothing more."""


def features_of(verdict: Verdict, solution: Solution) -> NDArray[np.float64] | None:
    """Numbers on which confidence depends; None where nothing is left.

    They are one; whether the orderings count as found; the evidence on a logarithmic scale, and what speaks against the
    groups for each number of the matrix; the unevenness; witnesses and rivals, on logarithmic scales; and the energy
    that noise leaves beside the rest, on a logarithmic scale.
    """
    evidence = verdict.evidence
    if evidence == math.inf:
        return None
    noise = min(max(float(np.mean(verdict.floors**2)), LEAST_NOISE), MOST_NOISE)
    return np.array(
        [
            1.0,
            float(verdict.found),
            math.copysign(math.log1p(min(abs(evidence), MOST_EVIDENCE)), evidence),
            max(min(evidence / verdict.size, 0.0), -MOST_AGAINST),
            min(verdict.unevenness, MOST_UNEVEN),
            math.log(max(solution.witnesses, 1)),
            math.log1p(solution.rivals),
            math.log(noise / (1 - noise)),
        ]
    )


def rate_confidence(features: NDArray[np.float64] | None) -> float:
    """Probability that orderings are right: one where nothing is left."""
    if features is None:
        return 1.0
    return float(1 / (1 + math.exp(-float(np.dot(WEIGHTS, features)))))
