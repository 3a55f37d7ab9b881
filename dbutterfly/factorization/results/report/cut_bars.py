"""The error of every cut of a chain, as bars on an axis from zero."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ....planning.tilings import root_position
from ....structure.chain import Chain
from ....structure.drawings import round_ticks
from ....structure.tree import Tree
from ..certificate import Certificate

__all__ = ["CutBar", "CutBars", "cut_bars"]


class Cuts(Protocol):
    """What the bars need of a factorization."""

    @property
    def chain(self) -> Chain: ...
    @property
    def tree(self) -> Tree: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def record(self) -> dict[str, Any]: ...


class CutBar(NamedTuple):
    """A part of the error, with the length of its bar in percent of the axis."""

    name: str
    what: str
    error: str
    width: float
    is_root: bool


class CutBars(NamedTuple):
    """Bars of all cuts from left to right, numbers on their axis (place in percent, text), and what they are."""

    bars: list[CutBar]
    ticks: list[tuple[float, str]]
    note: str


def cut_bars(subject: Cuts) -> CutBars | None:
    """Lay the errors of the cuts out; None for a run that has left none."""
    errors = subject.record.get("errors_by_cut")
    if not errors:
        return None
    root = root_position(subject.tree)
    ticks = round_ticks(max(errors) or 1.0)
    bars = []
    for position, error in enumerate(errors, 1):
        p, u, q, v, rank = subject.chain.cut(position)[0]
        what, width = f"{u} x {q} blocks of {p} x {v}, rank {rank}", 100 * error / ticks[-1]
        bars.append(CutBar(f"factors {position}, {position + 1}", what, f"{error:.3g}", width, position == root))
    return CutBars(bars, [(100 * tick / ticks[-1], f"{tick:.3g}") for tick in ticks], _note(subject))


def _note(subject: Cuts) -> str:
    """What the errors of the cuts are."""
    certificate = subject.certificate
    sum_ = "add up to that of the error"
    if not certificate.exact:
        sum_ += ", but for a term of the root cut that the certificate bounds"
    if not certificate.proven:
        sum_ = "add up to about that of the error; what the root cut loses is estimated"
    before = " Before the sweeps over the factors." if "sweeps" in subject.record else ""
    return f"What is lost between neighbouring factors, relative to the norm of the matrix: the squares {sum_}.{before}"
