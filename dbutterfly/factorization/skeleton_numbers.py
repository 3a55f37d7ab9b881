"""What a run by nested skeletons keeps of every block of a step, beside the coefficients."""

from __future__ import annotations

from ..planning.nested_steps import NUMBERS, Step

__all__ = ["ENTRY", "EVALUATED", "INTERPOLATED", "RANK", "RESIDUAL", "SKELETON", "WANTED", "factor_name"]

RANK, WANTED, RESIDUAL, ENTRY, EVALUATED, SKELETON = range(NUMBERS + 1)
"""Numbers of every block: the size of its skeleton, the size that it should have, mean squares of what is left of an
entry and of an entry, entries evaluated, and the first line of its skeleton, -1 standing for none."""

INTERPOLATED = "interpolated"
"""Name of the coefficients of the rows of the root cut, which the core is multiplied by."""


def factor_name(step: Step, root: int) -> str:
    """Name of the array of the coefficients of a step."""
    return INTERPOLATED if (step.side, step.cut) == ("rows", root) else f"factor/{step.factor}"
