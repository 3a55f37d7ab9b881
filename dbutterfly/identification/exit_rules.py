"""When a search for trees has found enough: a table of rules, of which the first that applies decides.

The noise is the judge. Every cut that is right sees noise of the same size (:mod:`dbutterfly.identification.verdict`),
a cut that is wrong sees more: cuts that see the same little noise are right together. In small matrices chance makes
some difference between cuts; there trees must be found more than once, from different starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .ledger import Ledger

__all__ = ["RULES", "Rule", "is_hopeless", "is_settled", "is_small", "is_worn_out"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the rules.

    They were chosen together and not varied one by one: with all of them, 1450 of 1452 instances are found
    (``benchmarks/README.md``, "identification").

    Attributes
    ----------
    explained : float
        Part of the energy up to which what a geometry leaves of a kernel is its own. Further attempts took 11 to 55 s
        on kernels of shuffled points, and found nothing.
    small_side, small_attempts : int
        Side up to which so many attempts are compared: noise makes some of the trees that fit better than others.
    compared : int
        Attempts that are compared where there are rivals; see :class:`dbutterfly.identification.ledger.Tuning`.
    even, even_deviations : float
        Ratio of the noise that cuts see up to which all are right, and standard deviations of chance added to it.
    nearly_even, nearly_even_deviations : float
        Likewise where two origins agree.
    walked : int
        Walks to neighbours after which those of entries of equal modulus need no more. For 20 Hadamard matrices of
        16 x 16, and as many of 32 x 32, with noise .1, two are enough.
    weighed, many_weighed : int
        Attempts without evidence for the groups of any cut after which a search is given up, and those in a matrix
        whose cuts leave little, or which is small. With 2, a normal 64 x 64 matrix is refused after 6 attempts. Not
        tuned.
    patience, little_patience : int
        Attempts without a better one after which a search is given up, and where there is no signal.
    """

    explained: float = 0.02
    small_side: int = 32
    small_attempts: int = 24
    compared: int = 6
    even: float = 1.006
    even_deviations: float = 2.0
    nearly_even: float = 1.01
    nearly_even_deviations: float = 3.0
    walked: int = 2
    weighed: int = 2
    many_weighed: int = 12
    patience: int = 30
    little_patience: int = 8


TUNING = Tuning()


class Rule(NamedTuple):
    """One rule about the end of a search.

    Attributes
    ----------
    name : str
        For readers and tests.
    applies : callable
        Whether the rule decides.
    settles : callable
        Its decision: whether there is no reason to go on.
    """

    name: str
    applies: Callable[[Ledger], bool]
    settles: Callable[[Ledger], bool]


def is_settled(ledger: Ledger) -> bool:
    """Whether there is no reason to go on after the last attempt."""
    return next(rule.settles(ledger) for rule in RULES if rule.applies(ledger))


def is_hopeless(ledger: Ledger) -> bool:
    """Whether nothing speaks for the groups of any cut: a matrix of low rank with noise explains the matrix as well.

    Later where the cuts leave little: sparse butterfly matrices, whose energy lies in a few blocks, are near to such.
    """
    many = ledger.has_signal or is_small(ledger)
    return ledger.evidence <= 0 and ledger.weighed >= (TUNING.many_weighed if many else TUNING.weighed)


def is_worn_out(ledger: Ledger) -> bool:
    """Whether so many attempts were no better that more are not worth their time; sooner where there is no signal."""
    return ledger.stale > (TUNING.patience if ledger.has_signal else TUNING.little_patience)


def is_small(ledger: Ledger) -> bool:
    """Whether chance exceeds the differences between right and wrong trees, and attempts cost little."""
    return max(ledger.shape) <= TUNING.small_side


def _is_exact(ledger: Ledger) -> bool:
    return ledger.is_exact


def _is_kernel_of_points(ledger: Ledger) -> bool:
    """Whether bisection explains a kernel. Its cuts leave what the kernel does, which differs from cut to cut."""
    is_geometry = ledger.best_is_geometry and ledger.problem.cuts[0].rank > 1
    return bool(is_geometry and ledger.noise.max() <= TUNING.explained * ledger.energy)


def _is_small_and_new(ledger: Ledger) -> bool:
    return is_small(ledger) and ledger.attempts < TUNING.small_attempts


def _has_no_rivals(ledger: Ledger) -> bool:
    """Whether the cuts see the same noise, no other trees came near, and a second start agrees where some might.

    A matrix of entries of equal modulus may have many trees that are about as good, as a Hadamard matrix has; in others
    no row or column must fit as well elsewhere. Two cuts may see the same noise though both are wrong: without a second
    start, a matrix of 32 x 32 and rank two ended with trees that left ten times the noise.
    """
    needs_witness = ledger.is_flat or ledger.known_best.ambiguous or len(ledger.problem.cuts) < 3
    return ledger.has_signal and ledger.is_even and ledger.rivals == 0 and len(ledger.origins) >= 1 + needs_witness


def _has_walked(ledger: Ledger) -> bool:
    """Whether all trees that come near are right, and walks have looked for the one that noise prefers.

    In a matrix of entries of equal modulus, no row or column has so little energy that it would fit elsewhere: where
    the cuts see the same noise, what is left to choose from are trees that fit as well without noise.
    """
    return ledger.has_signal and ledger.is_even and ledger.walked >= TUNING.walked


def _has_even_noise(ledger: Ledger) -> bool:
    """Whether several cuts see the same noise, and no row or column would fit as well elsewhere."""
    limit = TUNING.even + TUNING.even_deviations * ledger.chance
    several = len(ledger.problem.cuts) > 1
    return ledger.has_signal and several and not ledger.known_best.ambiguous and ledger.spread <= limit


def _is_compared(ledger: Ledger) -> bool:
    """Whether other trees have been compared by the error of the product, where that is how attempts are compared."""
    few = not ledger.rivals or ledger.walks  # there is a walk from the best in the end
    return not ledger.is_compared_by_product or ledger.attempts >= (2 if few else TUNING.compared)


def _has_two_origins(ledger: Ledger) -> bool:
    limit = TUNING.nearly_even + TUNING.nearly_even_deviations * ledger.chance
    return len(ledger.origins) >= 2 and ledger.has_signal and ledger.spread <= limit


def _has_three_origins(ledger: Ledger) -> bool:
    return len(ledger.origins) >= 3


def _always(_: Ledger) -> bool:
    return True


RULES = (
    # Nothing can be better. Without noise, most searches end here after one round.
    Rule("exact", _is_exact, _always),
    # A kernel is no butterfly matrix with noise, and its cuts never see the same. Without this rule, kernels of
    # shuffled points took 11 to 55 s more, and nothing better was found.
    Rule("geometry", _is_kernel_of_points, _always),
    # Chance may exceed the differences between right and wrong trees: compare many, unless one pair stands out.
    # Benchmark: N = 16 and 32 with noise.
    Rule("small", _is_small_and_new, lambda ledger: _has_no_rivals(ledger) or _has_walked(ledger)),
    # The proof by noise: the usual end. Rivals must have been compared: otherwise 1 of 20 Hadamard matrices with noise
    # ended with trees that were 0.1 to 0.3 % worse than others.
    Rule("even noise", _has_even_noise, _is_compared),
    # Strong noise and ambiguous rows keep cuts from seeing the same; two starts that agree make up for some of that.
    # Not measured by itself.
    Rule("two origins", _has_two_origins, _always),
    # Three starts that agree are the best that this search finds, whatever the noise. Not measured by itself.
    Rule("three origins", _always, _has_three_origins),
)
"""The rules, in the order in which they are asked; the last one always applies."""
