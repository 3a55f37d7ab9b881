"""Errors: exact recovery up to rounding, and noisy targets beside the degrees-of-freedom oracle and the peer.

Noise eps on an N x N butterfly leaves, at the optimum, about ``eps * sqrt(1 - (log2 N + 1) / N) / sqrt(1 + eps^2)``
relative to the noisy matrix.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

import dbutterfly as dbf

from . import harness


def peer_error(matrix: Any, ortho: bool) -> float:
    """Error of lazylinop's ksd on a matrix in standard order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lazylinop.butterfly import Chain, ksd

        found = ksd(matrix, Chain.square_dyadic(matrix.shape), order="l2r", ortho=ortho).toarray()
    return float(np.linalg.norm(matrix - found) / np.linalg.norm(matrix))


def main() -> None:
    """Record exact recovery and noisy errors."""
    rows: list[dict[str, Any]] = []
    for n in (2, 16, 128, 1024, 4096):
        for dtype in ("float64", "complex128"):
            target = dbf.matrices.dft(n) if dtype == "complex128" else dbf.matrices.hadamard(n)
            found = dbf.factorize(target, orderings=target.orderings)
            error = float(dbf.verify(found, target))
            rows.append({"target": repr(target), "error": error, "bound": found.certificate.error_bound})
    for dtype in ("float32", "complex64"):
        target = dbf.matrices.orthogonal_butterfly(8192, dtype=dtype, seed=0)
        found = dbf.factorize(target)
        error = float(dbf.verify(found, target))
        rows.append({"target": f"{target!r} {dtype}", "error": error, "bound": found.certificate.error_bound})
    for name, clean, eps in (
        ("gaussian 512", dbf.matrices.gaussian_butterfly(512, seed=0), 0.01),
        ("gaussian 512", dbf.matrices.gaussian_butterfly(512, seed=0), 0.1),
        ("orthogonal 512", dbf.matrices.orthogonal_butterfly(512, seed=0), 0.1),
        ("dft 512", dbf.matrices.dft(512), 0.1),
        ("dft 2048", dbf.matrices.dft(2048), 0.01),
    ):
        n = clean.shape[0]
        matrix = np.asarray(dbf.matrices.noisy(clean, eps, seed=1))
        side = clean.orderings.permutations(dbf.Chain.square_dyadic(n))[1]
        standard = matrix if side is None else matrix[:, side]
        oracle = eps * math.sqrt(1 - (math.log2(n) + 1) / n) / math.sqrt(1 + eps**2)
        row: dict[str, Any] = {"target": name, "noise": eps, "oracle": oracle}
        for passes in (1, 2):
            found = dbf.factorize(standard, passes=passes)
            row[f"error_{passes}_read"] = float(dbf.verify(found, standard))
            row[f"over_oracle_{passes}_read"] = row[f"error_{passes}_read"] / oracle
            row[f"bound_{passes}_read"] = found.certificate.error_bound
            row[f"lower_{passes}_read"] = found.certificate.lower_bound
        row["lazylinop_ortho"], row["lazylinop_plain"] = peer_error(standard, True), peer_error(standard, False)
        rows.append(row)
    harness.record("accuracy", rows)
