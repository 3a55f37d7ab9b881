"""The probability that the orderings are right, from what a search has seen.

It is a logistic model, fitted to known instances and held against others.

Right means that the factorization in these orderings has at most 1.001 times the error of that in the true ones. The
verdict is a test of what is in the matrix; that the search has found the best of what is there, it cannot prove. What
speaks for it: evidence for the groups of all cuts; cuts that see the same noise; starts that agree; and that no other
trees came near.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .verdict import Solution, Verdict

__all__ = ["WEIGHTS", "features_of", "rate_confidence"]

WEIGHTS = (1.371, 2.662, -0.078, 3.809, -1.064, 1.643, 0.392)
"""Weights of the features, fitted as ``python -m benchmarks.confidence fit`` does to 276 instances.

The benchmark ``confidence`` holds them against 500 others: of 76 that were given .85 to .95, 74 were right.
"""

MOST_UNEVEN = 12.0
"""Unevenness, in standard deviations, beyond which more of it says nothing more."""

MOST_AGAINST = 2.0
"""Evidence against the groups, for each number of the matrix, beyond which more of it says nothing more."""


def features_of(verdict: Verdict, solution: Solution) -> NDArray[np.float64] | None:
    """Numbers on which confidence depends; None where nothing is left.

    They are one; whether the orderings count as found; the evidence on a logarithmic scale, and what speaks against the
    groups for each number of the matrix; the unevenness; witnesses and rivals, on logarithmic scales.
    """
    evidence = verdict.evidence
    if evidence == math.inf:
        return None
    return np.array(
        [
            1.0,
            float(verdict.found),
            math.copysign(math.log1p(min(abs(evidence), 1e9)), evidence),
            max(min(evidence / verdict.size, 0.0), -MOST_AGAINST),
            min(verdict.unevenness, MOST_UNEVEN),
            math.log(max(solution.witnesses, 1)),
            math.log1p(solution.rivals),
        ]
    )


def rate_confidence(features: NDArray[np.float64] | None) -> float:
    """Probability that orderings are right: one where nothing is left."""
    if features is None:
        return 1.0
    return float(1 / (1 + math.exp(-float(np.dot(WEIGHTS, features)))))
