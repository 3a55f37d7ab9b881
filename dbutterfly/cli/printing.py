"""Results on stdout: lines of a name and a text, or JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ..factorization.results.certificate import Certificate
from ..factorization.results.estimates import VerifiedError
from ..factorization.results.factorization import Factorization
from ..factorization.results.hierarchical import HierarchicalFactorization
from ..factorization.results.hierarchical_text import format_kinds
from ..factorization.results.stacked import StackedFactorization
from ..factorization.results.verdict import verdict_on
from ..factorization.results.verified_stack import VerifiedStack
from ..planning.sizes import format_bytes
from .streams import show

__all__ = [
    "certificate_json",
    "factorization_json",
    "factorization_lines",
    "print_json",
    "print_lines",
    "print_result",
    "print_verified",
    "verified_json",
]


def print_json(value: Any) -> None:
    """Print one JSON document; infinities and NaN, which JSON lacks, become null."""
    show(json.dumps(_without_infinities(value), indent=2, allow_nan=False))


def print_lines(lines: Iterable[tuple[str, str]], *, to_stderr: bool = False) -> None:
    """Print names and texts in two columns, as in a plan."""
    for name, text in lines:
        line = f"{name:<13} {text}"
        if to_stderr:
            print(line, file=sys.stderr)
        else:
            show(line)


def factorization_lines(factorization: Factorization) -> Iterator[tuple[str, str]]:
    """Names and texts that describe a factorization and its run."""
    (rows, cols), chain = factorization.shape, factorization.chain
    yield "matrix", f"{rows} x {cols} {factorization.dtype.name}"
    if factorization.weights is not None:
        yield "weights", str(factorization.weights)
    yield "orderings", factorization.orderings.describe()
    yield "chain", " ".join(map(repr, chain))
    yield (
        "factors",
        f"{len(chain)}, {format_bytes(factorization.nbytes)}: {factorization.compression:.1f} times smaller",
    )
    yield from _run_lines(factorization.record)
    yield from _certificate_lines(factorization.certificate)


def _run_lines(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a run has read and done."""
    chunks = record.get("plan", {}).get("chunks", {})
    if chunks.get("missing"):
        yield "missing", f"{chunks['missing']} of {chunks['count']} chunks, taken as the fill value"
    for stage, done in record.get("stages", {}).items():
        resumed = f" and {done['resumed']} of an earlier run" if done["resumed"] else ""
        read = f", {format_bytes(done['bytes_read'])} read" if done["bytes_read"] else ""
        yield stage, f"{done['tasks']} tasks{resumed} in {done['seconds']:.2f} s{read}"
    if "matrix_check" in record:
        yield "stored run", f"the matrix is its own: {record['matrix_check']}"


def _certificate_lines(certificate: Certificate) -> Iterator[tuple[str, str]]:
    """The certificate, and a verdict on what is useless."""
    yield "certificate", str(certificate)
    verdict = verdict_on(certificate)
    if verdict.is_useless:
        yield "verdict", verdict.text


def factorization_json(factorization: Factorization) -> dict[str, Any]:
    """Plain values that describe a factorization and its run."""
    return {
        "shape": list(factorization.shape),
        "dtype": factorization.dtype.name,
        "chain": [list(pattern) for pattern in factorization.chain],
        "orderings": factorization.orderings.describe(),
        "nbytes": factorization.nbytes,
        "compression": factorization.compression,
        "certificate": certificate_json(factorization.certificate),
        "record": factorization.record,
    }


def hierarchical_lines(found: HierarchicalFactorization) -> Iterator[tuple[str, str]]:
    """Names and texts that describe a result in the hierarchical form and its run."""
    first, _, *kinds = format_kinds(found)
    yield "matrix", first
    for line in kinds:
        yield line[:10].strip(), " ".join(line[10:].split())
    yield from _run_lines(found.record)
    yield from _certificate_lines(found.certificate)


def hierarchical_json(found: HierarchicalFactorization) -> dict[str, Any]:
    """Plain values that describe a result in the hierarchical form and its run."""
    return {
        "shape": list(found.shape),
        "dtype": found.dtype.name,
        "symmetry": found.symmetry,
        "kinds": found.summary(),
        "nbytes": found.nbytes,
        "compression": found.compression,
        "certificate": certificate_json(found.certificate),
        "record": found.record,
    }


def print_result(
    found: Factorization | HierarchicalFactorization | StackedFactorization, as_json: bool, **more: Any
) -> None:
    """Print a factorization and its run, or the table of a stack; ``more`` goes to the JSON."""
    if isinstance(found, StackedFactorization):
        if as_json:
            print_json({**more, **stack_json(found)})
        else:
            show(str(found))
    elif isinstance(found, HierarchicalFactorization):
        if as_json:
            print_json({**more, **hierarchical_json(found)})
        else:
            print_lines(hierarchical_lines(found))
    elif as_json:
        print_json({**more, **factorization_json(found)})
    else:
        print_lines(factorization_lines(found))


def stack_json(found: StackedFactorization) -> dict[str, Any]:
    """Plain values that describe the factorization of a stack and its run."""
    return {
        "matrices": found.table(),
        "failed": {str(number): text for number, text in found.failed.items()},
        "nbytes": found.nbytes,
        "compression": found.compression,
        "record": found.record,
    }


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    """Plain values of a certificate, with its ratio."""
    return {**certificate.to_json(), "ratio": certificate.ratio}


def verified_json(verified: VerifiedError | VerifiedStack) -> dict[str, Any]:
    """Plain values of a verified error, or of those of a stack."""
    if isinstance(verified, VerifiedError):
        return verified.to_json()
    worst = verified.worst
    return {"matrices": verified.table(), "worst": worst, "error": verified.errors[worst]}


def print_verified(verified: VerifiedError | VerifiedStack, *lines: tuple[str, str]) -> None:
    """Print a verified error with further lines, or the table of those of a stack."""
    if isinstance(verified, VerifiedError):
        print_lines([("verified", f"error {verified}"), *lines])
    else:
        show(str(verified))


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
