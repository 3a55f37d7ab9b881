"""What a factorization is worth, in words, from its certificate."""

from __future__ import annotations

import math
from typing import NamedTuple

from .certificate import Certificate

__all__ = ["USELESS", "Verdict", "part_of_norm", "verdict_on"]

USELESS = 0.5
"""Relative error above which a product tells less of a matrix than it leaves out. Not tuned.

At 0.5, a quarter of the energy of the matrix is missed.
"""


class Verdict(NamedTuple):
    """A sentence or two, and whether they say that a factorization is useless."""

    text: str
    is_useless: bool


def verdict_on(certificate: Certificate) -> Verdict:
    """Judge a factorization by its certificate."""
    error, lower = certificate.error_bound, certificate.lower_bound
    missed, least = (_part(part, certificate) for part in (error, lower))
    result, peer, _, remedy = certificate.words
    if certificate.norm == 0:
        return Verdict(f"The matrix is zero, and so is the {result}.", False)
    if lower > USELESS:
        return Verdict(f"Useless: no {peer} comes closer to the matrix than {least}. {remedy}.", True)
    if not certificate.proven and error > USELESS:
        return Verdict(f"Useless: the {result} misses the matrix by about {missed}. {remedy}.", True)
    if not error <= USELESS:
        second = " With passes=2, the error itself is known." if certificate.form == "butterfly" else f" {remedy}."
        return Verdict(
            f"Useless as it is: the {result} may miss the matrix by {missed}, and {least} is the least that can be "
            f"proven of any {peer}.{second}",
            True,
        )
    return Verdict(_praise(certificate), False)


def _praise(certificate: Certificate) -> str:
    """Words for a product that is close to its matrix."""
    error, ratio, words = certificate.error_bound, certificate.ratio, certificate.words
    missed = _part(error, certificate)
    if not certificate.proven:
        return f"The {words.result} misses the matrix by about {missed}. This is an estimate: not all was looked at."
    praise = f"The {words.result} misses the matrix by {'' if certificate.exact else 'at most '}{missed}"
    if error == 0 or not math.isfinite(ratio):
        return f"{praise}."
    near = f"{100 * (ratio - 1):.2g} % more than" if ratio < 2 else f"{ratio:.3g} times"
    return f"{praise}: that is at most {near} the least that any {words.peer} can reach."


def _part(error: float, certificate: Certificate) -> str:
    """Write a relative error of a certificate."""
    return part_of_norm(error, "its weighted norm" if certificate.weighted else "its norm")


def part_of_norm(error: float, norm: str = "its norm") -> str:
    """Write a relative error: in percent where that is read well."""
    return f"{100 * error:.3g} % of {norm}" if 1e-4 <= error < math.inf else f"{error:.2g} of {norm}"
