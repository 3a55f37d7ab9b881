"""What the manifest of a run for a stack must have: batches, rounds and the result."""

from __future__ import annotations

from .chain_checks import check_chain, check_tree
from .json_checks import dict_of, dict_with, integer, list_of, matching, number, one_of, or_none, text, tuple_of

__all__ = ["DTYPES", "SIDES", "check_stack"]

DTYPES = ("float32", "float64", "complex64", "complex128")
"""Dtypes that factors may have."""

_side = or_none(one_of("array", "bitreversal"))
SIDES = dict_of(one_of("rows", "cols"), _side)
"""Check of what the manifest says of each side."""

MOST_MATRICES = 10**8
"""Most matrices of a stack: their numbers are held. Not tuned."""

_count = integer(0)
_runs = list_of(tuple_of(integer(0, MOST_MATRICES), integer(1, MOST_MATRICES)))
_batch = {"numbers": _runs, "chain": check_chain, "tree": check_tree, "orderings": SIDES}
_planned = {**_batch, "per_task": _count, "peak_bytes": _count}
_found = {**_batch, "dtype": one_of(*DTYPES), "guarantee": or_none(number(0))}
_result = {
    "batches": list_of(dict_with(_found, *_found)),
    "alone": list_of(_count),
    "failed": dict_of(matching(r"[0-9]{1,9}", "the number of a matrix"), text),
    "names": or_none(list_of(text)),
    "shapes": list_of(tuple_of(integer(1), integer(1), integer(1, MOST_MATRICES))),
}
check_stack = dict_with(
    {
        "asked": dict_with({}),
        "rounds": list_of(list_of(dict_with(_planned, *_planned))),
        "result": dict_with(_result, *_result),
    },
    "asked",
    "rounds",
)
"""Check of the entry ``stack``."""
