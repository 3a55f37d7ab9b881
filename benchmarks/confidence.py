"""Whether the confidence of identified orderings is true: of those said 90 %, so many are right.

Matrices of four kinds, of 16 to 64 rows, with noise between a hundredth and all of their norm, and one in six of noise,
or of low rank with noise. Right is a factorization with at most 1.001 times the error of that in the true orderings;
matrices without trees have none. The instances are others than those to which the confidence was fitted, which is done
by ``python -m benchmarks.confidence fit``.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from typing import Any, NamedTuple

import numpy as np

import dbutterfly as dbf

from . import harness, tables

job: Any = importlib.import_module("dbutterfly.identification.identify")

M = dbf.matrices

TARGETS = {
    "dft": lambda n, _: M.dft(n),
    "orthogonal": lambda n, seed: M.orthogonal_butterfly(n, seed=seed),
    "gaussian": lambda n, seed: M.gaussian_butterfly(n, seed=seed),
    "hadamard": lambda n, _: M.hadamard(n),
}
SIZES, NOISES = (16, 32, 64), (0.01, 1.0)
FITTED = (range(752), range(1_000_000, 1_000_500))
"""Seeds of the instances to which the confidence is fitted; the last 500 were held out from an earlier fit."""

FIRST_HELD_OUT = 2_000_000
"""Seed of the first instance that is held out."""

BUDGET = 1.0
"""Seconds after which a search makes no more attempts."""


class Instance(NamedTuple):
    """A matrix, and its true orderings if there are some."""

    name: str
    n: int
    noise: float
    matrix: Any
    orderings: Any


def main(instances: int = 500) -> None:
    """Measure the instances that are held out, and record them as they grow."""
    rows: list[dict[str, Any]] = []
    for number in range(instances):
        one = _instance(FIRST_HELD_OUT + number)
        found = dbf.identify(one.matrix, workers=1, budget=BUDGET)
        rows.append(
            {
                "target": one.name,
                "n": one.n,
                "noise": one.noise,
                "found": found.found,
                "confidence": found.confidence,
                "right": _is_right(one, found),
            }
        )
        if (number + 1) % 50 == 0:
            harness.record("confidence", rows, show=False)
    harness.record("confidence", rows, show=False)
    for line in tables.confidence(rows):
        print("  ".join(line))


def _instance(seed: int) -> Instance:
    """Draw an instance."""
    rng = np.random.default_rng(seed)
    n, noise = int(rng.choice(SIZES)), float(np.exp(rng.uniform(*np.log(NOISES))))
    name = str(rng.choice([*TARGETS, "none"], p=[5 / 24] * 4 + [1 / 6]))
    if name != "none":
        hidden = M.shuffled(TARGETS[name](n, seed), seed=seed + 1)
        return Instance(name, n, noise, np.asarray(M.noisy(hidden, noise, seed=seed + 2)), hidden.orderings)
    rank, added = int(rng.integers(4)), rng.standard_normal((n, n)) / n
    if rank == 0:
        return Instance("noise", n, 1.0, added, None)
    low = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    return Instance("low rank", n, noise, low / np.linalg.norm(low) + noise * added, None)


def _is_right(one: Instance, found: Any) -> bool:
    if one.orderings is None:
        return False
    error, best = (
        float(dbf.verify(dbf.factorize(one.matrix, orderings=o), one.matrix)) for o in (found, one.orderings)
    )
    return error <= 1.001 * best


def fit() -> None:
    """Fit the weights of the confidence to instances, and print them."""
    features, right, rate, seen = [], [], job.rate_confidence, []

    def keep(given: Any) -> float:
        seen.append(given)
        return rate(given)

    job.rate_confidence = keep
    for seed in itertools.chain(*FITTED):
        one = _instance(seed)
        found = dbf.identify(one.matrix, workers=1, budget=BUDGET)
        if seen[-1] is not None:
            features.append(seen[-1])
            right.append(_is_right(one, found))
    job.rate_confidence = rate
    weights = fitted(np.array(features), np.array(right, np.float64))
    print(f"{len(right)} instances, {int(sum(right))} right; WEIGHTS = {tuple(weights.round(3).tolist())}")


def fitted(features: Any, right: Any, *, steps: int = 50, pull: float = 1e-2) -> Any:
    """Weights of a logistic model, by Newton's method, drawn a little towards zero so that they are finite."""
    weights = np.zeros(features.shape[1])
    for _ in range(steps):
        likely = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (right - likely) - pull * weights
        weights += np.linalg.solve(
            (features.T * (likely * (1 - likely))) @ features + pull * np.eye(len(weights)), slope
        )
    return weights


if __name__ == "__main__" and sys.argv[1:] == ["fit"]:
    fit()
